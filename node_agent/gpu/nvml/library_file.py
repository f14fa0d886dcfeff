"""Library file: where the driver's library is when it is not where the loader looks. Used by driver.

In a container the driver's files lie below another root: that of the GPU Operator's driver container, or the host's.
Only this one library is loaded from there, by its path: with the directory on the loader's search path the host's C
library would come along. It needs nothing beside itself but a C library.
"""

import ctypes
from pathlib import Path

from node_agent.gpu import device

NAME = "libnvidia-ml.so.1"
DIRECTORIES = (  # of Red Hat, Debian on either architecture, and others
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib",
)


def load(root: Path) -> ctypes.CDLL:
    """The library below a root. Raises DriverNotLoadedError, saying where it was looked for."""
    for directory in DIRECTORIES:
        path = root / directory / NAME
        if path.exists():
            try:
                return ctypes.CDLL(str(path))
            except OSError as error:
                raise device.DriverNotLoadedError(f"{path} cannot be loaded: {error}") from error
    raise device.DriverNotLoadedError(f"there is no {NAME} in {', '.join(DIRECTORIES)} below driver_root {root}")
