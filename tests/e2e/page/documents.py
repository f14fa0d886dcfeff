"""Overview documents for the stage: every state that a slice, a GPU or a pod may have, and clusters of any size."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from allocator.mig import gpu_models

NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
_CATALOGUE = gpu_models.find("a100-40gb")
_MIB = {"1g.5gb": 4864, "2g.10gb": 9856, "3g.20gb": 19968, "4g.20gb": 19968, "7g.40gb": 40192}
_SIZES = {name: _CATALOGUE.profile(name).memory_slices for name in _MIB}
_CUTS = (
    (("3g.20gb", 0), ("3g.20gb", 4)),
    (("2g.10gb", 0), ("2g.10gb", 2), ("3g.20gb", 4)),
    (("1g.5gb", 0), ("1g.5gb", 1), ("2g.10gb", 2), ("1g.5gb", 5)),
    (("4g.20gb", 0), ("1g.5gb", 6)),
    (("7g.40gb", 0),),
    (("1g.5gb", 1), ("1g.5gb", 3), ("1g.5gb", 6)),
    (("3g.20gb", 4),),
    (("2g.10gb", 0), ("1g.5gb", 4)),
)
_BY_MOVES = {"1g.5gb": 3, "3g.20gb": 3, "4g.20gb": 2, "7g.40gb": 3}  # how many more could start, where looked at
_TEAMS = ("vision", "search", "speech", "research", "batch")
_WORK = ("triton", "embedder", "whisper", "notebook", "train")
_OWNERS = ("Deployment/triton-{}", "StatefulSet/embedder", "ReplicaSet/whisper-5d8f", "", "Job/train-{}")


def at(seconds_ago: float) -> str:
    """A time so long before the document's."""
    return (NOW - timedelta(seconds=seconds_ago)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def overview(size: int = 4, gpus: int = 8, *, seed: int = 1, **sections: Any) -> dict[str, Any]:
    """A cluster of so many nodes. `sections` replaces top-level sections."""
    draw = random.Random(seed)
    fleet = [node(f"gpu-node-{number:04d}", gpus, draw) for number in range(1, size + 1)]
    slots = size * gpus * 8
    used = sum(piece["size"] for each in fleet for gpu in each["gpus"] for piece in gpu["slices"])
    stranded = sum(len(gpu["stranded"]) for each in fleet for gpu in each["gpus"])
    utilisation, stranded_share = round(used / slots, 4), round(stranded / (slots - used), 4)
    document = {
        "revision": 1,
        "time": at(0),
        "version": "0.1.0",
        "mode": "queue",
        "may": {"plan": True, "move": True, "demo": False},
        "profiles": _profiles(fleet),
        "waiting": waiting(),
        "waiting_total": 3,
        "totals": {
            "gpus": size * gpus,
            "memory_slices": slots,
            "used": used,
            "free": slots - used,
            "stranded": stranded,
            "stranded_share": stranded_share,
            "utilisation": utilisation,
        },
        "history": _history(draw, utilisation, stranded_share, 3),
        "moves": [],
        "usage": [_usage(team, hours) for team, hours in zip(_TEAMS, (412.5, 233.1, 90.4, 12.25, 3.5), strict=True)],
        "health": [
            {
                "node": "gpu-node-0002",
                "gpu": fleet[-1]["gpus"][0]["uuid"],
                "what": "ill",
                "message": "XID 48: double-bit ECC error; slices on it are not handed out",
                "since": at(5400),
            }
        ],
        "log": _log(),
        "nodes": fleet,
    }
    return {**document, **sections}


def node(name: str, gpus: int, draw: random.Random) -> dict[str, Any]:
    """A node with GPUs that are cut in all kinds of ways."""
    return {"name": name, "ready": True, "message": "", "gpus": [_gpu(name, index, draw) for index in range(gpus)]}


def waiting() -> list[dict[str, Any]]:
    """Three pods: one that moves would serve, one that nobody has looked for, one without a remedy."""
    rows: tuple[tuple[str, dict[str, int], str, dict[str, Any] | None, bool], ...] = (
        (
            "research/train-llm-0",
            {"7g.40gb": 1},
            "4 nodes: no free 7g.40gb placement on any GPU (2 full, 2 fragmented)",
            {
                "kind": "moves",
                "text": "restart 2 elsewhere: vision/triton-7, search/embedder-3; it then fits on gpu-node-0001",
                "moves": ["vision/triton-7", "search/embedder-3"],
            },
            True,
        ),
        ("batch/nightly-0", {"3g.20gb": 2}, "4 nodes: no GPU with room for 2 × 3g.20gb", None, False),
        ("speech/whisper-9", {"9g.99gb": 1}, "no GPU of the cluster has the profile 9g.99gb", None, True),
    )
    return [
        {
            "pod": pod,
            "uid": f"uid-{position}",
            "requests": requests,
            "priority": 0,
            "since": at(600 - 200 * position),
            "position": position,
            "code": "fragmented",
            "message": message,
            "gang": None,
            "remedy": remedy,
            "remedy_known": known,
        }
        for position, (pod, requests, message, remedy, known) in enumerate(rows)
    ]


def repack(phase: str = "Proposed", *, states: tuple[str, str] = ("pending", "pending")) -> dict[str, Any]:
    """The moves for the pod that they would serve."""
    moved = (("vision/triton-7", "1g.5gb@4", "1g.5gb@0"), ("search/embedder-3", "2g.10gb@2", "2g.10gb@4"))
    return {
        "name": "for-uid-0",
        "mode": "Approve",
        "phase": phase,
        "message": "",
        "approved": phase != "Proposed",
        "wanted": "room for 1 × research/train-llm-0 (1 × 7g.40gb)",
        "pod": "research/train-llm-0",
        "steps": [
            {
                "pod": pod,
                "from": f"gpu-node-0001 GPU-00010000-0000-4000-8000-000000000001 {source}",
                "to": f"gpu-node-0002 GPU-00020001-0000-4000-8000-000000000001 {target}",
                "state": state,
                "since": at(4),
                "reason": "",
            }
            for (pod, source, target), state in zip(moved, states, strict=True)
        ],
        "price": "2 restarts, 14 GiB of GPU memory moved",
        "proof": "proven: no plan costs less",
        "created": at(20),
    }


def _gpu(name: str, index: int, draw: random.Random) -> dict[str, Any]:
    taken: set[int] = set()
    slices = []
    for profile, start in _CUTS[draw.randrange(len(_CUTS))]:
        slices.append(_slice(profile, start, draw))
        taken |= set(range(start, start + _SIZES[profile]))
    free = [slot for slot in range(8) if slot not in taken]
    return {
        "uuid": f"GPU-{int(name[-4:]):04d}{index:04d}-0000-4000-8000-000000000001",
        "index": index,
        "model": "a100-40gb",
        "memory_slices": 8,
        "mig": True,
        "state": "ill" if name.endswith("2") and index == 0 else "ok",
        "message": "XID 48" if name.endswith("2") and index == 0 else "",
        "stranded": free if 0 < len(free) < 4 else [],
        "slices": slices,
    }


def _slice(profile: str, start: int, draw: random.Random) -> dict[str, Any]:
    state = draw.choices(("allocated", "idle", "foreign", "promised", "kept", "ill"), (80, 8, 5, 3, 2, 2))[0]
    number = draw.randrange(100)
    team = draw.randrange(len(_TEAMS))
    owned = state in ("allocated", "promised")
    return {
        "profile": profile,
        "start": start,
        "size": _SIZES[profile],
        "state": state,
        "namespace": _TEAMS[team] if owned else None,
        "pod": f"{_WORK[team]}-{number}" if owned else None,
        "container": "main" if owned else None,
        "since": at(draw.choice((120, 5000, 90_000, 800_000))) if owned else None,
        "unused_since": at(draw.choice((5000, 50_000))) if state == "allocated" and draw.random() < 0.4 else None,
        "movable": draw.random() < 0.5 if owned else None,
        "owner": _OWNERS[team].format(number % 4) if owned else None,
    }


def _profiles(fleet: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rooms = {name: sum(_room(gpu, name) for each in fleet for gpu in each["gpus"]) for name in _SIZES}
    return [
        {
            "name": name,
            "resource": f"nvidia.com/mig-{name}",
            "memory_slices": _SIZES[name],
            "memory_mib": _MIB[name],
            "could_start": now,
            "with_moves": now + _BY_MOVES[name] if name in _BY_MOVES else None,
            "limit": None if name in _BY_MOVES else f"{name}: the planner had no turn yet",
        }
        for name, now in rooms.items()
    ]


def _room(gpu: dict[str, Any], profile: str) -> int:
    """How many slices of a profile have a place beside those that are there."""
    taken = {slot for piece in gpu["slices"] for slot in range(piece["start"], piece["start"] + piece["size"])}
    return sum(taken.isdisjoint(range(start, start + _SIZES[profile])) for start in _CATALOGUE.profile(profile).starts)


def _history(draw: random.Random, use: float, lost: float, waiting_now: int) -> list[list[Any]]:
    """Three hours up to what is so now. Of the first minutes it is not known what was stranded."""
    points: list[list[Any]] = [[at(0), lost, use, waiting_now]]
    for minute in range(1, 181):
        use = min(0.97, max(0.2, use - draw.uniform(-0.02, 0.024)))
        lost = min(0.6, max(0.0, lost - draw.uniform(-0.015, 0.016)))
        points.append([at(minute * 60), None if minute > 175 else round(lost, 4), round(use, 4), draw.randrange(5)])
    return points[::-1]


def _usage(namespace: str, hours: float) -> dict[str, Any]:
    mib = None if namespace == "batch" else hours * 9856
    return {"namespace": namespace, "slice_hours": hours, "mib_hours": mib, "since": at(86_000)}


def _log() -> list[dict[str, Any]]:
    lines = (
        ("cut", "3g.20gb@4 of GPU 1 of gpu-node-0001 is cut"),
        ("placed", "vision/triton-7 is placed at 3g.20gb@4 of GPU 1 of gpu-node-0001"),
        ("move", "search/embedder-3 comes to gpu-node-0002 for research/train-llm-0"),
        ("freed", "1g.5gb@6 of GPU 3 of gpu-node-0001 is given back"),
        ("failure", "GPU 0 of gpu-node-0002 is ill: XID 48"),
    )
    return [
        {"time": at(300 - 50 * index), "kind": kind, "text": text, "node": "gpu-node-0001", "pod": None}
        for index, (kind, text) in enumerate(lines)
    ]
