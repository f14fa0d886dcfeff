"""How long-running commands say that they are alive: on standard error, so that their answer can be piped.

On a terminal the last message stands in one line with a spinner and the time since the start; headings (which begin
with `[`) stay. Elsewhere, as in a build log, messages are lines, at most one in a few seconds.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_EVERY_S = 5.0  # between two lines where a line cannot change in place

Tell = Callable[[str], None]


@contextmanager
def shown() -> Iterator[Tell]:
    """What to tell messages to while a command runs."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines(console).tell
        return
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", style="dim", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def tell(message: str) -> None:
            if _stays(message):
                console.print(message, markup=False)
            bar.update(task, description=message)

        yield tell


def _stays(message: str) -> bool:
    """Whether a message is a heading, or part of a closing list."""
    return message.startswith(("[", " ", "This ", "Not "))


class _Lines:
    """Messages as lines; headings always, others now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_s = -_EVERY_S

    def tell(self, message: str) -> None:
        """Print it, if it is time."""
        now_s = time.monotonic()
        if _stays(message) or now_s - self._last_s >= _EVERY_S:
            self._last_s = now_s
            self._console.print(message, markup=False, soft_wrap=True, style="dim")
