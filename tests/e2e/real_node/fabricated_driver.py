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
_NOT_LOADED = 9  # NVML_ERROR_DRIVER_NOT_LOADED
_VERSION = 'const char version[] = "{version}";\n'
# As much of NVML as NVIDIA's toolkit asks before it describes what all containers get.
_NVML = """
int nvmlInit(void) {{ return {result}; }}
int nvmlInit_v2(void) {{ return {result}; }}
int nvmlInitWithFlags(unsigned flags) {{ return {result}; }}
int nvmlShutdown(void) {{ return 0; }}
const char *nvmlErrorString(int result) {{ return "Driver Not Loaded"; }}
int nvmlSystemGetDriverVersion(char *version, unsigned length) {{
  __builtin_strncpy(version, "{version}", length);
  return 0;
}}
"""
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

    def install(self, version: str, *, nvml: bool = True) -> None:
        """Replace the driver's files by those of a version, as an upgrade does. `nvml`: its library can be used."""
        self.remove()
        for name, source in {"libcuda.so": _VERSION, "libnvidia-ml.so": _NVML}.items():
            library = self.root / LIBRARIES / f"{name}.{version}"
            library.with_name(f"{name}.1").symlink_to(library.name)
            subprocess.run(
                [toolkit.COMPILER, "-shared", f"-Wl,-soname,{name}.1", "-xc", "-", "-o", str(library)],
                input=source.format(version=version, result=0 if nvml else _NOT_LOADED),
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
