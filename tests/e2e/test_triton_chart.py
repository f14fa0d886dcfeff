"""docs/triton.md: the patches over NVIDIA's own chart make pods that ask for a slice and that OpenShift admits."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.workloads import expand
from simulator.workloads import manifests as workload_manifests
from testbed.control_plane import build
from tests.e2e import kubernetes_schemas
from tests.unit.deploy import manifests, olm
from tests.unit.deploy.test_deploy_examples import asked

pytestmark = pytest.mark.e2e

ROOT = manifests.DEPLOY.parent
SHAPE = ROOT / "tests" / "data" / "triton_onprem.yaml"
VOLUMES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}  # of restricted-v2


@pytest.fixture
def patched(binaries: build.Binaries, tmp_path: Path) -> Path:
    """What `kubectl kustomize` makes of the chart's shape with the page's kustomization."""
    (kustomization,) = (one for one in olm.documents_in(ROOT / "docs" / "triton.md") if one["kind"] == "Kustomization")
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    (tmp_path / "rendered.yaml").write_text(SHAPE.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [binaries.kubectl, "kustomize", tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    made = tmp_path / "made.yaml"
    made.write_text(done.stdout, encoding="utf-8")
    return made


def test_the_chart_as_it_is_asks_for_no_slice() -> None:
    """Its pod asks for a whole GPU, which is not migsched's."""
    (pod,) = expand.expand(workload_manifests.read(SHAPE)).pods
    assert dict(asked(pod)) == {}


def test_the_patched_chart_asks_for_a_slice(patched: Path) -> None:
    """Its pod asks for one slice, tolerates GPU nodes, and has no id or volume that restricted-v2 refuses."""
    (pod,) = expand.expand(workload_manifests.read(patched)).pods
    spec: dict[str, Any] = pod["spec"]
    assert dict(asked(pod)) == {"1g.5gb": 1}
    assert [toleration["key"] for toleration in spec["tolerations"]] == ["nvidia.com/gpu"]
    assert "runAsUser" not in spec["securityContext"]
    assert all(volume.keys() - {"name"} <= VOLUMES for volume in spec["volumes"])
    documents = list(yaml.safe_load_all(patched.read_text(encoding="utf-8")))
    assert [problem for one in documents for problem in kubernetes_schemas.problems(one, "1.31")] == []
