"""RepackPlanning: from a Repack to a plan: the planner's answer about the cluster as it is, as a status has it."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from allocator.moves import budgets as budgets_of
from allocator.moves.budgets import MoveBudgets
from allocator.moves.document import (
    MAX_NOTES,
    MAX_PLACES,
    MAX_STATUS_BYTES,
    PlanProof,
    RepackSpec,
    RepackStatus,
    WantedPlace,
    summary,
)
from allocator.moves.life import RepackPhase
from allocator.moves.step import MoveStep, StepSlice
from allocator.planning.repack.types import FleetFigures, PodMove, RepackAnswer
from scheduler.cache.cluster_cache import ClusterCache
from scheduler.planner import tasks
from scheduler.planner.port import Planner, PlannerJob
from scheduler.queueing.node_rules import ClusterNodeRules
from scheduler.snapshots import Snapshots

CLIENT = "moves"  # as whom the planner is asked
TIME_LIMIT_S = 10.0
MAX_NAMED = 500  # nodes that a wanted pod may run on, beyond which the rest is left out
MAX_EMPTIED = 8  # GPUs that a stranded share is tried with
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


class RepackPlanning:
    """Asks the planner."""

    def __init__(self, state: ClusterCache, snapshots: Snapshots, planner: Planner, rules: ClusterNodeRules) -> None:
        self._state = state
        self._snapshots = snapshots
        self._planner = planner
        self._rules = rules

    async def plan(self, spec: RepackSpec, status: RepackStatus, now: datetime) -> RepackStatus:
        """The status after planning: Planned, Proposed, Running, Done (nothing to do) or Waiting, with what was found.

        Raises PlannerErrors.
        """
        used = budgets_of.spent(status.steps)
        if spec.wanted.stranded_share is not None:
            answer = await self._least_stranded(spec, used, spec.wanted.stranded_share)
        else:
            answer = await self._ask(self._document(spec, used, gpus=spec.wanted.empty.gpus))
        if answer is None or not (answer.possible or answer.moves):
            why = answer.reason if answer is not None else "no moves were found that lessen the stranded share"
            return _without_plan(status, used, why or "no plan was found in time", now)
        if not answer.moves:
            done = _without_plan(status, used, "it is so already, without moves", now)
            return msgspec.structs.replace(done, phase=RepackPhase.DONE)
        return self._planned(spec, status, used, answer, now)

    def _planned(
        self, spec: RepackSpec, status: RepackStatus, used: Sequence[MoveStep], answer: RepackAnswer, now: datetime
    ) -> RepackStatus:
        plans = status.plans + 1
        first = max((step.number for step in used), default=0) + 1
        steps = [self._step(move, first + at, plans, now) for at, move in enumerate(answer.moves)]
        exceeded = budgets_of.broken(spec.budgets, [*used, *steps])
        if exceeded:
            return _without_plan(status, used, f"the cheapest plan exceeds a budget: {exceeded}", now)
        places = [
            WantedPlace(place.request, place.node, "", slice_.gpu, slice_.profile, slice_.start)
            for place in answer.placements
            for slice_ in place.slices
        ]
        proof = PlanProof(
            moves=len(steps),
            cost=answer.cost.total,
            lower_bound=answer.lower_bound,
            optimal=answer.optimal,
            memory_mib=sum(step.memory_mib for step in steps),
            stranded_before=answer.before.stranded_memory_slices,
            stranded_after=answer.after.stranded_memory_slices if answer.after is not None else 0,
        )
        phase = RepackPhase.RUNNING if spec.may_move else RepackPhase.PROPOSED
        if spec.mode.value == "DryRun":
            phase = RepackPhase.PLANNED
        notes = () if answer.notes is msgspec.UNSET else tuple(note[:300] for note in answer.notes[:MAX_NOTES])
        planned = RepackStatus(
            phase=phase,
            message=f"{len(steps)} moves" if len(steps) > 1 else "1 move",
            plans=plans,
            since=now,
            proof=proof,
            places=tuple(places[:MAX_PLACES]),
            emptied=tuple(answer.emptied[:MAX_PLACES]),
            notes=notes,
            steps=(*used, *steps),
            summary=summary((*used, *steps)),
        )
        if len(msgspec.json.encode(planned)) > MAX_STATUS_BYTES:
            return _without_plan(status, used, "the plan is too long for an object; ask for less at once", now)
        return planned

    async def _least_stranded(self, spec: RepackSpec, used: Sequence[MoveStep], share: float) -> RepackAnswer | None:
        """A plan with which the stranded share is reached: by single restarts, else by emptying 1, 2, … GPUs; where
        neither reaches it, the restarts that lessen it.
        """
        some = await self._ask(self._document(spec, used, share=share))
        if some.possible:
            return some
        for gpus in range(1, MAX_EMPTIED + 1):
            answer = await self._ask(self._document(spec, used, gpus=gpus))
            if answer.possible and answer.after is not None and _stranded(answer.after) <= share:
                return answer
        return some if some.moves else None

    async def _ask(self, document: dict[str, Any]) -> RepackAnswer:
        async def make_job() -> PlannerJob:
            text = await self._snapshots.text()
            return PlannerJob(msgspec.json.encode(document), snapshot=text, time_limit_s=TIME_LIMIT_S)

        return msgspec.json.decode(await self._planner.submit(tasks.repack, make_job, CLIENT), type=RepackAnswer)

    def _document(
        self, spec: RepackSpec, used: Sequence[MoveStep], *, gpus: int = 0, share: float | None = None
    ) -> dict[str, Any]:
        """What the planner is asked: the requests and what is to be empty, or a stranded share."""
        wanted, budgets = spec.wanted, spec.budgets
        requests = []
        for number, request in enumerate(wanted.requests):
            name = request.name or f"request-{number + 1}"
            asked: dict[str, Any] = {"name": name, "profiles": request.profiles, "count": request.count}
            if request.spec is not None:
                asked["spec"] = request.spec
            elif wanted.pod is not None:
                asked |= self._nodes_of(wanted.pod.uid)
            requests.append(asked)
        limits = {"budgets": _limits(budgets, used), "priority": spec.priority}
        if share is not None:
            return {"stranded_share": share, **limits}
        return {"requests": requests, "empty": {"gpus": gpus, "nodes": list(wanted.empty.nodes)}, **limits}

    def _nodes_of(self, uid: str) -> dict[str, Any]:
        """The nodes on which a waiting pod may run, as a spec says it; nothing where all will do."""
        pod = self._state.queue.get(uid)
        if pod is None:
            return {}
        eligible = self._rules.eligible(pod)
        if len(eligible) >= len(self._state.inventory.fleet):
            return {}
        terms = [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
            for node in eligible[:MAX_NAMED]
        ] or [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [""]}]}]
        return {"spec": {"affinity": {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": terms}}}}}

    def _step(self, move: PodMove, number: int, plan: int, now: datetime) -> MoveStep:
        slices = tuple(
            StepSlice(s.container, s.to.profile, s.from_.gpu, s.from_.start, s.to.gpu, s.to.start) for s in move.slices
        )
        return MoveStep(
            number=number,
            pod=move.pod,
            uid=move.uid,
            service=move.service,
            from_node=move.from_node,
            node=move.to_node,
            slices=slices,
            memory_mib=sum(self._memory_mib(move.from_node, slice_) for slice_ in slices),
            since=now,
            plan=plan,
        )

    def _memory_mib(self, node: str, slice_: StepSlice) -> int:
        report = self._state.inventory.report(node)
        gpu = report.by_uuid().get(slice_.from_gpu) if report is not None else None
        if gpu is None or gpu.catalogue is None:
            return 0
        return gpu.catalogue.profile(slice_.profile).memory_mib or 0


def _limits(budgets: MoveBudgets, used: Sequence[MoveStep]) -> dict[str, Any]:
    """What is left of the budgets, for the planner. An eviction that a PodDisruptionBudget forbids is waited for."""
    limits: dict[str, Any] = {"moves": max(0, budgets.moves - len(used)), "one_at_a_time": True}
    limits["spent"] = dict(Counter(f"{step.namespace}/{step.service}" for step in used))
    if budgets.memory_mib is not None:
        limits["memory_mib"] = max(0, budgets.memory_mib - sum(step.memory_mib for step in used))
    if budgets.per_service is not None:
        limits["pods_per_service"] = budgets.per_service
    if budgets.per_namespace is not None:
        limits["pods_per_namespace"] = budgets.per_namespace
    return limits


def _stranded(figures: FleetFigures) -> float:
    """The part of the free memory slices that is stranded."""
    return figures.stranded_memory_slices / figures.free_memory_slices if figures.free_memory_slices else 0.0


def _without_plan(status: RepackStatus, used: Sequence[MoveStep], why: str, now: datetime) -> RepackStatus:
    return RepackStatus(
        phase=RepackPhase.WAITING,
        message=why[:1_000],
        plans=status.plans,
        since=now,
        steps=tuple(used),
        summary=summary(tuple(used)),
    )
