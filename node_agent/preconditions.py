"""Preconditions: what must hold on a node before the agent can serve there, judged all at once. Pure.

`surroundings` looks, `judge` judges; `migsched agent --check` prints it, and at a start everything that is wrong is in
one message instead of one per restart. To add one: a field of Surroundings, and a function in CHECKS.

A precondition is `needed` if the agent does not start without it. Others come by themselves while a node boots (the
kubelet, the driver, the API server), so the agent starts, restores what containers have, and says in its MigNode what
it waits for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from allocator import errors

CONFLICT = "no other manager of the GPUs"
_NOT_LASTING = frozenset({"tmpfs", "ramfs", "rootfs"})
_PERHAPS_LASTING = frozenset({"overlay", "aufs"})  # a container's own files go with it; a live system's do, too
_FREE_BYTES = 1 << 20  # the journal of sixteen full GPUs takes less than 100 kB, twice


class PreconditionError(errors.MigschedError):
    """The agent cannot start; names all that is missing on the node."""


@dataclass(frozen=True, slots=True)
class Precondition:
    """Whether one thing holds. `ok` is None where that cannot be told; `wrong` says why not, `fix` what would do."""

    name: str
    ok: bool | None = True
    wrong: str = ""
    fix: str = ""
    needed: bool = False

    def __str__(self) -> str:
        parts = (self.name, self.wrong, self.fix)
        return ": ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory as it was found. `free_bytes` and `file_system` (its type, such as ext4) where they are known."""

    path: str
    exists: bool = True
    writable: bool = True
    free_bytes: int | None = None
    file_system: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found on a node. Texts say what is wrong, and are empty where nothing is; None: it was not told."""

    node: str
    state_dir: Directory
    plugin_dir: Directory
    cdi_dir: Directory | None  # None: it is not used
    journal: str = ""
    kubelet: str = ""
    pod_resources: str = ""
    driver: str = ""
    gpus: int | None = None
    conflict: str = ""
    metrics_port: str = ""
    api: str = ""
    api_settings: str = ""
    node_is_known: bool | None = True
    serves_mig_nodes: bool | None = True
    missing_rights: Sequence[str] | None = ()
    observer: bool = False
    simulated: bool = False
    starting: bool = True  # otherwise an agent may run here already


Check = Callable[[Surroundings], Precondition | None]


def judge(found: Surroundings, checks: "Iterable[Check] | None" = None) -> tuple[Precondition, ...]:
    """Every precondition that applies, in the order in which it is looked at."""
    judged = (check(found) for check in (CHECKS if checks is None else checks))
    return tuple(precondition for precondition in judged if precondition is not None)


def failures(preconditions: Iterable[Precondition]) -> tuple[Precondition, ...]:
    """Those that do not hold; what cannot be told is none."""
    return tuple(precondition for precondition in preconditions if precondition.ok is False)


def require(node: str, failed: Sequence[Precondition]) -> None:
    """Raise PreconditionError, with everything that failed, if the agent cannot start without one of them.

    A conflict does not count here: beside one the agent starts if containers have slices, which it finds out later.
    """
    if any(precondition.needed and precondition.name != CONFLICT for precondition in failed):
        raise PreconditionError(message(node, failed))


def message(node: str, failed: Sequence[Precondition]) -> str:
    """All that is wrong on a node, on one line."""
    if len(failed) == 1:
        return f"node {node}: {failed[0]}"
    parts = "; ".join(f"({number}) {precondition}" for number, precondition in enumerate(failed, start=1))
    return f"node {node}: {len(failed)} preconditions are not met: {parts}"


def conflict(why: str) -> Precondition:
    """That another program manages the GPUs."""
    return Precondition(CONFLICT, False, why, "hand the node over, or run with --observe", needed=True)


def _node_name(found: Surroundings) -> Precondition:
    name = "node name"
    if not found.node:
        return Precondition(name, False, "there is none", "set MIGSCHED_AGENT_NODE from spec.nodeName", needed=True)
    if found.node_is_known is False:
        fix = "pass --node with a name that `kubectl get nodes` shows"
        return Precondition(name, False, f"the API server knows no node {found.node!r}", fix)
    if found.node_is_known is None:
        return Precondition(name, None, "the API server was not asked")
    return Precondition(name)


def _state_dir(found: Surroundings) -> Precondition | None:
    name, directory = "state directory", found.state_dir
    if found.observer:
        return None
    if not directory.writable:
        fix = "make it a directory that root can write, or set --state-dir"
        return Precondition(name, False, f"{directory.path} cannot be written", fix, needed=True)
    if directory.free_bytes is not None and directory.free_bytes < _FREE_BYTES:
        return Precondition(name, False, f"{directory.path} is full", "free 1 MiB there", needed=True)
    return Precondition(name)


def _lasting_state(found: Surroundings) -> Precondition | None:
    name, directory = "state survives a reboot", found.state_dir
    if found.observer or found.simulated:  # simulated GPUs die with their process
        return None
    fix = "put it on a disk: a hostPath volume, /var/lib/migsched"
    if directory.file_system in _NOT_LASTING:
        return Precondition(name, False, f"{directory.path} is on {directory.file_system}", fix)
    if directory.file_system in _PERHAPS_LASTING or not directory.file_system:
        where = directory.file_system or "a file system of unknown type"
        return Precondition(name, None, f"{directory.path} is on {where}, which may be the container's own", fix)
    return Precondition(name)


def _journal(found: Surroundings) -> Precondition | None:
    if found.observer:
        return None
    fix = 'see docs/runbook.md, "The agent does not start"'
    return _told("journal", found.journal, fix, needed=True)


def _conflict(found: Surroundings) -> Precondition | None:
    if found.observer:
        return None
    return conflict(found.conflict) if found.conflict else Precondition(CONFLICT, needed=True)


def _metrics_port(found: Surroundings) -> Precondition:
    name, fix = "metrics port", "set --metrics-port"
    if found.metrics_port and not found.starting:
        return Precondition(name, None, f"{found.metrics_port}; by an agent that runs already?", fix)
    return _told(name, found.metrics_port, fix, needed=True)


def _plugin_dir(found: Surroundings) -> Precondition | None:
    name, directory = "kubelet's device plugin directory", found.plugin_dir
    if found.observer:
        return None
    fix = "mount it from the host, or set --device-plugin-dir where the kubelet's --root-dir is another"
    if not directory.exists:
        return Precondition(name, False, f"{directory.path} does not exist", fix)
    if not directory.writable:
        return Precondition(name, False, f"{directory.path} cannot be written", fix)
    return _told(name, found.kubelet, "check that the kubelet runs")


def _pod_resources(found: Surroundings) -> Precondition | None:
    fix = "check that the kubelet runs and its pod-resources directory is mounted, or set --pod-resources-socket"
    return None if found.observer else _told("kubelet's PodResources", found.pod_resources, fix)


def _driver(found: Surroundings) -> Precondition:
    name, fix = "driver", "load NVIDIA's driver, or set --driver-root to where its files are"
    if found.driver:
        return Precondition(name, False, found.driver, fix)
    if found.gpus is None:
        return Precondition(name, None, "it has not answered yet")
    if not found.gpus:
        return Precondition(name, False, "it shows no GPU", "run the agent on nodes with GPUs only")
    return Precondition(name)


def _cdi_dir(found: Surroundings) -> Precondition | None:
    if found.observer or found.cdi_dir is None:
        return None
    fix = "make it a directory that root can write and the container runtime reads, or set --cdi-dir"
    wrong = "" if found.cdi_dir.writable else f"{found.cdi_dir.path} cannot be written"
    return _told("CDI directory", wrong, fix)


def _api(found: Surroundings) -> Precondition:
    name = "API server"
    if found.api_settings:
        fix = "mount the service account's token, or set --kubeconfig"
        return Precondition(name, False, found.api_settings, fix, needed=True)
    return _told(name, found.api, "check the network between this node and the control plane")


def _mig_nodes(found: Surroundings) -> Precondition:
    name = "CRD MigNode"
    if found.serves_mig_nodes is None:
        return Precondition(name, None, "the API server was not asked")
    wrong = "" if found.serves_mig_nodes else "the API server does not know mignodes.migsched.io"
    return _told(name, wrong, "kubectl apply --server-side -k deploy/crd")


def _rights(found: Surroundings) -> Precondition:
    name = "RBAC"
    if found.missing_rights is None:
        return Precondition(name, None, "the API server was not asked")
    wrong = f"the agent may not {', '.join(found.missing_rights)}" if found.missing_rights else ""
    return _told(name, wrong, "apply deploy/rbac/agent; for labels deploy/options/agent-operator-labels")


def _told(name: str, wrong: str, fix: str, *, needed: bool = False) -> Precondition:
    return Precondition(name, False, wrong, fix, needed) if wrong else Precondition(name, needed=needed)


CHECKS: tuple[Check, ...] = (
    _node_name,
    _state_dir,
    _lasting_state,
    _journal,
    _conflict,
    _metrics_port,
    _plugin_dir,
    _pod_resources,
    _driver,
    _cdi_dir,
    _api,
    _mig_nodes,
    _rights,
)
