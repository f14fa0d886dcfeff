"""Whether this machine can run a real node. Called by `real_node` and by tests, which skip with the reasons given.

Containers need what only root may do (namespaces, mounts, cgroups), so a check asks for the rights and for the kernel's
parts, not for a distribution.
"""

import os
import sys
from pathlib import Path

from testbed.node import errors

# version 1: the controllers that kubelet or runc want to find mounted
_CONTROLLERS_V1 = ("cpu", "cpuacct", "cpuset", "devices", "memory", "pids")
_CONTROLLERS_V2 = ("cpu", "cpuset", "memory", "pids")
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_CHROOT": 18, "CAP_SYS_ADMIN": 21, "CAP_MKNOD": 27}
_HIDDEN = ("/run", "/var/lib", "/var/log")


def require(root: Path = Path("/")) -> None:
    """Pass where this machine can run a node; see `missing`.

    Raises MachineError where it cannot; the error lists everything that is missing.
    """
    lacks = missing(root)
    if lacks:
        raise errors.MachineError(lacks)


def missing(root: Path = Path("/")) -> list[str]:
    """What this machine lacks to run a node, a sentence each; empty where it can.

    `/proc`, `/dev` and the cgroup file systems are looked for below `root`.
    """
    if sys.platform != "linux":
        return [f"a node needs Linux; this is {sys.platform}"]
    return [
        *_rights(root),
        *_devices(root),
        *_file_systems(root),
        *_cgroups(root),
        *(f"{path} is not a directory of this machine" for path in _HIDDEN if not (root / path[1:]).is_dir()),
    ]


def _rights(root: Path) -> list[str]:
    if os.geteuid() != 0:
        return ["namespaces, mounts and cgroups need root; run as root"]
    status = (root / "proc/self/status").read_text(encoding="ascii", errors="replace")
    held = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    lacks = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    return [f"root lacks {', '.join(lacks)} here (a container? it must be privileged)"] if lacks else []


def _devices(root: Path) -> list[str]:
    needed = {"dev/kmsg": "the kubelet watches it for out-of-memory kills", "dev/null": "containers need it"}
    return [f"there is no /{path}, and {why}" for path, why in needed.items() if not (root / path).exists()]


def _file_systems(root: Path) -> list[str]:
    file_systems = (root / "proc/filesystems").read_text(encoding="ascii").split()
    return [] if "overlay" in file_systems else ["the kernel has no overlay file system (modprobe overlay)"]


def _cgroups(root: Path) -> list[str]:
    mounts = [line.split() for line in (root / "proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    version_1 = {option: fields for fields in mounts if fields[2] == "cgroup" for option in fields[3].split(",")}
    version_2 = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    if version_1:
        lacks = [name for name in _CONTROLLERS_V1 if name not in version_1]
        locked = sorted({fields[1] for fields in version_1.values() if "ro" in fields[3].split(",")})
    elif version_2:
        top = root / version_2[0].relative_to("/")
        offered = (top / "cgroup.controllers").read_text(encoding="ascii").split()
        lacks = [name for name in _CONTROLLERS_V2 if name not in offered]
        locked = [str(version_2[0])] if "ro" in next(f[3] for f in mounts if f[2] == "cgroup2").split(",") else []
    else:
        return ["no cgroup file system is mounted (mount one on /sys/fs/cgroup)"]
    return [
        *([f"cgroup controllers are missing: {', '.join(lacks)}"] if lacks else []),
        *([f"cgroups are mounted read-only: {', '.join(locked)}"] if locked else []),
    ]
