"""JSON text that a decoder cannot take as it is: cut where it is nested too deeply, or divided into its objects. Used
by `object_reader` where decoding failed.

Some fields of Kubernetes objects take JSON of any depth (`metadata.managedFields[].fieldsV1`: kube-apiserver 1.36
serves 9,993 levels), and msgspec skips what it does not need by recursion: it raises RecursionError from 990 levels on
with Python 3.11, from 9,990 with 3.13. Nothing here recurses, and each function reads the text once.
"""

import re
from collections.abc import Iterator

DEPTH = 64  # levels of a text that are kept; what we read of an object lies within 10, and an object of a page 2 deeper
BRACKETS_MAX = 4_000_000  # of one text; reading more would take seconds. Objects that etcd takes have fewer in all

# To the next bracket, past strings. It never backtracks, and matches at the end too: a string that does not end goes on
# to the end of the text. The other one passes empty objects and lists too, which managedFields mostly consists of.
_NEXT_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+([\[\]{}]|\Z)', re.DOTALL)
_NEXT_FILLED = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|\{\}|\[\])*+([\[\]{}]|\Z)', re.DOTALL)
_OPENING = b"{["
_ITEMS = re.compile(rb'"items"\s*:\s*\Z')


class TooManyBracketsError(ValueError):
    """A text has more brackets than are looked at."""


def thinned(text: bytes, depth: int = DEPTH, brackets_max: int = BRACKETS_MAX) -> bytes:
    """The text with `null` in the place of each value that is nested deeper than `depth` levels.

    Raises TooManyBracketsError for one with more than `brackets_max` brackets.
    """
    kept, begin = [], 0
    for at, level, opens in _brackets(_NEXT_FILLED, text, brackets_max):
        if level != depth + 1:
            continue
        if opens:
            kept.append(text[begin:at])
            begin = len(text)
        else:
            kept.append(b"null")
            begin = at + 1
    kept.append(text[begin:])
    return b"".join(kept)


def divided(page: bytes, brackets_max: int = BRACKETS_MAX) -> tuple[bytes, list[bytes]]:
    """A list as the API server writes it, without its items, and the items that are objects, each as its own text.

    Raises TooManyBracketsError as `thinned` does.
    """
    items: list[bytes] = []
    array_begin, array_end, item_begin = -1, -1, -1
    for at, level, opens in _brackets(_NEXT_BRACKET, page, brackets_max):
        if level == 2 and opens and array_begin < 0 and _ITEMS.search(page, max(0, at - 64), at):
            array_begin = at
        elif array_begin < 0 or array_end >= 0:
            continue
        elif level == 3 and opens:
            item_begin = at
        elif level == 3:
            items.append(page[item_begin : at + 1])
        elif level == 2:
            array_end = at
    if array_end < 0:
        return page, []
    return page[: array_begin + 1] + page[array_end:], items


def _brackets(pattern: re.Pattern[bytes], text: bytes, brackets_max: int) -> Iterator[tuple[int, int, bool]]:
    """(position, level, whether it opens) of each bracket that a pattern goes to; the outermost pair has level 1."""
    level = number = position = 0
    while (at := pattern.match(text, position).start(1)) < len(text):  # type: ignore[union-attr]  # it always matches
        number += 1
        if number > brackets_max:
            raise TooManyBracketsError(f"the text has more than {brackets_max:,} brackets")
        opens = text[at] in _OPENING
        level += opens
        yield at, level, opens
        level -= not opens
        position = at + 1
