"""The YAML files of deploy/, read for tests."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
EXAMPLES = DEPLOY / "examples"
CHART = DEPLOY / "chart"
OLM = DEPLOY / "olm"
KUBE_SCHEDULER_CONFIG = DEPLOY / "kube-scheduler" / "config.yaml"

Manifest = Mapping[str, Any]


def files(folder: Path = DEPLOY) -> list[Path]:
    """Every YAML file in and below a folder, but the chart's and OperatorHub's, which are made from the others."""
    return sorted(path for path in folder.rglob("*.yaml") if not {CHART, OLM} & {*path.parents})


def documents(path: Path) -> list[Manifest]:
    """Every object in a file, the caller's own to change."""
    return list(copy.deepcopy(_read(path)))


@cache
def _read(path: Path) -> tuple[Manifest, ...]:
    """A file is parsed once: hundreds of tests ask for the same files."""
    return tuple(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def one(path: Path, kind: str, name: str | None = None) -> Manifest:
    """The only object of that kind (and name) in a file."""
    (found,) = (d for d in documents(path) if d["kind"] == kind and (name is None or d["metadata"]["name"] == name))
    return found


def pod_templates(document: Manifest) -> Iterator[tuple[str, Manifest]]:
    """What the pods that an object makes look like, as (part of the object, PodTemplateSpec)."""
    spec = document.get("spec", {})
    match document["kind"]:
        case "Pod":
            yield "pod", {"metadata": document["metadata"], "spec": spec}
        case "Deployment" | "Job" | "DaemonSet":
            yield "template", spec["template"]
        case "DynamoGraphDeployment":
            for component in spec.get("components", ()):
                yield component["name"], component["podTemplate"]
            for name, service in spec.get("services", {}).items():  # of v1alpha1
                pod = dict(service["extraPodSpec"])
                yield name, {"spec": {"containers": [{"name": "main", **pod.pop("mainContainer")}], **pod}}


def containers(pod_spec: Manifest) -> Sequence[Manifest]:
    """All containers of a pod, init containers and sidecars included."""
    return [*pod_spec.get("initContainers", []), *pod_spec["containers"]]
