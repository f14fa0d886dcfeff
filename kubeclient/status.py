"""What an API server's answer says of a call: the ClusterError for an HTTP status, and whether it was done. Used by
`kube`.
"""

from collections.abc import Mapping

import msgspec

from allocator import errors
from kubeclient.object_reader import DECODER_ERRORS

DEFAULT_RETRY_AFTER_S = 1.0  # where a busy server does not say when to try again; kube-apiserver says this
MAX_RETRY_AFTER_S = 30.0  # however long it says

_CREATED = 201
_TOO_MANY_REQUESTS = 429
_REFUSED = frozenset({400, 401, 403, 405, 413, 415, 422})
_ERRORS: Mapping[int, type[errors.ClusterError]] = {
    404: errors.NotFoundError,
    409: errors.ConflictError,
    410: errors.GoneError,
}
_SHOWN = 200  # bytes of an answer that an error repeats


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""


class _Details(msgspec.Struct, frozen=True):
    causes: tuple[_Cause, ...] | None = None


class Status(msgspec.Struct, frozen=True):
    """A metav1.Status, in part."""

    kind: str = ""
    status: str = ""
    message: str = ""
    code: int = 0
    details: _Details | None = None


_STATUS = msgspec.json.Decoder(Status)


def error(what: str, status: int, body: bytes | msgspec.Raw, retry_after: bytes = b"") -> errors.ClusterError:
    """The ClusterError for an HTTP status of 300 or more; `body` is a Status in JSON, or any text."""
    causes: tuple[_Cause, ...] = ()
    try:
        said = _STATUS.decode(body)
        message, causes = said.message, (said.details and said.details.causes) or ()
    except DECODER_ERRORS:
        message = bytes(body)[:_SHOWN].decode(errors="replace")
    return _error(f"{what}: HTTP {status}: {message}", status, causes, retry_after)


def event_error(what: str, body: msgspec.Raw) -> errors.ClusterError:
    """The ClusterError that an ERROR event of a watch tells. Raises one of DECODER_ERRORS where it is not a Status."""
    said = _STATUS.decode(body)
    return _error(f"{what}: HTTP {said.code}: {said.message}", said.code, (said.details and said.details.causes) or ())


def check_object(what: str, body: bytes) -> None:
    """Raise UnreachableError for a body that is not an object, as of a proxy that answers in the server's place."""
    if not body.lstrip().startswith(b"{"):
        raise errors.UnreachableError(f"{what}: unreadable answer: not a JSON object: {_start(body)}")


def check_created(what: str, status: int, body: bytes) -> None:
    """Raise UnreachableError unless an answer says, by its HTTP status and as a Status, that it is done."""
    try:
        said = _STATUS.decode(body)
    except DECODER_ERRORS:
        said = Status()
    if (status, said.kind, said.status) != (_CREATED, "Status", "Success"):
        raise errors.UnreachableError(
            f"{what}: unreadable answer: HTTP {status} without the Status of a success: {_start(body)}"
        )


def _start(body: bytes) -> str:
    return repr(body[:_SHOWN].decode(errors="replace"))


def _error(text: str, status: int, causes: tuple[_Cause, ...], retry_after: bytes = b"") -> errors.ClusterError:
    if any(cause.reason == "ResourceVersionTooLarge" for cause in causes):
        return errors.GoneError(text)
    if status == _TOO_MANY_REQUESTS:
        return errors.TooManyRequestsError(text, _retry_after_s(retry_after))
    if status in _ERRORS:
        return _ERRORS[status](text)
    return errors.RefusedError(text) if status in _REFUSED else errors.UnreachableError(text)


def _retry_after_s(header: bytes) -> float:
    """The seconds in a Retry-After header, bounded. A date in it is not read: kube-apiserver sends seconds."""
    text = header.decode("ascii", errors="replace").strip()
    if not (text.isascii() and text.isdigit()):
        return DEFAULT_RETRY_AFTER_S
    return float(min(int(text[:9]), MAX_RETRY_AFTER_S))
