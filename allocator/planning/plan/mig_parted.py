"""mig-parted: a plan as the configuration file of NVIDIA's MIG partition editor and MIG manager.

The format is mig-parted's `version: v1`: named configurations, each a list of devices with their MIG devices by
count. It has no starts: mig-parted tries orders of creation until the counts stand. Called by `plan.answer`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec.yaml

from allocator.planning.plan.layouts import Layout

_Cut = tuple[tuple[str, int], ...]  # MIG devices of one GPU, by count
_Node = tuple[_Cut, ...]  # GPUs of one node, equal ones side by side


def render(layouts: Mapping[Layout, int], gpus_per_node: Mapping[str, int]) -> str:
    """The configuration file that cuts nodes of so many GPUs (by model) as planned; one configuration per kind of node.

    Nodes are filled with equal GPUs as far as they go, so that there are few kinds. A comment says how many nodes get
    each configuration.
    """
    configs: dict[str, list[dict[str, object]]] = {}
    notes = []
    for model in dict.fromkeys(layout.geometry.catalogue.model for layout in layouts):
        size = gpus_per_node[model]
        kinds = Counter(_nodes(_cuts(layouts, model), size))
        for number, (node, nodes) in enumerate(kinds.items(), 1):
            name = f"{model}-{number}"
            configs[name] = [_devices(node, cut, size) for cut in dict.fromkeys(node)]
            notes.append(f"# {name}: {_plural(nodes, 'node')} of {_plural(len(node), 'GPU')}")
    body = msgspec.yaml.encode({"version": "v1", "mig-configs": configs}).decode()
    return "\n".join([*notes, body]) if configs else ""


def _cuts(layouts: Mapping[Layout, int], model: str) -> Mapping[_Cut, int]:
    gpus: Counter[_Cut] = Counter()
    for layout, number in layouts.items():
        if layout.geometry.catalogue.model == model:
            gpus[tuple(sorted(Counter(slice_.profile for slice_ in layout.slices).items()))] += number
    return gpus


def _nodes(cuts: Mapping[_Cut, int], size: int) -> Iterator[_Node]:
    rest: list[_Cut] = []
    for cut, number in cuts.items():
        yield from ((cut,) * size for _ in range(number // size))
        rest += [cut] * (number % size)
    yield from (tuple(rest[i : i + size]) for i in range(0, len(rest), size))


def _devices(node: _Node, cut: _Cut, size: int) -> dict[str, object]:
    alike = len(node) == size and len(set(node)) == 1
    return {
        "devices": "all" if alike else [index for index, other in enumerate(node) if other == cut],
        "mig-enabled": True,
        "mig-devices": dict(cut),
    }


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
