"""DriverFiles: the common edits of the driver that is installed now, kept until its files change. Used by injection.

A driver upgrade renames every file. What was said of the old one points at nothing, so before each step and each
Allocate the files that it names are looked at again, some forty `stat` calls, and where one is another or gone the
toolkit is asked anew. While it cannot answer there are no edits at all: better no container than one without CUDA.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from allocator import errors
from node_agent.containers.common_edits import CommonEdits, CommonEditsError
from node_agent.containers.driver_root import DriverRoot
from node_agent.containers.toolkit import Describer, ToolkitError
from node_agent.gpu.nvml.library_file import DIRECTORIES

MODULE_VERSION = Path("/sys/module/nvidia/version")
_NOT_LOOKED = "the driver's files have not been looked at yet"
_ATTEMPTS = 3
_log = structlog.get_logger("driver files")

_Print = tuple[object, ...]  # what tells one state of the driver's files from another


class DriverFilesError(errors.MigschedError):
    """It is not known which files of the driver a container needs; says why, and what to do."""


class DriverFiles:
    """What the toolkit says of the driver below a root. Safe for threads; `refresh` may block, `current` never does.

    After a failure the toolkit is asked again when the files change, and at the latest after `retry_s`.
    """

    def __init__(
        self,
        describer: Describer,
        root: DriverRoot,
        *,
        retry_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        module_version: Path = MODULE_VERSION,
    ) -> None:
        self.root = root
        self._describer = describer
        self._retry_s = retry_s
        self._clock = clock
        self._module_version = module_version
        self._lock = threading.Lock()
        self._common: CommonEdits | None = None
        self._print: _Print | None = None
        self._asked_at = 0.0
        self._folders = tuple(str(root.seen / name) for name in DIRECTORIES)
        self._watched: tuple[str, ...] = ()  # what the common edits name, as it is seen here
        self._trouble = _NOT_LOOKED

    @property
    def trouble(self) -> str | None:
        """Why there are no common edits, in words; None where there are."""
        return None if self._common is not None else self._trouble

    @property
    def described(self) -> str:
        """What containers are given, in words; empty while it is not known."""
        common = self._common
        if common is None:
            return ""
        hook = f" and the hooks of {common.hooks[0]}" if common.hooks else ""
        return f"{len(common.mounted)} files of the driver below {self.root.host}{hook}"

    def current(self) -> CommonEdits:
        """The common edits as of the last `refresh`. Raises DriverFilesError while there are none."""
        common = self._common
        if common is None:
            raise DriverFilesError(self._trouble)
        return common

    def refresh(self) -> None:
        """Look whether the driver's files are those that were described, and have them described if not."""
        with self._lock:
            if self._is_current():
                return
            before, self._common = self._common, None
            self._watched = ()
            self._print, self._asked_at = self._look(), self._clock()
            try:
                common = self._describe()
            except (ToolkitError, CommonEditsError) as error:
                self._fail(str(error))
                return
            self._common = common
            self._trouble = _NOT_LOOKED
            if common != before:
                _log.info("driver files", mounts=len(common.edits["mounts"]), hooks=len(common.edits.get("hooks", ())))

    def _describe(self) -> CommonEdits:
        """Have the driver described until it did not change meanwhile: while it is installed, half of it is there.

        Raises ToolkitError or CommonEditsError.
        """
        common = self._describer.describe()
        for _ in range(_ATTEMPTS):
            self._watched = self._seen(common)
            self._print = self._look()
            before, common = common, self._describer.describe()
            if common == before and self._print == self._look():
                return common
        self._watched = ()
        raise ToolkitError("the driver's files change while they are described; is the driver being replaced?")

    def _is_current(self) -> bool:
        waits = self._common is None and self._clock() - self._asked_at >= self._retry_s
        return not waits and self._print == self._look()

    def _fail(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("the driver's files are not known; no container is given a GPU", error=trouble)
        self._trouble = trouble

    def _look(self) -> _Print:
        """The driver's version, the folders that may hold its libraries, and the state of the files named. A folder's
        time changes with what is in it, so a library that is added is noticed too.
        """
        return (self._version(), *map(_state, self._folders), *map(_state, self._watched))

    def _version(self) -> str:
        try:
            return self._module_version.read_text(encoding="ascii", errors="replace")
        except OSError:
            return ""

    def _seen(self, common: CommonEdits) -> tuple[str, ...]:
        """The files that a container's start needs, by their paths here, as far as they can be seen.

        Raises ToolkitError where one is missing.
        """
        mounted = ((path, self.root.here(Path(path))) for path in common.mounted)
        hooks = ((path, self.root.here(Path(path)) or Path(path)) for path in common.hooks)
        seen = {path: str(here) for path, here in (*mounted, *hooks) if here is not None}
        for path, here in seen.items():
            if _state(here) is None:
                raise ToolkitError(f"the toolkit names {path}, which is not there; is the driver being replaced?")
        return tuple(seen.values())


def _state(path: str) -> object | None:
    """What tells a file from another at the same path; None if it is gone."""
    try:
        status = os.stat(path)  # noqa: PTH116  # dozens at each step
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns)
