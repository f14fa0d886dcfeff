"""deploy/chart with the images that `make image` writes: Helm installs it on a real node, and its pods do their work.

They run under the chart's own accounts, with the tokens, addresses and probes that any cluster gives them; nothing in
them is changed. The tests share one release: each brings it to the values that it needs, the last one removes it.
"""

import contextlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from allocator.mig import gpu_models
from testbed import errors
from testbed.control_plane import build as control_plane_build
from testbed.control_plane import certificates
from testbed.control_plane.control_plane import ControlPlane
from testbed.image.build import BuiltImage
from testbed.node import preparation
from testbed.node.real_node import RealNode
from tests.client_certificates import client_of
from tests.e2e import history
from tests.e2e.helm import NAMESPACE, Document, Helm
from tests.e2e.history import Recorder
from tests.e2e.real_node import own_scheduler, pods, stand_in_images
from tests.e2e.real_node.chart_release import AGENTS, PROFILE, ChartRelease, lives, promises
from tests.e2e.scheduling.stack import DEPLOY, MODEL, Stack, bound

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]

NODE = "gpu-1"
EXAMPLES = {"triton-1g.yaml": 3, "batch-7g.yaml": 1}  # and of how many pods, on a node of two cores
BURST = 100
LEASE_S, RETRY_S = 15, 2  # the settings' defaults
API = f"migsched.{NAMESPACE}.svc"
EXTENDER = f"migsched-extender.{NAMESPACE}.svc"
EXTENDER_MODE = {
    "mode": "extender",
    "kubeScheduler": {
        "image": {"repository": stand_in_images.KUBE_SCHEDULER, "tag": stand_in_images.KUBE_SCHEDULER_TAG}
    },
}


@pytest.fixture(scope="module")
def cluster(
    usable_machine: None, binaries: control_plane_build.Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """A control plane with its own scheduler and controllers, whose pods get their accounts' tokens."""
    with ControlPlane(tmp_path_factory.mktemp("c"), binaries=binaries, accounts=True) as started:
        started.start_controller_manager()
        started.start_scheduler()
        yield started


@pytest.fixture(scope="module")
def node(
    cluster: ControlPlane,
    images: Mapping[str, BuiltImage],
    binaries: control_plane_build.Binaries,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RealNode]:
    """A node with the product's images, kube-scheduler's, and programs that wait under the names of the examples'."""
    folder = tmp_path_factory.mktemp("stand-ins")
    stand_in_images.write_kube_scheduler(folder / "kube-scheduler.tar", binaries.kube_scheduler)
    containers = [container for name in EXAMPLES for document in example(name) for container in containers_of(document)]
    busybox = preparation.ensure().tools.busybox
    names, programs = ({c["image"] for c in containers}, {program(c["command"][0]) for c in containers})
    stand_in_images.write_vendors(folder / "vendors.tar", busybox, sorted(names), sorted(programs))
    with RealNode(cluster, NODE, tmp_path_factory.mktemp("n")) as started:
        for archive in (*(images[part].archive for part in ("scheduler", "agent")), *sorted(folder.glob("*.tar"))):
            started.import_images(archive)
        yield started


@pytest.fixture(scope="module")
def release(helm: Helm, cluster: ControlPlane, node: RealNode) -> ChartRelease:
    """The chart, installed as docs/install.md says, in a namespace that enforces the pod security standard."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    made = ChartRelease(helm, cluster, node)
    made.deploy(verb="install")
    cluster.kubectl("label", "node", NODE, "migsched.io/agent=true")
    made.rolled_out()
    return made


def example(name: str) -> list[Document]:
    """The objects of an example, its Deployment with fewer replicas."""
    documents = list(yaml.safe_load_all((DEPLOY / "examples" / name).read_text(encoding="utf-8")))
    for document in documents:
        if document["kind"] == "Deployment":
            document["spec"]["replicas"] = EXAMPLES[name]
    return documents


def containers_of(document: Document) -> list[Document]:
    """The containers of a workload; none of another object."""
    found: list[Document] = document["spec"].get("template", {}).get("spec", {}).get("containers", [])
    return found


def program(command: str) -> str:
    """Where an image has the program of a command."""
    return command if command.startswith("/") else f"/bin/{command}"


def test_what_is_installed_gives_the_examples_slices(release: ChartRelease) -> None:
    """Two replicas and the agent run under the chart's accounts, with no rights but the chart's; each pod of the
    examples runs, on the slice that its MigNode shows and its container sees.
    """
    scheduler, agents = release.pods_of(NAMESPACE), release.pods_of(AGENTS)
    assert [pod["spec"]["serviceAccountName"] for pod in scheduler] == ["migsched-scheduler"] * 2
    assert [pod["spec"]["serviceAccountName"] for pod in agents] == ["migsched-agent"]
    bindings = release.get("clusterrolebindings,rolebindings", "--all-namespaces")["items"]
    ours = [one for one in bindings if any(s.get("namespace") in (NAMESPACE, AGENTS) for s in one.get("subjects", ()))]
    assert len(ours) > 3
    assert {one["metadata"]["labels"].get("app.kubernetes.io/managed-by") for one in ours} == {"Helm"}
    for name in EXAMPLES:
        release.cluster.apply(example(name))
    number = sum(EXAMPLES.values())
    release.eventually(lambda: len(release.allocated()) == number, "every pod of the examples has its slice")
    promised = [place for pod in release.pods_of("default") for place in promises(pod)]
    assert sorted(release.places().values()) == sorted(promised)
    for name, held in release.allocated().items():
        release.eventually(lambda name=name: started(release, name), f"{name} runs")  # type: ignore[misc]
        assert f"MIGSCHED_VISIBLE_DEVICES={held.mig_uuid}\n" in release.node.exec_in_pod(name, "env").stdout
    release.cluster.kubectl("delete", "deployments,jobs,services", "--selector=app.kubernetes.io/instance")
    release.eventually(lambda: release.allocated() == {}, "all slices are given back")


def started(release: ChartRelease, pod: str) -> bool:
    """Whether a pod's containers have been started."""
    return bool(release.get("pod", pod)["status"]["phase"] == "Running")


def test_upgrade_and_rollback_keep_pods_and_places(release: ChartRelease, tmp_path: Path) -> None:
    """While scheduler and agent are replaced, and their API locked and opened, running pods keep containers, slices and
    places, and a pod that comes in the middle gets its own.
    """
    release.deploy()
    release.rolled_out()
    pair = api_secret(release, tmp_path)
    release.start("before-1", "before-2")
    kept, slices = {name: lives(release.get("pod", name)) for name in ("before-1", "before-2")}, release.places()
    old = names(release)
    changed = {"podAnnotations": {"changed": "yes"}}
    release.deploy({"apiLock": {"enabled": True}, "scheduler": changed, "agent": changed})
    release.start("in-between")
    release.rolled_out()
    assert not old & names(release)
    release.eventually(lambda: release.places().items() >= slices.items(), "the new agent has the slices")
    assert {name: lives(release.get("pod", name)) for name in kept} == kept
    assert_locked(release, pair)
    locked = names(release)
    release.run("rollback", "migsched")
    release.start("after")
    release.rolled_out()
    assert not locked & names(release)
    release.eventually(lambda: release.places().items() >= slices.items(), "the agent before has the slices")
    assert {name: lives(release.get("pod", name)) for name in kept} == kept
    assert {answer(release, pod) for pod in release.pods_of(NAMESPACE)} == {200}
    everything = [place for pod in release.pods_of("default") for place in promises(pod)]
    assert len(set(everything)) == len(everything) == 4
    release.stop("before-1", "before-2", "in-between", "after")


def names(release: ChartRelease) -> set[str]:
    """The release's pods."""
    return {pod["metadata"]["name"] for namespace in (NAMESPACE, AGENTS) for pod in release.pods_of(namespace)}


def api_secret(release: ChartRelease, folder: Path) -> certificates.Certificates:
    """The Secret with the API's certificate, as docs/api-access.md says; where the files lie."""
    pair = certificates.ensure(folder, [API])
    files = (f"--cert={pair.serving}", f"--key={pair.serving_key}")
    release.cluster.kubectl("create", "secret", "tls", "migsched-api-tls", f"--namespace={NAMESPACE}", *files)
    return pair


def assert_locked(release: ChartRelease, pair: certificates.Certificates) -> None:
    """Every replica refuses strangers and users without the right, and answers one with a role of the chart."""
    context = ssl.create_default_context(cafile=pair.authority)
    tokens = {}
    for account in ("stranger", "reader"):
        release.cluster.kubectl("create", "serviceaccount", account)
        tokens[account] = release.cluster.kubectl("create", "token", account).stdout.strip()
    reader = ("--clusterrole=migsched-reader", "--serviceaccount=default:reader")
    release.cluster.kubectl("create", "clusterrolebinding", "ask", *reader)
    for pod in release.pods_of(NAMESPACE):
        told = [answer(release, pod, context, token) for token in (None, tokens["stranger"], tokens["reader"])]
        assert told == [401, 403, 200]


def answer(
    release: ChartRelease, pod: Document, context: ssl.SSLContext | None = None, token: str | None = None
) -> int:
    """The status with which a replica answers a question about nodes."""
    lines = ["GET /api/v1/nodes HTTP/1.1", f"Host: {API}:8080", "Connection: close"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    with release.node.connect(pod["status"]["podIP"], 8080) as plain:
        connection = context.wrap_socket(plain, server_hostname=API) if context else plain
        with connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            return int(connection.makefile("rb").readline().split()[1])


def test_a_leader_killed_in_a_burst_is_followed(
    release: ChartRelease, record_property: Callable[[str, object], None]
) -> None:
    """Of 100 pods, half of them created before the leader's container is killed, none is lost and none placed twice;
    the other replica takes over once the lease has run out.
    """
    release.deploy()
    release.rolled_out()
    burst = [pods.pod(f"p-{number}", pods.FOREVER, limits={PROFILE: 1}) for number in range(BURST)]
    with closing(Stack(release.cluster, 4, 4)) as stack:  # beside the real node, which also takes some
        recorder = Recorder(release.cluster.kubeconfig)

        def mine() -> list[Document]:
            return [pod for pod in recorder.pods() if pod["metadata"]["namespace"] == "default"]

        leader = release.leader()
        stack.create(*burst[: BURST // 2])
        release.eventually(lambda: len(bound(mine())) >= BURST // 10, "a part of the burst is bound")
        release.node.kill_container(leader.partition("_")[0], namespace=NAMESPACE)
        stack.create(*burst[BURST // 2 :])
        release.eventually(lambda: release.leader() not in ("", leader), "another leads")
        lease = release.get("lease", "migsched-queue", f"--namespace={NAMESPACE}")["spec"]
        release.eventually(lambda: death(release, leader) is not None, "the kubelet says when the leader died")
        died = death(release, leader)
        assert died is not None
        seconds = (datetime.fromisoformat(lease["acquireTime"]) - died).total_seconds()
        print(f"take-over after {seconds:.1f} s, with a lease of {LEASE_S} s looked at every {RETRY_S} s")  # noqa: T201
        record_property("take_over_s", seconds)
        release.eventually(
            lambda: [pod["status"]["phase"] for pod in mine()] == ["Running"] * BURST, "all pods of the burst run"
        )
        seen = mine()
        simulated = {gpu.uuid for one in stack.fleet for gpu in one.gpus}
        real = {pod["metadata"]["name"] for pod in seen if pod["spec"]["nodeName"] == NODE}
        release.eventually(lambda: release.allocated().keys() == real, "the agent reports what was promised there")
        assert sum(len(cut) for gpu, cut in stack.agents.in_use().items() if gpu in simulated) == BURST - len(real)
        assert history.violations(recorder.stop(), gpu_models.find(MODEL)) == []
        stack.clear()
    for kind in ("nodes", "mignodes"):
        release.cluster.kubectl("delete", kind, "--ignore-not-found", *(one.name for one in stack.fleet))
    release.eventually(lambda: release.allocated() == {}, "all slices are given back")
    everything = [place for pod in seen for place in promises(pod)]
    assert len(set(everything)) == len(everything) == BURST
    assert seconds < 2 * LEASE_S


def death(release: ChartRelease, leader: str) -> datetime | None:
    """When the container of a killed replica ended, to the second below; None while nothing says so."""
    (status,) = release.get("pod", leader.partition("_")[0], f"--namespace={NAMESPACE}")["status"]["containerStatuses"]
    for state in (status["state"], status["lastState"]):
        if "terminated" in state:
            return datetime.fromisoformat(state["terminated"]["finishedAt"])
    return None


def test_tokens_of_the_pods_reach_no_further_than_they_need(release: ChartRelease) -> None:
    """The agent's writes the MigNode of its node and no other, and no pod; the scheduler's reads no secret."""
    release.deploy()
    release.rolled_out()
    cluster = release.cluster
    ((agent,), (scheduler, *_)) = (release.pods_of(namespace) for namespace in (AGENTS, NAMESPACE))
    as_agent, as_scheduler = (f"--token={release.token(pod)}" for pod in (agent, scheduler))
    cluster.apply([{"apiVersion": "migsched.io/v1alpha1", "kind": "MigNode", "metadata": {"name": "other"}}])
    patch = ("--type=merge", '--patch={"metadata":{"labels":{"written":"yes"}}}')
    cluster.kubectl(as_agent, "patch", "mignode", NODE, "--dry-run=server", *patch)
    other = cluster.kubectl("get", "mignode", "other", "--output=json").stdout
    status = ("replace", "--raw=/apis/migsched.io/v1alpha1/mignodes/other/status", "--filename=-")
    for write, given in ((("patch", "mignode", "other", *patch), ""), (status, other)):
        with pytest.raises(errors.CommandError, match="migsched-agent-own-node"):
            cluster.kubectl(as_agent, *write, standard_input=given)
    for verb in ("create", "update", "patch", "delete"):
        refused(cluster, as_agent, verb, "pods")
    for namespace in ("default", NAMESPACE, AGENTS, "kube-system"):
        for verb in ("get", "list", "watch"):
            refused(cluster, as_scheduler, verb, "secrets", f"--namespace={namespace}")
    with pytest.raises(errors.CommandError, match="Forbidden"):  # there is one: Helm's own
        cluster.kubectl(as_scheduler, "get", "secret", "sh.helm.release.v1.migsched.v1", f"--namespace={NAMESPACE}")
    cluster.kubectl("delete", "mignode", "other")


def refused(cluster: ControlPlane, token: str, *action: str) -> None:
    """The API server says no to this."""
    assert cluster.kubectl(token, "auth", "can-i", *action, check=False).stdout.strip() == "no", action


def test_the_extender_beside_a_kube_scheduler(release: ChartRelease) -> None:
    """After a change of the mode one pod holds both; a pod that names migsched runs on its slice, and kube-scheduler
    lacks no right.
    """
    release.deploy(EXTENDER_MODE)
    release.rolled_out()
    (pod,) = release.pods_of(NAMESPACE)
    release.start("named", scheduler="migsched")
    log = release.node.pod_log(pod["metadata"]["name"], container="kube-scheduler", namespace=NAMESPACE)
    assert "forbidden" not in log.lower()
    release.stop("named")


def test_a_default_scheduler_asks_over_mutual_tls(release: ChartRelease, tmp_path: Path) -> None:
    """A kube-scheduler in its host's network, with what the chart says for its configuration, and no other caller."""
    (tmp_path / "server").mkdir()
    server = certificates.ensure(tmp_path / "server", [EXTENDER])
    certificate, key = client_of(tmp_path / "client")
    secret(release, NAMESPACE, "migsched-extender-tls", server.serving, server.serving_key, certificate)
    secret(release, "kube-system", "default-scheduler", certificate, key, server.authority)
    release.deploy({"mode": "standalone"})
    release.rolled_out()
    (pod,) = release.pods_of(NAMESPACE)
    address = pod["status"]["podIP"]
    context = ssl.create_default_context(cafile=server.authority)
    assert not said_to_nobody(release, address, context)
    shown = release.get("configmap", "migsched-default-scheduler", f"--namespace={NAMESPACE}")["data"]
    release.cluster.apply(own_scheduler.objects(NODE, shown["extenders.yaml"], {address: EXTENDER}))
    release.start("own", scheduler="own")
    release.stop("own")
    release.cluster.kubectl("delete", "pod", "own-scheduler", "--namespace=kube-system", "--grace-period=0", "--force")


def said_to_nobody(release: ChartRelease, address: str, context: ssl.SSLContext) -> bytes:
    """What the extender answers to a caller who shows no certificate."""
    with (
        release.node.connect(address, 8765) as plain,
        contextlib.suppress(ssl.SSLError, ConnectionError),
        context.wrap_socket(plain, server_hostname=EXTENDER) as connection,
    ):
        connection.sendall(b"POST /v1/filter HTTP/1.1\r\nHost: extender\r\nContent-Length: 0\r\n\r\n")
        return connection.recv(1000)
    return b""


def secret(release: ChartRelease, namespace: str, name: str, certificate: Path, key: Path, authority: Path) -> None:
    """A Secret of a certificate, its key, and an authority."""
    files = zip(("tls.crt", "tls.key", "ca.crt"), (certificate, key, authority), strict=True)
    parts = [f"--from-file={part}={path}" for part, path in files]
    release.cluster.kubectl("create", "secret", "generic", name, f"--namespace={namespace}", *parts)


def test_uninstalling_leaves_the_crds_alone(release: ChartRelease) -> None:
    """Of everything that is called after migsched, in all kinds and namespaces, the CRDs with their MigNodes are left,
    and what docs/install.md says.
    """
    release.deploy()
    release.rolled_out()
    release.run("uninstall", "migsched", "--wait", "--timeout=90s")
    kinds = release.cluster.kubectl("api-resources", "--verbs=list", "--output=name").stdout.split()
    kinds = [kind for kind in kinds if not kind.startswith("events")]
    own = {"secret/migsched-api-tls", "secret/migsched-extender-tls"}  # made by tests, as the docs say
    own.add("lease.coordination.k8s.io/migsched")  # kube-scheduler's, where the mode extender was tried

    def left() -> set[str]:
        given = ("--all-namespaces", "--output=name", "--ignore-not-found")
        told = release.cluster.kubectl("get", ",".join(kinds), *given, check=False).stdout.split()
        return {name for name in told if "migsched" in name or name.startswith("mignode")} - own

    kept = {f"customresourcedefinition.apiextensions.k8s.io/{name}.migsched.io" for name in ("mignodes", "repacks")}
    kept |= {f"mignode.migsched.io/{NODE}", f"namespace/{NAMESPACE}", "lease.coordination.k8s.io/migsched-queue"}
    kept.add("apiservice.apiregistration.k8s.io/v1alpha1.migsched.io")  # the API server's, for the CRDs
    release.eventually(lambda: left() <= kept, "all else is gone")
    assert left() == kept
