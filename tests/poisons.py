"""Objects as JSON text that a reader may choke on: those that any user may store, and those that only a broken server
sends. Each is one object of a list or a watch, beside good ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NAME = "poison"
UID = "uid-poison"
_META = f'"name":"{NAME}","namespace":"ns","uid":"{UID}","resourceVersion":"7"'.encode()


@dataclass(frozen=True)
class Poison:
    """An object's text. `readable`: what we read of it is there. `named`: at least its UID can be told."""

    text: bytes
    readable: bool
    named: bool = True


def deep(levels: int, meta: bytes = _META) -> bytes:
    """A pod with so many levels in the one field that takes any."""
    fields = b'{"f:a":' * levels + b"{}" + b"}" * levels
    return b'{"metadata":{%s,"managedFields":[{"manager":"m","fieldsV1":%s}]},"spec":{},"status":{}}' % (meta, fields)


def _with(rest: bytes, meta: bytes = _META) -> bytes:
    return b'{"metadata":{%s},%s}' % (meta, rest)


_BAD_NAME = b'"name":%s,"namespace":"ns","uid":"uid-poison","resourceVersion":"7"'

POISONS: Mapping[str, Poison] = {
    "990 levels": Poison(deep(990), readable=True),
    "1,490 levels": Poison(deep(1_490), readable=True),
    "9,990 levels": Poison(deep(9_990), readable=True),
    "100,000 levels": Poison(deep(100_000), readable=True),
    "levels that do not end": Poison(
        b'{"metadata":{%s},"x":"%s"}' % (_META, b'{\\"f:a\\":' * 9_000), readable=True
    ),  # brackets in a string
    "brackets in keys": Poison(_with(b'"k:{\\"name\\":[[":{"]}":1}'), readable=True),
    "huge labels": Poison(
        b'{"metadata":{%s,"labels":{%s}}}' % (_META, b",".join(b'"l%d":"%s"' % (n, b"v" * 63) for n in range(10_000))),
        readable=True,
    ),
    "duplicate keys": Poison(_with(b'"x":1,"x":2', b'"name":"other",' + _META), readable=True),
    "a giant number that nobody reads": Poison(_with(b'"x":1%s,"y":1e999' % (b"0" * 5_000)), readable=True),
    "bytes that are not UTF-8 where nobody reads": Poison(_with(b'"x":"\xff\xfe","\xff":1'), readable=True),
    "a name that is not UTF-8": Poison(_with(b'"x":1', _BAD_NAME % b'"\xff"'), readable=False),
    "a null name": Poison(_with(b'"x":1', _BAD_NAME % b"null"), readable=False),
    "a number for a name": Poison(_with(b'"x":1', _BAD_NAME % b"5"), readable=False),
    "9,990 levels and a null name": Poison(deep(9_990, _BAD_NAME % b"null"), readable=False),
    "labels that are numbers": Poison(_with(b'"x":1', _META + b',"labels":{"a":1}'), readable=False),
    "a giant number for a label": Poison(
        _with(b'"x":1', _META + b',"labels":{"a":%s}' % (b"9" * 5_000)), readable=False
    ),
    "a lone surrogate": Poison(_with(b'"x":"\\ud800"'), readable=False),
    "a control character": Poison(_with(b'"x":"\x01"'), readable=False),
    "an escape that is none": Poison(_with(b'"x":"\\q"'), readable=False, named=False),
    "not a number": Poison(_with(b'"x":NaN'), readable=False),
    "a number that begins with 0": Poison(_with(b'"x":01'), readable=False, named=False),
    "metadata that is a list": Poison(b'{"metadata":[]}', readable=False, named=False),
    "metadata that is null": Poison(b'{"metadata":null}', readable=False, named=False),
    "an empty object": Poison(b"{}", readable=False, named=False),
}
