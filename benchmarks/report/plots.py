"""Plots: the figures of the report, one function each, from the rows of a part. Called by `page`.

Each gives None where there are no rows to draw.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from benchmarks.report import style
from benchmarks.report.style import Plot
from benchmarks.results import Results

Row = Mapping[str, Any]

_CEILING = "full repack"
_DEFAULT = "mfi"
_LOWEST = {1.0: 0.80, 0.85: 0.93}  # where an axis begins: what lies below is told in words


def draw(results: Results) -> dict[str, list[Plot]]:
    """All figures of a run, by part."""
    drawn = {name: [plot for make in makers if (plot := make(results))] for name, makers in _PLOTS.items()}
    return {name: plots for name, plots in drawn.items() if plots}


def acceptance(results: Results, load: float) -> Plot | None:
    """Acceptance of every policy at one load: a panel per mix, a line per policy, references as rings."""
    rows = [row for row in results.rows("policies") if row["load"] == load and row["profiles"] == 5]
    if not rows:
        return None
    names = list(dict.fromkeys(row["contender"] for row in rows))
    mixes = list(dict.fromkeys(row["mix"] for row in rows))
    references = _references(results)
    with style.figure(11, 0.7 + 0.27 * len(names)) as figure:
        panels = figure.subplots(1, len(mixes), sharey=True, sharex=True, squeeze=False)[0]
        for panel, mix in zip(panels, mixes, strict=True):
            _acceptance_panel(panel, [row for row in rows if row["mix"] == mix], names, references)
            panel.set_title(mix)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(-0.6, len(names) - 0.4)
        top = max(row["gpc_acceptance"] for row in rows)
        panels[0].set_xlim(_LOWEST.get(load, 0.5), min(1.0, top + 0.01))
        figure.supxlabel("share of the compute asked for that was accepted", fontsize=9)
        figure.legend(
            handles=[
                Line2D([], [], color=style.BLUE, marker="D", linestyle="none", label="measured, with 95 % interval"),
                Line2D(
                    [], [], color=style.VERMILLION, marker="o", markerfacecolor="none", linestyle="none",
                    markersize=8, label="reference: measured by others",
                ),
            ],
            loc="outside upper center", ncols=2,
        )  # fmt: skip
    return Plot(
        f"acceptance-{load:g}",
        f"Acceptance at load {load:g}",
        f"Load {load:g}. Each line is a policy, the simplest at the bottom, the ceiling of free moves at the top. "
        "Further right is better. Values left of the axis are written at its edge.",
        figure,
    )


def _acceptance_panel(
    panel: Axes, rows: Sequence[Row], names: Sequence[str], references: Mapping[tuple[Any, ...], float]
) -> None:
    lowest = _LOWEST.get(rows[0]["load"], 0.5)
    for row in rows:
        y, value = names.index(row["contender"]), row["gpc_acceptance"]
        strong = row["contender"] in (_DEFAULT, _CEILING) or "move" in row["contender"]
        colour = style.BLUE if strong else style.MUTED
        if value < lowest:
            panel.text(lowest, y, f" ◀ {value:.3f}", va="center", ha="left", fontsize=8, color=colour)
            continue
        panel.errorbar(value, y, xerr=row["gpc_ci95"] or 0.0, fmt="D", color=colour, markersize=4, linewidth=1.2)
        reference = references.get((row["contender"], row["mix"], row["load"]))
        if reference is not None:
            panel.plot(
                reference, y, "o", markerfacecolor="none", markeredgecolor=style.VERMILLION, markersize=8, zorder=3
            )
    panel.grid(visible=False, axis="y")


def _references(results: Results) -> dict[tuple[Any, ...], float]:
    """Values measured elsewhere with five profiles, by contender, mix and load."""
    return {
        (verdict.where["contender"], verdict.where["mix"], verdict.where["load"]): float(
            verdict.bound.removeprefix("≈ ")
        )
        for verdict in results.verdicts
        if verdict.measure == "policies" and verdict.bound.startswith("≈") and verdict.where["profiles"] == 5
    }


def fragmentation(results: Results) -> Plot | None:
    """Unusable and stranded memory over time: a column per mix, a line per policy."""
    rows = results.rows("fragmentation")
    if not rows:
        return None
    mixes = list(dict.fromkeys(row["mix"] for row in rows))
    names = list(dict.fromkeys(row["contender"] for row in rows))
    kinds = {
        "unusable": "free, but not usable\nby a request, % of memory",
        "stranded": "free, but usable by\nnobody, %",
    }
    with style.figure(11, 5) as figure:
        panels = figure.subplots(len(kinds), len(mixes), sharex=True, sharey="row", squeeze=False)
        for line, (kind, label) in enumerate(kinds.items()):
            highest = _highest(rows, kind)
            for panel, mix in zip(panels[line], mixes, strict=True):
                for row in (row for row in rows if row["mix"] == mix):
                    colour, dashes = style.SERIES[names.index(row["contender"]) % len(style.SERIES)]
                    shares = [100 * share for share in row[kind]]
                    panel.plot(row["lifetimes"], shares, color=colour, linestyle=dashes, linewidth=1.6)
                    if min(shares[len(shares) // 2 :]) > highest:
                        mean = sum(shares) / len(shares)
                        panel.text(0.98, 0.93, f"{row['contender']}: {mean:.0f} %, above", color=colour, ha="right",
                                   transform=panel.transAxes, fontsize=8)  # fmt: skip
                panel.set_ylim(0, highest)
            panels[line][0].set_ylabel(label)
        for panel, mix in zip(panels[0], mixes, strict=True):
            panel.set_title(mix)
        figure.supxlabel("time, in mean lifetimes of a job", fontsize=9)
        handles = [
            Line2D([], [], color=colour, linestyle=dashes, linewidth=1.8, label=name)
            for name, (colour, dashes) in zip(names, style.SERIES, strict=False)
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(names), handlelength=3.2)
    return Plot(
        "fragmentation",
        "Fragmentation over time",
        "From empty GPUs, at load 1.0; lower is better. Above, what a typical request cannot use; below, what no "
        "request at all can use. Spreading (worst-fit) keeps the lower number small and the upper one large.",
        figure,
    )


def _highest(rows: Sequence[Row], kind: str) -> float:
    """Where an axis of percent ends: above all lines, but for a policy far above all others."""
    tops: dict[str, float] = {}
    for row in rows:
        tops[row["contender"]] = max(tops.get(row["contender"], 0.0), *row[kind])
    *others, top = sorted(tops.values())
    return 110 * (others[-1] if others and top > 1.5 * others[-1] > 0 else top)


def decisions(results: Results) -> Plot | None:
    """Processor time per decision: a line per policy, a dot per GPU model."""
    rows = results.rows("decisions")
    if not rows:
        return None
    names = list(dict.fromkeys(row["contender"] for row in rows))[::-1]
    with style.figure(8, 0.9 + 0.3 * len(names)) as figure:
        panel = figure.subplots()
        for row in rows:
            panel.plot(row["us_per_decision"], names.index(row["contender"]), "o", color=style.BLUE, alpha=0.45)
        panel.set_yticks(range(len(names)), names)
        panel.set_xlim(left=0)
        panel.set_xlabel("microseconds of processor time per decision")
        panel.grid(visible=False, axis="y")
    models = len({row["model"] for row in rows})
    return Plot(
        "decisions",
        "What a decision costs",
        f"A dot is one of {models} GPU models." if models > 1 else f"GPU model {rows[0]['model']}.",
        figure,
    )


def planning(results: Results) -> Plot | None:
    """GPUs over the lower bound: a panel per number of slices, a group of bars per mix."""
    rows = [row for row in results.rows("planning") if row["what"] == "plan"]
    if not rows:
        return None
    sizes = list(dict.fromkeys(row["slices"] for row in rows))
    mixes = list(dict.fromkeys(row["mix"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    looks = ((style.BLUE, ""), (style.ORANGE, "///"), (style.SKY, "..."), (style.GREEN, "xx"))
    with style.figure(11, 3.6) as figure:
        panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for panel, slices in zip(panels, sizes, strict=True):
            for number, method in enumerate(methods):
                colour, hatch = looks[number % len(looks)]
                chosen = [r for r in rows if r["slices"] == slices and r["method"] == method]
                at = [mixes.index(row["mix"]) + 0.2 * (number - (len(methods) - 1) / 2) for row in chosen]
                panel.bar(
                    at, [row["over_percent"] for row in chosen], 0.18, color=colour, hatch=hatch, edgecolor="white",
                    yerr=[row["over_ci95"] or 0.0 for row in chosen], ecolor=style.INK, error_kw={"linewidth": 0.8},
                )  # fmt: skip
                for x, row in zip(at, chosen, strict=True):
                    if row["over_percent"] == 0:
                        panel.text(x, 0.06, "0", ha="center", va="bottom", fontsize=7, color=colour, weight="bold")
            panel.set_title(f"{slices:,} slices")
            panel.set_xticks(range(len(mixes)), mixes)
            panel.grid(visible=False, axis="x")
            panel.set_ylim(bottom=0)
        panels[0].set_ylabel("GPUs over the lower bound, %")
        handles = [
            Patch(facecolor=looks[n % len(looks)][0], hatch=looks[n % len(looks)][1], edgecolor="white", label=method)
            for n, method in enumerate(methods)
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(methods))
    return Plot(
        "planning",
        "GPUs over the least possible",
        "Lower is better; 0 is the proven optimum. Whiskers are 95 % intervals of the mean.",
        figure,
    )


def repacking(results: Results) -> Plot | None:
    """What became of fleets that have a repack: a bar per size and method."""
    rows = results.rows("repacking")
    if not rows:
        return None
    labels = [f"{row['gpus']} GPUs, {row['method']}" for row in rows][::-1]
    parts: Mapping[str, tuple[str, str, Callable[[Row], int]]] = {
        "as cheap as the cheapest": (style.BLUE, "", lambda row: row["gaps"].get("0", 0)),
        "dearer": (style.ORANGE, "///", lambda row: row["worse"]),
        "not found, though there is one": (style.VERMILLION, "xx", lambda row: row["missed"]),
    }
    with style.figure(8, 0.9 + 0.32 * len(rows)) as figure:
        panel = figure.subplots()
        starts = [0.0] * len(rows)
        for label, (colour, hatch, count) in parts.items():
            shares = [100 * count(row) / (row["solvable"] or 1) for row in rows[::-1]]
            panel.barh(
                range(len(rows)), shares, 0.65, left=starts, color=colour, hatch=hatch, edgecolor="white", label=label
            )
            starts = [a + b for a, b in zip(starts, shares, strict=True)]
        panel.set_yticks(range(len(rows)), labels)
        panel.set_xlim(0, 100)
        panel.set_xlabel("% of the fleets that have a repack")
        panel.grid(visible=False, axis="y")
        figure.legend(loc="outside upper center", ncols=3)
    return Plot(
        "repacking",
        "Repacks beside an exhaustive search",
        "Fleets small enough to try every sequence of moves. The planner is what migsched repack uses; one window is "
        "the quick rule for a single refused request.",
        figure,
    )


def extender(results: Results) -> Plot | None:
    """Server time of a scheduling cycle by number of nodes, median and 99th percentile."""
    rows = [row for row in results.rows("extender") if row["verb"] == "cycle"]
    if not rows:
        return None
    with style.figure(7, 3.2) as figure:
        panel = figure.subplots()
        for shift, field, colour, hatch, label in (
            (-0.26, "noop_p50_ms", style.MUTED, "", "no-op, median"),
            (0.0, "p50_ms", style.BLUE, "", "filter + prioritize, median"),
            (0.26, "p99_ms", style.ORANGE, "///", "filter + prioritize, 99th percentile"),
        ):
            bars = panel.bar(
                [n + shift for n in range(len(rows))],
                [row[field] for row in rows],
                0.24, color=colour, hatch=hatch, edgecolor="white", label=label,
            )  # fmt: skip
            panel.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)
        panel.set_xticks(range(len(rows)), [f"{row['nodes']:,} nodes" for row in rows])
        panel.set_ylabel("milliseconds in the server")
        panel.grid(visible=False, axis="x")
        figure.legend(loc="outside upper center", ncols=3)
    return Plot(
        "extender",
        "What the extender adds to a scheduling cycle",
        "Lower is better. The no-op reads the same request and does nothing.",
        figure,
    )


def scheduler(results: Results) -> Plot | None:
    """Pods per second with the extender over without: a line per setting, a bar at the bound."""
    rows = results.rows("scheduler")[::-1]
    if not rows:
        return None
    labels = [
        f"{row['nodes']:,} nodes, shortlist {row['shortlist']:,}"
        + (" filled up" if row["filled"] else "")
        + (f", {row['infeasible']} refused pods waiting" if row["infeasible"] else "")
        for row in rows
    ]
    with style.figure(8, 0.9 + 0.32 * len(rows)) as figure:
        panel = figure.subplots()
        bars = panel.barh(range(len(rows)), [row["ratio"] for row in rows], 0.6, color=style.BLUE)
        panel.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        panel.axvline(1.0, color=style.MUTED, linewidth=1, linestyle="--")
        panel.set_yticks(range(len(rows)), labels)
        panel.set_xlabel("pods per second with the extender ÷ without")
        panel.grid(visible=False, axis="y")
    return Plot(
        "scheduler",
        "Pods per second of the real kube-scheduler",
        "Further right is better; at the dashed line the extender costs nothing.",
        figure,
    )


_PLOTS: Mapping[str, Sequence[Callable[[Results], Plot | None]]] = {
    "policies": (lambda results: acceptance(results, 1.0), lambda results: acceptance(results, 0.85)),
    "fragmentation": (fragmentation,),
    "decisions": (decisions,),
    "planning": (planning,),
    "repacking": (repacking,),
    "extender": (extender,),
    "scheduler": (scheduler,),
}
