"""What every plan must keep, checked from the document and the answer alone."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from allocator.mig import geometry, gpu_models


def check(document: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """Assert that a feasible plan is legal, holds the demand, keeps the stock and agrees with itself."""
    assert answer["feasible"] is True
    cut = _slices_by_model(answer)
    _check_gpus(document, answer)
    _check_served(document, answer, cut)
    assert answer["lower_bound"] <= (answer["cost"] if document.get("goal") == "cost" else sum(answer["gpus"].values()))
    assert answer["optimal"] == (answer["gap"] == 0.0)
    assert _mig_parted(answer["mig_parted"]) == +Counter({k: n for k, n in cut.items() if n})


def _slices_by_model(answer: Mapping[str, Any]) -> Counter[tuple[str, str]]:
    """All slices of a plan, having created each in its order."""
    found: Counter[tuple[str, str]] = Counter()
    for layout in answer["layouts"]:
        kind = geometry.compiled(gpu_models.find(layout["model"]))
        state = kind.EMPTY
        for one in layout["slices"]:
            placement = kind.catalogue.placement(one["profile"], one["start"])
            state = int(kind.step[state, kind.placement_index[placement]])
            assert state >= 0, f"{placement} cannot be created after the slices before it"
            found[layout["model"], one["profile"]] += layout["count"]
    return found


def _check_gpus(document: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    laid: Counter[str] = Counter()
    for layout in answer["layouts"]:
        laid[layout["model"]] += layout["count"]
    assert laid == +Counter(answer["gpus"])
    stock = {entry["model"]: entry.get("count", "unlimited") for entry in document["fleet"]}
    for model, number in answer["gpus"].items():
        assert stock[model] == "unlimited" or number <= stock[model]


def _check_served(document: Mapping[str, Any], answer: Mapping[str, Any], cut: Counter[tuple[str, str]]) -> None:
    made: Counter[str] = Counter()
    for (_, profile), number in cut.items():
        made[profile] += number
    for pinned in document.get("pinned", ()):
        for one in pinned["slices"]:
            made[one["profile"]] -= 0 if one.get("idle") else pinned.get("count", 1)
    wanted = Counter(document.get("demand", {}))
    for chosen in answer["services"].values():
        wanted.update(chosen)
    idle = any(one.get("idle") for pinned in document.get("pinned", ()) for one in pinned["slices"])
    assert made >= wanted if idle else +made == +wanted
    for service in document.get("services", ()):
        rates: dict[str, float] = {}
        for option in service["options"]:
            rates[option["profile"]] = max(option["throughput"], rates.get(option["profile"], 0))
        chosen = answer["services"][service["name"]]
        assert sum(rates[profile] * n for profile, n in chosen.items()) >= service["rate"] - 1e-6


def _mig_parted(text: str) -> Counter[tuple[str, str]]:
    """The MIG devices of a configuration file, over all nodes that its comments name."""
    if not text:
        return Counter()
    nodes = {}
    for line in text.splitlines():
        if line.startswith("# "):
            name, rest = line[2:].split(": ")
            nodes[name] = (int(rest.split()[0]), int(rest.split()[3]))
    parsed = yaml.safe_load(text)
    assert parsed["version"] == "v1"
    assert set(nodes) == set(parsed["mig-configs"])
    found: Counter[tuple[str, str]] = Counter()
    for name, config in parsed["mig-configs"].items():
        count, gpus = nodes[name]
        for entry in config:
            assert entry["mig-enabled"] is True
            devices = gpus if entry["devices"] == "all" else len(entry["devices"])
            for profile, number in entry["mig-devices"].items():
                found[name.rsplit("-", 1)[0], profile] += number * devices * count
    return +found
