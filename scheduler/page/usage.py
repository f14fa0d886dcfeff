"""NamespaceUsage: slice-hours by namespace since the service counts. Kept by `watcher`, lost with the process.

What a namespace holds is summed over nodes; time is added whenever a sum changes, and when it is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kubeclient import timestamps
from scheduler.page.document import MOST_USAGE, OverviewUsage

MAX_NAMESPACES = 2_000
_HOUR_S = 3600.0

HeldByNamespace = Mapping[str, tuple[int, int | None]]  # slices, and their MiB; None where that is not known


@dataclass(slots=True)
class _Account:
    since: datetime
    at: datetime
    slices: int = 0
    mib: int = 0
    unknown: int = 0  # nodes where the memory of its slices is not known
    slice_s: float = 0.0
    mib_s: float | None = 0.0

    def accrue(self, now: datetime) -> None:
        """Add the time since the last time."""
        seconds = max(0.0, (now - self.at).total_seconds())
        self.at = now
        self.slice_s += self.slices * seconds
        if self.unknown and seconds:
            self.mib_s = None
        elif self.mib_s is not None:
            self.mib_s += self.mib * seconds


class NamespaceUsage:
    """The accounts of all namespaces."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def change(self, before: HeldByNamespace, after: HeldByNamespace, now: datetime) -> None:
        """A node holds for namespaces something else than before."""
        if before == after:
            return
        for namespace in before.keys() | after.keys():
            if before.get(namespace) == after.get(namespace):
                continue
            account = self._accounts.setdefault(namespace, _Account(since=now, at=now))
            account.accrue(now)
            for sign, held in ((-1, before.get(namespace)), (1, after.get(namespace))):
                if held is not None:
                    account.slices += sign * held[0]
                    account.mib += sign * (held[1] or 0)
                    account.unknown += sign * (held[1] is None)
        if len(self._accounts) > MAX_NAMESPACES:
            self._forget()

    def most(self, now: datetime) -> list[OverviewUsage]:
        """The namespaces with the most slice-hours."""
        for account in self._accounts.values():
            account.accrue(now)
        ranked = sorted(self._accounts.items(), key=lambda item: (-item[1].slice_s, item[0]))
        return [
            OverviewUsage(
                namespace=name,
                slice_hours=round(account.slice_s / _HOUR_S, 4),
                mib_hours=None if account.mib_s is None else round(account.mib_s / _HOUR_S, 1),
                since=timestamps.stamp(account.since),
            )
            for name, account in ranked[:MOST_USAGE]
        ]

    def _forget(self) -> None:
        """Forget those with the least that hold nothing."""
        idle = sorted((account.slice_s, name) for name, account in self._accounts.items() if not account.slices)
        for _, name in idle[: max(1, len(self._accounts) - MAX_NAMESPACES)]:
            del self._accounts[name]
