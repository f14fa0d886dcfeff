"""Asks the capacity API of a running scheduler, of the demo too. Used by `migsched top` and `migsched explain`."""

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from allocator import errors

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8080"
_SECONDS = 10.0

ApiUrl = Annotated[str, typer.Option(envvar="MIGSCHED_API_URL", help="Where the capacity API answers.")]


class NoAnswerError(errors.MigschedError):
    """The API does not answer, or not with what was asked for."""


class NotThereError(errors.MigschedError):
    """The API answers that there is no such thing (404)."""


def get(api_url: str, path: str, read: Callable[[Any], T], **query: str) -> T:
    """The answer to a GET, decoded and made sense of by `read`.

    Raises SettingsError for a URL that is none, NotThereError, NoAnswerError, also where `read` raises KeyError or
    TypeError.
    """
    try:
        return read(msgspec.json.decode(get_text(api_url, path, **query)))
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise NoAnswerError(f"--api-url: what answers at {api_url} is not migsched ({error!r})") from error


def get_text(api_url: str, path: str, **query: str) -> bytes:
    """The answer to a GET as it came. Raises SettingsError for a URL that is none, NotThereError, NoAnswerError."""
    parts = urllib.parse.urlsplit(api_url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise errors.SettingsError("api_url", api_url, f"must be a URL such as {DEFAULT_URL}")
    url = f"{api_url.rstrip('/')}{path}"
    if query:
        url += "?" + urllib.parse.urlencode(query)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy could not reach a loopback address
    try:
        with opener.open(url, timeout=_SECONDS) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        text = _detail(error.read()) or error.reason
        if error.code == 404:
            raise NotThereError(text) from error
        raise NoAnswerError(f"{url}: HTTP {error.code}: {text}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NoAnswerError(
            f"--api-url: no answer from {url} ({reason}); is `migsched scheduler` or `migsched demo` running there?"
        ) from error


def _detail(body: bytes) -> str:
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    said = (
        (answer.get("detail") or answer.get("Error")) if isinstance(answer, dict) else None
    )  # the API's, the extender's
    return str(said or "")
