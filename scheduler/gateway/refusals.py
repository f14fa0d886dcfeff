"""A refusal in the API's one shape of problems. Used by `guard`, `streams` and `proxy`."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response


def problem(status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says what is wrong."""
    return Response(msgspec.json.encode({"detail": detail}), status, headers, "application/json")
