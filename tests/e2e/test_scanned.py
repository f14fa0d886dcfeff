"""What is shipped to clusters has no weak spot that checkov knows, but those that its settings name with a reason."""

import os
import shutil
from pathlib import Path

import pytest
import yaml

from testbed import errors, scanner
from tests.e2e.helm import Helm
from tests.unit.deploy import manifests

pytestmark = pytest.mark.e2e

SETTINGS = manifests.DEPLOY / "chart" / ".checkov.yaml"


@pytest.fixture(scope="module")
def checkov() -> Path:
    """The installed scanner. Without it the tests are skipped, saying why, but in CI, which must have it."""
    try:
        return scanner.ensure_installed()
    except errors.BuildError as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc), pytrace=False)
        pytest.skip(str(exc))


def test_chart_and_operatorhubs_objects_pass(helm: Helm, checkov: Path, tmp_path: Path) -> None:
    """The chart in its three modes and what is applied beside the bundle pass every check that is not excepted."""
    for mode in ("queue", "extender", "standalone"):
        (tmp_path / f"{mode}.yaml").write_text(yaml.safe_dump_all(helm.template({"mode": mode})), encoding="utf-8")
    shutil.copy(manifests.DEPLOY / "olm" / "beside" / "objects.yaml", tmp_path / "beside.yaml")
    done = scanner.scan(checkov, SETTINGS, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Failed checks: 0" in done.stdout
    assert "Passed checks: 0" not in done.stdout


def test_a_weak_spot_is_found(checkov: Path, tmp_path: Path) -> None:
    """A container that may write its root file system fails, so the settings do not silence the scanner."""
    container = {"name": "main", "image": "example.com/main:1", "securityContext": {"readOnlyRootFilesystem": False}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "weak"}, "spec": {"containers": [container]}}
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(pod), encoding="utf-8")
    done = scanner.scan(checkov, SETTINGS, tmp_path)
    assert done.returncode == 1
    assert "CKV_K8S_22" in done.stdout
