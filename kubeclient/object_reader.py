"""From the text of lists and watches to objects: one object that cannot be decoded is left out, and the others pass.
Used by `kube`.

Whoever may create a pod may create one that the decoder refuses. What is nested too deeply is cut off and the object
read all the same; what has another shape than Kubernetes gives it becomes an UnreadableObject. The slow ways, which
only such texts take, run in a thread: they cost seconds for the largest pages.
"""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from kubeclient import json_text, objects
from kubeclient.changes import Change, ChangeType, Listing, UnreadableObject

T = TypeVar("T")
U = TypeVar("U")
Versioned = TypeVar("Versioned", bound=objects.Object)

_SHOWN = 253  # characters of a name or a reason that are kept: what Kubernetes allows a name to have

DECODER_ERRORS = (msgspec.MsgspecError, UnicodeError, RecursionError, json_text.TooManyBracketsError)

TYPES = {type_.value: type_ for type_ in ChangeType}
_EVENT_HEAD = re.compile(rb'\s*\{\s*"type"\s*:\s*"(ADDED|MODIFIED|DELETED)"\s*,\s*"object"\s*:')


class ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    """The metadata of a list, or of a bookmark."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, frozen=True):
    items: tuple[msgspec.Raw, ...] | None = ()
    metadata: ListMeta = ListMeta()


class Event(msgspec.Struct, frozen=True):
    """One event of a watch."""

    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct, frozen=True):
    metadata: ListMeta


_PAGE = msgspec.json.Decoder(_Page)
_EVENT = msgspec.json.Decoder(Event)
_BOOKMARK = msgspec.json.Decoder(_Bookmark)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `continue_` leads to the next one, if there is one."""

    listing: Listing[T]
    continue_: str


async def event(line: bytes) -> Event:
    """One line of a watch, its object undecoded. Raises one of DECODER_ERRORS where it is no event."""
    return await whole(line, _EVENT.decode)


async def whole(text: bytes, decode: Callable[[bytes], U]) -> U:
    """One text by itself. Raises one of DECODER_ERRORS where it cannot be read."""
    try:
        return decode(text)
    except DECODER_ERRORS:
        return decode(await asyncio.to_thread(json_text.thinned, text))


class PageReader(Generic[T]):
    """Reads pages of objects that `decode` takes."""

    def __init__(self, decode: Callable[[bytes | msgspec.Raw], T]) -> None:
        self._decode = decode

    async def read(self, body: bytes) -> Page[T]:
        """A page of a list. Raises one of DECODER_ERRORS where it is not a list."""
        try:
            page = _PAGE.decode(body)
            items = [self._decode(raw) for raw in page.items or ()]
        except DECODER_ERRORS:
            return await asyncio.to_thread(self._by_objects, body)
        return Page(Listing(tuple(items), page.metadata.resource_version), page.metadata.continue_)

    def _by_objects(self, body: bytes) -> Page[T]:
        text = json_text.thinned(body)
        try:
            page = _PAGE.decode(text)
            raws = [bytes(raw) for raw in page.items or ()]
        except DECODER_ERRORS:
            rest, raws = json_text.divided(text)
            page = _PAGE.decode(rest)
        items, unreadable = [], []
        for raw in raws:
            try:
                items.append(self._decode(raw))
            except DECODER_ERRORS as error:
                unreadable.append(_unreadable(_identity(raw), error))
        listing = Listing(tuple(items), page.metadata.resource_version, tuple(unreadable))
        return Page(listing, page.metadata.continue_)


class EventReader(Generic[Versioned]):
    """Reads events of a watch of objects that `decode` takes."""

    def __init__(self, decode: Callable[[bytes | msgspec.Raw], Versioned]) -> None:
        self._decode = decode

    async def read(self, line: bytes) -> Change[Versioned] | Event:
        """A line of a watch: the change that it tells, or the event itself where it is of no type of change.

        Raises one of DECODER_ERRORS where it is neither.
        """
        try:
            event = _EVENT.decode(line)
            type_ = TYPES.get(event.type)
            if type_ is None:
                return event
            if type_ is ChangeType.BOOKMARK:
                return Change(type_, None, _BOOKMARK.decode(event.object).metadata.resource_version)
            item = self._decode(event.object)
        except DECODER_ERRORS:
            return await asyncio.to_thread(self._by_parts, line)
        return Change(type_, item, item.metadata.resource_version)

    def _by_parts(self, line: bytes) -> Change[Versioned] | Event:
        text = json_text.thinned(line)
        try:
            event = _EVENT.decode(text)
        except DECODER_ERRORS:
            head = _EVENT_HEAD.match(text)
            if head is None:
                raise
            return self._of_object(TYPES[head[1].decode()], text[head.end() :].rstrip()[:-1])
        type_ = TYPES.get(event.type)
        if type_ is None:
            return event
        if type_ is ChangeType.BOOKMARK:
            return Change(type_, None, _BOOKMARK.decode(event.object).metadata.resource_version)
        return self._of_object(type_, bytes(event.object))

    def _of_object(self, type_: ChangeType, raw: bytes) -> Change[Versioned]:
        try:
            item = self._decode(raw)
        except DECODER_ERRORS as error:
            identity = _identity(raw)
            if type_ is ChangeType.DELETED and (gone := self._nameplate(identity)) is not None:
                return Change(type_, gone, identity.resource_version)
            return Change(type_, None, identity.resource_version, _unreadable(identity, error))
        return Change(type_, item, item.metadata.resource_version)

    def _nameplate(self, identity: "_Identity") -> Versioned | None:
        """An object with nothing but its identity, which is enough to forget it."""
        try:
            return self._decode(msgspec.json.encode({"metadata": identity})) if identity.name or identity.uid else None
        except DECODER_ERRORS:
            return None


class _Identity(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


def _identity(text: bytes) -> _Identity:
    """What can be told of who an unreadable object is. The text is not nested deeply."""
    try:
        document = json.loads(text.decode(errors="replace"), strict=False, parse_int=str, parse_float=str)
        meta = document["metadata"]
        fields = [meta.get(name) for name in ("name", "namespace", "uid", "resourceVersion")]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return _Identity()
    return _Identity(*(_printable(field) if isinstance(field, str) else "" for field in fields))


def _printable(text: str) -> str:
    """A text without what cannot be written to a log or to JSON."""
    return text[:_SHOWN].encode(errors="replace").decode()


def _unreadable(identity: _Identity, error: Exception) -> UnreadableObject:
    return UnreadableObject(identity.namespace, identity.name, identity.uid, _printable(str(error)))
