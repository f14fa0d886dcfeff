"""Text of a cluster for people: any user may have written it. Pure; used by every check."""

import shlex

VALUE = 200  # characters of a value that is shown
_CUT = "…"


def visible(text: str, most: int = VALUE) -> str:
    """A text on one line with its control characters as escapes, of at most so many characters."""
    start = text[: most + 1]
    plain = "".join(char if char.isprintable() else char.encode("unicode_escape", "replace").decode() for char in start)
    return plain if len(plain) <= most else plain[: most - 1] + _CUT


def command(*words: str) -> str:
    """A command that can be pasted into a shell, whatever the names in it are."""
    return shlex.join(visible(word, 1_000) for word in words)
