"""KServe's InferenceService (serving.kserve.io/v1beta1): a Deployment per component. Used by expand.

A component's pod spec stands beside its other fields. A model format (`model`, or an older one such as `triton`) is the
container `kserve-container`, whose other fields come from a ServingRuntime, of which nothing is known here; what it
asks for is written here, so slices are not missed. As many pods are made as `minReplicas` says; an autoscaler may add
some.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from simulator.cluster.api import Document
from simulator.workloads import fields, replicated
from simulator.workloads.fields import FieldPlace
from simulator.workloads.work import FieldTable, Work

GROUP = "serving.kserve.io"
KIND = "InferenceService"
_CONTAINER = "kserve-container"
_COMPONENTS = FieldTable(
    read=frozenset({"predictor", "transformer", "explainer"}), harmless=frozenset({"labels", "annotations"})
)
_FORMATS = (
    "model", "huggingface", "lightgbm", "onnx", "paddle", "pmml", "pytorch", "sklearn", "tensorflow", "triton",
    "xgboost", "alibi", "aix360", "art", "openvino", "catboost",
)  # fmt: skip
_EXTENSION = frozenset(
    {
        "annotations", "batcher", "canaryTrafficPercent", "containerConcurrency", "deploymentStrategy", "labels",
        "logger", "maxReplicas", "minReplicas", "scaleMetric", "scaleMetricType", "scaleTarget", "storageUris",
        "timeout",
    }
)  # fmt: skip  # of a component, beside its pod spec
_CONTAINER_FIELDS = frozenset(
    {
        "args", "command", "env", "envFrom", "image", "imagePullPolicy", "lifecycle", "livenessProbe", "name", "ports",
        "readinessProbe", "resizePolicy", "resources", "securityContext", "startupProbe", "stdin", "stdinOnce",
        "terminationMessagePath", "terminationMessagePolicy", "tty", "volumeDevices", "volumeMounts", "workingDir",
    }
)  # fmt: skip
_WORKER = frozenset({"pipelineParallelSize", "tensorParallelSize"})
_DEFAULT_PIPELINE = 2  # pods of a multi-node predictor, the head among them, where it says nothing else


def inference_service(work: Work) -> Iterator[Document]:
    """The pods of predictor, transformer and explainer."""
    if work.manifest.api_version != f"{GROUP}/v1beta1":
        work.leave_out(work.at / "apiVersion", f"only {GROUP}/v1beta1 is expanded here; its pods are missing")
        return
    at = work.at / "spec"
    work.check(_COMPONENTS, work.spec, at)
    fields.mapping(work.spec, "predictor", at, required=True)
    for name in sorted(_COMPONENTS.read, key=("predictor", "transformer", "explainer").index):
        component = fields.mapping(work.spec, name, at)
        if component:
            yield from _component(work, name, component, at / name)


def _component(work: Work, name: str, component: Mapping[str, Any], at: FieldPlace) -> Iterator[Document]:
    replicas = work.count(component, "minReplicas", at)
    if not replicas:
        work.leave_out(at / "minReplicas", "is 0: it has no pods until a request comes")
    spec = _pod_spec(component, at, {*_EXTENSION, *_FORMATS, "workerSpec"})
    containers = [*_model_containers(component, at), *fields.sequence(component, "containers", at)]
    if not containers:
        raise at.error(component, "needs a model format, such as model, or containers")
    metadata = {what: fields.mapping(component, what, at) for what in ("labels", "annotations")}
    template = {"metadata": metadata, "spec": {**spec, "containers": containers}}
    labels = {"serving.kserve.io/inferenceservice": work.name, "component": name}
    full = f"{work.name}-{name}"
    yield from replicated.of_deployment(work, full, template, at, replicas, labels)
    if component.get("workerSpec") is not None:
        yield from _workers(work, f"{full}-worker", component, template, at, replicas)


def _model_containers(component: Mapping[str, Any], at: FieldPlace) -> Iterator[dict[str, Any]]:
    for name in _FORMATS:
        format_ = component.get(name)
        if format_ is not None:
            format_ = fields.mapping(component, name, at)
            yield {
                **{field: value for field, value in format_.items() if field in _CONTAINER_FIELDS},
                "name": format_.get("name") or _CONTAINER,
            }


def _workers(
    work: Work, name: str, component: Mapping[str, Any], head: Mapping[str, Any], at: FieldPlace, replicas: int
) -> Iterator[Document]:
    """The other pods of a predictor of several nodes. Their container is the runtime's unless one is written here."""
    worker, here = fields.mapping(component, "workerSpec", at), at / "workerSpec"
    size = work.count(worker, "pipelineParallelSize", here, default=_DEFAULT_PIPELINE, least=1)
    spec = _pod_spec(worker, here, _WORKER)
    if not spec.get("containers"):
        work.leave_out(here, "its containers are the serving runtime's; they are taken to be like the predictor's")
    if worker.get("tensorParallelSize") is not None:
        work.leave_out(here / "tensorParallelSize", "sets how many GPUs a container gets; it is not read here")
    merged = {**head["spec"], **{field: value for field, value in spec.items() if value}}
    template = {"metadata": head["metadata"], "spec": merged}
    yield from replicated.of_deployment(work, name, template, here, replicas * (size - 1))


def _pod_spec(parent: Mapping[str, Any], at: FieldPlace, others: "set[str] | frozenset[str]") -> dict[str, Any]:
    """The fields of a pod spec that stand beside others."""
    fields.sequence(parent, "containers", at)
    return copy.copy({field: value for field, value in parent.items() if field not in others})
