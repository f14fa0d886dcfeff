"""Which gang a pod belongs to, by what it says of itself."""

from typing import Any

import msgspec
import pytest

from allocator.queueing.gang import Gang, GangSource
from scheduler.cache import gang_sources
from scheduler.cache.watched_pod import WatchedPod

OURS = {"migsched.io/gang": "train", "migsched.io/gang-size": "8"}
LWS_SIZE = {"leaderworkerset.sigs.k8s.io/size": "3"}
LWS = {"leaderworkerset.sigs.k8s.io/group-key": "689ce1b5"}
GROVE = {"grove.io/podgang": "graph-0", "grove.io/podclique": "graph-0-decode"}
COSCHEDULING = {"scheduling.x-k8s.io/pod-group": "pg"}


def pod(
    annotations: dict[str, str] | None = None, labels: dict[str, str] | None = None, group: Any = None
) -> WatchedPod:
    meta = {"name": "p", "namespace": "default", "uid": "u", "annotations": annotations, "labels": labels}
    spec = {} if group is None else {"schedulingGroup": group}
    return msgspec.json.decode(msgspec.json.encode({"metadata": meta, "spec": spec}), type=WatchedPod)


@pytest.mark.parametrize(
    ("read", "gang"),
    [
        (pod(OURS), Gang("default", "train", 8)),
        (pod(LWS_SIZE, LWS), Gang("default", "689ce1b5", 3, GangSource.LEADER_WORKER_SET)),
        (pod(None, COSCHEDULING), Gang("default", "pg", 0, GangSource.COSCHEDULING)),
        (pod(None, GROVE), Gang("default", "graph-0", 0, GangSource.POD_GANG)),
        (pod(None, GROVE | COSCHEDULING), Gang("default", "pg", 0, GangSource.COSCHEDULING)),
        (pod(group={"podGroupName": "g"}), Gang("default", "g", 0, GangSource.POD_GROUP)),
        (pod(OURS | LWS_SIZE, LWS | COSCHEDULING, {"podGroupName": "g"}), Gang("default", "train", 8)),
        (pod(None, LWS | COSCHEDULING, {"podGroupName": "g"}), Gang("default", "g", 0, GangSource.POD_GROUP)),
    ],
)
def test_the_first_of_the_sources_counts(read: WatchedPod, gang: Gang) -> None:
    """Our annotation comes before a PodGroup, and that before a LeaderWorkerSet's group."""
    assert gang_sources.of(read) == (gang, "")
    assert gang_sources.is_of_gang(read)


def test_only_a_pod_of_a_pod_gang_has_a_part_of_it() -> None:
    """The label of the PodClique says which; in gangs of others it says nothing."""
    for read, part in ((pod(None, GROVE), "graph-0-decode"), (pod(OURS, GROVE), ""), (pod(), "")):
        gang, _ = gang_sources.of(read)
        assert gang_sources.part_of(read, gang) == part


@pytest.mark.parametrize("read", [pod(), pod({}, {"app": "x"}), pod(LWS_SIZE), pod(group={})])
def test_most_pods_are_of_no_gang(read: WatchedPod) -> None:
    """A pod that names none belongs to none."""
    assert gang_sources.of(read) == (None, "")
    assert not gang_sources.is_of_gang(read)


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (pod({"migsched.io/gang": "train"}), "migsched.io/gang-size"),
        (pod(OURS | {"migsched.io/gang-size": "0"}), "migsched.io/gang-size"),
        (pod(OURS | {"migsched.io/gang-size": "1025"}), "migsched.io/gang-size"),
        (pod(OURS | {"migsched.io/gang-size": "٣"}), "migsched.io/gang-size"),
        (pod(OURS | {"migsched.io/gang": "a\nb"}), "migsched.io/gang"),
        (pod(OURS | {"migsched.io/gang": ""}), "migsched.io/gang"),
        (pod(None, LWS), "leaderworkerset.sigs.k8s.io/size"),
        (pod(group={"podGroupName": "x" * 300}), "schedulingGroup"),
    ],
)
def test_what_cannot_be_read_is_named(read: WatchedPod, names: str) -> None:
    """The annotation, label or field that is at fault is named; the pod then waits."""
    gang, problem = gang_sources.of(read)
    assert gang is None
    assert names in problem
