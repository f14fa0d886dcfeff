"""The bundle: a ClusterServiceVersion and the objects beside it, with the annotations by which OLM reads the image."""

import copy
import json
from typing import Any

from testbed.olm import documents
from testbed.olm.sources import Document, OlmSources
from testbed.olm.split import ACCOUNT, SYSTEM, Split

_PREFIX = "operators.operatorframework.io.bundle"

_CONTAINERFILE = """\
# The bundle's image, which has files only. Written by `make bundle`:
#     buildah bud --tag {image} deploy/olm/bundle
FROM scratch
{labels}
COPY manifests /manifests/
COPY metadata /metadata/
"""


def files(sources: OlmSources, parts: Split) -> dict[str, str]:
    """Text by path below bundle/."""
    made = {
        f"manifests/{sources.package}.clusterserviceversion.yaml": documents.dump(service_version(sources, parts)),
        "metadata/annotations.yaml": documents.dump({"annotations": annotations(sources)}),
        "Containerfile": containerfile(sources),
    }
    for one in parts.bundled:
        kind, name = one["kind"].lower(), one["metadata"]["name"]
        path = f"manifests/{name}.crd.yaml" if kind == "customresourcedefinition" else f"manifests/{name}.{kind}.yaml"
        made[path] = documents.dump(one)
    return made


def annotations(sources: OlmSources) -> dict[str, str]:
    """What says of the image that it is a bundle, of which package, for which channels and versions of OpenShift."""
    channel = sources.about["channel"]
    return {
        f"{_PREFIX}.mediatype.v1": "registry+v1",
        f"{_PREFIX}.manifests.v1": "manifests/",
        f"{_PREFIX}.metadata.v1": "metadata/",
        f"{_PREFIX}.package.v1": sources.package,
        f"{_PREFIX}.channels.v1": channel,
        f"{_PREFIX}.channel.default.v1": channel,
        "com.redhat.openshift.versions": sources.about["openshift"],
    }


def containerfile(sources: OlmSources) -> str:
    """How the image is built; its labels repeat the annotations."""
    labels = "\n".join(f'LABEL {name}="{value}"' for name, value in annotations(sources).items())
    return _CONTAINERFILE.format(image=sources.images.bundle.partition("@")[0], labels=labels)


def service_version(sources: OlmSources, parts: Split) -> Document:
    """The ClusterServiceVersion."""
    about, images = sources.about, sources.images
    examples = json.dumps(about["examples"], indent=2)
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {
            "name": sources.csv_name,
            "namespace": "placeholder",  # OLM's own word for "where the operator is installed"
            "labels": dict(about["spec"]["labels"]),
            "annotations": {**about["annotations"], "alm-examples": examples, "containerImage": images.scheduler},
        },
        "spec": {
            **{key: value for key, value in about["spec"].items() if key != "labels"},
            "version": sources.version,
            "icon": [{"base64data": sources.icon, "mediatype": "image/svg+xml"}],
            "customresourcedefinitions": {"owned": [_owned(sources, one) for one in definitions(parts)]},
            "install": {
                "strategy": "deployment",
                "spec": {
                    "clusterPermissions": [{"serviceAccountName": ACCOUNT, "rules": parts.rules}],
                    "deployments": [_deployment(sources, parts)],
                },
            },
            "relatedImages": related_images(sources),
        },
    }


def definitions(parts: Split) -> list[Document]:
    """The CustomResourceDefinitions of the bundle."""
    return [one for one in parts.bundled if one["kind"] == "CustomResourceDefinition"]


def related_images(sources: OlmSources) -> list[dict[str, str]]:
    """The images that run: the agents' too, so that a mirror of the bundle has them."""
    return [{"name": part, "image": sources.images.by_part()[part]} for part in ("scheduler", "agent")]


def with_images(sources: OlmSources, pod: Document) -> Document:
    """A PodSpec with our images by their digests; others are left as they are."""
    found = copy.deepcopy(pod)
    by_name = {f"migsched-{part}": image for part, image in sources.images.by_part().items()}
    for container in (*found.get("initContainers", ()), *found["containers"]):
        name = container["image"].partition(":")[0]
        container["image"] = by_name.get(name, container["image"])
    return found


def _owned(sources: OlmSources, definition: Document) -> dict[str, Any]:
    spec = definition["spec"]
    version = next(version["name"] for version in spec["versions"] if version["storage"])
    kind = spec["names"]["kind"]
    return {
        "name": definition["metadata"]["name"],
        "kind": kind,
        "version": version,
        **sources.about["resources"][kind],
    }


def _deployment(sources: OlmSources, parts: Split) -> dict[str, Any]:
    metadata, spec = parts.deployment["metadata"], copy.deepcopy(parts.deployment["spec"])
    if metadata["namespace"] != SYSTEM:
        raise ValueError(f"the Deployment is of {metadata['namespace']}, policies name {SYSTEM}: build it there")
    spec["template"]["spec"] = with_images(sources, spec["template"]["spec"])
    return {"name": metadata["name"], "label": metadata["labels"], "spec": spec}
