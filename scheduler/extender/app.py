"""The extender's HTTP routes: bytes in, bytes out, kube-scheduler's JSON in between.

The verbs are plain ASGI endpoints of a FastAPI application: FastAPI's own parsing and validation would cost
half a millisecond of every scheduling cycle (docs/adr/0005). Whatever comes in, the answer is JSON and says
what was wrong; a traceback never leaves the process.
"""

import time
from collections.abc import Awaitable, Callable

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from allocator import errors
from scheduler import body
from scheduler.extender import wire
from scheduler.extender.extender import Extender
from scheduler.metrics import Metrics

_log = structlog.get_logger("app")
_JSON = ((b"content-type", b"application/json"),)
_TOO_LARGE = 413

Handler = Callable[[bytes], Awaitable[bytes]]


class Verb:
    """One verb as an ASGI endpoint: bounded body, ready check, timing, errors as answers."""

    def __init__(self, name: str, handle: Handler, metrics: Metrics, ready: Callable[[], bool], max_body: int) -> None:
        self._name = name
        self._handle = handle
        self._seconds = metrics.verb_seconds.labels(name)
        self._errors = metrics.decisions.labels(name, "error", "bad_body")
        self._ready = ready
        self._max_body = max_body

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        status, answer = await self._answer(receive)
        headers = [*_JSON, (b"content-length", str(len(answer)).encode())]
        if status == _TOO_LARGE:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        self._seconds.observe(time.perf_counter() - began)

    async def _answer(self, receive: Receive) -> tuple[int, bytes]:
        """Status and body."""
        try:
            content = await body.read(receive, self._max_body)
            if not self._ready():
                return 503, wire.encode_error("migsched is still reading the cluster; try again")
            return 200, await self._handle(content)
        except body.BodyTooLargeError as error:
            return _TOO_LARGE, wire.encode_error(str(error))
        except errors.ContractError as error:
            self._errors.inc()
            return 400, wire.encode_error(str(error))
        except ClientDisconnect:
            return 400, wire.encode_error("the client went away")
        except Exception:
            _log.exception("verb failed", verb=self._name)
            return 500, wire.encode_error(f"{self._name} failed; see the log of the migsched scheduler")


def build(extender: Extender, metrics: Metrics, ready: Callable[[], bool], *, max_body: int) -> ASGIApp:
    """The extender's application: POST /v1/{filter,prioritize,bind,preempt}, and a no-op to measure against."""
    rest = FastAPI(title="migsched extender", openapi_url=None, docs_url=None, redoc_url=None)
    verbs: dict[str, ASGIApp] = {}
    for name, handle in Verbs(extender).table().items():
        path = f"/v1/{name}"
        verbs[path] = Verb(name, handle, metrics, ready, max_body)
        rest.router.routes.append(Route(path, verbs[path], methods=["POST"]))

    @rest.exception_handler(HTTPException)
    async def no_such_verb(_: Request, error: HTTPException) -> Response:
        message = f"{error.detail}: the extender answers POST to {', '.join(verbs)}"
        return Response(wire.encode_error(message), error.status_code, error.headers, "application/json")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        """Straight to the verb; whatever else comes in is FastAPI's to refuse."""
        verb = verbs.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        await (verb or rest)(scope, receive, send)

    return application


class Verbs:
    """The verbs from bytes to bytes."""

    def __init__(self, extender: Extender) -> None:
        self._extender = extender

    def table(self) -> dict[str, Handler]:
        """Handlers by verb."""
        return {
            "filter": self.filter,
            "prioritize": self.prioritize,
            "bind": self.bind,
            "preempt": self.preempt,
            "noop": self.noop,
        }

    async def filter(self, body: bytes) -> bytes:
        """POST /v1/filter."""
        args = wire.decode_args(body)
        answer = await self._extender.filter(args.pod, args.names())
        return wire.encode_filter(args, answer.nodes, answer.failed, answer.unresolvable)

    async def prioritize(self, body: bytes) -> bytes:
        """POST /v1/prioritize."""
        args = wire.decode_args(body)
        return wire.encode_scores(self._extender.prioritize(args.pod, args.names()))

    async def bind(self, body: bytes) -> bytes:
        """POST /v1/bind."""
        args = wire.decode_binding(body)
        return wire.encode_error(await self._extender.bind(args.pod_namespace, args.pod_name, args.pod_uid, args.node))

    async def preempt(self, body: bytes) -> bytes:
        """POST /v1/preempt."""
        args = wire.decode_preemption(body)
        return wire.encode_preemption(await self._extender.preempt(args.pod, args.by_uid()))

    async def noop(self, body: bytes) -> bytes:
        """POST /v1/noop: reads a body and answers nothing; what the transport alone costs."""
        del body
        return b"{}"
