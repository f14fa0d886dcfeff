"""The tables of docs/doctor.md and docs/gpu-operator.md, from the checks and the drivers themselves.

`python -m cli.diagnosis.page` (`make drawings`) writes them; a test compares them.
"""

from benchmarks.report import settings_pages
from cli.diagnosis import drivers, registry

CHECKS_HEAD = "| code | about | severity | what it says | needs | page |\n|---|---|---|---|---|---|\n"
DRIVERS_HEAD = "| GPU model | first driver branch | its CUDA |\n|---|---|---|\n"


def checks_table() -> str:
    """All checks as a Markdown table."""
    rows = [
        f"| `{check.code}` | {check.level} | {check.severity} | {check.says} "
        f"| {', '.join(name.replace('_', ' ') for name in check.needs) or '–'} "
        f"| [{check.page.partition('.')[0]}]({check.page.removeprefix('doctor.md')}) |\n"
        for check in registry.CHECKS
    ]
    return CHECKS_HEAD + "".join(rows)


def drivers_table() -> str:
    """The drivers that GPUs need as a Markdown table."""
    rows = [
        f"| `{model}` | R{minimum.branch} | {minimum.cuda or '–'} |\n" for model, minimum in drivers.MINIMUMS.items()
    ]
    return DRIVERS_HEAD + "".join(rows)


def tables() -> list[tuple[str, str]]:
    """The page that holds each table, below docs/, and the table."""
    return [("doctor.md", checks_table()), ("gpu-operator.md", drivers_table())]


if __name__ == "__main__":
    settings_pages.write(tables())
