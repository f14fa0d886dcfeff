"""The driver that each GPU model needs for MIG, and the CUDA version of that branch. Pure; read by `checks.operator`.

Branches: NVIDIA's MIG User Guide, "Supported GPUs" (editions r580 and r610). CUDA versions: NVIDIA's CUDA Toolkit
release notes, the first toolkit whose driver is of that branch; empty where no source was read. Models that the guide
gives no branch of their own, such as GH200, are not judged.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DriverMinimum:
    """The first driver branch that cuts this model, and its CUDA version."""

    branch: int
    cuda: str


MINIMUMS = {
    "a100-40gb": DriverMinimum(450, "11.0"),
    "a100-80gb": DriverMinimum(450, "11.0"),
    "a30-24gb": DriverMinimum(460, "11.2"),
    "h100-80gb": DriverMinimum(525, "12.0"),
    "h100-94gb": DriverMinimum(525, "12.0"),
    "h200-141gb": DriverMinimum(550, "12.4"),
    "b200-180gb": DriverMinimum(570, "12.8"),
    "gb200-186gb": DriverMinimum(570, "12.8"),
    "rtx-pro-6000-blackwell-96gb": DriverMinimum(575, "12.9"),
    "rtx-pro-5000-blackwell-48gb": DriverMinimum(575, "12.9"),
    "rtx-pro-4500-blackwell-32gb": DriverMinimum(575, "12.9"),
    "b300-269gb": DriverMinimum(580, "13.0"),
    "gb300-278gb": DriverMinimum(595, ""),
}
FULL_SETS = (  # profiles that a later branch brought: NVIDIA's MIG User Guide
    (470, "profiles with media engines (`+me`)"),
    (525, "`1g.10gb` with two memory slices on an A100-40GB, `2g.12gb+me` on an A30"),
    (575, "`+gfx`, `-me` and `+me.all` on RTX PRO Blackwell"),
)
NEW = "595.91.07"  # cuts every model above: the default of GPU Operator 26.7
LABELS = ("nvidia.com/cuda.driver-version.major", "nvidia.com/cuda.driver.major")  # the second before GFD 0.15


def branch(labels: dict[str, str]) -> int | None:
    """The driver's branch by the labels of GPU feature discovery; None where they do not say."""
    for label in LABELS:
        text = labels.get(label, "")
        if text.isascii() and text.isdigit() and len(text) <= 4:
            return int(text)
    return None
