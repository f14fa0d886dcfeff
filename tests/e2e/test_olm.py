"""deploy/olm is what its sources give, its halves lose nothing, and Operator Framework's validators take it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed import errors
from testbed.control_plane import build
from testbed.olm import sources, split, validators, written
from testbed.olm.images import OlmImages
from testbed.olm.sources import OlmSources
from testbed.olm.validators import OlmValidators
from tests.e2e import kubernetes_schemas
from tests.e2e.helm import Helm
from tests.e2e.test_chart_rendering import VERSIONS
from tests.unit.deploy import manifests, olm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]  # the first run builds the validators

Change = Callable[[dict[str, Any]], object]
DIGEST = "sha256:" + "5" * 64
LABEL = "app.kubernetes.io/component"


@pytest.fixture(scope="module")
def judges() -> OlmValidators:
    """Operator Framework's validators."""
    try:
        return validators.ensure_built()
    except errors.BuildError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def read(binaries: build.Binaries) -> OlmSources:
    """What deploy/olm is made of today."""
    return sources.read(binaries.kubectl, OlmImages())


def test_deploy_olm_is_as_it_would_be_made_now(read: OlmSources) -> None:
    """No file differs from what `make bundle` writes, none is missing, and none is left over."""
    made = written.files(read)
    there = [path for folder in written.FOLDERS for path in (manifests.OLM / folder).rglob("*") if path.is_file()]
    found = {str(path.relative_to(manifests.OLM)): path.read_text(encoding="utf-8") for path in there}
    assert found == made


def test_no_object_is_lost_between_the_halves(read: OlmSources) -> None:
    """Each object is in the bundle, beside it, or made by OLM; what is left out is kube-scheduler's alone."""

    def key(one: dict[str, Any]) -> str:
        return f"{one['kind']}/{one['metadata']['name']}"

    parts = split.split(read.objects)
    found = {key(one) for one in (*parts.bundled, *parts.beside, parts.deployment)}
    assert len(found) == len(parts.bundled) + len(parts.beside) + 1
    missing = {key(one): one for one in read.objects if key(one) not in found}
    ours = {name for name, one in missing.items() if one["metadata"].get("labels", {}).get(LABEL) != "kube-scheduler"}
    rights = {"api-lock", "moves", "queue", "scheduler"}  # they are rules of the ClusterServiceVersion
    assert ours == {
        "Namespace/migsched-system",
        "ServiceAccount/migsched-scheduler",
        *(f"{kind}/migsched-{name}" for name in rights for kind in ("ClusterRole", "ClusterRoleBinding")),
    }
    assert parts.rules == [rule for name in sorted(rights) for rule in missing[f"ClusterRole/migsched-{name}"]["rules"]]


def test_the_agents_and_the_policies_are_beside(read: OlmSources) -> None:
    """What a bundle cannot have is applied by an administrator: DaemonSet, SCC, webhook, policies, NetworkPolicy."""
    beside = {one["kind"] for one in split.split(read.objects).beside}
    assert {
        "DaemonSet",
        "MutatingWebhookConfiguration",
        "NetworkPolicy",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    } <= beside


def test_other_images_make_another_bundle(read: OlmSources, binaries: build.Binaries) -> None:
    """Digests that are given stand everywhere, and a tag in place of one is refused with the fix."""
    images = OlmImages(**{part: f"quay.example.com/mig/{part}@{DIGEST}" for part in OlmImages().by_part()})
    made = written.files(sources.read(binaries.kubectl, images))
    text = "".join(made[name] for name in made if not name.startswith("mirror/values"))
    assert "0" * 64 not in text
    assert f"quay.example.com/mig/agent\n  digest: {DIGEST}" in made["beside/kustomization.yaml"]
    with pytest.raises(errors.CommandError, match=r"--agent .*: name the image by its digest"):
        OlmImages(agent="quay.example.com/mig/agent:1")


def test_the_validators_have_nothing_to_say(judges: OlmValidators) -> None:
    """All validators of Operator Framework, those of OperatorHub among them, take the bundle without a warning."""
    assert judges.judge(olm.BUNDLE) == []


FAULTS: dict[str, tuple[Change, str]] = {
    "version": (lambda csv: csv["spec"].update(version="one"), "version"),
    "category": (lambda csv: csv["metadata"]["annotations"].update(categories="Slices"), "Slices"),
    "capability": (lambda csv: csv["metadata"]["annotations"].update(capabilities="Magic"), "Magic"),
    "provider": (lambda csv: csv["spec"].update(provider={}), "Provider.Name"),
    "maintainer": (lambda csv: csv["spec"]["maintainers"][0].update(email="nobody"), "nobody"),
    "icon": (lambda csv: csv["spec"]["icon"][0].update(mediatype="text/plain"), "text/plain"),
    "kubernetes": (lambda csv: csv["spec"].update(minKubeVersion="soon"), "soon"),
    "owned": (lambda csv: csv["spec"]["customresourcedefinitions"]["owned"].pop(), "not defined in CSV"),
    "modes": (lambda csv: csv["spec"].pop("installModes"), "install"),
    "examples": (lambda csv: csv["metadata"]["annotations"].update({"alm-examples": "["}), "JSON"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_validators_find_what_is_wrong(judges: OlmValidators, tmp_path: Path, fault: str) -> None:
    """They are in force: each planted fault is named."""
    change, word = FAULTS[fault]
    shutil.copytree(olm.BUNDLE, tmp_path / "bundle")
    path = tmp_path / "bundle" / olm.CSV_FILE.relative_to(olm.BUNDLE)
    version = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(version)
    path.write_text(yaml.safe_dump(version), encoding="utf-8")
    try:
        said = "\n".join(judges.judge(tmp_path / "bundle"))
    except errors.CommandError as error:
        said = str(error)
    assert word.lower() in said.lower()


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_follow_the_schemas_of_kubernetes(read: OlmSources, version: str) -> None:
    """Everything that OLM or an administrator creates is valid from OpenShift 4.18's Kubernetes on."""
    parts = split.split(read.objects)
    found = [
        problem
        for one in (*parts.bundled, *parts.beside, parts.deployment)
        for problem in kubernetes_schemas.problems(one, version)
    ]
    assert found == []


def test_the_chart_takes_the_mirrors_values(helm: Helm) -> None:
    """With mirror/values.yaml every image of the chart comes from the mirror, by its digest."""
    values = olm.read(olm.MIRROR / "values.yaml")
    for mode in ("queue", "extender"):
        rendered = helm.template({**values, "mode": mode, "openshift": {"enabled": True}})
        templates = [template for one in rendered for _part, template in manifests.pod_templates(one)]
        images = {one["image"] for template in templates for one in manifests.containers(template["spec"])}
        assert len(images) == (2 if mode == "queue" else 3)
        assert all(image.startswith("mirror.example.com/") and "@sha256:" in image for image in images)


def test_kube_scheduler_takes_the_secondary_schedulers_configuration(binaries: build.Binaries, tmp_path: Path) -> None:
    """The genuine kube-scheduler reads it without a field that it does not know, and would ask our extender."""
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}
    context = {"name": "a", "context": {"cluster": "a", "user": "a"}}
    kubeconfig.write_text(
        json.dumps(
            {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "current-context": "a"}
        ),
        encoding="utf-8",
    )
    config = olm.read(manifests.OLM / "secondary-scheduler" / "config.yaml")
    config["clientConnection"]["kubeconfig"] = str(kubeconfig)
    config["extenders"][0]["tlsConfig"] = {"insecure": True}  # its files are in the operator's pod
    given, taken = tmp_path / "config.yaml", tmp_path / "taken.yaml"
    given.write_text(yaml.safe_dump(config), encoding="utf-8")
    done = subprocess.run(
        [binaries.kube_scheduler, "--config", given, "--write-config-to", taken, "--cert-dir", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert taken.exists(), done.stderr
    (extender,) = yaml.safe_load(taken.read_text(encoding="utf-8"))["extenders"]
    assert extender["urlPrefix"] == config["extenders"][0]["urlPrefix"]
