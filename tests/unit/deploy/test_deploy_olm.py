"""deploy/olm: what Red Hat's preflight and opm ask of a bundle and a catalogue, as rules of our own.

preflight and opm themselves are not run: tests/e2e/test_olm.py runs Operator Framework's validators.
"""

import base64
import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from testbed.olm import split
from tests.unit.deploy import manifests, olm

CSV = olm.read(olm.CSV_FILE)
ANNOTATIONS = olm.read(olm.BUNDLE / "metadata" / "annotations.yaml")["annotations"]
DEPLOYMENT = CSV["spec"]["install"]["spec"]["deployments"][0]
RELATED = {image["image"] for image in CSV["spec"]["relatedImages"]}
DIGEST = re.compile(r"[\w./:-]+@sha256:[0-9a-f]{64}")
# preflight, RequiredAnnotations
FEATURES = [
    *("disconnected", "fips-compliant", "proxy-aware", "tls-profiles"),
    *("token-auth-aws", "token-auth-azure", "token-auth-gcp"),
]

# What opm validates of a file-based catalogue, as far as a schema can say it. It is ours, not opm's.
TEXT = {"type": "string", "minLength": 1}
ICON = {"type": "object", "required": ["base64data", "mediatype"], "additionalProperties": False}
SCHEMAS: dict[str, dict[str, Any]] = {
    "olm.package": {
        "type": "object",
        "additionalProperties": False,
        "required": ["schema", "name", "defaultChannel"],
        "properties": {
            "schema": TEXT,
            "name": TEXT,
            "defaultChannel": TEXT,
            "description": TEXT,
            "icon": {**ICON, "properties": {"base64data": TEXT, "mediatype": TEXT}},
        },
    },
    "olm.channel": {
        "type": "object",
        "additionalProperties": False,
        "required": ["schema", "package", "name", "entries"],
        "properties": {
            "schema": TEXT,
            "package": TEXT,
            "name": TEXT,
            "entries": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["name"],
                    "properties": {
                        "name": TEXT,
                        "replaces": TEXT,
                        "skips": {"type": "array", "items": TEXT},
                        "skipRange": TEXT,
                    },
                },
            },
        },
    },
    "olm.bundle": {
        "type": "object",
        "additionalProperties": False,
        "required": ["schema", "package", "name", "image", "properties"],
        "properties": {
            "schema": TEXT,
            "package": TEXT,
            "name": TEXT,
            "image": {"type": "string", "pattern": r"^\S+@sha256:[0-9a-f]{64}$"},
            "properties": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["type", "value"],
                    "properties": {"type": TEXT, "value": {}},
                },
            },
            "relatedImages": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["name", "image"],
                    "properties": {"name": {"type": "string"}, "image": TEXT},
                },
            },
        },
    },
}


@pytest.mark.parametrize("feature", FEATURES)
def test_each_feature_is_claimed_or_denied(feature: str) -> None:
    """preflight's RequiredAnnotations: each is "true" or "false", as text."""
    assert CSV["metadata"]["annotations"][f"features.operators.openshift.io/{feature}"] in ("true", "false")


def test_every_image_is_a_related_one_by_its_digest() -> None:
    """preflight: AllImageRefsInRelatedImages, and digests for restricted networks; the agents' image is listed too."""
    pod = DEPLOYMENT["spec"]["template"]["spec"]
    used = {container["image"] for container in manifests.containers(pod)}
    assert used <= RELATED
    assert all(DIGEST.fullmatch(image) for image in RELATED)
    (entry,) = olm.read(manifests.OLM / "beside" / "kustomization.yaml")["images"]
    assert f"{entry['newName']}@{entry['digest']}" in RELATED
    assert CSV["metadata"]["annotations"]["containerImage"] in RELATED


def test_the_bundle_has_only_kinds_that_olm_installs() -> None:
    """registry+v1 knows a closed list of kinds, and makes the account of a Deployment by itself."""
    kinds = {one["kind"] for one in olm.bundled()}
    assert kinds - {"ClusterServiceVersion"} <= split.TAKEN
    assert CSV["spec"]["install"]["spec"]["clusterPermissions"][0]["serviceAccountName"] == split.ACCOUNT
    assert DEPLOYMENT["spec"]["template"]["spec"]["serviceAccountName"] == split.ACCOUNT


def test_it_asks_for_no_scc_but_the_strictest() -> None:
    """preflight's SecurityContextConstraintsInCSV finds none to use: the pods run under restricted-v2."""
    rules = CSV["spec"]["install"]["spec"]["clusterPermissions"][0]["rules"]
    assert not any("securitycontextconstraints" in rule.get("resources", ()) for rule in rules)
    assert DEPLOYMENT["spec"]["template"]["metadata"]["annotations"] == {"openshift.io/required-scc": "restricted-v2"}


def test_it_may_do_nothing_by_a_wildcard_and_read_no_secret() -> None:
    """No rule names all groups, resources or verbs, and none is about Secrets."""
    rules = CSV["spec"]["install"]["spec"]["clusterPermissions"][0]["rules"]
    rules += [rule for one in olm.bundled() if one["kind"] in ("Role", "ClusterRole") for rule in one["rules"]]
    words = {word for rule in rules for values in rule.values() for word in values}
    assert words.isdisjoint({"*", "secrets"})


def test_it_is_installed_for_all_namespaces_only() -> None:
    """A scheduler of a part of the cluster would not know what others place on the same GPUs."""
    modes = {mode["type"]: mode["supported"] for mode in CSV["spec"]["installModes"]}
    assert modes == {"OwnNamespace": False, "SingleNamespace": False, "MultiNamespace": False, "AllNamespaces": True}


def test_owned_resources_are_described_and_have_an_example_of_their_schema() -> None:
    """Each CRD of the bundle is owned, with words for the console and an example that its schema takes."""
    definitions = {
        one["spec"]["names"]["kind"]: one for one in olm.bundled() if one["kind"] == "CustomResourceDefinition"
    }
    owned = {one["kind"]: one for one in CSV["spec"]["customresourcedefinitions"]["owned"]}
    examples = {one["kind"]: one for one in json.loads(CSV["metadata"]["annotations"]["alm-examples"])}
    assert owned.keys() == definitions.keys() == examples.keys()
    for kind, definition in definitions.items():
        (version,) = definition["spec"]["versions"]
        assert (owned[kind]["name"], owned[kind]["version"]) == (definition["metadata"]["name"], version["name"])
        assert owned[kind]["displayName"]
        assert owned[kind]["description"]
        jsonschema.Draft7Validator(version["schema"]["openAPIV3Schema"]).validate(examples[kind])


def test_the_images_labels_repeat_the_annotations() -> None:
    """The bundle's Containerfile has each annotation as a label, and copies both folders."""
    text = (olm.BUNDLE / "Containerfile").read_text(encoding="utf-8")
    assert dict(re.findall(r'^LABEL (\S+?)="(.*)"$', text, re.MULTILINE)) == ANNOTATIONS
    assert set(re.findall(r"^COPY (\w+)", text, re.MULTILINE)) == {"manifests", "metadata"}
    assert ANNOTATIONS["operators.operatorframework.io.bundle.mediatype.v1"] == "registry+v1"


def test_the_icon_is_a_picture() -> None:
    """It is base64 of an SVG, in the ClusterServiceVersion and in the catalogue."""
    (icon,) = CSV["spec"]["icon"]
    assert icon == olm.entries()["olm.package"]["icon"]
    assert ET.fromstring(base64.b64decode(icon["base64data"])).tag.endswith("svg")


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_catalogue_follows_its_schema(schema: str) -> None:
    """Each document has the fields of a file-based catalogue and no others, by a schema of our own."""
    jsonschema.Draft7Validator(SCHEMAS[schema]).validate(olm.entries()[schema])


def test_the_catalogue_names_what_the_bundle_is() -> None:
    """Package, channel, bundle and version agree with the bundle's; the owned kinds are offered."""
    found = olm.entries()
    package, channel, entry = (found[f"olm.{name}"] for name in ("package", "channel", "bundle"))
    prefix = "operators.operatorframework.io.bundle"
    assert package["name"] == channel["package"] == entry["package"] == ANNOTATIONS[f"{prefix}.package.v1"]
    assert package["defaultChannel"] == channel["name"] == ANNOTATIONS[f"{prefix}.channel.default.v1"]
    assert [one["name"] for one in channel["entries"]] == [entry["name"]] == [CSV["metadata"]["name"]]
    assert {image["image"] for image in entry["relatedImages"]} == RELATED | {entry["image"]}
    values = [(one["type"], one["value"]) for one in entry["properties"]]
    assert dict(values)["olm.package"] == {"packageName": package["name"], "version": CSV["spec"]["version"]}
    assert {value["kind"] for kind, value in values if kind == "olm.gvk"} == {"MigNode", "Repack"}
    assert dict(values)["olm.csv.metadata"]["displayName"] == CSV["spec"]["displayName"]


def named_images(value: Any) -> set[str]:
    """The text of each field `image`, at any depth."""
    if isinstance(value, list):
        return {image for each in value for image in named_images(each)}
    if not isinstance(value, dict):
        return set()
    here = {text for key, text in value.items() if key == "image" and isinstance(text, str)}
    return here | {image for each in value.values() for image in named_images(each)}


def test_the_mirror_list_has_every_image() -> None:
    """Each image of the examples and of the chart is listed; bundle and related images come by the catalogue."""
    listed = olm.read(olm.MIRROR / "imageset-config.yaml")["mirror"]
    (operator,) = listed["operators"]
    assert [package["name"] for package in operator["packages"]] == [olm.entries()["olm.package"]["name"]]
    images = {image["name"] for image in listed["additionalImages"]}
    paths = manifests.files(manifests.EXAMPLES)
    examples = {image for path in paths for one in manifests.documents(path) for image in named_images(one)}
    assert examples <= images
    scheduler = olm.read(manifests.CHART / "values.yaml")["kubeScheduler"]["image"]
    assert f"{scheduler['repository']}:{scheduler['tag']}" in images
    assert [image for image in images if "migsched-cli@" in image]


def test_every_mirrored_image_has_a_mirror() -> None:
    """The mirror sets send each image of the list, the catalogue, the bundle and what it relates to, to one host."""
    sets = {one["kind"]: one["spec"] for one in manifests.documents(olm.MIRROR / "mirror-sets.yaml")}
    digests = {row["source"]: row["mirrors"] for row in sets["ImageDigestMirrorSet"]["imageDigestMirrors"]}
    tags = {row["source"]: row["mirrors"] for row in sets["ImageTagMirrorSet"]["imageTagMirrors"]}
    listed = olm.read(olm.MIRROR / "imageset-config.yaml")["mirror"]
    images = {image["name"] for image in listed["additionalImages"]} | RELATED
    images |= {olm.entries()["olm.bundle"]["image"], listed["operators"][0]["catalog"]}
    for image in images:
        if "@" in image:
            assert image.partition("@")[0] in digests, image
        else:
            assert image.rpartition(":")[0] in tags, image
    mirrors = [mirror for names in (*digests.values(), *tags.values()) for mirror in names]
    assert len(mirrors) == len(set(mirrors)), "two images would share a place in the mirror"
    assert {mirror.partition("/")[0] for mirror in mirrors} == {"mirror.example.com"}


def test_the_secondary_schedulers_configuration_is_the_shipped_one() -> None:
    """It differs from deploy/kube-scheduler in the lease, which it has none of, and in how the extender is reached."""
    shipped = dict(manifests.one(manifests.KUBE_SCHEDULER_CONFIG, "KubeSchedulerConfiguration"))
    made = olm.read(manifests.OLM / "secondary-scheduler" / "config.yaml")
    reached = ("urlPrefix", "enableHTTPS", "tlsConfig")
    for config in (shipped, made):
        config.pop("leaderElection")
        config["extenders"] = [{key: one[key] for key in one if key not in reached} for one in config["extenders"]]
    assert made == shipped
