"""docs/planning.md: every example gives the answer that the page shows."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from allocator.claims import snapshot_file
from tests import plain_answers

DOCS = Path(__file__).parents[4] / "docs"
EXAMPLE = re.compile(r"```yaml (plan|capacity|repack)\n(.*?)```\s*```json\n(.*?)```", re.DOTALL)
PAGE = (DOCS / "planning.md").read_text(encoding="utf-8")
EXAMPLES = EXAMPLE.findall(PAGE)


def answer(command: str, document: Any) -> Any:
    cluster = snapshot_file.decode((DOCS / "examples" / "cluster.json").read_text(encoding="utf-8"))
    if command == "plan":
        return plain_answers.plan(document)
    if command == "capacity":
        return plain_answers.capacity(document, cluster)
    return plain_answers.repack(document, cluster)


def shown(part: Any, whole: Any) -> bool:
    """Whether an answer has what the page shows of it: keys may be left out, list entries may not."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and shown(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        return len(part) == len(whole) and all(shown(a, b) for a, b in zip(part, whole, strict=True))
    return bool(part == whole)


@pytest.mark.parametrize(("command", "document", "expected"), EXAMPLES)
def test_the_page_s_examples_are_true(command: str, document: str, expected: str) -> None:
    """An example's answer has everything that the page shows of it, and JSON can hold it."""
    found = answer(command, yaml.safe_load(document))
    assert shown(json.loads(expected), found), json.dumps(found, indent=1)


def test_the_page_has_its_examples() -> None:
    """Each command has an example, and no marked document stands without its answer."""
    assert {command for command, *_ in EXAMPLES} == {"plan", "capacity", "repack"}
    assert len(EXAMPLES) == len(re.findall(r"```yaml (?:plan|capacity|repack)\n", PAGE))
