"""Check, Finding, NotLookedAt, Diagnosis: what is looked for, and what came of it. Pure; made by `registry`."""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cli.diagnosis.picture import ClusterPicture


class Level(enum.StrEnum):
    """Whom a check is about."""

    CLUSTER = "cluster"
    NODE = "node"
    POD = "pod"


class Severity(enum.StrEnum):
    """How bad it is: slices cannot be had; they may not be had, or not for long; good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Seen:
    """One object in which a check saw what it looks for.

    `object` is `kind/name` or `kind/namespace/name`, `field` a path in it, `value` what stands there, `fix` a command
    that can be pasted. `node` and `pod` (`namespace/name`) say whom it is about, where it is about one.
    """

    object: str
    field: str
    value: str
    fix: str
    node: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """What is looked for. `code` is never renamed. `needs` are the looks of the picture without which it cannot
    look; `may_lack` those of kinds that a cluster need not have, of which there is nothing then. `page` is where docs/
    say more.
    """

    code: str
    level: Level
    severity: Severity
    says: str
    page: str
    needs: tuple[str, ...]
    look: Callable[[ClusterPicture], Iterable[Seen]]
    may_lack: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw in one object, with all that is said of it."""

    code: str
    level: Level
    severity: Severity
    says: str
    object: str
    field: str
    value: str
    fix: str
    page: str
    node: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class NotLookedAt:
    """A check that could not look. `open`: what it looks for may be there."""

    code: str
    reason: str
    open: bool


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What came of all checks. `left_out` counts findings beyond the limit, by code."""

    findings: tuple[Finding, ...]
    not_looked_at: tuple[NotLookedAt, ...]
    looked: tuple[str, ...]
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def faulty(self) -> bool:
        """Whether anything was found that is more than a note."""
        return any(finding.severity is not Severity.NOTE for finding in self.findings)

    @property
    def undecided(self) -> bool:
        """Whether a check could not look at what may be there."""
        return any(missed.open for missed in self.not_looked_at)
