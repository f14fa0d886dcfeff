"""Toolkit: NVIDIA's `nvidia-ctk` and `nvidia-cdi-hook`: where they are, and what they say of the driver. Used by
driver_files.

Both come from one folder: a hook that an older nvidia-cdi-hook does not know fails the container. nvidia-ctk runs here,
nvidia-cdi-hook on the host when a container is made, so a folder counts only with the path it has there. Looked for are
the folder that the settings name, the GPU Operator's, the host's own, and the image's, whose hook is copied to the host
first.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from allocator import errors
from node_agent.containers import bounded_process, common_edits
from node_agent.containers.common_edits import CommonEdits
from node_agent.containers.driver_root import DriverRoot

CTK, HOOK = "nvidia-ctk", "nvidia-cdi-hook"
OPERATOR = Path("/usr/local/nvidia/toolkit")  # where the GPU Operator installs them, the same for host and agent
SHIPPED = Path("/opt/nvidia-container-toolkit")  # deploy/images/Dockerfile
TIMEOUT_S = 20.0  # NVML reads every GPU first; it took 0.4 s with one
_SAID = 600  # characters of what a failed run wrote
_FIX = (
    "install NVIDIA's container toolkit on the host, set toolkit_dir to the folder that has both programs, or use the "
    "agent's own image, which ships them"
)


class ToolkitError(errors.MigschedError):
    """NVIDIA's toolkit is not there, or cannot describe the driver's files; says what to do."""


class Describer(Protocol):
    """What tells the driver's files: a toolkit, or a test's stand-in."""

    def describe(self) -> CommonEdits:
        """The common edits of the driver as it is now. Raises ToolkitError or CommonEditsError."""


class Toolkit:
    """The two programs. `directory` is the setting's folder, the same on the host; None looks for one.

    `installed` is a folder that the host has at the same path, for the hook of the `shipped` programs.
    """

    def __init__(
        self,
        root: DriverRoot,
        directory: Path | None,
        installed: Path,
        *,
        operator: Path = OPERATOR,
        shipped: Path = SHIPPED,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._root = root
        self._directory = directory
        self._installed = installed
        self._operator = operator
        self._shipped = shipped
        self._timeout_s = timeout_s

    def describe(self) -> CommonEdits:
        """See Describer. With NVML as it names more; where it cannot be used, by the files alone.

        Blocks for up to twice `timeout_s`.
        """
        ctk, hook = self.locate()
        try:
            text = self._generate(ctk, hook, "--mode=nvml", "--device-id=none")
        except ToolkitError as with_nvml:
            try:
                text = self._generate(ctk, hook, "--mode=management")
            except ToolkitError as error:
                raise ToolkitError(f"{error}; with NVML: {with_nvml}") from error
        return common_edits.read(text, root=str(self._root.seen), host_root=str(self._root.host))

    def locate(self) -> tuple[Path, Path]:
        """nvidia-ctk as seen here, and nvidia-cdi-hook as the host has it. Raises ToolkitError."""
        if self._directory is not None:
            if not _complete(self._directory):
                raise ToolkitError(f"toolkit_dir {self._directory} lacks {CTK} or {HOOK}: {_FIX}")
            return self._directory / CTK, self._directory / HOOK
        if _complete(self._operator):
            return self._operator / CTK, self._operator / HOOK
        own = self._root.seen / "usr" / "bin"
        if self._root.host == Path("/") and _complete(own):
            return own / CTK, self._root.on_host(own / HOOK)
        if _complete(self._shipped):
            return self._shipped / CTK, self._install(self._shipped / HOOK)
        places = ", ".join(str(path) for path in (self._operator, own, self._shipped))
        raise ToolkitError(f"{CTK} and {HOOK} are not in {places}: {_FIX}")

    def _install(self, shipped: Path) -> Path:
        """Put the image's hook where the host finds it, whole or not at all."""
        target = self._installed / HOOK
        try:
            if not target.is_file() or target.stat().st_size != shipped.stat().st_size or _differ(target, shipped):
                self._installed.mkdir(parents=True, exist_ok=True)
                new = target.with_name(f".{HOOK}.new")
                shutil.copyfile(shipped, new)
                new.chmod(0o755)
                new.replace(target)
        except OSError as error:
            raise ToolkitError(f"{target}: cannot put {HOOK} there for the host: {error.strerror}") from error
        return target

    def _generate(self, ctk: Path, hook: Path, *how: str) -> bytes:
        """What nvidia-ctk prints."""
        command = [
            str(ctk),
            "--quiet",
            "cdi",
            "generate",
            *how,
            "--format=json",
            f"--driver-root={self._root.seen}",
            f"--dev-root={self._root.dev}",
            f"--nvidia-cdi-hook-path={hook}",
        ]
        try:
            done = bounded_process.run(command, timeout_s=self._timeout_s, max_bytes=common_edits.MAX_BYTES)
        except OSError as error:
            raise ToolkitError(f"{ctk} cannot be run: {error.strerror}") from error
        except bounded_process.LimitError as error:
            raise ToolkitError(f"{_shown(command)} {error}") from error
        if done.status:
            wrote = done.errors[:_SAID].decode(errors="replace").strip()
            raise ToolkitError(f"{_shown(command)} ended with status {done.status}: {wrote}")
        return done.output


def _complete(directory: Path) -> bool:
    return all(os.access(directory / name, os.X_OK) for name in (CTK, HOOK))


def _differ(one: Path, other: Path) -> bool:
    return one.read_bytes() != other.read_bytes()


def _shown(command: Sequence[str]) -> str:
    return " ".join(command[2:5])
