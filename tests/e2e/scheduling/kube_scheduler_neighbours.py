"""What the stock kube-scheduler says of pods whose rules look at other pods, on every node at once and without a change
of the cluster: an extender, which is asked after all of its filters, is told the nodes that pass, and refuses them all.

`python -m tests.e2e.scheduling.kube_scheduler_neighbours FILE` records it: nodes, pods that have places, and of each
new pod the nodes that passed and how many were refused for which reason.
"""

import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from allocator.eligibility.verdict import Ineligible
from testbed.control_plane import scheduler_config
from testbed.control_plane.control_plane import ControlPlane
from tests import neighbour_cases as cases
from tests.e2e.scheduling import kube_scheduler_verdicts as verdicts
from tests.e2e.scheduling.stack import eventually

Document = dict[str, Any]
PROFILE, REFUSED = "asks-and-refuses", "passed every filter"
NODES, PLACED, NEW, SEED = 25, 30, 40, 5
MESSAGES = {  # kube-scheduler's words for each plugin
    "didn't have free ports": Ineligible.NODE_PORTS,
    "didn't match pod topology spread constraints": Ineligible.POD_TOPOLOGY_SPREAD,
    "didn't match pod affinity rules": Ineligible.INTER_POD_AFFINITY,
    "didn't match pod anti-affinity rules": Ineligible.INTER_POD_AFFINITY,
    "didn't satisfy existing pods anti-affinity rules": Ineligible.INTER_POD_AFFINITY,
    "untolerated taint": Ineligible.TAINT_TOLERATION,
    **verdicts.MESSAGES,
}


_JUDGED = {
    *("containers", "initContainers", "affinity", "tolerations", "topologySpreadConstraints", "overhead"),
    *("nodeName", "nodeSelector", "taints"),
}


class Passing:
    """The nodes that passed all filters, by pod."""

    def __init__(self) -> None:
        self.nodes: dict[str, list[str]] = {}

    def asked(self, call: Document) -> Document:
        """An ExtenderFilterResult."""
        nodes = call["NodeNames"] if "NodeNames" in call else call["nodenames"]
        pod = call["Pod"] if "Pod" in call else call["pod"]
        self.nodes[pod["metadata"]["name"]] = sorted(nodes)
        return {"nodenames": [], "failedNodes": dict.fromkeys(nodes, REFUSED), "error": ""}


@contextmanager
def scheduler(plane: ControlPlane) -> Iterator[Passing]:
    """A kube-scheduler of stock filters whose extender refuses every node."""
    passing = Passing()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(passing.asked(body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            config = scheduler_config.stock(plane.kubeconfig) | {
                "profiles": [{"schedulerName": PROFILE}],
                "extenders": [
                    {"urlPrefix": url, "filterVerb": "filter", "nodeCacheCapable": True, "httpTimeout": "30s"}
                ],
            }
            plane.start_scheduler(config, name="asks-and-refuses")
            yield passing
        finally:
            server.shutdown()


def furnish(plane: ControlPlane, chance: random.Random) -> tuple[list[Document], list[Document]]:
    """Nodes, and pods that have places on them; as the API server completed them."""
    box = {"metadata": {"name": cases.BOXED}, "handler": "none", "overhead": {"podFixed": {"cpu": "300m"}}}
    verdicts.create(
        plane,
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}},
            {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", **box},
            *(cases.node(chance, f"node-{number}") for number in range(NODES)),
        ],
    )
    nodes = verdicts.read(plane, "nodes")
    placed = []
    for number in range(PLACED):
        pod = cases.pod(chance, f"placed-{number}", wishes=0.15)
        pod["spec"]["nodeName"] = chance.choice(nodes)["metadata"]["name"]
        placed.append(pod)
    verdicts.create(plane, placed)
    return nodes, _read(plane)


def new_pods(chance: random.Random) -> list[Document]:
    """Pods to be judged."""
    return [cases.pod(chance, f"new-{number}", boxed=True) for number in range(NEW)]


def judged(
    plane: ControlPlane, passing: Passing, pods: list[Document]
) -> Iterator[tuple[Document, Sequence[str], Counter[str]]]:
    """New pods as the API server completed them, each with the nodes that passed, and how many others said what."""
    for pod in pods:
        pod["spec"]["schedulerName"] = PROFILE
    verdicts.create(plane, pods)
    eventually(lambda: all(_said(pod) for pod in _new(plane)), "a verdict about every pod")
    for pod in _new(plane):
        yield pod, passing.nodes.get(pod["metadata"]["name"], []), reasons(_said(pod))


def reasons(message: str) -> Counter[str]:
    """How many nodes kube-scheduler refused for which reason, by what it says of a pod."""
    counts: Counter[str] = Counter()
    told = message.partition("nodes are available: ")[2].partition(". ")[0].removesuffix(".")
    for number, words in re.findall(r"(\d+) ((?:[^,]|,(?! \d))+)", told):
        if REFUSED not in words:
            counts[next((plugin.value for text, plugin in MESSAGES.items() if text in words), words)] += int(number)
    return counts


def _said(pod: Document) -> str:
    conditions = {one["type"]: one for one in pod["status"].get("conditions") or ()}
    return str(conditions.get("PodScheduled", {}).get("message", ""))


def _new(plane: ControlPlane) -> list[Document]:
    return [pod for pod in _read(plane) if pod["metadata"]["name"].startswith("new-")]


def _read(plane: ControlPlane) -> list[Document]:
    items = json.loads(plane.kubectl("get", "pods", "--all-namespaces", "--output=json").stdout)["items"]
    return [pod for pod in items if pod["metadata"]["namespace"] in cases.NAMESPACES]


def kept(document: Document) -> Document:
    """What of a pod or node is judged."""
    meta = {key: document["metadata"][key] for key in ("name", "namespace", "labels") if key in document["metadata"]}
    status = {key: document["status"][key] for key in ("allocatable",) if key in document["status"]}
    spec = {key: value for key, value in document["spec"].items() if key in _JUDGED}
    for kind in {"containers", "initContainers"} & spec.keys():
        spec[kind] = [{key: each[key] for key in ("ports", "resources") if key in each} for each in spec[kind]]
    return {"metadata": meta, "spec": spec, "status": status}


def record(to: Path) -> None:
    """Write down what kube-scheduler says."""
    chance = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder, ControlPlane(Path(folder)) as plane, scheduler(plane) as passing:
        nodes, placed = furnish(plane, chance)
        new = [
            [kept(pod), list(nodes), dict(counts)] for pod, nodes, counts in judged(plane, passing, new_pods(chance))
        ]
    lines = [
        f'"{name}": ' + json.dumps(documents)
        for name, documents in (("nodes", list(map(kept, nodes))), ("placed", list(map(kept, placed))), ("new", new))
    ]
    to.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
