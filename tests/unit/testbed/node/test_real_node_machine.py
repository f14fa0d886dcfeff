"""A machine that cannot run a node is told everything that it lacks, at once and in words."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.node import errors, machine

ALL_CAPABILITIES = "000001ffffffffff"
V1 = ("cpu", "cpuacct", "cpuset", "devices", "memory", "pids")

Make = Callable[..., Path]


def version_1(controllers: tuple[str, ...] = V1, mode: str = "rw") -> str:
    return "".join(
        f"cgroup /sys/fs/cgroup/{controller} cgroup {mode},relatime,{controller} 0 0\n" for controller in controllers
    )


@pytest.fixture
def machine_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes the files by which a machine is judged; by default those of one that can run a node."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def make(
        *,
        capabilities: str = ALL_CAPABILITIES,
        file_systems: str = "nodev\tproc\nnodev\toverlay\n\text4\n",
        mounts: str = version_1(),
        controllers: str | None = None,
        missing: tuple[str, ...] = (),
    ) -> Path:
        files = {
            "proc/self/status": f"Name:\tpython\nCapPrm:\t{capabilities}\nCapEff:\t{capabilities}\n",
            "proc/self/mounts": f"/dev/vda / ext4 rw 0 0\n{mounts}",
            "proc/filesystems": file_systems,
            "dev/kmsg": "",
            "dev/null": "",
            "run/x": "",
            "var/lib/x": "",
            "var/log/x": "",
            **({} if controllers is None else {"sys/fs/cgroup/cgroup.controllers": controllers}),
        }
        for name, content in files.items():
            if name not in missing:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(content, "ascii")
        return tmp_path

    return make


def test_a_usable_machine_lacks_nothing(machine_with: Make) -> None:
    """Root with all capabilities, overlay and mounted version 1 cgroups is all that a node needs."""
    assert machine.missing(machine_with()) == []


def test_version_2_cgroups_will_do(machine_with: Make) -> None:
    """A single version 2 hierarchy that offers the controllers that a kubelet wants is enough."""
    mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n"
    assert machine.missing(machine_with(mounts=mounts, controllers="cpuset cpu io memory pids\n")) == []


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        ({"capabilities": "00000000a80425fb"}, "root lacks CAP_NET_ADMIN, CAP_SYS_ADMIN here"),
        ({"file_systems": "\text4\n"}, "the kernel has no overlay file system"),
        ({"missing": ("dev/kmsg",)}, "there is no /dev/kmsg, and the kubelet watches it"),
        ({"missing": ("var/log/x",)}, "/var/log is not a directory"),
        ({"mounts": ""}, "no cgroup file system is mounted"),
        ({"mounts": version_1(("cpu", "memory"))}, "missing: cpuacct, cpuset, devices, pids"),
        ({"mounts": version_1(mode="ro")}, "read-only: /sys/fs/cgroup/cpu, /sys/fs/cgroup/cpuacct"),
        (
            {"mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "controllers": "cpu io\n"},
            "missing: cpuset, memory, pids",
        ),
        (
            {"mounts": "cgroup2 /sys/fs/cgroup cgroup2 ro 0 0\n", "controllers": "cpu cpuset memory pids\n"},
            "read-only: /sys/fs/cgroup",
        ),
    ],
)
def test_what_is_missing_is_named(machine_with: Make, difference: dict[str, object], said: str) -> None:
    """Each thing that a machine lacks is the one thing that it is told about."""
    (lack,) = machine.missing(machine_with(**difference))
    assert said in lack


def test_a_user_is_told_to_be_root(machine_with: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root, that is what is missing, whatever capabilities there are."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert machine.missing(machine_with()) == ["namespaces, mounts and cgroups need root; run as root"]


def test_another_system_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """On anything but Linux nothing else is looked at."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine.missing() == ["a node needs Linux; this is darwin"]


def test_the_error_lists_all_that_is_missing(machine_with: Make) -> None:
    """Where more than one thing is missing, the error names them all."""
    root = machine_with(file_systems="\text4\n", missing=("dev/kmsg",))
    with pytest.raises(errors.MachineError, match=r"cannot run a Kubernetes node: .*kmsg.*; .*overlay") as failure:
        machine.require(root)
    assert failure.value.missing == tuple(machine.missing(root))
    assert len(failure.value.missing) == 2
