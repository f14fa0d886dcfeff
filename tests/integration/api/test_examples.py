"""The examples of the OpenAPI document: each is sent to the running service, which answers as documented."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from allocator.claims import snapshot_file
from scheduler.api.documentation import EXAMPLES, Example
from tests.integration.api import running_service
from tests.integration.api.running_service import RunningService

CALLS = [(operation, one) for operation, examples in EXAMPLES.operations.items() for one in examples]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[tuple[RunningService, dict[str, Any]]]:
    async with running_service.running() as running:
        yield running, (await running.client.get("/openapi.json")).json()


def operations(document: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation, by its id."""
    return {
        operation["operationId"]: (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def shown(part: Any, whole: Any) -> bool:
    """Whether an answer has what the example shows of it: keys may be left out, list entries may not."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and shown(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(shown, part, whole))
    return part == pytest.approx(whole) if isinstance(part, float) else bool(part == whole)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("operation", "example"), CALLS, ids=[f"{o}: {e.name}" for o, e in CALLS])
async def test_an_example_pasted_gets_the_answer_documented(
    served: tuple[RunningService, dict[str, Any]], operation: str, example: Example
) -> None:
    """Sent as the OpenAPI document has it, an example gets the documented status and answer."""
    running, document = served
    method, path, described = operations(document)[operation]
    body = None
    if example.body is not None:
        body = described["requestBody"]["content"]["application/json"]["examples"][example.name]["value"]
    query = {
        one["name"]: one["examples"][example.name]["value"]
        for one in described.get("parameters", ())
        if example.name in one.get("examples", ())
    }
    assert query.keys() == example.query.keys()
    headers = {"X-Migsched-Action": "1"}  # of what changes the cluster
    answer = await running.client.request(method, path, params=query, json=body, headers=headers)
    documented = described["responses"][str(answer.status_code)]["content"]["application/json"]["examples"]
    found = json.loads(running.plain(answer.text))
    assert answer.status_code == example.status
    assert shown(documented[example.name]["value"], found), json.dumps(found)


@pytest.mark.asyncio(loop_scope="module")
async def test_every_endpoint_and_status_has_an_example(served: tuple[RunningService, dict[str, Any]]) -> None:
    """No documented status is without an example, and FastAPI's own 422 is nowhere: bad input is 400."""
    for name, (_, path, described) in operations(served[1]).items():
        for status, answer in described["responses"].items():
            ((kind, content),) = answer["content"].items()
            assert content.get("examples") or content.get("example"), f"{name} {path} {status} {kind}"
        assert "422" not in described["responses"]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_snapshot_is_the_file_that_the_documentation_plans_with(
    served: tuple[RunningService, dict[str, Any]],
) -> None:
    """Nodes, slices, owners, movability, priority and budgets come from the cluster's own objects."""
    running, _ = served
    text = running.plain((await running.client.get("/api/v1/snapshot")).text)
    found = snapshot_file.decode(text)
    page = running_service.SNAPSHOT.read_text(encoding="utf-8")
    expected = snapshot_file.decode(page)
    assert found.snapshot == expected.snapshot
    assert {uid: found.pods[uid] for uid in expected.pods} == expected.pods
    assert [(b.name, b.disruptions_allowed, set(b.pods)) for b in found.budgets] == [
        (b.name, b.disruptions_allowed, set(b.pods)) for b in expected.budgets
    ]
    assert found.notes == ()
