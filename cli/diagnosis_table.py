"""A diagnosis for people: each fault with what was seen and its fix, and what was not looked at. Drawn by `doctor`."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli import output
from cli.diagnosis.finding import Diagnosis, Finding, Severity
from cli.diagnosis.text import visible

_EXPLANATION = 2_000  # characters
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold"}


def table(made: Diagnosis, document: dict[str, Any]) -> RenderableType:
    """Errors first; at the end a line that sums up."""
    parts: list[RenderableType] = []
    for severity in Severity:
        parts += [line for finding in made.findings if finding.severity is severity for line in _lines(finding)]
    parts += [Text(f"{code}: {number} more; --limit shows them", style="dim") for code, number in made.left_out.items()]
    explanation = document["explanation"]
    if explanation:
        parts.append(Text(visible(f"explain: {explanation['phase']}, {explanation['reason']}", _EXPLANATION)))
    if not document["service_reached"]:
        parts.append(Text(f"migsched's service was not reached: {document['service']}", style="dim"))
    parts += _not_looked_at(made)
    parts.append(_sum(made))
    return Group(*parts)


def _lines(finding: Finding) -> list[Text]:
    head = Text.assemble((f"{finding.severity.value}: {finding.says}", _STYLES[finding.severity]), f" ({finding.code})")
    where = f"{finding.object} {finding.field}" if finding.field else finding.object
    return [
        head,
        Text(f"  seen: {where}: {finding.value}"),
        Text(f"  fix:  {finding.fix}"),
        Text(f"  see:  docs/{finding.page}", style="dim"),
    ]


def _not_looked_at(made: Diagnosis) -> list[Text]:
    """A line for each reason, with the checks that it kept from looking."""
    by_reason: dict[str, list[str]] = {}
    for missed in made.not_looked_at:
        by_reason.setdefault(missed.reason, []).append(missed.code)
    return [Text(f"not looked at: {', '.join(codes)}: {reason}", style="dim") for reason, codes in by_reason.items()]


def _sum(made: Diagnosis) -> Text:
    found = len(made.findings) + sum(made.left_out.values())
    said = output.number(found, "finding") if found else "nothing found"
    missed = f", {len(made.not_looked_at)} not made" if made.not_looked_at else ""
    return Text(
        f"{said} by {output.number(len(made.looked), 'check')}{missed}", style="bold" if found else "bold green"
    )
