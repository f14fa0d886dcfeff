"""The webhook as an ASGI application: POST /admission/gate, from bytes to bytes. Served over TLS by `service`.

Its client is the API server. Nothing is kept and nothing decided that depends on what this process knows of the
cluster, so each replica answers, from its first moment on.
"""

from collections.abc import Container
from http import HTTPStatus

import msgspec
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from allocator import errors
from httpserver.limits import ConnectionLimits
from scheduler import body
from scheduler.admission import review

PATH = "/admission/gate"
MAX_BODY = 4 * 2**20  # bytes: an API server takes objects of 3 MiB (Kubernetes, `MaxRequestBodyBytes`)
CONNECTIONS = ConnectionLimits(total=32, per_address=32, call_s=15)  # a few API servers, each with several
_JSON = (b"content-type", b"application/json")
_log = structlog.get_logger("webhook")


class Webhook:
    """Answers AdmissionReviews of new pods. `schedulers` are those whose pods are gated."""

    def __init__(self, schedulers: Container[str], *, max_body: int = MAX_BODY) -> None:
        self._schedulers = schedulers
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call. Whatever comes in, the answer is JSON and says what was wrong."""
        status, answer = await self._answer(scope, receive)
        headers = [_JSON, (b"content-length", str(len(answer)).encode())]
        if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[HTTPStatus, bytes]:
        if scope["path"] != PATH:
            return HTTPStatus.NOT_FOUND, _problem(f"the webhook answers POST {PATH}")
        if scope["method"] != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, _problem(f"the webhook answers POST {PATH}")
        try:
            text = await body.read(receive, self._max_body, drained=self._max_body)
            return HTTPStatus.OK, await review.answered(text, self._schedulers)
        except body.BodyTooLargeError:
            said = f"body: more than {self._max_body} bytes; no API server sends as much of a pod"
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _problem(said)
        except errors.ContractError as error:
            return HTTPStatus.BAD_REQUEST, _problem(str(error))
        except ClientDisconnect:
            return HTTPStatus.BAD_REQUEST, _problem("the client went away")
        except Exception:
            _log.exception("review failed")
            return HTTPStatus.INTERNAL_SERVER_ERROR, _problem("it failed; see the log of the migsched scheduler")


def _problem(detail: str) -> bytes:
    return msgspec.json.encode({"detail": detail})
