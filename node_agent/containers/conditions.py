"""Conditions: what a MigNode says of containers' way to their GPUs: the container runtime, the driver's files.

Fed and asked by service; the reporter writes them beside Ready.
"""

from collections.abc import Callable
from pathlib import Path

from node_agent.containers import runtime_facts
from node_agent.containers.driver_files import DriverFiles
from node_agent.containers.inject import Inject
from node_agent.containers.runtime_facts import RuntimeFacts

RUNTIME, FILES = "ContainerRuntime", "DriverFiles"
_MAX_MESSAGE = 4_096
_NOT_LOOKED = RuntimeFacts(unknown="not looked at yet")


class Conditions:
    """The conditions of one agent. `files` is None where it brings none; `now` gives timestamps."""

    def __init__(self, inject: Inject, cdi_dir: Path, files: DriverFiles | None, now: Callable[[], str]) -> None:
        self._inject = inject
        self._cdi_dir = cdi_dir
        self._files = files
        self._now = now
        self._facts = _NOT_LOOKED
        self._since: dict[str, tuple[str, str, str]] = {}  # by type: status and reason, and when they came

    def take(self, facts: RuntimeFacts) -> None:
        """This is the node's container runtime now."""
        self._facts = facts

    def problems(self) -> list[str]:
        """Everything that keeps containers from their GPUs for certain, each with its fix: what a start should name."""
        said = runtime_facts.problems(self._inject, self._facts)
        trouble = self._files.trouble if self._files is not None else None
        return said if trouble is None else [*said, trouble]

    def unfit(self) -> str | None:
        """Why containers would start without their GPUs, with the fix; None where they would not, or it is unknown."""
        return "; ".join(runtime_facts.problems(self._inject, self._facts)) or None

    def current(self) -> list[dict[str, str]]:
        """As a MigNode's status has them."""
        conditions = [self._condition(RUNTIME, *self._runtime())]
        if self._files is not None:
            trouble = self._files.trouble
            known = ("True", "Known", self._files.described)
            conditions.append(self._condition(FILES, *(("False", "Unknown", trouble) if trouble else known)))
        return conditions

    def _runtime(self) -> tuple[str, str, str]:
        facts = self._facts
        unfit = self.unfit()
        doubts = runtime_facts.doubts(self._inject, facts, self._cdi_dir)
        if unfit is not None:
            return "False", "Unfit", unfit
        if doubts:
            return "Unknown", "Doubtful", "; ".join(doubts)
        if facts.unknown:
            return "Unknown", "NotRead", f"{facts.runtime}: {facts.unknown}".removeprefix(": ")
        cdi = "on" if facts.cdi else "off"
        return (
            "True",
            "Fit",
            f"{facts.runtime}, CDI {cdi}, default runtime {facts.default_runtime}; inject={self._inject}",
        )

    def _condition(self, kind: str, status: str, reason: str, message: str) -> dict[str, str]:
        if self._since.get(kind, ("", "", ""))[:2] != (status, reason):
            self._since[kind] = (status, reason, self._now())
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message[:_MAX_MESSAGE],
            "lastTransitionTime": self._since[kind][2],
        }
