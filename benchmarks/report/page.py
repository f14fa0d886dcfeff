"""Page: the report as one self-contained HTML file, and its plots as files beside it. For `migsched bench report`.

`write` makes everything from a results file alone; the same file gives the same page.
"""

from dataclasses import dataclass
from pathlib import Path

import jinja2

from allocator.placement import policy
from benchmarks.report import plots, tables
from benchmarks.report.style import Plot
from benchmarks.report.tables import Table
from benchmarks.results import BenchmarkResult, RecordedVerdict, Results
from replay import mix

TEMPLATE = "page.html.j2"
_FEW = 6  # bounds that are shown at once; more are folded


@dataclass(frozen=True)
class _Section:
    """One part of the page."""

    name: str
    part: BenchmarkResult
    plots: list[Plot]
    tables: list[Table]
    bounds: Table
    broken: int
    folded: bool


def write(results: Results, out: Path) -> list[Path]:
    """report.html and the plots (SVG and PNG) in a folder; the files, the page first."""
    out.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw(results)
    page = out / "report.html"
    page.write_text(_html(results, drawn), encoding="utf-8")
    return [page, *(file for plots_of_part in drawn.values() for plot in plots_of_part for file in plot.write(out))]


def _html(results: Results, drawn: dict[str, list[Plot]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    judged = [verdict for verdict in results.verdicts if verdict.measure in results.parts]
    return environment.get_template(TEMPLATE).render(
        results=results,
        sections=[_section(results, name, drawn.get(name, []), judged) for name in results.parts],
        hold=sum(verdict.ok is True for verdict in judged),
        broken=tables.bounds(verdict for verdict in judged if verdict.ok is False),
        unjudged=sum(verdict.ok is None for verdict in judged),
        absent=sorted({verdict.measure for verdict in results.verdicts} - set(results.parts)),
        minutes=round(sum(part.seconds for part in results.parts.values()) / 60, 1),
        policies=policy.POLICIES.values(),
        sizes=sorted({size for shares in mix.NAMED.values() for size in shares}),
        mixes=mix.NAMED,
        number=tables.number,
        unmarked=tables.unmarked,
    )


def _section(results: Results, name: str, drawn: list[Plot], judged: list[RecordedVerdict]) -> _Section:
    about = [verdict for verdict in judged if verdict.measure == name]
    return _Section(
        name=name,
        part=results.parts[name],
        plots=drawn,
        tables=tables.of_part(results, name),
        bounds=tables.bounds(about),
        broken=sum(verdict.ok is False for verdict in about),
        folded=len(about) > _FEW,
    )
