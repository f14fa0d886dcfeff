"""Who is moved: planner and executor over pods of every kind, against a judge that reads the pods' own words."""

from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings, target

from allocator.claims import contract
from allocator.mig import geometry, gpu_models
from allocator.moves.document import RepackStatus
from allocator.moves.life import RepackPhase
from allocator.planning.packing.relocation import Bin, Budget, MovableJob, RelocationProblem
from allocator.queueing.queued_pod import GANG_ANNOTATION, GANG_SIZE_ANNOTATION
from kubeclient.objects import MIRROR_ANNOTATION
from simulator.cluster import api
from tests import relocation_oracle
from tests.property.moving_cluster import MovingCluster
from tests.property.queued_cluster import HOST, MODEL

NODES = ("n1", "n2")
MOVES = 4
ROOM = {"requests": [{"name": "big", "profiles": {"7g.40gb": 1}}]}
PAST, FUTURE = "2020-01-01T00:00:00Z", "2990-01-01T00:00:00Z"
GANG = {GANG_ANNOTATION: "g", GANG_SIZE_ANNOTATION: "1"}


@dataclass(frozen=True)
class Kind:
    """A pod's word on who it is: owner's kind (None: no owner), its annotations, and its spec beside slices."""

    profile: str
    node: str
    owner: str | None
    controls: bool
    mark: str
    not_before: str
    annotations: tuple[tuple[str, str], ...]
    spec: tuple[tuple[str, Any], ...]

    @property
    def all_annotations(self) -> dict[str, str]:
        """Those that it has."""
        mark = {contract.MOVABLE_ANNOTATION: self.mark} if self.mark else {}
        time = {contract.NOT_BEFORE_ANNOTATION: self.not_before} if self.not_before else {}
        return {**dict(self.annotations), **mark, **time}

    def may_move(self, namespace_mark: str) -> bool:
        """Whether docs/repacking.md says that it may be moved."""
        says = self.mark if self.mark in ("true", "false") else namespace_mark
        return (
            says == "true"
            and self.controls
            and self.owner in ("ReplicaSet", "StatefulSet", "Job", "Foo")
            and not self.annotations  # of mirrors and gangs
            and self.not_before in ("", PAST)
            and not {"resourceClaims", "volumes"} & dict(self.spec).keys()
            and dict(self.spec).get("priority", 0) <= 0
        )

    @property
    def nodes(self) -> frozenset[int] | None:
        """Where it may go, by number; None for all."""
        selector = dict(self.spec).get("nodeSelector")
        return None if selector is None else frozenset({NODES.index(selector[HOST])})


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The usual thing, or, less often, one of the others."""
    return st.one_of(st.just(usual), st.just(usual), st.just(usual), st.sampled_from(others))


KINDS = st.builds(
    Kind,
    profile=st.sampled_from(("1g.5gb", "2g.10gb", "3g.20gb")),
    node=st.sampled_from(NODES),
    owner=mostly("ReplicaSet", "StatefulSet", "Job", "Foo", "DaemonSet", "Node", None),
    controls=mostly(True, False),
    mark=mostly("true", "false", "", "yes"),
    not_before=mostly("", PAST, FUTURE, "soon"),
    annotations=mostly((), ((MIRROR_ANNOTATION, "x"),), tuple(GANG.items())),
    spec=mostly(
        (),
        (("nodeSelector", {HOST: "n1"}),),
        (("nodeSelector", {HOST: "n2"}),),
        (("resourceClaims", [{"name": "nic", "resourceClaimName": "nic"}]),),
        (("volumes", [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]),),
        (("priority", 10),),
    ),
)


class Scene:
    """The pods on two nodes of one GPU each, and what the judge says of them."""

    def __init__(self, kinds: list[Kind], namespace_mark: str) -> None:
        self.cluster = MovingCluster(nodes=2)
        self.namespace_mark = namespace_mark
        self.placed: dict[str, tuple[Kind, int]] = {}  # by the pod's name, with its start
        mark = {contract.MOVABLE_ANNOTATION: namespace_mark}
        self.cluster.server.create(api.NAMESPACE, {"metadata": {"name": "default", "annotations": mark}})
        for number, kind in enumerate(kinds):
            start = self.cluster.free_start(kind.node, kind.profile)
            if start is not None:
                self._place(f"o{number}", kind, start)
        self.cluster.agents()
        self.cluster.deliver()

    def _place(self, owner: str, kind: Kind, start: int) -> None:
        cluster = self.cluster
        cluster.workload(owner, kind.profile, movable="", **dict(kind.spec))
        meta = cluster.templates[owner]["metadata"]
        meta["annotations"] = kind.all_annotations
        meta["ownerReferences"][0] |= {"kind": kind.owner, "controller": kind.controls}
        if kind.owner is None:
            del meta["ownerReferences"]
        cluster.bound(f"{owner}-first", kind.profile, kind.node, start, owner=owner)
        self.placed[f"{owner}-first"] = (kind, start)
        if kind.owner is None or not kind.controls:
            del cluster.wanted[owner]

    def may_move(self, pod: str) -> bool:
        """Whether a pod may be moved."""
        return self.placed[pod][0].may_move(self.namespace_mark)

    def cheapest(self) -> int | None:
        """What the cheapest repack costs that moves only pods that may be moved, by trying all; None: there is none."""
        catalogue = gpu_models.find(MODEL)
        fixed: list[list[Any]] = [[], []]
        jobs = []
        for name, (kind, start) in self.placed.items():
            where, placement = NODES.index(kind.node), catalogue.placement(kind.profile, start)
            if self.may_move(name):
                cost = 1 + catalogue.profile(kind.profile).compute_slices
                jobs.append(MovableJob((kind.profile,), ((where, placement),), cost, kind.nodes, one_container=True))
            else:
                fixed[where].append(placement)
        asked = RelocationProblem(
            bins=tuple(Bin(geometry.compiled(catalogue), tuple(fixed[n]), n) for n in range(2)),
            jobs=tuple(jobs),
            requests=(MovableJob(("7g.40gb",), one_container=True),),
            budgets=(Budget(MOVES, dict.fromkeys(range(len(jobs)), 1)),),
        )
        return relocation_oracle.cheapest(asked, MOVES)

    def status(self) -> RepackStatus:
        """Of the one Repack."""
        return self.cluster.status()

    def evicted(self) -> set[str]:
        """Who was evicted, by name."""
        return {pod["metadata"]["name"] for pod, _ in self.cluster.evicted}


@settings(max_examples=max(10, settings().max_examples // 2))
@given(kinds=st.lists(KINDS, min_size=1, max_size=6), namespace_mark=mostly("", "true", "false"), says_no=st.booleans())
def test_only_pods_that_may_be_moved_are(kinds: list[Kind], namespace_mark: str, *, says_no: bool) -> None:
    """The plan is the cheapest that moves nobody who may not be; it is made, unless a pod of it says no meanwhile."""
    scene = Scene(kinds, namespace_mark)
    cluster = scene.cluster
    try:
        best = scene.cheapest()
        target(best or 0)
        cluster.repack(wanted=ROOM, budgets={"moves": MOVES}, mode="Approve")
        cluster.turn(4)
        status = scene.status()
        if best is None:
            assert (status.phase, status.steps) == (RepackPhase.WAITING, ()), status
            return
        if best == 0:
            assert status.phase is RepackPhase.DONE, status
            return
        assert status.proof is not None
        assert (status.phase, status.proof.cost, status.proof.optimal) == (RepackPhase.PROPOSED, best, True)
        first = status.steps[0].pod.partition("/")[2]
        if says_no:
            cluster.server.patch(
                api.POD, first, {"metadata": {"annotations": {contract.MOVABLE_ANNOTATION: "false"}}}, "default"
            )
        cluster.server.patch(api.REPACK, "r", {"spec": {"approved": True}})
        cluster.turn(40)
        assert all(scene.may_move(pod) for pod in scene.evicted() & scene.placed.keys())
        assert not (says_no and first in scene.evicted())
        assert says_no or scene.status().phase is RepackPhase.DONE, scene.status()
    finally:
        cluster.close()
