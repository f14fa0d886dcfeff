"""CapabilityTree: the files with which the driver tells which device node opens which instance. Used by driver.

Laid out under a root directory as on a node: /proc/driver/nvidia/capabilities/gpu<minor>/mig/gi<G>/access and
…/gi<G>/ci<C>/access with the minor number of the capability device, /proc/driver/nvidia-caps/mig-minors with all
possible ones, and the major number in /proc/devices. The device nodes themselves do not come with an instance.
"""

import shutil
from pathlib import Path

MAJOR = 241
CONFIG_MINOR = 1
MONITOR_MINOR = 2
_FIRST = 3
_GPU_INSTANCES = 15
_NODES_PER_GPU_INSTANCE = 9  # its own and eight compute instances


def gi_minor(gpu_minor: int, gi_id: int) -> int:
    """The capability minor of a GPU instance, as the driver numbers them."""
    return _FIRST + (gpu_minor * _GPU_INSTANCES + gi_id) * _NODES_PER_GPU_INSTANCE


def ci_minor(gpu_minor: int, gi_id: int, ci_id: int) -> int:
    """The capability minor of a compute instance."""
    return gi_minor(gpu_minor, gi_id) + 1 + ci_id


class CapabilityTree:
    """The files of one node under `root`."""

    def __init__(self, root: Path, gpu_minors: list[int]) -> None:
        self._capabilities = root / "proc/driver/nvidia/capabilities"
        self._write(
            root / "proc/devices", f"Character devices:\n  1 mem\n195 nvidia\n{MAJOR} nvidia-caps\n\nBlock devices:\n"
        )
        self._write(root / "proc/driver/nvidia-caps/mig-minors", _mig_minors(gpu_minors))
        for name, minor in (("config", CONFIG_MINOR), ("monitor", MONITOR_MINOR)):
            self._write(self._capabilities / "mig" / name, _access(minor, 0o400 if name == "config" else 0o444))

    def show(self, gpu_minor: int, instances: dict[int, tuple[int, ...]]) -> None:
        """Show exactly these GPU instances, {id: compute instance ids}, of a GPU."""
        top = self._capabilities / f"gpu{gpu_minor}" / "mig"
        shutil.rmtree(top, ignore_errors=True)
        top.mkdir(parents=True)
        for gi_id, ci_ids in instances.items():
            self._write(top / f"gi{gi_id}" / "access", _access(gi_minor(gpu_minor, gi_id), 0o444))
            for ci_id in ci_ids:
                minor = ci_minor(gpu_minor, gi_id, ci_id)
                self._write(top / f"gi{gi_id}" / f"ci{ci_id}" / "access", _access(minor, 0o444))

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _access(minor: int, mode: int) -> str:
    return f"DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n"


def _mig_minors(gpu_minors: list[int]) -> str:
    lines = [f"config {CONFIG_MINOR}", f"monitor {MONITOR_MINOR}"]
    for gpu in gpu_minors:
        for gi in range(_GPU_INSTANCES):
            lines.append(f"gpu{gpu}/gi{gi}/access {gi_minor(gpu, gi)}")
            lines += [f"gpu{gpu}/gi{gi}/ci{ci}/access {ci_minor(gpu, gi, ci)}" for ci in range(8)]
    return "\n".join(lines) + "\n"
