"""A small builder of Grafana dashboards: panels with queries, units and texts, laid out in rows, as Grafana's JSON.

Why none of the libraries: docs/adr/0032. Used by `dashboards`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RATE = "$__rate_interval"  # Grafana's: long enough for two scrapes
SCHEMA_VERSION = 39  # of Grafana 10.4 and later, which convert older ones themselves
WIDTH = 24  # columns of a dashboard

Json = dict[str, Any]
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_PALETTE = {"mode": "palette-classic"}


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and how its series are called. `instant`: only the newest sample."""

    expr: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel. `unit` is Grafana's name of it; `width` of 24 columns.

    `texts` are words and colours in place of numbers; `steps` are bounds from which on a value has a colour. `columns`
    names a table's columns, in order, by the labels that it shows; `Value` is the value.
    """

    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    type: str = "timeseries"
    width: int = 12
    height: int = 8
    stacked: bool = False
    top: float | None = None
    texts: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    steps: Sequence[tuple[float, str]] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    def document(self, number: int, x: int, y: int) -> Json:
        """The panel as Grafana reads it."""
        made: Json = {
            "id": number,
            "type": self.type,
            "title": self.title,
            "description": self.description,
            "datasource": _DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(index, query) for index, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": _OPTIONS[self.type],
        }
        if self.columns:
            made["transformations"] = [self._organized()]
        return made

    def _target(self, index: int, query: Query) -> Json:
        target: Json = {"refId": chr(ord("A") + index), "expr": query.expr, "datasource": _DATASOURCE}
        if query.legend:
            target["legendFormat"] = query.legend
        if query.instant or self.columns:
            target |= {"instant": True, "range": False}
        if self.columns:
            target["format"] = "table"
        return target

    def _defaults(self) -> Json:
        steps = [{"color": "green", "value": None}, *({"color": colour, "value": at} for at, colour in self.steps)]
        made: Json = {"unit": self.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
        made["color"] = {"mode": "thresholds"} if self.steps or self.texts else _PALETTE
        if self.top is not None:
            made["max"] = self.top
        if self.texts:
            options = {str(v): {"text": text, "color": colour} for v, (text, colour) in self.texts.items()}
            made["mappings"] = [{"type": "value", "options": options}]
        if self.type == "timeseries":
            stacking = {"mode": "normal" if self.stacked else "none", "group": "A"}
            made["custom"] = {"fillOpacity": 30 if self.stacked else 0, "showPoints": "never", "stacking": stacking}
        return made

    def _organized(self) -> Json:
        order = {label: index for index, label in enumerate(self.columns)}
        hidden = {name: True for name in ("Time", "Value") if name not in self.columns}
        options = {"indexByName": order, "renameByName": dict(self.columns), "excludeByName": hidden}
        return {"id": "organize", "options": options}


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard: the values of a label of a metric."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard. `uid` is its address, and never changes."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()

    def panels(self) -> Iterator[Panel]:
        """All panels."""
        for row in self.rows:
            yield from row.panels

    def document(self) -> Json:
        """The dashboard as Grafana reads it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["migsched"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "1m",
            "time": {"from": "now-6h", "to": "now"},
            "templating": {"list": [_choice_of_source(), *map(_choice, self.variables)]},
            "annotations": {"list": []},
            "links": [],
            "panels": list(self._laid_out()),
        }

    def _laid_out(self) -> Iterator[Json]:
        number = y = 0
        for row in self.rows:
            number += 1
            yield {
                "id": number,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
                "panels": [],
            }
            x, y, tallest = 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > WIDTH:
                    x, y, tallest = 0, y + tallest, 0
                number += 1
                yield panel.document(number, x, y)
                x, tallest = x + panel.width, max(tallest, panel.height)
            y += tallest


def _choice_of_source() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _choice(variable: Variable) -> Json:
    query = f"label_values({variable.metric}, {variable.label})"
    return {
        "name": variable.name,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "A"},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "multi": True,
        "hide": 0,
    }


_REDUCED = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: Mapping[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": _REDUCED, "colorMode": "value", "graphMode": "area", "textMode": "auto"},
    "bargauge": {"reduceOptions": _REDUCED, "displayMode": "basic", "orientation": "horizontal", "valueMode": "color"},
    "state-timeline": {"mergeValues": True, "showValue": "never", "rowHeight": 0.9, "legend": {"showLegend": True}},
    "table": {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}},
}


def quantiles(metric: str, matchers: str = "", by: str = "") -> list[Query]:
    """The median and the 99th percentile of a histogram, over all or `by` a label."""
    grouped = ", ".join(filter(None, ("le", by)))
    name = f" {{{{{by}}}}}" if by else ""
    rate = f"sum by ({grouped}) (rate({metric}_bucket{{{matchers}}}[{RATE}]))"
    return [
        Query(f"histogram_quantile({part}, {rate})", f"{label}{name}")
        for part, label in ((0.5, "median"), (0.99, "99 %"))
    ]
