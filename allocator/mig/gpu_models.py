"""The catalogues of known GPU models, for planning, simulation and GPUs that cannot tell their own.

Live NVML beats this table: names and memory drift with driver and board. Sources per model are NVIDIA's MIG User
Guide, published `nvidia-smi mig -lgip/-lgipp` listings and go-nvml's A100/A30 mocks; the H200 and
H100-80GB rows were read off one of each (driver 580.159.04, MIG mode off). `None` means that no one has published the
value. Where listings of one board contradict each other, by driver, the smaller memory stands here: what is planned
with it fits with either. Called by the simulator, the command line and the planner through `find`.
"""

from allocator import errors
from allocator.mig.catalogue import Catalogue
from allocator.mig.profile import Engines, Profile

# One row per profile: name, profile id, NVML enum index, compute slices, memory slices, instances, MiB,
# SMs, copy engines, (decoders, encoders, JPEG, optical flow) or None, starts.
_Row = tuple[
    str,
    int,
    int,
    int,
    int,
    int,
    int | None,
    int | None,
    int | None,
    tuple[int, int, int, int] | None,
    tuple[int, ...],
]

_ANY = tuple(range(7))
_EVEN = (0, 2, 4, 6)

_ROWS: dict[str, tuple[_Row, ...]] = {
    "a30-24gb": (
        ("1g.6gb", 14, 0, 1, 1, 4, 5952, 14, 1, (0, 0, 0, 0), (0, 1, 2, 3)),
        ("1g.6gb+me", 21, 7, 1, 1, 1, 5952, 14, 1, (1, 0, 1, 1), (0, 1, 2, 3)),
        ("2g.12gb", 5, 1, 2, 2, 2, 11968, 28, 2, (2, 0, 0, 0), (0, 2)),
        ("2g.12gb+me", 6, 8, 2, 2, 1, 11968, 28, 2, (2, 0, 1, 1), (0, 2)),
        ("4g.24gb", 0, 3, 4, 4, 1, 24000, 56, 4, (4, 0, 1, 1), (0,)),
    ),
    "a100-40gb": (
        ("1g.5gb", 19, 0, 1, 1, 7, 4864, 14, 1, (0, 0, 0, 0), _ANY),
        ("1g.5gb+me", 20, 7, 1, 1, 1, 4864, 14, 1, (1, 0, 1, 1), _ANY),
        ("1g.10gb", 15, 9, 1, 2, 4, 9856, 14, 1, (1, 0, 0, 0), _EVEN),
        ("2g.10gb", 14, 1, 2, 2, 3, 9856, 28, 2, (1, 0, 0, 0), (0, 2, 4)),
        ("3g.20gb", 9, 2, 3, 4, 2, 19968, 42, 3, (2, 0, 0, 0), (0, 4)),
        ("4g.20gb", 5, 3, 4, 4, 1, 19968, 56, 4, (2, 0, 0, 0), (0,)),
        ("7g.40gb", 0, 4, 7, 8, 1, 40192, 98, 7, (5, 0, 1, 1), (0,)),
    ),
    "a100-80gb": (
        ("1g.10gb", 19, 0, 1, 1, 7, 9728, 14, 1, (0, 0, 0, 0), _ANY),
        ("1g.10gb+me", 20, 7, 1, 1, 1, 9728, 14, 1, (1, 0, 1, 1), _ANY),
        ("1g.20gb", 15, 9, 1, 2, 4, 19968, 14, 1, (1, 0, 0, 0), _EVEN),
        ("2g.20gb", 14, 1, 2, 2, 3, 19968, 28, 2, (1, 0, 0, 0), (0, 2, 4)),
        ("3g.40gb", 9, 2, 3, 4, 2, 40192, 42, 3, (2, 0, 0, 0), (0, 4)),
        ("4g.40gb", 5, 3, 4, 4, 1, 40192, 56, 4, (2, 0, 0, 0), (0,)),
        ("7g.80gb", 0, 4, 7, 8, 1, 80384, 98, 7, (5, 0, 1, 1), (0,)),
    ),
    "h100-80gb": (
        ("1g.10gb", 19, 0, 1, 1, 7, 9984, 16, 1, (1, 0, 1, 0), _ANY),
        ("1g.10gb+me", 20, 7, 1, 1, 1, 9984, 16, 1, (1, 0, 1, 1), _ANY),
        ("1g.20gb", 15, 9, 1, 2, 4, 20096, 26, 1, (1, 0, 1, 0), _EVEN),
        ("2g.20gb", 14, 1, 2, 2, 3, 20096, 32, 2, (2, 0, 2, 0), (0, 2, 4)),
        ("3g.40gb", 9, 2, 3, 4, 2, 40448, 60, 3, (3, 0, 3, 0), (0, 4)),
        ("4g.40gb", 5, 3, 4, 4, 1, 40448, 64, 4, (4, 0, 4, 0), (0,)),
        ("7g.80gb", 0, 4, 7, 8, 1, 81152, 132, 8, (7, 0, 7, 1), (0,)),
    ),
    "h100-94gb": (
        ("1g.12gb", 19, 0, 1, 1, 7, 11008, 16, 1, (1, 0, 1, 0), _ANY),
        ("1g.12gb+me", 20, 7, 1, 1, 1, 11008, 16, 1, (1, 0, 1, 1), _ANY),
        ("1g.24gb", 15, 9, 1, 2, 4, 22144, 26, 1, (1, 0, 1, 0), _EVEN),
        ("2g.24gb", 14, 1, 2, 2, 3, 22144, 32, 2, (2, 0, 2, 0), (0, 2, 4)),
        ("3g.47gb", 9, 2, 3, 4, 2, 47232, 60, 3, (3, 0, 3, 0), (0, 4)),
        ("4g.47gb", 5, 3, 4, 4, 1, 47232, 64, 4, (4, 0, 4, 0), (0,)),
        ("7g.94gb", 0, 4, 7, 8, 1, 94848, 132, 8, (7, 0, 7, 1), (0,)),
    ),
    "h100-96gb-gh200": (
        ("1g.12gb", 19, 0, 1, 1, 7, 11264, 16, 1, (1, 0, 1, 0), _ANY),
        ("1g.12gb+me", 20, 7, 1, 1, 1, 11264, 16, 1, (1, 0, 1, 1), _ANY),
        ("1g.24gb", 15, 9, 1, 2, 4, 23552, 26, 1, (1, 0, 1, 0), _EVEN),
        ("2g.24gb", 14, 1, 2, 2, 3, 23552, 32, 2, (2, 0, 2, 0), (0, 2, 4)),
        ("3g.48gb", 9, 2, 3, 4, 2, 47616, 60, 3, (3, 0, 3, 0), (0, 4)),
        ("4g.48gb", 5, 3, 4, 4, 1, 47616, 64, 4, (4, 0, 4, 0), (0,)),
        ("7g.96gb", 0, 4, 7, 8, 1, 95232, 132, 8, (7, 0, 7, 1), (0,)),
    ),
    "gh200-144gb": (
        ("1g.18gb", 19, 0, 1, 1, 7, 17920, 16, 1, (1, 0, 1, 0), _ANY),
        ("1g.18gb+me", 20, 7, 1, 1, 1, 17920, 16, 1, (1, 0, 1, 1), _ANY),
        ("1g.36gb", 15, 9, 1, 2, 4, 36096, 26, 1, (1, 0, 1, 0), _EVEN),
        ("2g.36gb", 14, 1, 2, 2, 3, 36096, 32, 2, (2, 0, 2, 0), (0, 2, 4)),
        ("3g.72gb", 9, 2, 3, 4, 2, None, None, None, None, (0, 4)),
        ("4g.72gb", 5, 3, 4, 4, 1, None, None, None, None, (0,)),
        ("7g.144gb", 0, 4, 7, 8, 1, None, None, None, None, (0,)),
    ),
    "h200-141gb": (
        ("1g.18gb", 19, 0, 1, 1, 7, 16384, 16, 1, (1, 0, 1, 0), _ANY),
        ("1g.18gb+me", 20, 7, 1, 1, 1, 16384, 16, 1, (1, 0, 1, 1), _ANY),
        ("1g.35gb", 15, 9, 1, 2, 4, 33280, 26, 1, (1, 0, 1, 0), _EVEN),
        ("2g.35gb", 14, 1, 2, 2, 3, 33280, 32, 2, (2, 0, 2, 0), (0, 2, 4)),
        ("3g.71gb", 9, 2, 3, 4, 2, 71424, 60, 3, (3, 0, 3, 0), (0, 4)),
        ("4g.71gb", 5, 3, 4, 4, 1, 71424, 64, 4, (4, 0, 4, 0), (0,)),
        ("7g.141gb", 0, 4, 7, 8, 1, 143360, 132, 8, (7, 0, 7, 1), (0,)),
    ),
    "b200-180gb": (
        ("1g.23gb", 19, 0, 1, 1, 7, 20992, 18, 2, (1, 0, 1, 0), _ANY),
        ("1g.23gb+me", 20, 7, 1, 1, 1, 20992, 18, 2, (1, 0, 1, 1), _ANY),
        ("1g.45gb", 15, 9, 1, 2, 4, 45312, 30, 2, (1, 0, 1, 0), _EVEN),
        ("2g.45gb", 14, 1, 2, 2, 3, 45312, 36, None, (2, 0, 2, 0), (0, 2, 4)),
        ("3g.90gb", 9, 2, 3, 4, 2, None, None, 6, None, (0, 4)),
        ("4g.90gb", 5, 3, 4, 4, 1, None, None, 8, None, (0,)),
        ("7g.180gb", 0, 4, 7, 8, 1, None, None, 16, None, (0,)),
    ),
    "gb200-186gb": (
        ("1g.23gb", 19, 0, 1, 1, 7, 22528, 18, 2, (1, 0, 1, 0), _ANY),
        ("1g.23gb+me", 20, 7, 1, 1, 1, 22528, 18, 2, (1, 0, 1, 1), _ANY),
        ("1g.47gb", 15, 9, 1, 2, 4, 46592, 32, 2, (1, 0, 1, 0), _EVEN),
        ("2g.47gb", 14, 1, 2, 2, 3, 46592, 38, None, (2, 0, 2, 0), (0, 2, 4)),
        ("3g.93gb", 9, 2, 3, 4, 2, None, None, 6, None, (0, 4)),
        ("4g.93gb", 5, 3, 4, 4, 1, None, None, 8, None, (0,)),
        ("7g.186gb", 0, 4, 7, 8, 1, None, None, 16, None, (0,)),
    ),
    "b300-269gb": (
        ("1g.34gb", 19, 0, 1, 1, 7, None, None, None, None, _ANY),
        ("1g.34gb+me", 20, 7, 1, 1, 1, None, None, None, None, _ANY),
        ("1g.67gb", 15, 9, 1, 2, 4, None, None, None, None, _EVEN),
        ("2g.67gb", 14, 1, 2, 2, 3, None, None, None, None, (0, 2, 4)),
        ("3g.135gb", 9, 2, 3, 4, 2, None, None, None, None, (0, 4)),
        ("4g.135gb", 5, 3, 4, 4, 1, None, None, None, None, (0,)),
        ("7g.269gb", 0, 4, 7, 8, 1, None, None, None, None, (0,)),
    ),
    "gb300-278gb": (
        ("1g.35gb", 19, 0, 1, 1, 7, None, None, None, None, _ANY),
        ("1g.35gb+me", 20, 7, 1, 1, 1, None, None, None, None, _ANY),
        ("1g.70gb", 15, 9, 1, 2, 4, None, None, None, None, _EVEN),
        ("2g.70gb", 14, 1, 2, 2, 3, None, None, None, None, (0, 2, 4)),
        ("3g.139gb", 9, 2, 3, 4, 2, None, None, None, None, (0, 4)),
        ("4g.139gb", 5, 3, 4, 4, 1, None, None, None, None, (0,)),
        ("7g.278gb", 0, 4, 7, 8, 1, None, None, None, None, (0,)),
    ),
    "rtx-pro-6000-blackwell-96gb": (
        ("1g.24gb", 14, 0, 1, 3, 4, 23680, 46, 1, (1, 1, 1, 0), (0, 3, 6, 9)),
        ("1g.24gb+me", 21, 7, 1, 3, 1, 23680, 46, 1, (1, 1, 1, 1), (0, 3, 6, 9)),
        ("1g.24gb+gfx", 47, 10, 1, 3, 4, 23680, 46, 1, (1, 1, 1, 0), (0, 3, 6, 9)),
        ("1g.24gb+me.all", 65, 15, 1, 3, 1, 23680, 46, 1, (4, 4, 4, 1), (0, 3, 6, 9)),
        ("1g.24gb-me", 67, 13, 1, 3, 4, 23680, 46, 1, (0, 0, 0, 0), (0, 3, 6, 9)),
        ("2g.48gb", 5, 1, 2, 6, 2, 47616, 94, 2, (2, 2, 2, 0), (0, 6)),
        ("2g.48gb+gfx", 35, 11, 2, 6, 2, 47616, 94, 2, (2, 2, 2, 0), (0, 6)),
        ("2g.48gb+me.all", 64, 16, 2, 6, 1, 47616, 94, 2, (4, 4, 4, 1), (0, 6)),
        ("2g.48gb-me", 66, 14, 2, 6, 2, 47616, 94, 2, (0, 0, 0, 0), (0, 6)),
        ("4g.96gb", 0, 3, 4, 12, 1, 95616, 188, 4, (4, 4, 4, 1), (0,)),
        ("4g.96gb+gfx", 32, 12, 4, 12, 1, 95616, 188, 4, (4, 4, 4, 1), (0,)),
    ),
}

# memory slices, compute slices, total MiB, engine totals (decoders, encoders, JPEG, optical flow),
# whether switching MIG needs a reset, PCI ids
_BOARDS: dict[str, tuple[int, int, int | None, tuple[int, int, int, int] | None, bool, tuple[str, ...]]] = {
    "a30-24gb": (4, 4, 24576, (4, 0, 1, 1), True, ("0x20B710DE",)),
    "a100-40gb": (8, 7, 40960, (5, 0, 1, 1), True, ("0x20B010DE", "0x20B110DE", "0x20F110DE", "0x20F610DE")),
    "a100-80gb": (8, 7, 81920, (5, 0, 1, 1), True, ("0x20B210DE", "0x20B510DE", "0x20F310DE", "0x20F510DE")),
    "h100-80gb": (8, 7, 81559, (7, 0, 7, 1), False, ("0x233010DE", "0x233110DE", "0x232210DE", "0x232410DE")),
    "h100-94gb": (8, 7, 95830, (7, 0, 7, 1), False, ("0x232110DE", "0x233A10DE")),
    "h100-96gb-gh200": (8, 7, None, (7, 0, 7, 1), False, ("0x234210DE", "0x233D10DE", "0x232910DE")),
    "gh200-144gb": (8, 7, None, (7, 0, 7, 1), False, ("0x234810DE",)),
    "h200-141gb": (8, 7, 143771, (7, 0, 7, 1), False, ("0x233510DE", "0x233B10DE")),
    "b200-180gb": (8, 7, None, None, False, ("0x290110DE",)),
    "gb200-186gb": (8, 7, None, None, False, ("0x294110DE",)),
    "b300-269gb": (8, 7, None, None, False, ("0x318210DE",)),
    "gb300-278gb": (8, 7, None, None, False, ("0x31C210DE",)),
    "rtx-pro-6000-blackwell-96gb": (12, 4, 97887, (4, 4, 4, 1), False, ("0x2BB510DE",)),
}

# Boards whose profiles are published but whose placements are not: only a live GPU can tell.
_PLACEMENTS_UNKNOWN = ("rtx-pro-5000-blackwell-48gb", "rtx-pro-4500-blackwell-32gb")

# Names that some driver or board gives to its profiles beside those of the rows above. A pod can ask for them where a
# live GPU offers them, and kube-scheduler has to know every name.
_OTHER_NAMES: dict[str, tuple[str, ...]] = {
    # seen in public reports
    "h100-80gb": ("7g.79gb",),
    # early drivers; still in the MIG configurations that NVIDIA ships (mig-parted, config-default.yaml)
    "gb200-186gb": ("1g.24gb", "1g.24gb+me", "3g.95gb", "4g.95gb", "7g.189gb"),
    # drivers from R610 on (NVIDIA's playbook for the DGX Station)
    "gb300-278gb": ("1g.31gb", "1g.31gb+me", "3g.126gb", "4g.126gb", "7g.251gb"),
    # MIG User Guide, edition r610; then edition r580, of the same board
    "rtx-pro-5000-blackwell-48gb": (
        *("1g.24gb", "1g.24gb+me", "1g.24gb+gfx", "1g.24gb+me.all", "1g.24gb-me", "2g.48gb", "2g.48gb+gfx"),
        *("1g.12gb", "1g.12gb+me", "1g.12gb+gfx", "1g.12gb-me", "2g.24gb-me", "4g.48gb", "4g.48gb+gfx"),
    ),
    "rtx-pro-4500-blackwell-32gb": ("1g.16gb", "1g.16gb+gfx", "1g.16gb+me.all", "1g.16gb-me", "2g.32gb", "2g.32gb+gfx"),
    # MIG User Guide: memory is shared with the CPU, so every profile says 0
    "thor-igpu": ("1g.0gb", "1g.0gb+me", "1g.0gb+gfx", "2g.0gb", "2g.0gb+gfx", "3g.0gb", "3g.0gb+gfx"),
}


def known() -> tuple[str, ...]:
    """Names of the models with a complete catalogue."""
    return tuple(_ROWS)


def published_names() -> frozenset[str]:
    """Every profile name that is published for some board and driver, with or without placements."""
    of_rows = {row[0] for rows in _ROWS.values() for row in rows}
    return frozenset(of_rows.union(*_OTHER_NAMES.values()))


def find(model: str) -> Catalogue:
    """The catalogue of a model by our name (`a100-40gb`, any case).

    Raises CatalogueError for an unknown model and for one whose placements are not published.
    """
    key = model.strip().lower()
    if key in _PLACEMENTS_UNKNOWN:
        raise errors.CatalogueError(
            "model", model, "its placements are not published; use the catalogue that the live GPU reports"
        )
    if key not in _ROWS:
        raise errors.CatalogueError("model", model, "use one of " + ", ".join(known()))
    memory_slices, compute_slices, total_mib, totals, needs_reset, pci_ids = _BOARDS[key]
    return Catalogue(
        model=key,
        memory_slices=memory_slices,
        compute_slices=compute_slices,
        profiles=tuple(_profile(row) for row in _ROWS[key]),
        engine_totals=None if totals is None else Engines(*totals),
        total_memory_mib=total_mib,
        toggle_needs_reset=needs_reset,
        pci_ids=pci_ids,
    )


def by_pci_id(pci_id: str) -> Catalogue:
    """The catalogue of the board with this PCI device and vendor id (`0x20B010DE`, as NVML's pciDeviceId prints).

    Raises CatalogueError if no known board has that id.
    """
    for key, (*_, pci_ids) in _BOARDS.items():
        if pci_id.upper() in (known_id.upper() for known_id in pci_ids):
            return find(key)
    raise errors.CatalogueError("PCI device id", pci_id, "not a board with a known catalogue; report it live")


def _profile(row: _Row) -> Profile:
    name, profile_id, enum_index, compute, memory, instances, mib, sm, copy, engines, starts = row
    return Profile(
        name=name,
        profile_id=profile_id,
        enum_index=enum_index,
        compute_slices=compute,
        memory_slices=memory,
        max_instances=instances,
        starts=starts,
        memory_mib=mib,
        engines=None if engines is None else Engines(*engines),
        sm=sm,
        copy_engines=copy,
    )
