"""docs/planning.md: every call of the API that the page shows is made, with curl, and answered as shown."""

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.integration.api import running_service
from tests.unit.allocator.planning.test_planning_page import shown

PAGE = (Path(__file__).parents[3] / "docs" / "planning.md").read_text(encoding="utf-8")
CALLS = re.findall(r"```sh api\n(.*?)```\s*```json\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_page_s_calls_are_answered_as_shown() -> None:
    """Each command, typed as it stands, prints an answer that has everything the page shows of it."""
    assert len(CALLS) == PAGE.count("```sh api\n") > 0
    async with running_service.running() as running:
        for command, expected in CALLS:
            typed = command.replace("localhost:8080", running.service.api_url.removeprefix("http://"))
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", typed, stdout=asyncio.subprocess.PIPE, env={"PATH": "/usr/bin:/bin", "NO_PROXY": "*"}
            )
            out, _ = await process.communicate()
            assert shown(json.loads(expected), json.loads(out)), f"{command}\n{out.decode()}"
