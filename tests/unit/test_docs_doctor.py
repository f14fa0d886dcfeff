"""docs/doctor.md and docs/gpu-operator.md say what the doctor's code says."""

import re
from pathlib import Path

import pytest

from allocator.mig import gpu_models
from benchmarks.report import settings_pages
from cli.diagnosis import drivers, page, registry

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize(("name", "table"), page.tables(), ids=["checks", "drivers"])
def test_the_tables_are_those_of_the_code(name: str, table: str) -> None:
    """The pages hold the tables that the code makes (`make drawings` writes them)."""
    text = (DOCS / name).read_text(encoding="utf-8")
    assert settings_pages.replaced(text, table) == text


def slug(heading: str) -> str:
    """The anchor of a heading, as forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_page_that_a_finding_names_is_there() -> None:
    """Each check's page exists, with the heading that it names."""
    missing = []
    for check in registry.CHECKS:
        name, _, anchor = check.page.partition("#")
        headings = re.findall(r"^#+ (.+)$", (DOCS / name).read_text(encoding="utf-8"), re.M)
        if anchor and anchor not in map(slug, headings):
            missing.append(check.page)
    assert missing == []


def test_codes_and_checks_are_one_to_one() -> None:
    """No two checks share a code, and a code is words with hyphens."""
    codes = [check.code for check in registry.CHECKS]
    assert len(set(codes)) == len(codes)
    assert [code for code in codes if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)] == []


def test_the_drivers_are_of_known_models() -> None:
    """Every model of the table is one that catalogues know, or that has no published placements."""
    known = {*gpu_models.known(), "rtx-pro-5000-blackwell-48gb", "rtx-pro-4500-blackwell-32gb"}
    assert set(drivers.MINIMUMS) <= known
    assert known - set(drivers.MINIMUMS) == {"h100-96gb-gh200", "gh200-144gb"}
