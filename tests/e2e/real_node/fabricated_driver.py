"""A driver without a GPU: a folder laid out as NVIDIA's driver is, with real shared libraries and device nodes.

The libraries are compiled, so that `ldconfig` takes them for what they are. The nodes have NVIDIA's numbers, behind
which this machine has no device: they can be seen in a container, and not be opened.
"""

import os
import stat
import subprocess
from pathlib import Path

from testbed.node import toolkit

LIBRARIES = f"usr/lib/{os.uname().machine}-linux-gnu"
CONTROL = {"nvidiactl": (195, 255), "nvidia-uvm": (238, 0), "nvidia-uvm-tools": (238, 1)}
_SONAMES = {"libcuda.so": "libcuda.so.1", "libnvidia-ml.so": "libnvidia-ml.so.1"}
_SMI = """#!/bin/sh
echo "driver {version}"
for device in $(echo "$MIGSCHED_VISIBLE_DEVICES" | tr , ' '); do echo "MIG device $device"; done
"""


class FabricatedDriver:
    """A driver root. `gpus` is how many GPUs have a node."""

    def __init__(self, root: Path, gpus: int) -> None:
        self.root = root
        (root / LIBRARIES).mkdir(parents=True)
        (root / "usr/bin").mkdir()
        (root / "dev").mkdir()
        for name, (major, minor) in {**CONTROL, **{f"nvidia{n}": (195, n) for n in range(gpus)}}.items():
            os.mknod(root / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
            (root / "dev" / name).chmod(0o666)

    def install(self, version: str) -> None:
        """Replace the driver's files by those of a version, as an upgrade does."""
        self.remove()
        for name, soname in _SONAMES.items():
            library = self.root / LIBRARIES / f"{name}.{version}"
            subprocess.run(
                [toolkit.COMPILER, "-shared", f"-Wl,-soname,{soname}", "-xc", "-", "-o", str(library)],
                input=f'const char version[] = "{version}";\n',
                text=True,
                check=True,
                capture_output=True,
                timeout=60,
            )
        smi = self.root / "usr/bin/nvidia-smi"
        smi.write_text(_SMI.format(version=version), encoding="ascii")
        smi.chmod(0o755)

    def remove(self) -> None:
        """Remove the driver's files; its nodes stay."""
        for path in (*(self.root / LIBRARIES).iterdir(), *(self.root / "usr/bin").iterdir()):
            path.unlink()
