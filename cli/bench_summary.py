"""What `migsched bench all` and `judge` print: a row per benchmark, and the bounds that are broken."""

from collections.abc import Sequence

from rich.console import Group, RenderableType

from benchmarks.results import RecordedVerdict, Results
from cli import row_tables


def of(recorded: Results, judged: Sequence[RecordedVerdict]) -> RenderableType:
    """How many bounds of each part hold, and each that does not."""
    counts = []
    for name, part in recorded.parts.items():
        oks = [verdict.ok for verdict in judged if verdict.measure == name]
        counts.append(
            {
                "part": name,
                "seconds": part.seconds,
                "rows": len(part.rows),
                "bounds": len(oks),
                "hold": oks.count(True),
                "broken": oks.count(False),
                "not judged": oks.count(None),
            }
        )
    broken = [
        {
            "broken": f"{verdict.measure} {verdict.field}",
            "where": " ".join(f"{key}={value}" for key, value in verdict.where.items()),
            "bound": verdict.bound,
            "value": verdict.value,
            "slack": verdict.slack,
            "why": verdict.why,
        }
        for verdict in judged
        if verdict.ok is False
    ]
    return Group(row_tables.table(counts), *(("", row_tables.table(broken)) if broken else ()))
