"""The kubelet's checkpoint: what it says of devices, and that what it does not say harms nobody."""

import json
from pathlib import Path
from typing import Any

import pytest

from node_agent.kubelet.checkpoint import FILE, Checkpoint
from node_agent.slices.ownership import Assignment

SMALL = "nvidia.com/mig-1g.5gb"


def entry(uid: str, container: str, *ids: str, resource: str = SMALL) -> dict[str, Any]:
    """An entry as the kubelet of Kubernetes 1.36 writes it."""
    return {
        "PodUID": uid,
        "ContainerName": container,
        "ResourceName": resource,
        "DeviceIDs": {"-1": list(ids)},
        "AllocResp": "Q2c9PQ==",
    }


def write(directory: Path, *entries: dict[str, Any]) -> None:
    """The kubelet writes its file."""
    document = {
        "Data": {"PodDeviceEntries": list(entries) or None, "RegisteredDevices": {SMALL: ["g-0"]}},
        "Checksum": 1,
    }
    (directory / FILE).write_text(json.dumps(document), encoding="utf-8")


def test_every_container_with_a_device_is_named(tmp_path: Path) -> None:
    """An init container and the one that got its device after it are both named, other vendors' devices are not."""
    write(
        tmp_path,
        entry("u1", "prepare", "g-0", "g-1"),
        entry("u1", "main", "g-0"),
        entry("u2", "main", "nic-0", resource="example.com/nic"),
    )
    assert Checkpoint(tmp_path).read() == {
        (SMALL, "g-0"): (Assignment("u1", "prepare"), Assignment("u1", "main")),
        (SMALL, "g-1"): (Assignment("u1", "prepare"),),
    }


def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    """An unchanged file costs a look at its time; a changed one is read."""
    checkpoint = Checkpoint(tmp_path)
    write(tmp_path)
    first = checkpoint.read()
    assert first == {}
    assert checkpoint.read() is first
    write(tmp_path, entry("u1", "main", "g-0"))
    assert checkpoint.read() == {(SMALL, "g-0"): (Assignment("u1", "main"),)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"Data":{"PodDeviceEntries":[{"PodUID":1}]}}',
        b'{"Data":{"PodDeviceEntries":[{"PodUID":"u","ContainerName":"c","ResourceName":"r","DeviceIDs":["old"]}]}}',
        b'{"v2":' * 3000,
        b'{"Data":{"PodDeviceEntries":null}, "Pad": "' + b"x" * 4096 + b'"}',
    ],
    ids=["empty", "cut off", "no object", "no text", "wrong type", "before NUMA", "deep", "too large"],
)
def test_what_cannot_be_read_says_nothing(tmp_path: Path, content: bytes) -> None:
    """Neither does it say that nobody has a device, nor is what it said before believed any longer."""
    checkpoint = Checkpoint(tmp_path, max_bytes=4096)
    assert checkpoint.read() is None
    write(tmp_path, entry("u1", "main", "g-0"))
    assert checkpoint.read() is not None
    (tmp_path / FILE).write_bytes(content)
    assert checkpoint.read() is None
    write(tmp_path)
    assert checkpoint.read() == {}
