"""The extender's HTTP routes: bytes in, bytes out, kube-scheduler's JSON in between.

The verbs are plain ASGI endpoints: FastAPI's own parsing and validation would cost half a millisecond of every
scheduling cycle (docs/adr/0005). Whatever comes in, the answer is JSON and says what was wrong; a traceback never
leaves the process. Mounted on the extender's port by `service`.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from prometheus_client import Counter, Histogram
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from allocator import errors
from scheduler import body
from scheduler.extender import wire
from scheduler.extender.extender import Extender
from scheduler.metrics import Metrics

_log = structlog.get_logger("routes")
_JSON = ((b"content-type", b"application/json"),)

Handler = Callable[[bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class _Verb:
    """A verb's handler and its metrics."""

    name: str
    handle: Handler
    seconds: Histogram
    bad_bodies: Counter


class Routes:
    """The extender as an ASGI application: POST /v1/filter, prioritize, bind and preempt, from bytes to bytes."""

    def __init__(
        self,
        extender: Extender,
        metrics: Metrics,
        ready: Callable[[], bool],
        *,
        max_body: int,
        stands_by: Callable[[], str] = lambda: "",
    ) -> None:
        self._extender = extender
        self._metrics = metrics
        self._ready = ready
        self._stands_by = stands_by  # why this replica does not decide; empty if it does
        self._max_body = max_body
        self._verbs: dict[str, _Verb] = {}  # by path
        self._others = Starlette(exception_handlers={HTTPException: self._no_such_verb})
        for handle in (self.filter, self.prioritize, self.bind, self.preempt):
            self.mount(handle.__name__, handle)

    def mount(self, name: str, handle: Handler) -> None:
        """Answer POST /v1/<name>: bounded body, ready check, timing, errors as answers."""
        seconds, bad_bodies = (
            self._metrics.verb_seconds.labels(name),
            self._metrics.decisions.labels(name, "error", "bad_body"),
        )
        self._verbs[f"/v1/{name}"] = _Verb(name, handle, seconds, bad_bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Straight to the verb; Starlette refuses whatever else comes in."""
        verb = self._verbs.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if verb is None:
            await self._others(scope, receive, send)
            return
        began = time.perf_counter()
        status, answer = await self._answer(verb, receive)
        headers = [*_JSON, (b"content-length", str(len(answer)).encode())]
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        verb.seconds.observe(time.perf_counter() - began)

    # --- the verbs --------------------------------------------------------------------------------------------------

    async def filter(self, body: bytes) -> bytes:
        """POST /v1/filter."""
        args = wire.decode_args(body)
        names = args.names()
        return wire.encode_filter(args, names, await self._extender.filter(args.pod, names))

    async def prioritize(self, body: bytes) -> bytes:
        """POST /v1/prioritize."""
        args = wire.decode_args(body)
        return wire.encode_scores(self._extender.prioritize(args.pod, args.names()))

    async def bind(self, body: bytes) -> bytes:
        """POST /v1/bind."""
        args = wire.decode_binding(body)
        return wire.encode_bind(await self._extender.bind(args.pod_namespace, args.pod_name, args.pod_uid, args.node))

    async def preempt(self, body: bytes) -> bytes:
        """POST /v1/preempt."""
        args = wire.decode_preemption(body)
        preemption = await self._extender.preempt(args.pod, args.by_uid())
        return wire.encode_preemption(preemption.victims, preemption.note)

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _answer(self, verb: _Verb, receive: Receive) -> tuple[int, bytes]:
        """Status and body."""
        try:
            content = await body.read(receive, self._max_body)
            if not self._ready():
                return 503, wire.encode_error("migsched is still reading the cluster; try again")
            if why := self._stands_by():
                return 503, wire.encode_error(why)
            return 200, await verb.handle(content)
        except body.BodyTooLargeError as error:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, wire.encode_error(str(error))
        except errors.ContractError as error:
            verb.bad_bodies.inc()
            return 400, wire.encode_error(str(error))
        except ClientDisconnect:
            return 400, wire.encode_error("the client went away")
        except Exception:
            _log.exception("verb failed", verb=verb.name)
            return 500, wire.encode_error(f"{verb.name} failed; see the log of the migsched scheduler")

    async def _no_such_verb(self, request: Request, error: Exception) -> Response:
        """The refusal of an unknown path, or of another method than POST."""
        del error  # always 404: Starlette knows none of the paths
        status = HTTPStatus.METHOD_NOT_ALLOWED if request.url.path in self._verbs else HTTPStatus.NOT_FOUND
        headers = {"Allow": "POST"} if status is HTTPStatus.METHOD_NOT_ALLOWED else None
        message = f"{status.phrase}: the extender answers POST to {', '.join(self._verbs)}"
        return Response(wire.encode_error(message), status, headers, "application/json")
