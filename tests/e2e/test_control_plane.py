"""The local control plane runs the genuine programs and leaves nothing behind."""

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from simulator.cluster import queue_policy
from testbed import errors
from testbed.control_plane import build, scheduler_config
from testbed.control_plane.control_plane import ControlPlane

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
SECONDS = 20  # for a condition that real controllers bring about

NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n1"},
    "status": {"allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"}},
}


def deployment(name: str, replicas: int, **pod_spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "none"}], **pod_spec},
            },
        },
    }


def wait_for_nodes_of(cluster: ControlPlane, app: str, replicas: int) -> list[str]:
    """Wait until the deployment has all its pods and each pod a node; return the nodes."""
    cluster.kubectl("wait", f"deployment/{app}", f"--for=jsonpath={{.status.replicas}}={replicas}", timeout())
    cluster.kubectl("wait", "pod", f"-l=app={app}", "--for=condition=PodScheduled", timeout())
    return cluster.kubectl("get", "pod", f"-l=app={app}", "-o=jsonpath={.items[*].spec.nodeName}").stdout.split()


def timeout() -> str:
    return f"--timeout={SECONDS}s"


def address(cluster: ControlPlane) -> tuple[str, int]:
    url = urlsplit(cluster.url)
    assert url.hostname is not None
    assert url.port is not None
    return url.hostname, url.port


def ended(descriptor: int) -> bool:
    """Whether the process of a pidfd ends in time."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(SECONDS * 1000))


@pytest.fixture(scope="module")
def cluster(binaries: build.Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with controllers, the stock scheduler and one node, shared by the tests that break nothing."""
    with ControlPlane(tmp_path_factory.mktemp("cluster"), binaries=binaries, users={"reader": ["readers"]}) as started:
        started.start_controller_manager()
        started.start_scheduler()
        started.apply([NODE])
        yield started


def test_programs_report_the_version_that_was_asked_for(cluster: ControlPlane) -> None:
    """Both kubectl and the API server call themselves by the version of Kubernetes that was asked for."""
    versions = yaml.safe_load(cluster.kubectl("version", "-o=yaml").stdout)
    reported = {versions[side]["gitVersion"] for side in ("clientVersion", "serverVersion")}
    assert reported == {build.kubernetes_version()}


def test_deployment_becomes_scheduled_pods(cluster: ControlPlane) -> None:
    """Controllers turn a Deployment into pods, and kube-scheduler places them on a node that nobody heard a beat of."""
    cluster.apply([deployment("web", 3)])
    assert wait_for_nodes_of(cluster, "web", 3) == ["n1", "n1", "n1"]


def test_deleting_an_owner_deletes_what_it_owns(cluster: ControlPlane) -> None:
    """The garbage collector removes the ReplicaSet of a Deployment that was deleted."""
    cluster.apply([deployment("short-lived", 0)])
    cluster.kubectl("wait", "rs", "-l=app=short-lived", "--for=create", timeout())
    cluster.kubectl("delete", "deployment/short-lived", "--cascade=background")
    cluster.kubectl("wait", "rs", "-l=app=short-lived", "--for=delete", timeout())
    assert cluster.kubectl("get", "rs", "-l=app=short-lived", "-o=name").stdout == ""


def test_a_user_may_do_what_rbac_grants_and_no_more(cluster: ControlPlane) -> None:
    """A user beside the admin is refused until a role binding names it or one of its groups."""
    assert "forbidden" in cluster.kubectl("get", "nodes", user="reader", check=False).stderr
    cluster.kubectl("create", "clusterrole", "node-reader", "--verb=get,list", "--resource=nodes")
    cluster.kubectl("create", "clusterrolebinding", "readers", "--clusterrole=node-reader", "--group=readers")
    deadline = time.monotonic() + SECONDS  # the API server learns of a binding through a watch of its own
    while cluster.kubectl("auth", "can-i", "list", "nodes", user="reader", check=False).returncode:
        assert time.monotonic() < deadline, "the role binding has no effect"
    assert cluster.kubectl("get", "nodes", "-o=name", user="reader").stdout == "node/n1\n"
    assert "forbidden" in cluster.kubectl("delete", "node", "n1", user="reader", check=False).stderr


def test_apply_waits_until_a_definition_is_served(cluster: ControlPlane) -> None:
    """Objects of a CustomResourceDefinition can be listed as soon as `apply` of the definition returns."""
    assert cluster.apply(REPOSITORY / "deploy" / "crd" / "mignodes.yaml") == [
        "customresourcedefinition.apiextensions.k8s.io/mignodes.migsched.io"
    ]
    assert cluster.kubectl("get", "mignodes", "-o=name").stdout == ""


def test_shipped_scheduler_configuration_is_accepted(cluster: ControlPlane) -> None:
    """kube-scheduler runs the shipped profile, and places pods that ask for no slice although no extender answers."""
    config = scheduler_config.kube_scheduler_config("http://127.0.0.1:1/v1", cluster.kubeconfig)
    scheduler = cluster.start_scheduler(config, name="migsched-scheduler")
    cluster.apply([deployment("plain", 1, schedulerName=scheduler_config.PROFILE)])
    assert wait_for_nodes_of(cluster, "plain", 1) == ["n1"]
    scheduler.process.stop()


def test_refused_scheduler_configuration_is_told(cluster: ControlPlane) -> None:
    """A KubeSchedulerConfiguration that kube-scheduler refuses is an error that repeats kube-scheduler's own words."""
    config = {**scheduler_config.stock(cluster.kubeconfig), "parallelism": -1}
    with pytest.raises(errors.StartError, match=r"(?s)bad-scheduler ended.*bad-scheduler\.log.*parallelism"):
        cluster.start_scheduler(config, name="bad-scheduler")


def test_restarted_api_server_keeps_data_and_clients_recover(control_plane: Callable[..., ControlPlane]) -> None:
    """After a crash of the API server the objects are there, and controllers and scheduler go on by themselves."""
    cluster = control_plane()
    cluster.start_controller_manager()
    scheduler = cluster.start_scheduler()
    cluster.apply([NODE, deployment("web", 1)])
    wait_for_nodes_of(cluster, "web", 1)
    pid = scheduler.process.pid
    cluster.kill_apiserver()
    assert cluster.kubectl("get", "nodes", check=False).returncode != 0
    cluster.restart_apiserver()
    cluster.kubectl("scale", "deployment/web", "--replicas=2")
    assert wait_for_nodes_of(cluster, "web", 2) == ["n1", "n1"]
    assert scheduler.process.running
    assert scheduler.process.pid == pid


async def test_stopped_control_plane_is_gone_and_can_come_back(binaries: build.Binaries, tmp_path: Path) -> None:
    """Stopping ends every program and frees every port; started again in its directory it has its objects."""
    async with ControlPlane(tmp_path, binaries=binaries) as cluster:
        cluster.start_controller_manager()
        cluster.start_scheduler()
        cluster.apply([NODE])
        running = [os.pidfd_open(child.pid) for child in cluster.children]
        assert len(running) == 4
    assert [ended(descriptor) for descriptor in running] == [True] * 4
    for descriptor in running:
        os.close(descriptor)
    assert list((tmp_path / "pids").iterdir()) == []
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address(cluster)):
        pass
    with ControlPlane(tmp_path, binaries=binaries) as again:
        assert again.kubectl("get", "nodes", "-o=name").stdout == "node/n1\n"


def test_policies_of_one_that_has_ended_are_not_waited_for(control_plane: Callable[..., ControlPlane]) -> None:
    """Who is stopped while the queue's gate is waited for does not wait on: kube-apiserver is named as ended."""
    plane = control_plane()
    plane.stop()
    with pytest.raises(errors.StartError, match="kube-apiserver has ended"):
        queue_policy.wait_until(plane, gates=True)


def test_failed_start_names_the_log_and_leaves_nothing(binaries: build.Binaries, tmp_path: Path) -> None:
    """A program that cannot start is named with its log and its last words, and the others are ended."""
    cluster = ControlPlane(tmp_path, binaries=binaries)
    with socket.create_server(address(cluster)), pytest.raises(errors.StartError) as failure:
        cluster.start()
    message = str(failure.value)
    assert message.startswith("kube-apiserver ended with status 1 while starting")
    assert str(cluster.log_directory / "kube-apiserver.log") in message
    assert "address already in use" in message
    assert cluster.children == ()
    assert list((tmp_path / "pids").iterdir()) == []


def test_nothing_outlives_a_killed_owner(binaries: build.Binaries, tmp_path: Path) -> None:
    """When the process that started a control plane is killed, every program of it ends by itself."""
    script = """
        import pathlib, sys, threading
        from testbed.control_plane.control_plane import ControlPlane
        cluster = ControlPlane(pathlib.Path(sys.argv[1]))
        cluster.start()
        cluster.start_controller_manager()
        cluster.start_scheduler()
        print(*(child.pid for child in cluster.children), flush=True)
        threading.Event().wait()
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    with owner:
        assert owner.stdout is not None
        running = [os.pidfd_open(int(pid)) for pid in owner.stdout.readline().split()]
        owner.send_signal(signal.SIGKILL)
    assert len(running) == 4
    assert [ended(descriptor) for descriptor in running] == [True] * 4
    for descriptor in running:
        os.close(descriptor)
