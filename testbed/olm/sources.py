"""What the bundle is made of: the objects of deploy/olm as `kubectl kustomize` builds them, and what people wrote."""

import base64
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testbed import errors
from testbed.olm.images import OlmImages

ROOT = Path(__file__).parents[2]  # of a checkout
FOLDER = ROOT / "deploy" / "olm"

Document = dict[str, Any]

_TIMEOUT_S = 60.0
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same language, ten times as fast


@dataclass(frozen=True, slots=True)
class OlmSources:
    """Everything that goes in. `objects` is the whole build; `about` is about.yaml; `icon` is base64 of the picture."""

    objects: tuple[Document, ...]
    about: Mapping[str, Any]
    icon: str
    version: str
    images: OlmImages

    @property
    def package(self) -> str:
        """The name under which OperatorHub lists the product."""
        return "migsched"

    @property
    def csv_name(self) -> str:
        """The ClusterServiceVersion of this version."""
        return f"{self.package}.v{self.version}"


def read(kubectl: Path, images: OlmImages, folder: Path = FOLDER) -> OlmSources:
    """Build and read them; `folder` is deploy/olm of a checkout.

    Raises CommandError where the kustomization cannot be built.
    """
    done = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise errors.CommandError(f"kubectl kustomize {folder}: {done.stderr.strip()}; correct what it names")
    project = tomllib.loads((folder.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    return OlmSources(
        objects=tuple(document for document in yaml.load_all(done.stdout, _LOADER) if document),
        about=yaml.safe_load((folder / "about.yaml").read_text(encoding="utf-8")),
        icon=base64.b64encode((folder / "icon.svg").read_bytes()).decode("ascii"),
        version=str(project["project"]["version"]),
        images=images,
    )
