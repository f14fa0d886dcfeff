"""Surroundings: looks at a node for what the agent needs there, changing nothing. Used by service.

Everything is looked at, at the same time and each within a few seconds: one thing that is missing hides no other. What
is wrong comes back as text; `preconditions` judges it.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from allocator import errors
from node_agent.cluster import access, coexistence
from node_agent.cluster.access import AccessReviewer
from node_agent.cluster.port import Cluster
from node_agent.gpu.device import DeviceError, MigDevices
from node_agent.kubelet.channel import KubeletError
from node_agent.kubelet.pod_resources import PodResources
from node_agent.preconditions import Directory, Surroundings
from node_agent.settings import Settings
from node_agent.slices.journal import Journal, JournalError
from node_agent.slices.journal_file import FileStore

_DEADLINE_S = 8.0  # for each thing; PodResources has five seconds of its own
_KUBELET = "kubelet.sock"
_MOUNTS = Path("/proc/self/mountinfo")
T = TypeVar("T")


async def look(
    settings: Settings,
    devices: MigDevices,
    cluster: Cluster | None,
    rights: AccessReviewer | None,
    *,
    journal: Path,
    simulated: bool = False,
    starting: bool = True,
    api_settings: str = "",
) -> Surroundings:
    """What is there. Without a `cluster`, `api_settings` says why there is no connection; `rights` may be missing.

    `starting`: this is for an agent that is about to start, not for a look beside one.
    """
    driver, pod_resources, pods, node, allowed = await asyncio.gather(
        _driver(devices),
        _pod_resources(settings.pod_resources_socket),
        _pods(cluster, settings.node),
        _node(cluster, settings.node),
        _allowed(rights, labels=settings.manage_operator_labels),
    )
    (rivals, pods_problem), (known, labels, node_problem), (served, missing, rights_problem) = pods, node, allowed
    conflict = coexistence.conflict(rivals, settings.plugin_registry_dir, settings.device_plugin_dir)
    mounts = _text(_MOUNTS)
    return Surroundings(
        node=settings.node,
        state_dir=directory(settings.state_dir, mounts, made=True),
        plugin_dir=directory(settings.device_plugin_dir, mounts),
        cdi_dir=directory(settings.cdi_dir, mounts, made=True) if settings.inject == "cdi" else None,
        journal=await asyncio.to_thread(_journal, journal),
        kubelet=_socket_problem(settings.device_plugin_dir / _KUBELET),
        pod_resources=pod_resources,
        driver=driver[1],
        gpus=driver[0],
        conflict=conflict or coexistence.served_by_dra(labels) or "",
        metrics_port=_port_problem(settings.metrics_host, settings.metrics_port),
        api=pods_problem or node_problem or rights_problem,
        api_settings=api_settings,
        node_is_known=known,
        serves_mig_nodes=served,
        missing_rights=missing,
        observer=settings.observer,
        simulated=simulated,
        starting=starting,
    )


def directory(path: Path, mounts: str = "", *, made: bool = False) -> Directory:
    """A directory; one that the agent makes itself (`made`) may be missing if it could be made."""
    there = path
    while made and not there.exists() and there != there.parent:
        there = there.parent
    free = None
    try:
        found = os.statvfs(there)
        free = found.f_bavail * found.f_frsize
    except OSError:
        pass
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return Directory(str(path), path.is_dir(), writable, free, file_system(mounts, there))


def file_system(mounts: str, path: Path) -> str:
    """The type of the file system that a path lies on, by /proc/<pid>/mountinfo; empty if it does not say."""
    of_mount: dict[str, str] = {}
    for line in mounts.splitlines():
        before, dash, after = line.partition(" - ")
        parts = before.split()
        if dash and len(parts) > 4 and after:
            of_mount[_unescaped(parts[4])] = after.split()[0]  # a later mount hides an earlier one
    resolved = path.resolve()
    return next((of_mount[str(at)] for at in (resolved, *resolved.parents) if str(at) in of_mount), "")


def _unescaped(mount_point: str) -> str:
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        mount_point = mount_point.replace(escape, character)
    return mount_point


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _journal(path: Path) -> str:
    try:
        Journal(FileStore(path), boot="").load()
    except JournalError as error:
        return str(error)
    return ""


async def _driver(devices: MigDevices) -> tuple[int | None, str]:
    try:
        return len(await _in_time(asyncio.to_thread(devices.discover))), ""
    except DeviceError as error:
        return None, str(error)
    except TimeoutError:
        return None, ""


async def _pod_resources(path: Path) -> str:
    asked = PodResources(path)
    try:
        await _in_time(asked.list())
    except KubeletError as error:
        return str(error)
    except TimeoutError:
        return f"kubelet socket {path} does not answer"
    finally:
        await asked.close()
    return ""


async def _pods(cluster: Cluster | None, node: str) -> tuple[list[str], str]:
    """The pods that manage GPUs here, in words, and why that could not be asked."""
    if cluster is None:
        return [], ""
    try:
        listing = await _in_time(cluster.pods(node))
    except (errors.ClusterError, TimeoutError) as error:
        return [], _why(error)
    return [rival for pod in listing.items if (rival := coexistence.rival(pod)) is not None], ""


async def _node(cluster: Cluster | None, node: str) -> tuple[bool | None, dict[str, str], str]:
    """Whether the node is known, its labels, and why that could not be asked."""
    if cluster is None:
        return None, {}, ""
    try:
        return True, dict((await _in_time(cluster.node(node))).metadata.labels or {}), ""
    except errors.NotFoundError:
        return False, {}, ""
    except (errors.ClusterError, TimeoutError) as error:
        return None, {}, _why(error)


async def _allowed(rights: AccessReviewer | None, *, labels: bool) -> tuple[bool | None, tuple[str, ...] | None, str]:
    """Whether MigNodes are served, which rights are missing, and why that could not be asked."""
    if rights is None:
        return None, None, ""
    try:
        served = await _in_time(rights.serves_mig_nodes())
        return served, tuple(await _in_time(access.missing(rights, labels=labels))), ""
    except (errors.ClusterError, TimeoutError) as error:
        return None, None, _why(error)


async def _in_time(asked: Awaitable[T]) -> T:
    return await asyncio.wait_for(asked, _DEADLINE_S)


def _why(error: Exception) -> str:
    return str(error) or f"it has not answered for {_DEADLINE_S:.0f} s"


def _socket_problem(path: Path) -> str:
    if not path.exists():
        return f"{path} does not exist"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_DEADLINE_S)
        try:
            probe.connect(str(path))
        except OSError as error:
            return f"{path} does not answer: {error.strerror or error}"
    return ""


def _port_problem(host: str, port: int) -> str:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return f"cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}"
    return ""
