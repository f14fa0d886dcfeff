"""deploy/chart in a cluster: Helm installs, upgrades and removes it, and the service works with the rights it gives."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import yaml

from allocator.claims import contract
from simulator.cluster import queue_policy
from testbed.control_plane import build, ports, scheduler_config
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import deployed
from tests.e2e.helm import NAMESPACE, RELEASE, Document, Helm
from tests.e2e.scheduling.stack import ExtenderProcess, Stack, bound, eventually
from tests.e2e.scheduling.stack import pod as pod_of_migsched

pytestmark = pytest.mark.e2e

PROFILE = "1g.5gb"
NEW = "--create-namespace"
KNOWN = "--disable-openapi-validation"  # by then the first installation has had its fields checked
UNCHECKED = "--validate=false"  # pods whose form is known: kubectl would read the schemas of all kinds first


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with its own scheduler and controllers, and nothing of ours."""
    with ControlPlane(tmp_path_factory.mktemp("chart"), binaries=binaries, users=deployed.USERS) as started:
        started.start_controller_manager()
        started.start_scheduler()
        yield started


@pytest.fixture(autouse=True)
def released(helm: Helm, cluster: ControlPlane) -> Iterator[None]:
    """What a test that failed has left is no hindrance to the next."""
    yield
    gone = ["uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found"]
    assert helm.run(*gone, kubeconfig=cluster.kubeconfig).returncode == 0


def test_install_upgrade_and_uninstall_of_the_queue(helm: Helm, cluster: ControlPlane, tmp_path: Path) -> None:
    """Every object is taken; the service releases a pod with the account's own token; an upgrade moves no placement;
    in the end the CRD is left, with its MigNodes.
    """
    said = helm.install({}, NEW, kubeconfig=cluster.kubeconfig)
    assert "rollout status deployment/migsched-scheduler" in said
    assert_all_there(helm, cluster)
    with closing(Stack(cluster, 1, 1)) as stack, running(helm, cluster, tmp_path) as service:
        queue_policy.wait_until(cluster, gates=True)
        deployed.create(cluster, unnamed("first"), UNCHECKED)
        before = placed(stack, "first")
        restarted = {"scheduler": {"podAnnotations": {"changed": "yes"}, "settings": {"queue_order": "fair"}}}
        helm.install(restarted, KNOWN, kubeconfig=cluster.kubeconfig, verb="upgrade")
        assert_all_there(helm, cluster)
        service.stop()
        with running(helm, cluster, tmp_path):
            deployed.create(cluster, unnamed("second"), UNCHECKED)
            assert placed(stack, "second") != before
            assert placed(stack, "first") == before
        stack.clear()
    uninstall(helm, cluster)
    assert cluster.kubectl("get", "mignodes", "--output=name").stdout.split() == ["mignode.migsched.io/node-1"]


def test_install_and_uninstall_of_the_extender(helm: Helm, cluster: ControlPlane, tmp_path: Path) -> None:
    """The CRD that was left is taken over; kube-scheduler and extender place a pod with the account's own token; a pod
    that names no scheduler is warned about.
    """
    helm.install({"mode": "extender"}, NEW, KNOWN, kubeconfig=cluster.kubeconfig)
    objects = assert_all_there(helm, cluster)
    with closing(Stack(cluster, 1, 1)) as stack, running(helm, cluster, tmp_path) as service:
        (text,) = (d["data"]["config.yaml"] for d in objects if d["kind"] == "ConfigMap")
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        config = scheduler_config.kube_scheduler_config(f"{service.url}/v1", kubeconfig(cluster), template=path)
        second = cluster.start_scheduler(config, name="kube-scheduler-of-the-chart")
        deployed.create(cluster, pod_of_migsched("named", PROFILE), UNCHECKED)
        assert placed(stack, "named")
        eventually(
            lambda: "needs schedulerName" in deployed.create(cluster, unnamed("p"), UNCHECKED, "--dry-run=server"),
            "a warning",
        )
        stack.clear()
        second.process.stop()
    uninstall(helm, cluster)


def test_a_pod_that_forgets_its_scheduler_gets_it_where_that_is_asked_for(helm: Helm, cluster: ControlPlane) -> None:
    """With `unnamedPods: mutate` the API server names migsched in pods with slices, and in no others."""
    values = {"mode": "extender", "extender": {"unnamedPods": "mutate"}}
    helm.install(values, NEW, KNOWN, kubeconfig=cluster.kubeconfig)

    def scheduler_of(document: Document) -> str:
        told = json.loads(deployed.create(cluster, document, UNCHECKED, "--dry-run=server", "--output=json"))
        return str(told["spec"]["schedulerName"])

    eventually(lambda: scheduler_of(unnamed("forgot")) == "migsched", "the name is set")
    assert scheduler_of(pod_of_migsched("plain", schedulerName="default-scheduler")) == "default-scheduler"
    assert scheduler_of(pod_of_migsched("other", PROFILE, schedulerName="kueue")) == "kueue"
    uninstall(helm, cluster)


def assert_all_there(helm: Helm, cluster: ControlPlane) -> list[Document]:
    """All of the release's objects are in the cluster; these objects."""
    told = helm.run("get", "manifest", RELEASE, "--namespace", NAMESPACE, kubeconfig=cluster.kubeconfig).stdout
    objects = [document for document in yaml.safe_load_all(told) if document]
    there = cluster.kubectl("get", "--output=name", "--filename=-", standard_input=told).stdout.split()
    assert len(there) == len(objects) > 20
    return objects


def uninstall(helm: Helm, cluster: ControlPlane) -> None:
    """Remove the release; of its objects the CRD is left."""
    told = helm.run("get", "manifest", RELEASE, "--namespace", NAMESPACE, kubeconfig=cluster.kubeconfig).stdout
    done = helm.run("uninstall", RELEASE, "--namespace", NAMESPACE, kubeconfig=cluster.kubeconfig)
    assert done.returncode == 0, done.stderr

    def left() -> list[str]:
        given = ["--ignore-not-found", "--output=name", "--filename=-"]
        return cluster.kubectl("get", *given, standard_input=told, check=False).stdout.split()

    crds = {f"customresourcedefinition.apiextensions.k8s.io/{name}.migsched.io" for name in ("mignodes", "repacks")}
    eventually(lambda: set(left()) == crds, "all but the CRDs is gone")


@contextmanager
def running(helm: Helm, cluster: ControlPlane, folder: Path) -> Iterator[ExtenderProcess]:
    """The service as a process, with the settings of the release's Deployment and the token of its account."""
    told = helm.run("get", "manifest", RELEASE, "--namespace", NAMESPACE, kubeconfig=cluster.kubeconfig).stdout
    (deployment,) = (d for d in yaml.safe_load_all(told) if d and d["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    container = (pod.get("initContainers") or pod["containers"])[0]
    settings = {v["name"].removeprefix("MIGSCHED_").lower(): v["value"] for v in container.get("env", ())}
    service = ExtenderProcess(kubeconfig(cluster), folder, *ports.choose_free(2), **{"queue": False, **settings})
    try:
        service.start()
        yield service
    finally:
        service.stop()


def kubeconfig(cluster: ControlPlane) -> Path:
    """A kubeconfig with a token of the scheduler's account."""
    token = cluster.kubectl("create", "token", "migsched-scheduler", f"--namespace={NAMESPACE}").stdout.strip()
    config = yaml.safe_load(cluster.kubeconfig_of(deployed.SCHEDULER).read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": token}
    path = cluster.directory / "scheduler.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def unnamed(name: str) -> Document:
    """A pod that asks for a slice and names no scheduler."""
    document = pod_of_migsched(name, PROFILE)
    del document["spec"]["schedulerName"]
    return document


def placed(stack: Stack, name: str) -> str:
    """Where a pod's slice lies, once it is bound."""

    def there() -> list[Document]:
        return [one for one in bound(stack.pods()) if one["metadata"]["name"] == name]

    eventually(lambda: bool(there()), f"{name} is bound")
    return str(there()[0]["metadata"]["annotations"][contract.PLACEMENT_ANNOTATION])
