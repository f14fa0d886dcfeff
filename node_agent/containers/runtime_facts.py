"""Runtime facts: which container runtime a node has, and whether what `inject` needs of it is on. Used by service.

Read from the runtime's configuration files and from the Node, which names its version. What they do not say is unknown,
and unknown is no reason to refuse: only where the runtime would start a container without its GPU is it one. Sources:
containerd's RELEASES.md (`enable_cdi`: off by default in 1.7, on from 2.0, always on from 2.4) and configuration
defaults of 2.4; crio.conf(5) for CRI-O, which always reads CDI specifications.
"""

import glob
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node_agent.containers.inject import Inject

MAX_BYTES = 1_048_576  # of one configuration file
MAX_FILES = 64
NVIDIA = "nvidia"  # how NVIDIA's toolkit names the runtime that it adds
_CDI_PLUGINS = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri")  # containerd 2, and 1
_VERSION = re.compile(r"^(containerd|cri-o)://v?(\d+)\.(\d+)")


@dataclass(frozen=True)
class RuntimeFacts:
    """What is known of a node's container runtime. None is unknown, `unknown` says why.

    `cdi`: it resolves CDI names. `default_runtime`: what runs pods without a RuntimeClass. `cdi_dirs`: where it looks
    for specifications.
    """

    runtime: str = ""
    cdi: bool | None = None
    default_runtime: str | None = None
    cdi_dirs: tuple[str, ...] | None = None
    unknown: str = ""

    @property
    def nvidia_is_default(self) -> bool | None:
        """Whether NVIDIA's runtime runs ordinary pods."""
        return None if self.default_runtime is None else self.default_runtime.startswith(NVIDIA)


def read(version: str, etc: Path) -> RuntimeFacts:
    """The facts of a runtime of this version, as the Node says it (`containerd://2.1.4`). `etc` is the host's /etc.

    Never raises: what cannot be read is unknown.
    """
    match = _VERSION.match(version)
    if match is None:
        return RuntimeFacts(version[:100], unknown=f"the Node names no runtime known here: {version[:100]!r}")
    name, release = match[1], (int(match[2]), int(match[3]))
    try:
        if name == "cri-o":
            return _crio(version, list(_crio_documents(etc)))
        return _containerd(version, release, list(_containerd_documents(etc)))
    except (OSError, ValueError, RecursionError) as error:
        cdi = True if name == "cri-o" or release >= (2, 4) else None
        return RuntimeFacts(version, cdi, unknown=f"its configuration cannot be read: {error}")


def problems(inject: Inject, facts: RuntimeFacts) -> list[str]:
    """Why containers would start without their GPUs, in words with the fix. Empty where they would not, or it is
    unknown.
    """
    if not inject.by_name or facts.cdi is not False:
        return []
    return [
        f"{facts.runtime} has CDI off and would start containers without their GPUs: set enable_cdi = true in its "
        "configuration and restart it, or run the agent with inject=env where NVIDIA's runtime is the default"
    ]


def doubts(inject: Inject, facts: RuntimeFacts, cdi_dir: Path) -> list[str]:
    """What may keep containers from their GPUs, in words with the fix. It depends on the pods, or on what is mounted
    where; a container whose CDI name is not found does not start, so nothing needs to be refused.
    """
    said = []
    if inject is not Inject.CDI and facts.nvidia_is_default is False:
        said.append(
            f"inject={inject} needs NVIDIA's runtime, and {facts.default_runtime} is the default: give pods "
            "runtimeClassName: nvidia, or run the agent with inject=cdi"
        )
    dirs = facts.cdi_dirs
    if inject.by_name and dirs is not None and _same(cdi_dir) not in map(_same, map(Path, dirs)):
        said.append(
            f"{facts.runtime} looks for CDI specifications in {', '.join(dirs) or 'no directory'}, and cdi_dir is "
            f"{cdi_dir}: make them agree"
        )
    return said


def _containerd(version: str, release: tuple[int, int], documents: list[dict[str, Any]]) -> RuntimeFacts:
    enabled: Any = None
    default: Any = None
    dirs: Any = None
    for document in documents:  # later files win
        for plugin in (_table(document, "plugins", name) for name in _CDI_PLUGINS):
            enabled = plugin.get("enable_cdi", enabled)
            dirs = plugin.get("cdi_spec_dirs", dirs)
            default = _table(plugin, "containerd").get("default_runtime_name", default)
    if release >= (2, 4):
        enabled = True
    elif not isinstance(enabled, bool):
        enabled = release >= (2, 0)
    return RuntimeFacts(version, enabled, _text(default, "runc"), _texts(dirs, ("/etc/cdi", "/var/run/cdi")))


def _crio(version: str, documents: list[dict[str, Any]]) -> RuntimeFacts:
    default: Any = None
    dirs: Any = None
    for document in documents:
        runtime = _table(document, "crio", "runtime")
        default = runtime.get("default_runtime", default)
        dirs = runtime.get("cdi_spec_dirs", dirs)
    return RuntimeFacts(version, True, _text(default, "crun"), _texts(dirs, ("/etc/cdi", "/var/run/cdi")))


def _containerd_documents(etc: Path) -> Iterator[dict[str, Any]]:
    main = _load(etc / "containerd" / "config.toml")
    yield main
    imports = main.get("imports")
    patterns = [one for one in imports if isinstance(one, str)] if isinstance(imports, list) else []
    files = [path for pattern in patterns for path in _matching(pattern, etc)]
    for path in files[:MAX_FILES]:
        yield _load(path)


def _crio_documents(etc: Path) -> Iterator[dict[str, Any]]:
    files = [etc / "crio" / "crio.conf", *sorted((etc / "crio" / "crio.conf.d").glob("*.conf"))]
    existing = [path for path in files if path.is_file()]
    if not existing:
        raise FileNotFoundError(f"there is no {files[0]} and no file in crio.conf.d beside it")
    for path in existing[:MAX_FILES]:
        yield _load(path)


def _matching(pattern: str, etc: Path) -> list[Path]:
    """The files that an import names, below the host's /etc as it is seen here; those elsewhere are not seen."""
    path = Path(pattern)
    inside = path.relative_to("/etc") if path.is_relative_to("/etc") else path if not path.is_absolute() else None
    if inside is None:
        return []
    base = etc if path.is_absolute() else etc / "containerd"
    return [Path(name) for name in sorted(glob.glob(str(base / inside)))]  # noqa: PTH207  # any part may be a pattern


def _load(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ValueError(f"{path} has more than {MAX_BYTES} bytes")
    return tomllib.loads(text.decode())


def _table(document: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        inner = document.get(name)
        if not isinstance(inner, dict):
            return {}
        document = inner
    return document


def _text(value: Any, otherwise: str) -> str:
    return value if isinstance(value, str) and value else otherwise


def _texts(value: Any, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else otherwise


def _same(directory: Path) -> str:
    """A directory by its one name: /var/run is /run."""
    text = str(directory)
    return text.removeprefix("/var") if text.startswith("/var/run/") else text
