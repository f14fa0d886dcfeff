"""XIDs: what each of the driver's error numbers asks for. The table of docs/health.md is generated from here.

Source: NVIDIA's XID catalogue for Ampere and later (docs.nvidia.com/deploy/xid-errors, "Analyzing Xid Errors with the
Xid Catalog"). Each number is listed with the catalogue's immediate action, and an action stands for a class. Numbers
that the catalogue calls unused, or gives no action that NVML's event is enough for, are of no class.
"""

import enum
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


class FaultClass(enum.Enum):
    """What a fault asks for."""

    APPLICATION = "application"  # the application on the slice has to be restarted
    GPU_RESET = "gpu_reset"  # the whole GPU has to be reset, whichever slice the fault is attributed to
    IGNORED = "ignored"  # nothing: it follows another fault, or is a notice
    UNKNOWN = "unknown"  # the catalogue does not say, or not without what NVML does not tell


CLASSES: Mapping[str, FaultClass] = {
    "RESTART_APP": FaultClass.APPLICATION,
    "RESET_GPU": FaultClass.GPU_RESET,
    "RESTART_BM": FaultClass.GPU_RESET,
    "RESTART_VM": FaultClass.GPU_RESET,
    "WORKFLOW_XID_48": FaultClass.GPU_RESET,  # alone: reset; with 63 or 64: drain and reset
    "IGNORE": FaultClass.IGNORED,
    "WORKFLOW_XID_45": FaultClass.IGNORED,  # cleaning up after another fault, which is reported too
    "XID_154": FaultClass.IGNORED,  # a notice about another fault; its number alone does not tell which action
    "CHECK_MECHANICALS": FaultClass.IGNORED,  # a person looks at power and seating; no reset ends it
    "UPDATE_SWFW": FaultClass.IGNORED,  # vGPU could not start; nothing of ours runs there
    "QUALIFIES_48": FaultClass.IGNORED,  # says which memory a 48 was in
    "WORKFLOW_NVLINK_ERR": FaultClass.UNKNOWN,  # depends on register bits
    "WORKFLOW_NVLINK5_ERR": FaultClass.UNKNOWN,  # depends on register bits
    "CHECK_UVM": FaultClass.UNKNOWN,
    "CONTACT_SUPPORT": FaultClass.UNKNOWN,
    "none": FaultClass.UNKNOWN,
}  # by the catalogue's immediate action


@dataclass(frozen=True, slots=True)
class Xid:
    """One row of the catalogue: what happened, and its immediate action."""

    number: int
    meaning: str
    action: str

    @property
    def fault_class(self) -> FaultClass:
        """What it asks for."""
        return CLASSES[self.action]


def _rows(action: str, *rows: tuple[int, str]) -> list[Xid]:
    return [Xid(number, meaning, action) for number, meaning in rows]


def _engines(action: str, meaning: str, *numbers: int) -> list[Xid]:
    return [Xid(number, meaning, action) for number in numbers]


_CATALOGUE: tuple[Xid, ...] = (
    *_rows(
        "RESTART_APP",
        (8, "GPU stopped processing"),
        (11, "invalid or corrupted push buffer stream"),
        (13, "graphics engine exception"),
        (25, "invalid or illegal push buffer stream"),
        (31, "GPU memory page fault"),
        (32, "invalid or corrupted push buffer stream"),
        (60, "SEC2 engine error"),
        (69, "graphics engine class error"),
        (80, "corrupted data sent to the GPU"),
        (94, "contained memory error"),
    ),
    *_engines("RESTART_APP", "copy engine error", 39, 40, 41, 70, 71, 72, 75, 76, 77, 85, *range(126, 136)),
    *_engines("RESTART_APP", "video decoder error", 68, 83, 84, 88, 89, 96, 97, 98),
    *_engines("RESTART_APP", "JPEG engine error", 82, *range(99, 106)),
    *_engines("RESTART_APP", "optical flow engine error", 86, 139),
    *_rows(
        "RESET_GPU",
        (46, "GPU stopped processing"),
        (62, "internal micro-controller halt"),
        (64, "memory remapping failure"),
        (95, "uncontained memory error"),
        (109, "context switch timeout"),
        (110, "security fault"),
        (119, "GSP RPC timeout"),
        (120, "GSP error"),
        (136, "link training failed"),
        (140, "unrecovered memory error"),
        (143, "GPU initialization error"),
        (155, "NVLink software-defined error"),
        (156, "resource retirement"),
        (158, "GPU fatal timeout"),
    ),
    *_rows("WORKFLOW_XID_48", (48, "double-bit memory error")),
    *_rows("RESTART_BM", (79, "GPU has fallen off the bus")),
    *_rows("RESTART_VM", (151, "key rotation error")),
    *_rows(
        "IGNORE",
        (14, "test error"),
        (37, "driver firmware error"),
        (38, "driver firmware error"),
        (43, "GPU stopped processing"),
        (44, "graphics engine fault during context switch"),
        (63, "memory remapping"),
        (66, "illegal access by driver"),
        (67, "illegal access by driver"),
        (92, "many single-bit memory errors"),
        (93, "InfoROM erase limit exceeded"),
        (106, "test message"),
        (107, "test message"),
        (108, "NVLink remote translation error"),
        (121, "chip-to-chip link error"),
        (137, "NVLink privilege error"),
        (141, "fast path error"),
        (152, "DLA error"),
        (153, "DLA timeout"),
        (157, "resource retirement failure"),
        (160, "channel retirement"),
        (161, "channel retirement failure"),
    ),
    *_rows("WORKFLOW_XID_45", (45, "cleanup after another error")),
    *_rows("XID_154", (154, "recovery action changed")),
    *_rows("CHECK_MECHANICALS", (54, "auxiliary power is missing")),
    *_rows("UPDATE_SWFW", (78, "vGPU start error")),
    *_rows("QUALIFIES_48", (171, "uncorrectable DRAM error"), (172, "uncorrectable SRAM error")),
    *_rows("WORKFLOW_NVLINK_ERR", (74, "NVLink error")),
    *_engines("WORKFLOW_NVLINK5_ERR", "NVLink 5 error", *range(144, 151)),
    *_rows("CHECK_UVM", (159, "coherent interface error")),
    *_rows("CONTACT_SUPPORT", (142, "video encoder error")),
    *_engines("none", "no action is published", *range(162, 171)),
)
XIDS: Mapping[int, Xid] = {xid.number: xid for xid in sorted(_CATALOGUE, key=lambda xid: xid.number)}


def catalogue() -> Iterator[Xid]:
    """Every row of the catalogue."""
    return iter(_CATALOGUE)


def fault_class(number: int | None) -> FaultClass:
    """The class of an XID; UNKNOWN for one that is not listed."""
    xid = XIDS.get(number) if number is not None else None
    return FaultClass.UNKNOWN if xid is None else xid.fault_class


def describe(number: int | None) -> str:
    """An XID in words."""
    xid = XIDS.get(number) if number is not None else None
    return f"XID {number}" if xid is None else f"XID {number} ({xid.meaning})"


def table() -> str:
    """The XIDs in Markdown, those alike in one row."""
    alike: dict[tuple[FaultClass, str, str], list[int]] = {}
    for xid in XIDS.values():
        alike.setdefault((xid.fault_class, xid.meaning, xid.action), []).append(xid.number)
    lines = ["| XID | meaning | class | source |", "|---|---|---|---|"]
    for (class_, meaning, action), numbers in alike.items():
        published = (
            f"catalogue: {action}" if action not in ("none", "QUALIFIES_48") else "catalogue: no action of its own"
        )
        lines.append(f"| {_spans(numbers)} | {meaning} | {class_.value} | {published} |")
    lines.append("| any other | – | unknown | not in the catalogue |")
    return "\n".join(lines)


def _spans(numbers: list[int]) -> str:
    """Numbers with runs of them drawn together, such as 39–41, 70."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
