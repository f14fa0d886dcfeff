"""Consumers on the whole product: objects as their users write them, and what the cluster shows of their slices."""

import http.client
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from allocator.claims import contract
from allocator.mig import gpu_models
from simulator.workloads import dynamo_objects, manifests
from testbed.consumers import containers, dynamo, triton
from testbed.consumers.packages import Packages
from tests.e2e.real_node.agent_stack import AgentStack, Document
from tests.e2e.scheduling.stack import DEPLOY

MODEL = "Qwen/Qwen3-0.6B"
PROFILES = gpu_models.find("a100-40gb").profiles
SECONDS = 90.0  # for servers to start, seven at once on two cores


class Consumers:
    """Triton and Dynamo on a running stack that queues pods."""

    def __init__(self, stack: AgentStack, packages: Packages, directory: Path) -> None:
        self.stack = stack
        self.triton = triton.Triton(packages, directory / "triton")
        self.triton.write()
        self.dynamo = dynamo.Dynamo(packages, directory / "model")
        self.dynamo.write()
        certificate = stack.cluster.directory / "certificates" / "ca.crt"
        stack.cluster.apply([dynamo_objects.WORKER_METADATA, containers.authority(certificate)])

    # Triton

    def apply_triton(self, replicas: int, *, movable: bool = True) -> None:
        """The example, unchanged but for replicas, the programs in place of its image, and models in its volume.

        `movable` is whether repacks may restart it, as the example says.
        """
        documents = _example("triton-1g.yaml")
        for document in documents:
            if document["kind"] == "Deployment":
                document["spec"]["replicas"] = replicas
                template = document["spec"]["template"]
                template["metadata"]["annotations"][contract.MOVABLE_ANNOTATION] = str(movable).lower()
                template["spec"] = self._with_triton(template["spec"])
        self.stack.cluster.apply(documents)

    def _with_triton(self, spec: Document) -> Document:
        (models,) = [volume for volume in spec["volumes"] if volume["name"] == "models"]
        del models["emptyDir"]
        models["hostPath"] = {"path": str(self.triton.models), "type": "Directory"}
        (main,) = spec["containers"]
        main["args"].append(f"--backend-directory={self.triton.backends}")
        return containers.with_programs(spec, self.triton.packages, self.triton.environment(), self.triton.backends)

    def ask_triton(self, address: str) -> dict[str, str]:
        """The slice and the pod that answered an inference at a pod's address."""
        return triton.answer(self.post(address, 8000, triton.INFER, triton.question()))

    # Dynamo

    def apply_graph(self, workers: int, cpu: str | None = None) -> None:
        """The example's graph with so many workers, as the stand-in for Dynamo's operator makes it.

        `cpu` is what each worker asks for in place of what the example says.
        """
        (graph,) = manifests.read(DEPLOY / "examples" / "dynamo-graph.yaml")
        for component in graph.body["spec"]["components"]:
            if component["type"] != dynamo_objects.FRONTEND:
                component["replicas"] = workers
                if cpu is not None:
                    component["podTemplate"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = cpu
        made = dynamo_objects.objects(graph, "default")
        for document in made:
            if document["kind"] == "Deployment":
                template = document["spec"]["template"]
                template["spec"] = self._with_dynamo(template["spec"])
        self.stack.cluster.apply(made)

    def _with_dynamo(self, spec: Document) -> Document:
        (main,) = spec["containers"]
        limits = main["resources"]["limits"]
        profiles = [profile for profile in PROFILES if profile.resource in limits]
        if profiles:  # vLLM needs CUDA; the mocker serves the same model in its place
            main["command"], main["args"] = self.dynamo.worker(MODEL, profiles[0]), []
        else:
            main["command"] = self.dynamo.frontend("--migration-limit=3")
        spec = containers.with_programs(spec, self.dynamo.packages, self.dynamo.environment(), self.dynamo.directory)
        return containers.with_api_access(spec, int(self.stack.cluster.url.rpartition(":")[2]))

    def chat(self, address: str, text: str = "hello") -> str:
        """The answer of a front end to a chat."""
        return dynamo.completion(self.post(address, 8000, "/v1/chat/completions", dynamo.chat(MODEL, text)))

    def served(self, address: str) -> float:
        """How many generations a worker has served, as its metrics say."""
        text = request(self.stack, address, dynamo_objects.SYSTEM_PORT, "/metrics").decode()
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("dynamo_component_requests_total{") and 'dynamo_endpoint="generate"' in line
        )

    # What there is

    def endpoints(self, service: str) -> list[str]:
        """Addresses that are ready behind a Service, as its EndpointSlices say."""
        listed = self.stack.cluster.kubectl(
            "get", "endpointslices", f"--selector=kubernetes.io/service-name={service}", "--output=json"
        )
        return sorted(
            endpoint["addresses"][0]
            for found in json.loads(listed.stdout)["items"]
            for endpoint in found.get("endpoints") or ()
            if endpoint["conditions"].get("ready")
        )

    def slices(self) -> dict[str, tuple[str, str]]:
        """(MIG UUID, GPU) of every pod that has a slice, as the MigNode says."""
        gpus = self.stack.get("mignode", self.stack.node.name)["status"]["gpus"]
        return {
            cut["owner"]["pod"]: (cut["migUUID"], gpu["uuid"])
            for gpu in gpus
            for cut in gpu.get("slices") or ()
            if cut["state"] == "allocated" and cut.get("owner")
        }

    def scale(self, deployment: str, replicas: int) -> None:
        """Set how many pods a Deployment has."""
        self.stack.cluster.kubectl("scale", f"deployment/{deployment}", f"--replicas={replicas}")

    def post(self, address: str, port: int, path: str, body: bytes) -> bytes:
        """The body of a successful answer of a pod."""
        return request(self.stack, address, port, path, body)

    def clear(self) -> None:
        """Remove what consumers are made of, and wait until every slice is given back."""
        self.stack.cluster.kubectl("delete", "deployments,replicasets,services,pods", "--all", "--wait=false")
        self.stack.eventually(lambda: not self.stack.pods(), "all pods are gone", SECONDS)
        self.stack.eventually(lambda: self.slices() == {}, "all slices are given back")


def request(stack: AgentStack, address: str, port: int, path: str, body: bytes | None = None) -> bytes:
    """GET, or POST with a body; fails on any answer but 200. Raises OSError where nobody answers."""
    connection = http.client.HTTPConnection(address, port, timeout=10)
    connection.sock = stack.node.connect(address, port)
    try:
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request("POST" if body else "GET", path, body, headers)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    assert response.status == 200, (response.status, content)
    return content


def ready(pods: Sequence[Document]) -> list[str]:
    """Names of the pods that are Ready."""
    return sorted(
        pod["metadata"]["name"]
        for pod in pods
        for condition in pod["status"].get("conditions", ())
        if condition["type"] == "Ready" and condition["status"] == "True"
    )


def _example(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / "examples" / name).read_text(encoding="utf-8")))
