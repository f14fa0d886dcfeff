"""The whole product on a real node: kube-scheduler, extender, agent, kubelet, containerd; only GPUs are simulated."""

import json
import ssl
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from allocator.claims import contract, placement_annotation
from allocator.claims.placement_annotation import Promise
from node_agent.containers.cdi import Specs
from node_agent.slices import states
from node_agent.slices.journal import Journal
from node_agent.slices.journal_file import FileStore
from simulator.gpu import driver
from testbed.control_plane import ports, scheduler_config
from testbed.control_plane.control_plane import ControlPlane
from testbed.node import image
from testbed.node.real_node import RealNode
from tests.e2e import policy_gate
from tests.e2e.real_node.agent import Agent
from tests.e2e.real_node.hardware import Hardware
from tests.e2e.scheduling.stack import DEPLOY, ExtenderProcess

SECONDS = 45.0
GPUS = 8

# A container marks every slice it uses for as long as it lives, by a link that says whose it is, and fails if another
# has marked one. It can be told to end once its marks are there: before that the signal may come too early for the
# trap, and is lost. A signal may also come after a mark and before the next line, so what is going to be marked is
# noted first.
_USE = """
mine=$(echo "$MIGSCHED_VISIBLE_DEVICES" | tr , ' ')
made=
give_back() {
  for one in $made; do [ "$(readlink /in-use/$one)" != "$HOSTNAME" ] || rm /in-use/$one; done
  exit $1
}
trap 'give_back 0' TERM
echo -n "$MIGSCHED_VISIBLE_DEVICES" > /dev/termination-log
for one in $mine; do
  made="$made $one"
  ln -s "$HOSTNAME" /in-use/$one || {
    echo -n "$one is in use by $(readlink /in-use/$one)" > /dev/termination-log
    give_back 9
  }
done
sleep %s & wait $!
give_back 0
"""


# Of the kinds that are asked for while a test waits.
_PATHS = {
    "node": "/api/v1/nodes",
    "pod": "/api/v1/namespaces/default/pods",
    "event": "/api/v1/namespaces/default/events",
    "mignode": "/apis/migsched.io/v1alpha1/mignodes",
}

Document = dict[str, Any]


class AgentStack:
    """A node `n1` of 8 × A100-40GB, everything running.

    `during_call` is what the driver does in the time that a call lasts, by `hardware.driver.faults.latency_s`.
    `kubeconfig` is how agent and extender reach the API server, the administrator's unless another is given. With
    `queue`, pods that name no scheduler are gated and released to the stock kube-scheduler, which the cluster has, and
    Repacks are carried out.
    """

    def __init__(
        self,
        cluster: ControlPlane,
        node: RealNode,
        directory: Path,
        kubeconfig: Path | None = None,
        *,
        queue: bool = False,
    ) -> None:
        self._queue = queue
        self._kubeconfig = kubeconfig or cluster.kubeconfig
        self.during_call: Callable[[float], None] = time.sleep
        self.cluster = cluster
        self._trust = ssl.create_default_context(cafile=cluster.directory / "certificates" / "ca.crt")
        self.node = node
        self._cleanup = ExitStack()
        self.in_use = directory / "in-use"
        try:
            self._start(directory)
        except BaseException:  # whoever wanted it has nothing to close
            self.close()
            raise

    def _start(self, directory: Path) -> None:
        self.cluster.apply(DEPLOY / "crd" / "mignodes.yaml")
        self.in_use.mkdir()
        simulated = driver.simulate(f"a100-40gb:{GPUS}", seed=self.node.name, pause=lambda s: self.during_call(s))
        sockets = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="migsched-")))
        self.hardware = self._cleanup.enter_context(Hardware(simulated, sockets / "gpus", self.in_use))
        self.agent = Agent(self.cluster, self.node, self.hardware, directory, self._kubeconfig)
        self._cleanup.callback(self.agent.stop)
        self.agent.start()
        if self._queue:
            policy_gate.apply(self.cluster)
            self.cluster.apply(DEPLOY / "crd" / "repacks.yaml")
        self.extender = ExtenderProcess(
            self._kubeconfig, directory, *ports.choose_free(2), queue=self._queue, moves=self._queue
        )
        self._cleanup.callback(self.extender.stop)
        self.extender.start()
        if not self._queue:
            config = scheduler_config.kube_scheduler_config(f"{self.extender.url}/v1", self.cluster.kubeconfig)
            server = self.cluster.start_scheduler(config, name="migsched-scheduler")
            self._cleanup.callback(server.process.stop)
        self.eventually(self.serves, "the agent's devices are allocatable")

    def recover(self) -> None:
        """Bring everything back to what a test finds, after one that failed in the middle of something."""
        self.hardware.driver.faults.clear()
        self.during_call = time.sleep
        if not self.agent.running:
            self.agent.start()
        self.eventually(self.serves, "the agent's devices are allocatable")
        if self.pods():
            self.clear()

    def close(self) -> None:
        """End everything that this stack started."""
        self._cleanup.close()

    def serves(self) -> bool:
        """Whether the kubelet knows and offers this agent's devices, and the agent is well."""
        if not self.agent.registered:
            return False
        status = self.get("node", self.node.name)["status"]
        return status["allocatable"].get("nvidia.com/mig-1g.5gb") == str(7 * GPUS) and self.agent_ready()

    # What there is

    def get(self, kind: str, name: str = "", **selector: str) -> Document:
        """An object, or a list, from the API server, asked for without kubectl, which takes longer than the answer."""
        query = urllib.parse.urlencode(selector)
        request = urllib.request.Request(
            f"{self.cluster.url}{_PATHS[kind]}/{name}?{query}",
            headers={"Authorization": f"Bearer {self.cluster.token}"},
        )
        with urllib.request.urlopen(request, timeout=30, context=self._trust) as answer:
            document: Document = json.load(answer)
        return document

    def pods(self) -> list[Document]:
        """All pods."""
        pods: list[Document] = self.get("pod")["items"]
        return pods

    def events(self, pod: str, reason: str) -> list[Document]:
        """The events of a pod that have this reason."""
        selector = f"involvedObject.name={pod},reason={reason}"
        events: list[Document] = self.get("event", fieldSelector=selector)["items"]
        return events

    def agent_ready(self) -> bool:
        """The agent says so itself."""
        status = self.get("mignode")["items"]
        return any(
            c["type"] == "Ready" and c["status"] == "True"
            for one in status
            for c in one.get("status", {}).get("conditions", ())
        )

    def reported(self) -> dict[str, tuple[str, str]]:
        """State and owner's pod ("" without one) of every slice in the MigNode, by MIG UUID."""
        status = json.dumps(self.get("mignode", self.node.name)["status"]).encode()
        report = contract.decode_status(status, self.node.name)
        return {
            one.mig_uuid: (one.state.value, one.owner.pod if one.owner else "")
            for gpu in report.gpus
            for one in gpu.slices
        }

    def owners(self) -> list[str]:
        """The pods that own slices as the MigNode says, in order."""
        return sorted(pod for state, pod in self.reported().values() if state == "allocated")

    def claims(self) -> int:
        """How many pods have a claim, as the scheduler service says."""
        with urllib.request.urlopen(f"{self.extender.api_url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = [float(line.split()[-1]) for line in lines if line.startswith("migsched_claims{")]
        assert found
        return int(sum(found))

    def journal(self) -> Journal:
        """The agent's journal as it is on disk now."""
        read = Journal(FileStore(self.agent.state / "journal.json"), self.agent.boot)
        read.load()
        return read

    def marked(self) -> set[str]:
        """The pods that have marked all their slices, and so can be told to end. Init containers are long over."""
        used = self.hardware.used()
        over = {
            (one["metadata"]["name"], init["name"])
            for one in self.pods()
            for init in one["spec"].get("initContainers", ())
            if init.get("restartPolicy") != "Always"
        }
        waiting: set[str] = set()
        found: set[str] = set()
        for record in self.journal().records.values():
            owner = record.owner
            if owner is not None and record.state in states.HELD:
                is_marked = record.mig_uuid in used or (owner.pod, owner.container) in over
                (found if is_marked else waiting).add(owner.pod)
        return found - waiting

    def specs(self) -> frozenset[str]:
        """Names of the CDI specifications."""
        return Specs(self.node.cdi_directory).names()

    # What is done

    def run(self, *wanted: Document) -> list[Document]:
        """Create pods and wait until they run and have marked their slices; they are returned in order."""
        self.create(*wanted)
        names = [one["metadata"]["name"] for one in wanted]

        def running() -> bool:
            found = {one["metadata"]["name"]: one for one in self.pods()}
            return all(is_running(found[name]) for name in names) and self.marked() >= set(names)

        self.eventually(running, f"{', '.join(names)} run")
        found = {one["metadata"]["name"]: one for one in self.pods()}
        return [found[name] for name in names]

    def create(self, *wanted: Document) -> None:
        """Create pods."""
        if not wanted:
            return
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted})
        self.cluster.kubectl("create", "--filename=-", standard_input=text)

    def visible(self, pod: str, container: str | None = None) -> str:
        """MIGSCHED_VISIBLE_DEVICES in a pod's container, the first by default."""
        lines = self.node.exec_in_pod(pod, "env", container=container).stdout.splitlines()
        (found,) = [line.partition("=")[2] for line in lines if line.startswith("MIGSCHED_VISIBLE_DEVICES=")]
        return found

    def delete(self, *names: str) -> None:
        """Delete pods without waiting."""
        if not names:
            return
        self.cluster.kubectl("delete", "pods", "--wait=false", "--ignore-not-found", *names)

    def power_cut(self) -> None:
        """The agent is dead and the GPUs are as after a boot. What becomes of the node and the agent is the test's."""
        self.agent.kill()
        self.agent.boot += "+1"
        for one in self.in_use.iterdir():
            one.unlink()  # nobody is left to do it
        for gpu in self.hardware.driver.gpus.values():
            gpu.uuids_change = True  # old MIG UUIDs must not work by chance
        self.hardware.driver.restart()

    def empty(self) -> None:
        """Destroy the idle slices, as another program would, and wait until the agent has noticed."""
        for gpu in self.hardware.driver.by_index():
            for idle in gpu.instances():
                gpu.destroy(idle.gi_id)
        self.eventually(lambda: not self.reported() and not self.journal().records, "the GPUs are empty")

    def clear(self) -> None:
        """Delete all pods, wait until nothing is held any more, and check what must hold then and held all along."""
        self.come_to_rest()
        violations, self.hardware.violations = self.hardware.violations, []
        assert violations == []
        assert self.hardware.used() == set()

    def come_to_rest(self) -> None:
        """Delete all pods, and wait until nothing is held any more."""
        self.eventually(self._at_rest, "no pod is being started")
        self.cluster.kubectl("delete", "pods", "--all", "--wait=false")
        self.eventually(lambda: not self.pods(), "all pods are gone")
        self.eventually(self._given_back, "all slices are given back")

    def _at_rest(self) -> bool:
        """No pod is on its way: those that kube-scheduler has placed are over, or run and have marked their slices."""
        marked = self.marked()
        placed = [one for one in self.pods() if one["spec"].get("nodeName") and not is_over(one)]
        return all(is_running(one) and one["metadata"]["name"] in marked for one in placed)

    def _given_back(self) -> bool:
        """No container has anything: idle slices, if any, are all that is left, and all tell the same of them."""
        journal, slices = self.journal(), self.hardware.slices()
        return (
            not journal.grants
            and not self.specs()
            and {r.mig_uuid for r in journal.records.values()} == slices.keys()
            and all(r.state.value == "idle" and r.owner is None for r in journal.records.values())
            and self.reported() == dict.fromkeys(slices, ("idle", ""))
            and self.claims() == 0
        )

    def eventually(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
        """Wait until a condition holds; fail with what pods wait for and the agent's log if it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pods = "\n".join(self._standings())
                log = self.agent.log.read_text()[-4000:]
                pytest.fail(f"not within {seconds:g} s: {what}; pods:\n{pods}\nthe agent's log ends\n{log}")
            time.sleep(0.05)

    def _standings(self) -> list[str]:
        """A line for each pod: its phase, and the newest event about it."""
        newest = {event["involvedObject"]["name"]: event["message"] for event in self.get("event")["items"]}
        return [
            f"{pod['metadata']['name']} {pod['status']['phase']}: {newest.get(pod['metadata']['name'], 'no event')}"
            for pod in self.pods()
        ]


def container(name: str, profiles: Sequence[str], seconds: float = 3600) -> Document:
    """A container that uses slices of these profiles for some seconds, or until it is told to end."""
    limits: dict[str, int] = {}
    for one in profiles:
        resource = f"nvidia.com/mig-{one.replace('+', '.')}"
        limits[resource] = limits.get(resource, 0) + 1
    return {
        "name": name,
        "image": image.BUSYBOX,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", _USE % f"{seconds:g}"],
        "resources": {"limits": limits},
        "volumeMounts": [{"name": "in-use", "mountPath": "/in-use"}],
    }


def pod_of(stack: AgentStack, name: str, *containers: Document, init: Sequence[Document] = (), **spec: Any) -> Document:
    """A pod of these containers, scheduled by migsched."""
    whole = {
        "schedulerName": "migsched",
        "containers": list(containers),
        **({"initContainers": list(init)} if init else {}),
        "volumes": [{"name": "in-use", "hostPath": {"path": str(stack.in_use)}}],
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 20,
        **spec,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole}


def pod(
    stack: AgentStack, name: str, profiles: Sequence[str], seconds: float = 3600, *, restart: str = "Never"
) -> Document:
    """A pod whose container uses slices of these profiles for some seconds, or until it is told to end."""
    return pod_of(stack, name, container("main", profiles, seconds), restartPolicy=restart)


def is_running(one: Document) -> bool:
    """Whether the container of a pod runs."""
    return any("running" in status["state"] for status in one["status"].get("containerStatuses", ()))


def is_over(one: Document) -> bool:
    """Whether the containers of a pod have ended for good."""
    return one["status"]["phase"] in ("Succeeded", "Failed")


def is_same_container(one: Document, other: Document) -> bool:
    """Whether a pod's only container still is the one it was."""
    (was,), (now,) = one["status"]["containerStatuses"], other["status"]["containerStatuses"]
    return "running" in now["state"] and was["containerID"] == now["containerID"]


def is_restarted(one: Document, other: Document) -> bool:
    """Whether a pod's only container runs, and is not the one it was."""
    (was,), (now,) = one["status"]["containerStatuses"], other["status"]["containerStatuses"]
    return "running" in now["state"] and was["containerID"] != now["containerID"]


def promises(one: Document) -> tuple[Promise, ...]:
    """What a pod's annotation promises."""
    return placement_annotation.decode(one["metadata"]["annotations"][contract.PLACEMENT_ANNOTATION])
