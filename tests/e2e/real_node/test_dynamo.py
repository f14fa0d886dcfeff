"""Real Dynamo on slices: a graph's front end and workers as pods, found by Kubernetes discovery, each on its slice."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from simulator.workloads import dynamo_objects, manifests
from tests.e2e.real_node.consumers import MODEL, SECONDS, Consumers, ready, request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]  # a machine under load starts servers slowly
FRONTEND, WORKERS = "qwen-frontend", "qwen-vllmworker"


def test_a_graph_serves_as_its_workers_come_go_and_are_killed(consumers: Consumers) -> None:
    """A chat comes back from workers on slices of their own, also while workers are added, killed and taken away."""
    consumers.apply_graph(workers=2)
    consumers.stack.eventually(lambda: _serves(consumers, 2), "the front end and two workers serve", SECONDS)
    (frontend,) = consumers.endpoints(FRONTEND)
    before = {address: consumers.served(address) for address in consumers.endpoints(WORKERS)}
    for _ in range(4):
        assert consumers.chat(frontend).startswith(" w1")
    after = {address: consumers.served(address) for address in before}
    assert all(after[address] > before[address] for address in before), "both workers answered"
    for pod, (uuid, _gpu) in consumers.slices().items():
        assert consumers.stack.visible(pod) == uuid
    with _traffic(consumers, frontend) as answers:
        consumers.apply_graph(workers=3)
        consumers.stack.eventually(lambda: _serves(consumers, 3), "three workers serve", SECONDS)
        killed = min(consumers.slices())
        consumers.stack.cluster.kubectl("delete", "pod", killed, "--grace-period=1", "--wait=false")
        consumers.stack.eventually(
            lambda: killed not in consumers.slices() and _serves(consumers, 3), "another takes its place", SECONDS
        )
        crashed, (uuid, _gpu) = min(consumers.slices().items())
        consumers.stack.node.kill_container(crashed)
        consumers.stack.eventually(
            lambda: _restarts(consumers, crashed) == 1 and _serves(consumers, 3), "it serves again", SECONDS
        )
        assert consumers.slices()[crashed][0] == uuid, "its slice was kept for it"
        consumers.apply_graph(workers=1)
        consumers.stack.eventually(lambda: _serves(consumers, 1), "one worker serves", SECONDS)
    assert answers["failed"] == 0, answers
    assert answers["answered"] > 10
    consumers.clear()


def test_graphs_of_dynamos_own_package_become_objects_that_the_api_server_takes(consumers: Consumers) -> None:
    """Every graph document that Dynamo ships, of both versions, is read, and the API server takes its objects."""
    graphs = [
        manifest
        for path in sorted((consumers.dynamo.packages.site / "dynamo").rglob("*.yaml"))
        if "kind: DynamoGraphDeployment\n" in path.read_text(encoding="utf-8")
        for manifest in manifests.read(path)
        if manifest.kind == "DynamoGraphDeployment"
    ]
    assert len(graphs) == 15
    assert {graph.api_version for graph in graphs} == {"nvidia.com/v1alpha1", "nvidia.com/v1beta1"}
    made = [document for graph in graphs for document in dynamo_objects.objects(graph, "default")]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
    arguments = ("create", "--dry-run=server", "--validate=strict", "--filename=-")
    consumers.stack.cluster.kubectl(*arguments, standard_input=text)


def _restarts(consumers: Consumers, pod: str) -> int:
    (status,) = consumers.stack.get("pod", pod)["status"]["containerStatuses"]
    return int(status["restartCount"])


def _serves(consumers: Consumers, workers: int) -> bool:
    """Whether the front end knows the model and so many workers are ready on slices, and no more are there."""
    names = {pod["metadata"]["name"] for pod in consumers.stack.pods()}
    on_slices = set(consumers.slices())
    up = set(ready(consumers.stack.pods()))
    frontends = consumers.endpoints(FRONTEND)
    return (
        len(names) == workers + 1
        and len(on_slices) == workers
        and on_slices < up
        and len(consumers.endpoints(WORKERS)) == workers
        and len(frontends) == 1
        and MODEL.encode() in request(consumers.stack, frontends[0], dynamo_objects.HTTP_PORT, "/v1/models")
    )


@contextmanager
def _traffic(consumers: Consumers, frontend: str) -> Iterator[dict[str, int]]:
    """One client asks all the time; what became of its requests."""
    answers = {"answered": 0, "failed": 0}
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                consumers.chat(frontend)
                answers["answered"] += 1
            except (OSError, AssertionError):
                answers["failed"] += 1

    client = threading.Thread(target=ask, name="client")
    client.start()
    try:
        yield answers
    finally:
        over.set()
        client.join()
