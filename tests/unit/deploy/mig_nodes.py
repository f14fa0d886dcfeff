"""MigNode statuses for tests of the CRD: good ones as the agent's code writes them, and bad ones made from those."""

import copy
import json
from collections.abc import Callable
from typing import Any

from allocator.claims import contract, report
from allocator.mig import gpu_models
from allocator.mig.profile import Placement

Status = dict[str, Any]

FIELDS = ("contractVersion", "agent", "summary", "catalogues", "gpus", "conditions")

READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Reporting",
    "message": "",
    "lastTransitionTime": "2026-11-23T12:00:00Z",
}


def _gpu(index: int, model: str | None, *slices: report.Slice, **changes: Any) -> report.GpuReport:
    return report.GpuReport(
        uuid=f"GPU-{index:08d}-0000-0000-0000-000000000000",
        index=index,
        product="NVIDIA A100-SXM4-40GB",
        mig_mode=changes.get("mig_mode", report.MigMode.ENABLED),
        catalogue=gpu_models.find(model) if model else None,
        slices=slices,
        healthy=changes.get("healthy", True),
        message=changes.get("message", ""),
        illness=changes.get("illness"),
    )


def written(*gpus: report.GpuReport) -> Status:
    """The status that an agent writes for these GPUs."""
    status = contract.encode_status(report.NodeReport("n1", gpus), agent_version="0.1.0", mode="managed")
    found: Status = json.loads(json.dumps({**status, "conditions": [READY]}))  # tuples become lists
    return found


_OWNER = report.Owner("default", "triton-0", "6a1f2f0e-0000-4000-8000-000000000000", "main")
_ILLNESS = report.Illness("2026-11-23T12:00:00Z", "XID 79 (GPU has fallen off the bus)")
_FAILED = _gpu(
    1,
    "a100-40gb",
    report.Slice(Placement("7g.40gb", 0, 8), report.SliceState.ALLOCATED, _OWNER, "MIG-2", 0, 0),
    healthy=False,
    message="Xid 79: it has fallen off the bus",
    illness=_ILLNESS,
)
_FULL = written(
    _gpu(
        0,
        "a100-40gb",
        report.Slice(Placement("1g.5gb", 0, 1), report.SliceState.ALLOCATED, _OWNER, "MIG-0", 7, 0, _ILLNESS),
        report.Slice(Placement("1g.5gb+me", 1, 1), report.SliceState.IDLE, None, "MIG-1", 8, 0),
        report.Slice(Placement("3g.20gb", 4, 4), report.SliceState.FOREIGN),
    ),
    _FAILED,
    _gpu(2, None, mig_mode=report.MigMode.UNSUPPORTED),
)

GOOD: dict[str, Status] = {
    "a failed GPU that pods still have": written(_FAILED),
    "every kind of slice and GPU": _FULL,
    "no GPU": written(),
    **{f"a full table of {model}": written(_gpu(0, model)) for model in gpu_models.known()},
}


def _changed(change: Callable[[Status], Any]) -> Status:
    status = copy.deepcopy(_FULL)
    change(status)
    return status


def _slice(status: Status) -> dict[str, Any]:
    found: dict[str, Any] = status["gpus"][0]["slices"][0]
    return found


# What the schema's types, lengths and enumerations refuse.
BAD: dict[str, Status] = {
    name: _changed(change)
    for name, change in {
        "no contract version": lambda s: s.pop("contractVersion"),
        "contract version 0": lambda s: s.update(contractVersion=0),
        "text for a number": lambda s: s["gpus"][0].update(index="0"),
        "a GPU without a UUID": lambda s: s["gpus"][0].pop("uuid"),
        "a UUID that is none": lambda s: s["gpus"][0].update(uuid="A100"),
        "an unknown MIG mode": lambda s: s["gpus"][0].update(migMode="On"),
        "an unknown agent mode": lambda s: s["agent"].update(mode="root"),
        "a slice without a start": lambda s: _slice(s).pop("start"),
        "ill since no time": lambda s: s["gpus"][1]["illness"].pop("since"),
        "ill for no reason": lambda s: s["gpus"][1]["illness"].pop("message"),
        "an illness too long to tell": lambda s: _slice(s)["illness"].update(message="x" * 1025),
        "a start below 0": lambda s: _slice(s).update(start=-1),
        "a slice of no size": lambda s: _slice(s).update(size=0),
        "a slice longer than any GPU": lambda s: _slice(s).update(size=33),
        "an unknown slice state": lambda s: _slice(s).update(state="stolen"),
        "a profile that spells none": lambda s: _slice(s).update(profile="3g20gb"),
        "an owner without a UID": lambda s: _slice(s)["owner"].pop("uid"),
        "a MIG UUID that is none": lambda s: _slice(s).update(migUUID="GPU-0"),
        "a profile without starts": lambda s: s["catalogues"][0]["profiles"][0].update(starts=[]),
        "a catalogue without profiles": lambda s: s["catalogues"][0].update(profiles=[]),
        "a GPU of no memory slices": lambda s: s["catalogues"][0].update(memorySlices=0),
        "65 GPUs": lambda s: s.update(gpus=[{"uuid": f"GPU-{i}", "index": i} for i in range(65)]),
        "a message of 2 kB": lambda s: s["gpus"][1].update(message="x" * 2048),
        "a condition of an unknown status": lambda s: s["conditions"][0].update(status="Maybe"),
    }.items()
}

# What only the API server refuses: list keys and rules in CEL.
BAD_FOR_API_SERVER: dict[str, Status] = {
    name: _changed(change)
    for name, change in {
        "two GPUs of one UUID": lambda s: s["gpus"].append(s["gpus"][0]),
        "two catalogues of one name": lambda s: s["catalogues"].append(s["catalogues"][0]),
        "a start listed twice": lambda s: s["catalogues"][0]["profiles"][0].update(starts=[0, 0]),
        "a catalogue that is not there": lambda s: s["gpus"][0].update(catalogue="h100-80gb"),
        "an idle slice with an owner": lambda s: _slice(s).update(state="idle"),
        "an unhealthy GPU without a reason": lambda s: s["gpus"][1].update(message=""),
    }.items()
}
