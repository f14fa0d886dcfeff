"""Queued pods are told why they wait, in the words of explanations, seldom and at a calm pace."""

from collections.abc import Iterator

import msgspec
import pytest

from allocator import errors
from allocator.eligibility.constraints import PodConstraints
from allocator.queueing.queued_pod import QueuedPod
from kubeclient.changes import Change, ChangeType
from scheduler import explain
from scheduler.cache.port import WatchedKind
from scheduler.cache.watched_pod import WatchedPod
from scheduler.queueing.announcement_book import AGAIN_S, AnnouncementBook
from scheduler.queueing.announcements import BURST, GRACE_S, MAX_LINE, PER_S
from scheduler.queueing.token_bucket import TokenBucket
from simulator.cluster import api
from simulator.cluster.memory_cluster.faults import Fault
from tests.builders import request
from tests.property.queue_replica import RETURN_AFTER_S
from tests.property.queued_cluster import QueuedCluster


@pytest.fixture
def cluster() -> Iterator[QueuedCluster]:
    """Three nodes with one GPU each."""
    cluster = QueuedCluster()
    yield cluster
    cluster.close()


def events(cluster: QueuedCluster, pod: str) -> list[tuple[str, str]]:
    """Reasons and messages of a pod's Events."""
    told = [stored.document for stored in cluster.server.list(api.EVENT)]
    return [(e["reason"], e["message"]) for e in told if e["involvedObject"]["name"] == pod]


def condition(cluster: QueuedCluster, pod: str) -> str:
    """The message of a pod's condition PodScheduled."""
    status = cluster.server.get(api.POD, pod, "default").document.get("status") or {}
    return next((c.get("message", "") for c in status.get("conditions", ()) if c["type"] == "PodScheduled"), "")


def counted(cluster: QueuedCluster, outcome: str) -> float:
    """How many Events had this outcome."""
    labels = {"kind": "event", "outcome": outcome}
    return cluster.metrics.registry.get_sample_value("migsched_queue_announcements_total", labels) or 0


def wait(cluster: QueuedCluster, seconds: float = GRACE_S) -> None:
    """Pods that wait are seen, time passes, and they are told."""
    cluster.tell()
    cluster.now += seconds
    cluster.tell()
    cluster.deliver()


def full(cluster: QueuedCluster, waiting: int) -> None:
    """A full fleet, and pods that wait for room."""
    for _ in range(3 + waiting):
        cluster.create("7g.40gb")
    settle(cluster)


def settle(cluster: QueuedCluster) -> None:
    for _ in range(2):
        cluster.deliver()
        cluster.step()
        cluster.deliver()
        cluster.kube_scheduler()
    cluster.deliver()


def test_it_is_told_in_the_words_of_the_explanation(cluster: QueuedCluster) -> None:
    """Event and condition of a pod that waits have the code and the reason of its explanation."""
    full(cluster, 1)
    wait(cluster)
    (answer,) = [explain.explain(cluster.state, pod) for pod in cluster.state.pods.values() if pod.name == "p004"]
    assert events(cluster, "p004") == [("Full", answer["reason"])]
    assert condition(cluster, "p004") == f"full: {answer['reason']}"


def test_waiting_pods_are_counted_by_reason(cluster: QueuedCluster) -> None:
    """Each pod that waits counts once, under the code of why; one that was not asked about yet as new."""
    full(cluster, 2)
    cluster.tell()
    reasons = cluster.metrics.registry.get_sample_value
    assert reasons("migsched_queued_pods_by_reason", {"reason": "new"}) == 2
    wait(cluster)
    assert reasons("migsched_queued_pods_by_reason", {"reason": "full"}) == 2
    assert reasons("migsched_queued_pods_by_reason", {"reason": "new"}) is None


def test_what_waits_for_a_moment_is_told_nothing(cluster: QueuedCluster) -> None:
    """Before the grace is over there is neither Event nor condition."""
    full(cluster, 1)
    wait(cluster, GRACE_S - 1)
    assert events(cluster, "p004") == []
    assert condition(cluster, "p004") == ""


def test_the_same_reason_is_told_once_in_ten_minutes(cluster: QueuedCluster) -> None:
    """However often it is asked, a pod has one Event for each reason in that time, and then the next."""
    full(cluster, 1)
    wait(cluster)
    version = cluster.server.get(api.POD, "p004", "default").document["metadata"]["resourceVersion"]
    for _ in range(5):
        wait(cluster, 60)
    assert len(events(cluster, "p004")) == 1
    assert cluster.server.get(api.POD, "p004", "default").document["metadata"]["resourceVersion"] == version
    wait(cluster, AGAIN_S)
    assert len(events(cluster, "p004")) == 2


def test_a_released_pod_is_told_its_node_and_its_slices(cluster: QueuedCluster) -> None:
    """`Released` names node, profile, start and GPU."""
    cluster.create("3g.20gb")
    settle(cluster)
    cluster.tell()
    ((reason, message),) = events(cluster, "p001")
    assert reason == "Released"
    assert message == "to node n1: 3g.20gb@4 of GPU n1-gpu-0"


def test_an_incomplete_gang_is_told_what_is_missing(cluster: QueuedCluster) -> None:
    """`GangIncomplete` counts the pods that are missing."""
    cluster.create("1g.5gb", gang="g", size=3)
    settle(cluster)
    wait(cluster)
    ((reason, message),) = events(cluster, "p001")
    assert reason == "GangIncomplete"
    assert "2 of its pods are missing" in message


@pytest.mark.parametrize(("owned", "expected"), [(True, "ReturnedToQueue"), (False, "Unbindable")])
def test_a_pod_that_is_refused_is_told(cluster: QueuedCluster, owned: bool, expected: str) -> None:
    """A pod that comes again is told so before it goes; one that stays is told to be deleted."""
    cluster.create("1g.5gb", owned=owned)
    cluster.deliver()
    cluster.step()
    cluster.cordon("n1", value=True)
    for _ in range(2):
        cluster.deliver()
        cluster.kube_scheduler()
        cluster.deliver()
        cluster.step()
        cluster.now += RETURN_AFTER_S + 1
    cluster.step()
    cluster.deliver()
    wait(cluster)
    assert [reason for reason, _ in events(cluster, "p001")] == ["Released", expected]


def test_a_refused_release_is_told(cluster: QueuedCluster) -> None:
    """A pod whose release the API server refuses is told why it waits on."""
    cluster.create("1g.5gb")
    cluster.deliver()
    cluster.cluster.faults.add(Fault("release", error=errors.RefusedError("HTTP 403"), done=False))
    cluster.step()
    cluster.tell()
    assert events(cluster, "p001") == [("ReturnedToQueue", "it could not be released: HTTP 403")]


def test_a_burst_is_sent_at_a_calm_pace_and_cut(cluster: QueuedCluster) -> None:
    """At most a burst at once, then so many a second; what the line has no room for is dropped and counted."""
    asks, constraints = request("1g.5gb"), PodConstraints()
    for at in range(MAX_LINE + 7):
        pod = QueuedPod(f"u{at}", "default", f"x{at}", "1", 0, "", asks, constraints)
        cluster.announcements.refused(pod, "HTTP 403")
    cluster.run(cluster.announcements.send())
    assert counted(cluster, "sent") == BURST
    cluster.now += 1
    cluster.run(cluster.announcements.send())
    assert len(list(cluster.server.list(api.EVENT))) == BURST + PER_S
    assert counted(cluster, "dropped") == 7


def test_releases_leave_room_for_what_goes_wrong(cluster: QueuedCluster) -> None:
    """A burst of releases fills half of the line, so that a refusal is not dropped for it."""
    asks, constraints = request("1g.5gb"), PodConstraints()
    pods = [QueuedPod(f"u{at}", "default", f"x{at}", "1", 0, "", asks, constraints) for at in range(MAX_LINE)]
    for pod in pods:
        cluster.announcements.released(pod, None)
    assert counted(cluster, "dropped") == MAX_LINE // 2
    cluster.announcements.refused(pods[0], "HTTP 403")
    assert counted(cluster, "dropped") == MAX_LINE // 2


def test_pods_of_one_kind_are_told_together(cluster: QueuedCluster) -> None:
    """When the time is over, pods that ask what was looked at are still told; the others are the next time."""
    for profile in ("7g.40gb", "7g.40gb", "7g.40gb", "7g.40gb", "4g.20gb", "7g.40gb"):
        cluster.create(profile)
    settle(cluster)
    cluster.tell()
    cluster.now += GRACE_S
    told: list[set[str]] = []
    for _ in range(2):
        cluster.run(cluster.announcements.look(within_s=1e-9))
        cluster.run(cluster.announcements.send())
        told.append({pod for pod in ("p004", "p005", "p006") if events(cluster, pod)})
        cluster.now += 1
    assert told[1] == {"p004", "p005", "p006"}


def test_a_release_waits_for_the_condition_to_be_seen(cluster: QueuedCluster) -> None:
    """A pod whose condition was just written is not released at the version before it, which would be refused."""
    full(cluster, 1)
    cluster.tell()
    cluster.now += GRACE_S
    cluster.tell()
    gone = msgspec.json.decode(cluster.server.get(api.POD, "p001", "default").raw, type=WatchedPod)
    cluster.delete("p001")
    cluster.state.apply(WatchedKind.POD, Change(ChangeType.DELETED, gone, "99"))
    cluster.step()
    refused = {"outcome": "refused"}
    assert not cluster.metrics.registry.get_sample_value("migsched_queue_releases_total", refused)
    settle(cluster)
    assert cluster.server.get(api.POD, "p004", "default").document["spec"].get("nodeName") == "n1"


def test_a_service_that_may_not_tell_goes_on(cluster: QueuedCluster) -> None:
    """Refused Events cost nothing but a count."""
    full(cluster, 1)
    for verb, kind in (("create", "events"), ("patch_status", "pods")):
        cluster.cluster.faults.add(Fault(verb, kind, error=errors.RefusedError("HTTP 403"), done=False, times=99))
    wait(cluster)
    assert events(cluster, "p004") == []
    queued = next(pod for pod in cluster.state.queue if pod.name == "p004")
    assert cluster.announcements.may_release(queued)
    assert counted(cluster, "failed")


def test_what_was_told_is_bounded() -> None:
    """Of more pods and reasons than are remembered the first are forgotten."""
    book = AnnouncementBook(again_s=10, most=2)
    for at, uid in enumerate("abc"):
        book.note(uid, "Full", at)
    assert [book.is_due(uid, "Full", 3) for uid in "abc"] == [True, False, False]
    assert book.is_due("c", "Fragmented", 3)
    assert book.is_due("b", "Full", 11)


def test_tokens_come_back_with_time() -> None:
    """A burst at once, then one after the other; never more than a burst is saved."""
    bucket = TokenBucket(per_s=2, burst=2, now=0)
    assert [bucket.wait_s(0), bucket.wait_s(0), bucket.wait_s(0)] == [0, 0, 0.5]
    assert bucket.wait_s(0.5) == 0
    assert [bucket.wait_s(100), bucket.wait_s(100), bucket.wait_s(100)] == [0, 0, 0.5]
