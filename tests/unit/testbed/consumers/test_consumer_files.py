"""What consumers are told and given, without running them."""

import re
from pathlib import Path
from typing import Any

import pytest

from allocator.mig import gpu_models
from testbed.consumers import containers, dynamo, packages, triton
from testbed.consumers.ingress import Ingress
from testbed.consumers.packages import Packages
from testbed.node import image

A100 = gpu_models.find("a100-40gb")
PLACE = Packages(Path("/cache/consumers/x"))


def test_a_larger_slice_holds_and_serves_more() -> None:
    """KV blocks and speed grow with the profile's memory; a whole GPU has the whole speed."""
    ordered = [A100.profile(name) for name in ("1g.5gb", "2g.10gb", "3g.20gb", "7g.40gb")]
    blocks = [dynamo.kv_blocks(profile) for profile in ordered]
    assert blocks == sorted(set(blocks))
    assert blocks[0] * dynamo.BLOCK_TOKENS > 4096, "the smallest holds one long conversation"
    assert [dynamo.speedup(profile) for profile in ordered] == [2.5, 5.0, 10.0, 20.0]


def test_programs_are_mounted_read_only_and_nothing_else_changes() -> None:
    """What a pod asks for, its probes and its own variables stay; the image is busybox and all trees are read-only."""
    spec: dict[str, Any] = {
        "containers": [
            {"name": "main", "image": "vendor:1", "env": [{"name": "HOME", "value": "/x"}], "resources": {"limits": {}}}
        ],
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    }
    changed = containers.with_programs(spec, PLACE, {"HOME": "/tmp", "PATH": "/p"}, Path("/models"))
    (main,) = changed["containers"]
    assert (main["image"], main["imagePullPolicy"]) == (image.BUSYBOX, "Never")
    assert {variable["name"]: variable["value"] for variable in main["env"]} == {"HOME": "/x", "PATH": "/p"}
    assert {"/usr", "/cache/consumers/x", "/models"} <= {mount["mountPath"] for mount in main["volumeMounts"]}
    assert all(mount["readOnly"] for mount in main["volumeMounts"])
    assert changed["securityContext"] == spec["securityContext"]
    assert spec["containers"][0]["image"] == "vendor:1", "the caller's spec is left alone"


def test_requirements_are_pinned_by_hash_and_name_versions_of_the_facts() -> None:
    """Triton's and Dynamo's packages are of one version each; every locked package has hashes."""
    for name in packages.LOCKED:
        text = (packages.REQUIREMENTS / name).read_text(encoding="utf-8")
        pinned = re.findall(r"^[a-z0-9-]+==[^ ]+", text, re.MULTILINE)
        assert len(pinned) == len(re.findall(r"^[a-z0-9-]+==.*\\$\n    --hash=", text, re.MULTILINE)) > 0
    programs = (packages.REQUIREMENTS / "programs.txt").read_text(encoding="utf-8")
    assert set(re.findall(r"^[a-z0-9-]+==[^ ]+", programs, re.MULTILINE)) == {
        "ai-dynamo==1.6.1",
        "ai-dynamo-runtime==1.6.1",
        "nvidia-pytriton==0.7.0",
    }


def test_an_installation_is_named_by_its_requirements(tmp_path: Path) -> None:
    """Other requirements are another entry of the cache."""
    for name in packages.LOCKED:
        (tmp_path / name).write_text("a==1\n", encoding="utf-8")
    first = packages.key(tmp_path)
    (tmp_path / packages.LOCKED[0]).write_text("a==2\n", encoding="utf-8")
    assert packages.key(tmp_path) != first


def test_an_inference_answers_with_slice_and_pod() -> None:
    """Tensors of Triton's answer are read by name."""
    body = b'{"outputs": [{"name": "SLICE", "data": ["MIG-1"]}, {"name": "POD", "data": ["p"]}]}'
    assert triton.answer(body) == {"SLICE": "MIG-1", "POD": "p"}


@pytest.mark.parametrize(("path", "status"), [("/v1/models", 503), ("/elsewhere", 404)])
def test_an_ingress_without_an_endpoint_says_which_is_missing(path: str, status: int) -> None:
    """A route without endpoints is 503, as with a Route; a path without a route is 404."""
    with Ingress() as ingress:
        ingress.route("/v1/", [])
        assert ingress.pass_on("GET", path, {}, b"")[0] == status
