"""Tables as Markdown, for what the docs quote."""

from collections.abc import Iterable


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table with a head; each line ends with a newline."""
    heads = list(head)
    lines = ["| " + " | ".join(line) + " |\n" for line in (heads, *rows)]
    return "".join([lines[0], "|---" * len(heads) + "|\n", *lines[1:]])
