"""What a cluster without the internet mirrors: oc-mirror's list, the cluster's mirror sets, the chart's values."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from testbed.olm import documents
from testbed.olm.images import PLACEHOLDER
from testbed.olm.sources import OlmSources

MIRROR = "mirror.example.com"

_LIST_HEAD = """\
# What oc-mirror v2 copies, written by `make bundle`; remove the examples that you do not use:
#     oc mirror --v2 --config imageset-config.yaml --workspace file:///var/tmp/mirror docker://mirror.example.com
# The operator's entry brings the bundle and the images that it relates to: scheduler and agent.
"""
_SETS_HEAD = """\
# Where the cluster finds these images, written by `make bundle`. oc-mirror writes its own at the end of a run: apply
# those, or these with the host replaced. Digests go by the first object, tags by the other.
"""
_VALUES_HEAD = """\
# Values of the chart for a cluster with a mirror and no mirror sets, written by `make bundle`. Replace the host, and
# the digests of zeros by those of the images that you push.
"""


def files(sources: OlmSources, deploy: Path) -> dict[str, str]:
    """Text by path below mirror/; `deploy` is the folder whose chart and examples are mirrored."""
    values = yaml.safe_load((deploy / "chart" / "values.yaml").read_text(encoding="utf-8"))
    scheduler = values["kubeScheduler"]["image"]
    by_tag = [f"{scheduler['repository']}:{scheduler['tag']}", *examples(deploy / "examples")]
    return {
        "imageset-config.yaml": _LIST_HEAD + documents.dump(image_set(sources, by_tag)),
        "mirror-sets.yaml": _SETS_HEAD + documents.dump(*mirror_sets(sources, by_tag)),
        "values.yaml": _VALUES_HEAD + documents.dump(_chart_values(scheduler["repository"])),
    }


def examples(folder: Path) -> list[str]:
    """The images that the examples name, sorted."""
    found = set[str]()
    for path in sorted(folder.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            found.update(_images(document))
    return sorted(found)


def image_set(sources: OlmSources, by_tag: Iterable[str]) -> dict[str, Any]:
    """The ImageSetConfiguration of oc-mirror v2."""
    package = {"name": sources.package, "channels": [{"name": sources.about["channel"]}]}
    return {
        "apiVersion": "mirror.openshift.io/v2alpha1",
        "kind": "ImageSetConfiguration",
        "mirror": {
            "operators": [{"catalog": catalog_image(sources), "packages": [package]}],
            "additionalImages": [{"name": image} for image in (sources.images.cli, *by_tag)],
        },
    }


def catalog_image(sources: OlmSources) -> str:
    """The catalogue goes by a tag: the cluster looks for newer ones behind it."""
    return f"{sources.images.bundle.partition('/')[0]}/{sources.package}-catalog:{sources.version}"


def mirror_sets(sources: OlmSources, by_tag: Iterable[str]) -> list[dict[str, Any]]:
    """ImageDigestMirrorSet and ImageTagMirrorSet."""
    digested = sources.images.by_part().values()
    return [
        _mirror_set("ImageDigestMirrorSet", "imageDigestMirrors", digested),
        _mirror_set("ImageTagMirrorSet", "imageTagMirrors", [catalog_image(sources), *by_tag]),
    ]


def _mirror_set(kind: str, field: str, images: Iterable[str]) -> dict[str, Any]:
    names = sorted({repository(image) for image in images})
    rows = [{"source": name, "mirrors": [f"{MIRROR}/{name.partition('/')[2]}"]} for name in names]
    return {
        "apiVersion": "config.openshift.io/v1",
        "kind": kind,
        "metadata": {"name": "migsched"},
        "spec": {field: rows},
    }


def repository(image: str) -> str:
    """The image's name without digest or tag."""
    name = image.partition("@")[0]
    host, slash, path = name.partition("/")
    return host + slash + path.partition(":")[0]


def _chart_values(kube_scheduler: str) -> dict[str, Any]:
    return {
        "image": {
            "repository": f"{MIRROR}/migsched",
            "schedulerDigest": PLACEHOLDER,
            "agentDigest": PLACEHOLDER,
        },
        "kubeScheduler": {
            "image": {"repository": f"{MIRROR}/{kube_scheduler.partition('/')[2]}", "digest": PLACEHOLDER}
        },
    }


def _images(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "image" and isinstance(value, str):
                yield value
            else:
                yield from _images(value)
    elif isinstance(document, list):
        for each in document:
            yield from _images(each)
