"""The API's routes of the web page: the overview, its changes as they come, and what people do with Repacks from there.

Both overviews are the feed's text: nothing is made for a caller. Of a gateway's callers these routes see nothing.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Header, HTTPException, Path, Request, Response
from fastapi.responses import StreamingResponse

from allocator.moves.document import RepackMode
from scheduler import body
from scheduler.api.context import Context
from scheduler.api.documentation import JSON, answers
from scheduler.api.documentation import body as documented
from scheduler.api.problems import RETRY_S, NotReadyError
from scheduler.feed import EVENT_STREAM, FeedClosedError, FeedFullError
from scheduler.lock import caller
from scheduler.page import moves_section
from scheduler.page.document import Overview, OverviewChanges, OverviewMove
from scheduler.page.repack_actions import MadeRepack, RepackActions

_HEADERS = {"Cache-Control": "no-store"}
_STREAM_HEADERS = {**_HEADERS, "X-Accel-Buffering": "no"}
_EXAMPLE = (
    'id: 7\nevent: changes\ndata: {"revision":7,"time":"…","sections":{"waiting_total":1},"nodes":[],"gone":[]}\n\n'
)
_Name = Annotated[str, Path(description="name of the Repack", max_length=253, examples=["for-0a1b2c"])]
_MAX_BODY = 4096  # bytes
_WHAT = (400, 404, 409, 413, 415, 503)
_Action = Annotated[str, Header(alias="X-Migsched-Action", description="any word: no form of another page sends it")]


class WantedRepack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A waiting pod, as `namespace/name` or UID, and how far its Repack goes by itself."""

    pod: str
    mode: RepackMode = RepackMode.APPROVE


class RepackApproval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With `uid` only the Repack that was looked at is approved."""

    uid: str = ""


def add(app: FastAPI, context: Context) -> list[Any]:
    """Serve them; the types of their documents and answers, for the OpenAPI document."""
    feed = context.feed

    @app.get("/api/v1/overview", tags=["page"], operation_id="overview", responses=answers(Overview, 503))
    async def overview(request: Request) -> Response:
        """All that the web page shows, as one document."""
        context.page_asked()
        try:
            blocks = feed.document(caller.may_of(request.scope))
        except FeedClosedError as error:
            raise NotReadyError from error

        async def each() -> AsyncIterator[bytes]:
            for block in blocks:
                yield block

        return StreamingResponse(each(), media_type=JSON, headers=_HEADERS)

    stream: Any = {200: {"content": {EVENT_STREAM: {"example": _EXAMPLE}}}}

    @app.get(
        "/api/v1/overview/changes",
        tags=["page"],
        operation_id="overviewChanges",
        response_class=Response,
        responses=stream | answers(None, 503),
    )
    async def changes(request: Request) -> Response:
        """Server-sent events: `overview` with the whole document, then `changes` with what is other, at most four a
        second.
        """
        events = feed.follow(caller.may_of(request.scope))
        context.page_asked()
        try:
            first = await anext(events)
        except FeedClosedError as error:
            raise NotReadyError from error
        except FeedFullError as error:
            raise HTTPException(503, str(error), {"Retry-After": str(RETRY_S)}) from error
        return StreamingResponse(_all(first, events), media_type=EVENT_STREAM, headers=_STREAM_HEADERS)

    _add_actions(app, context, context.repacks)
    return [Overview, OverviewChanges, WantedRepack, RepackApproval, MadeRepack, OverviewMove]


def _add_actions(app: FastAPI, context: Context, repacks: RepackActions) -> None:
    @app.post(
        "/api/v1/repacks",
        tags=["page"],
        operation_id="makeRepack",
        responses=answers(MadeRepack, *_WHAT),
        openapi_extra=documented(WantedRepack),
    )
    async def make(request: Request, action: _Action = "") -> Response:  # noqa: ARG001 - the guard looks at it
        """Have a Repack made for a waiting pod: what `migsched repack --apply` writes. Asked again, it is the same."""
        asked = await _read(request, WantedRepack)
        context.need_cluster()
        _may_act(context)
        return _json(await repacks.make(asked.pod, asked.mode))

    @app.get(
        "/api/v1/repacks/{name}", tags=["page"], operation_id="repackOf", responses=answers(OverviewMove, 400, 404, 409)
    )
    async def look(name: _Name) -> Response:
        """A Repack as the page shows it."""
        return _json(moves_section.one(repacks.get(name)))

    @app.post(
        "/api/v1/repacks/{name}/approval",
        tags=["page"],
        operation_id="approveRepack",
        responses=answers(OverviewMove, *_WHAT),
        openapi_extra=documented(RepackApproval),
    )
    async def approve(request: Request, name: _Name, action: _Action = "") -> Response:  # noqa: ARG001
        """Let a Repack of mode Approve be carried out."""
        asked = await _read(request, RepackApproval)
        _may_act(context)
        return _json(moves_section.one(await repacks.approve(name, asked.uid)))


def _may_act(context: Context) -> None:
    if context.stands_by():
        said = "this replica of migsched stands by, and another decides; ask again"
        raise HTTPException(503, said, {"Retry-After": str(RETRY_S)})
    if not context.acts_for_all:
        said = "everybody may ask this API (api_access: open), so it changes nothing: set api_access: tokens"
        raise HTTPException(409, said)


async def _all(first: bytes, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for event in events:
        yield event


async def _read(request: Request, type_: type[Any]) -> Any:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != JSON:
        raise HTTPException(415, f"Content-Type: {content_type[:120]!r}: must be {JSON}")
    text = await body.read(request.receive, _MAX_BODY, setting="4 KiB of this route")
    try:
        return msgspec.json.decode(text, type=type_)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise HTTPException(400, f"body: {str(error)[:300]}") from error


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type=JSON)
