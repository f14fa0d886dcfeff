"""All checks, and how they are run over a picture. Pure; called by `migsched doctor` and its page."""

from collections.abc import Callable, Iterable

from cli.diagnosis.checks import cluster, nodes, operator, pods, service
from cli.diagnosis.finding import Check, Diagnosis, Finding, Level, NotLookedAt, Seen
from cli.diagnosis.picture import ClusterPicture, looks
from cli.diagnosis.text import VALUE, visible

CHECKS: tuple[Check, ...] = (*cluster.CHECKS, *service.CHECKS, *operator.CHECKS, *nodes.CHECKS, *pods.CHECKS)
LIMIT = 20  # findings of one check that are kept
_FIX = 2_000  # characters of a command


def diagnose(
    picture: ClusterPicture,
    *,
    levels: Iterable[Level] = tuple(Level),
    concerns: Callable[[Seen], bool] = lambda _: True,
    limit: int = LIMIT,
) -> Diagnosis:
    """Run the checks of these levels. `concerns` says which findings are wanted; of a check `limit` are kept."""
    findings: list[Finding] = []
    missed: list[NotLookedAt] = []
    looked: list[str] = []
    left_out: dict[str, int] = {}
    wanted = tuple(levels)
    of_picture = looks(picture)
    for check in CHECKS:
        if check.level not in wanted:
            continue
        missing = {name: of_picture[name] for name in check.needs if of_picture[name].why_not}
        refused = {name: of_picture[name] for name in check.may_lack if of_picture[name].why_not}
        missing |= {name: look for name, look in refused.items() if not look.absent}
        if missing:
            reason = "; ".join(f"{name.replace('_', ' ')}: {look.why_not}" for name, look in missing.items())
            is_open = not any(look.absent for look in missing.values())
            missed.append(NotLookedAt(check.code, visible(reason), is_open))
            continue
        looked.append(check.code)
        number = 0
        for seen in check.look(picture):
            if concerns(seen):
                number += 1
                if number <= limit:
                    findings.append(_finding(check, seen))
        if number > limit:
            left_out[check.code] = number - limit
    return Diagnosis(tuple(findings), tuple(missed), tuple(looked), left_out)


def _finding(check: Check, seen: Seen) -> Finding:
    return Finding(
        code=check.code,
        level=check.level,
        severity=check.severity,
        says=check.says,
        object=visible(seen.object, 2 * VALUE),
        field=visible(seen.field),
        value=visible(seen.value),
        fix=visible(seen.fix, _FIX),
        page=check.page,
        node=visible(seen.node),
        pod=visible(seen.pod, 2 * VALUE),
    )
