"""A model for Triton's Python backend that answers with the slice and the pod that served the request.

Triton's own interpreter loads this file as `model.py`; nothing of this repository can be imported in it.
"""

import os
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]  # the backend's own


class TritonPythonModel:
    """What the backend looks for by name."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; the prompt is read, so that a request without one is refused by Triton."""
        answers = {"SLICE": os.environ.get("MIGSCHED_VISIBLE_DEVICES", ""), "POD": os.environ.get("HOSTNAME", "")}
        tensors = [triton.Tensor(name, np.array([text.encode()], dtype=np.object_)) for name, text in answers.items()]
        return [triton.InferenceResponse(tensors) for _request in requests]
