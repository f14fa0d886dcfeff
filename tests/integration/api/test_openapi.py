"""The API against its own OpenAPI document: schemathesis calls it with whatever the document allows, and does not.

Each answer must have a documented status, content type and shape, bad input is refused, and nothing fails. That a
document is valid by its schema does not mean that it can be met (a model may not offer a profile): 400 is no defect.
"""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import checks
from schemathesis.core.transport import Response

from tests.integration.api import running_service

DEADLINE_S = 1.0  # shapes are looked at here, not how good an answer is
CALM = (503, 504)  # documented answers to too much at once: no defects
SMALL = {"gpus": (100_000, 8), "seeds": (10_000, 2), "horizon": (1e6, 12), "nodes": (100_000, 4)}  # allowed, enough
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]


class Served:
    """The service on an event loop of its own, in a thread: schemathesis blocks while it waits for an answer."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self.url = ""

    def __enter__(self) -> "Served":
        self._thread.start()
        assert self._up.wait(60), "the service does not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        self._loop.close()

    async def _serve(self) -> None:
        async with running_service.running(planner_deadline_s=DEADLINE_S) as running:
            self.url = running.service.api_url
            self._up.set()
            await self._stop.wait()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Served() as served:
        yield served.url


schema = schemathesis.openapi.from_dict(running_service.document()).exclude(operation_id="overviewChanges")  # no end


def calm(response: Response) -> bool:
    """Whether an answer is no server error."""
    return response.status_code < 500 or response.status_code in CALM


def smaller(value: Any, key: str = "") -> Any:
    """A document with numbers that are allowed and only take long brought down; others stay as they are."""
    if isinstance(value, dict):
        return {name: smaller(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [smaller(one, key) for one in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and key in SMALL:
        most, enough = SMALL[key]
        return min(value, enough) if value <= most else value
    return value


@schema.parametrize()
@hypothesis.settings(max_examples=10, deadline=None, derandomize=True, database=None)
def test_every_answer_is_as_documented(case: schemathesis.Case[Any], url: str) -> None:
    """No call makes the API fail or answer what its document does not say; input that breaks a schema is refused."""
    if smaller(case.body) != case.body:
        case.body = smaller(case.body)
    response = case.call(base_url=url)
    assert calm(response), response.text
    case.validate_response(response, checks=CHECKS)
