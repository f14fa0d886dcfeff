"""The OpenAPI document: statuses, bodies, and an example for each endpoint and status.

The examples are in examples.json, by operation: what to send, and what comes back on the cluster of
docs/examples/cluster.json. A test sends every one of them to the running service. `problems` there are the answers that
take a special moment, such as a full queue.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI

from scheduler.api.problems import ProblemDetails

_COMPONENT = "#/components/schemas/{name}"
JSON = "application/json"
YAML = "application/yaml"

Document = dict[str, Any]

_WHAT = {
    400: "the request cannot be used: the field, the value and the fix",
    401: "no bearer token that the cluster knows, where the API is locked (api_access: tokens)",
    403: "the caller has not the right, where the API is locked; or asked under a name that is not the API's, or for a "
    "web page of another site",
    404: "there is no such thing",
    409: "it cannot be done as things are: a setting is off, the pod does not wait, or it has ended",
    408: "the body did not come in time",
    413: "the body is too large, or the answer takes more memory than the planner may have",
    415: "the document is neither application/json nor application/yaml",
    500: "a defect; the log of the service has it",
    502: "the planner's process died; ask again",
    503: "not now: the cluster is still being read, there are too many calls, the planner's queue is full, or the "
    "service is stopping",
    504: "no answer within the planner's deadline",
}
_GUARD = (401, 403, 503)  # what any call may get but a probe, and one with a document
_GUARD_OF_DOCUMENTS = (408, 413, 415)
_PROBES = ("livez", "readyz")
PLANNER = (400, 413, 500, 502, 503, 504)  # what any question to the planner may get
_RETRY = {"Retry-After": {"description": "seconds until it is worth asking again", "schema": {"type": "integer"}}}


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call and its answer: a body, or query parameters. `of` are the operations that answer so, empty for all."""

    name: str
    status: int
    answer: Any
    body: Any = None
    query: dict[str, str] = {}
    of: frozenset[str] = frozenset()


class _Examples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    operations: dict[str, list[Example]]
    problems: dict[str, list[Example]]


EXAMPLES = msgspec.json.decode(Path(__file__).with_name("examples.json").read_bytes(), type=_Examples)


def answers(model: Any, *statuses: int) -> dict[int | str, Document]:
    """The answers of a route, for FastAPI: the model of 200, None where the route itself has it, and problems.

    A model is pydantic's or msgspec's; FastAPI knows only the former.
    """
    responses: dict[int | str, Document] = {}
    if isinstance(model, type) and issubclass(model, msgspec.Struct):
        responses[200] = {"content": {JSON: {"schema": _reference(model)}}}
    elif model is not None:
        responses[200] = {"model": model}
    for status in statuses:
        responses[status] = {"model": ProblemDetails, "description": _WHAT[status]}
        if status == 503:
            responses[status]["headers"] = _RETRY
    return responses


def body(document: Any, *, required: bool = True) -> Document:
    """The body of a route that reads a document of this type itself, for FastAPI."""
    schema = _reference(document)
    content = {JSON: {"schema": schema}, YAML: {"schema": schema}}
    return {"requestBody": {"required": required, "content": content}}


def publish(app: FastAPI, types: Sequence[Any]) -> None:
    """Complete the app's OpenAPI document when it is first asked for. `types` are msgspec's that its routes name."""
    plain = app.openapi

    def openapi() -> Document:
        if app.openapi_schema is None:
            _complete(plain(), types)
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _reference(type_: Any) -> Document:
    """The schema of a type, by reference to the components that `publish` adds."""
    (schema,), _ = msgspec.json.schema_components([type_], ref_template=_COMPONENT)
    return schema


def _complete(document: Document, types: Sequence[Any]) -> None:
    _, components = msgspec.json.schema_components(types, ref_template=_COMPONENT)
    document["components"]["schemas"] |= components
    for operation in itertools.chain.from_iterable(path.values() for path in document["paths"].values()):
        operation["responses"].pop("422", None)  # FastAPI's own: ours are 400
        if operation["operationId"] not in _PROBES:
            _add_guard(operation)
        for example in EXAMPLES.operations.get(operation["operationId"], ()):
            _add(operation, example)
        for status, response in operation["responses"].items():
            for example in EXAMPLES.problems.get(status, ()):
                if not example.of or operation["operationId"] in example.of:
                    response["content"][JSON].setdefault("examples", {})[example.name] = {"value": example.answer}
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _add_guard(operation: Document) -> None:
    """What the gateway answers before the call comes here."""
    of_documents = _GUARD_OF_DOCUMENTS if "requestBody" in operation else ()
    for status in (*_GUARD, *of_documents):
        content = {JSON: {"schema": {"$ref": _COMPONENT.format(name=ProblemDetails.__name__)}}}
        response: Document = {"description": _WHAT[status], "content": content}
        if status == 503:
            response["headers"] = _RETRY
        operation["responses"].setdefault(str(status), response)


def _add(operation: Document, example: Example) -> None:
    """One example: what to send and, under the same name, what comes back."""
    if example.body is not None:
        content = operation["requestBody"]["content"]
        content[JSON].setdefault("examples", {})[example.name] = {"value": example.body}
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in example.query:
            value = example.query[parameter["name"]]
            parameter.setdefault("examples", {})[example.name] = {"value": value}
    answer = operation["responses"][str(example.status)]["content"][JSON]
    answer.setdefault("examples", {})[example.name] = {"value": example.answer}
