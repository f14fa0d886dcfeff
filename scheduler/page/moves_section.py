"""The section of Repacks: each as people read it. Called by `watcher`."""

from collections.abc import Iterable

from allocator.moves.document import PlanProof, RepackSpec
from allocator.moves.step import MoveStep
from kubeclient import timestamps
from scheduler.cache.scheduling_facts import shown
from scheduler.moves.repack_objects import KnownRepack
from scheduler.page.document import OverviewMove, OverviewStep

MOST_MOVES = 100  # Repacks that are shown, the youngest; those under way always
MAX_MESSAGE = 600  # characters
_NAMED = 5
_MIB = 1024


def of(repacks: Iterable[KnownRepack]) -> list[OverviewMove]:
    """The Repacks, the oldest first."""
    known = list(repacks)
    youngest = {repack.uid for repack in known[-MOST_MOVES:]}
    return [one(repack) for repack in known if repack.uid in youngest or not repack.has_ended][-2 * MOST_MOVES :]


def one(repack: KnownRepack) -> OverviewMove:
    """One Repack."""
    spec, status = repack.spec, repack.status
    pod = spec.wanted.pod if spec is not None else None
    return OverviewMove(
        name=repack.name,
        mode=spec.mode.value if spec is not None else "",
        phase=status.phase.value,
        message=shown(repack.problem or status.message, MAX_MESSAGE),
        approved=spec is not None and spec.approved,
        wanted=wanted(spec) if spec is not None else "it cannot be read",
        pod=f"{pod.namespace}/{pod.name}" if pod is not None else None,
        steps=[_step(step) for step in status.steps],
        price=_price(status.proof),
        proof=_proof(status.proof),
        created=repack.created or None,
    )


def wanted(spec: RepackSpec) -> str:
    """What a Repack is for, in words."""
    asked = spec.wanted
    said = []
    for request in asked.requests[:_NAMED]:
        slices = " + ".join(f"{number} × {name}" for name, number in request.profiles.items())
        said.append(f"room for {request.count} × {request.name or 'a pod'} ({slices})")
    if len(asked.requests) > _NAMED:
        said.append(f"room for {len(asked.requests) - _NAMED} more requests")
    if asked.empty.gpus:
        said.append(f"{asked.empty.gpus} more empty GPUs")
    if asked.empty.nodes:
        said.append(f"no pods on {', '.join(asked.empty.nodes[:_NAMED])}")
    if asked.stranded_share is not None:
        said.append(f"at most {asked.stranded_share:.0%} of the free slices stranded")
    return shown("; ".join(said), MAX_MESSAGE)


def _step(step: MoveStep) -> OverviewStep:
    return OverviewStep(
        pod=step.pod,
        from_=", ".join(f"{step.from_node} {s.from_gpu} {s.profile}@{s.from_start}" for s in step.slices),
        to=", ".join(f"{step.node} {s.gpu} {s.profile}@{s.start}" for s in step.slices),
        state=step.state.value,
        since=timestamps.stamp(step.since),
        reason=step.reason,
    )


def _price(proof: PlanProof | None) -> str | None:
    if proof is None:
        return None
    restarts = "1 restart" if proof.moves == 1 else f"{proof.moves} restarts"
    return f"{restarts}, {proof.memory_mib / _MIB:.0f} GiB of GPU memory moved"


def _proof(proof: PlanProof | None) -> str | None:
    if proof is None:
        return None
    if proof.optimal:
        return "proven: no plan costs less"
    return f"not proven: it costs {proof.cost}, and no plan costs less than {proof.lower_bound:g}"
