"""Documents of a running service, one after the other. Used by `migsched record`.

Asked again and again for the whole, which works through every kind of connection; what did not change is not written.
"""

import time
from collections.abc import Callable, Iterator

from cli import api_client
from cli.recording.page_state import PageState

PATH = "/api/v1/overview"
_MOST_FAILURES_S = 60.0  # that a service may be away, from its last answer on


def documents(
    api: api_client.CapacityApi,
    every_s: float,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    told: Callable[[str], None] = lambda _: None,
) -> Iterator[PageState]:
    """The documents. A service that is away for a while is waited for.

    Raises NoAnswerError where it is away from the beginning, or for too long; NotThereError for one without a page.
    """
    last: float | None = None
    is_away = False
    while True:
        began = clock()
        state = PageState()
        try:
            state.begin(api_client.ask_text(api, PATH))
        except api_client.NoAnswerError as error:
            if last is None or began - last > _MOST_FAILURES_S:
                raise
            if not is_away:
                told(f"no answer; asking again: {error}")
            is_away = True
        else:
            last, is_away = began, False
            yield state
        pause(max(0.0, every_s - (clock() - began)))
