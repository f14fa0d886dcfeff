"""Triton 2.51 as nvidia-pytriton carries it, with a model of its Python backend. Called by tests and `make stack`.

The backend's stub is an isolated interpreter: PYTHONPATH does nothing. It takes the packages of the virtual environment
whose `python3` comes first on PATH, and finds its libraries by LD_LIBRARY_PATH.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from testbed.consumers.packages import Packages

MODEL = "whoami"
INFER = f"/v2/models/{MODEL}/infer"
READY = "/v2/health/ready"

_MODEL_SOURCE = Path(__file__).with_name("whoami_model.py")
_CONFIG = """\
backend: "python"
max_batch_size: 0
input [{ name: "PROMPT" data_type: TYPE_STRING dims: [1] }]
output [{ name: "SLICE" data_type: TYPE_STRING dims: [1] }, { name: "POD" data_type: TYPE_STRING dims: [1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""


@dataclass(frozen=True, slots=True)
class Triton:
    """The server's files: those that were fetched, and a directory of the caller's for backend and models."""

    packages: Packages
    directory: Path

    @property
    def models(self) -> Path:
        """The model repository: the model `whoami` answers with the slice and the pod that served the request."""
        return self.directory / "models"

    @property
    def backends(self) -> Path:
        """The backend directory."""
        return self.directory / "backends"

    def write(self) -> None:
        """Fill the directory."""
        root = self.packages.site / "pytriton" / "tritonserver"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copytree(root / "backends" / "python", self.backends / "python")
        shutil.copy2(root / "python_backend_stubs" / version / "triton_python_backend_stub", self.backends / "python")
        (self.models / MODEL / "1").mkdir(parents=True)
        (self.models / MODEL / "config.pbtxt").write_text(_CONFIG, encoding="utf-8")
        shutil.copyfile(_MODEL_SOURCE, self.models / MODEL / "1" / "model.py")

    def command(self, *options: str) -> list[str]:
        """The server's command line."""
        program = self.packages.site / "pytriton" / "tritonserver" / "bin" / "tritonserver"
        fixed = [f"--model-repository={self.models}", f"--backend-directory={self.backends}"]
        return [str(program), *fixed, "--allow-gpu-metrics=false", *options]

    def environment(self) -> dict[str, str]:
        """What the vendor's image would set."""
        program = self.packages.site / "pytriton" / "tritonserver" / "bin"
        libraries = (self.packages.site / "nvidia_pytriton.libs", Path(sys.base_prefix) / "lib")
        return {
            "PATH": f"{program}:{self.packages.python.parent}:/usr/bin:/bin",
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        }


def question(prompt: str = "who are you?") -> bytes:
    """The body of an inference."""
    tensor = {"name": "PROMPT", "datatype": "BYTES", "shape": [1], "data": [prompt]}
    return json.dumps({"inputs": [tensor]}).encode()


def answer(body: bytes) -> dict[str, str]:
    """`SLICE`, a MIG UUID, and `POD` of an inference's response."""
    return {tensor["name"]: tensor["data"][0] for tensor in json.loads(body)["outputs"]}
