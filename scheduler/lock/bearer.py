"""The token that a request bears, and how long it lives. Used by `lock` and `known_callers`."""

import base64
import binascii
import re
from collections.abc import Sequence

import msgspec

from allocator import errors

MOST = 16 * 1024  # characters: those of service accounts have one thousand, those of identity providers a few
_SCHEME = "bearer"
_TOKEN = re.compile(r"[!-~]+")  # what a header may hold of one word


class _Claims(msgspec.Struct, frozen=True):
    """The part of a JSON Web Token that says when it ends, in seconds since 1970 (RFC 7519)."""

    exp: int | float


class TokenError(errors.MigschedError):
    """There is no token that could be asked about; the text says why."""


def read(headers: Sequence[str]) -> str:
    """The token of the Authorization headers. Raises TokenError."""
    if not headers:
        raise TokenError("there is none")
    if len(headers) > 1:
        raise TokenError("there is more than one header Authorization")
    scheme, _, token = headers[0].strip().partition(" ")
    token = token.strip()
    if scheme.lower() != _SCHEME or not token:
        raise TokenError("the header Authorization must be Bearer and a token")
    if len(token) > MOST:
        raise TokenError(f"the token has more than {MOST} characters")
    if not _TOKEN.fullmatch(token):
        raise TokenError("the token holds what no token does")
    return token


def ends_at(token: str) -> float | None:
    """When a token ends, in seconds since 1970; None for one that does not say.

    Its signature is not looked at: it is asked of tokens that the API server takes for valid.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        text = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return float(msgspec.json.decode(text, type=_Claims).exp)
    except (binascii.Error, ValueError, OverflowError, RecursionError):
        return None
