"""`migsched drain`: a node cordoned, and its movable pods moved elsewhere in the cheapest order."""

from typing import Annotated

import typer

from allocator.moves.document import RepackMode
from cli import api_client, output, repack_objects


def drain(
    node: Annotated[str, typer.Argument(help="The node to empty.", show_default=False)],
    moves: Annotated[int, typer.Option(min=1, max=200, help="Most pods to move.")] = 50,
    mode: Annotated[RepackMode, typer.Option(help="How far it goes by itself.")] = RepackMode.AUTO,
    priority: Annotated[int, typer.Option(help="The highest priority of pods that are moved.")] = 2**31 - 1,
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
) -> None:
    """Cordon a node and move its movable MIG pods elsewhere, in the cheapest order (docs/repacking.md).

    It makes the Repack drain-NODE, which the scheduler service carries out. Other pods are for kubectl drain.

    Example: migsched drain gpu-7 --kubeconfig ~/.kube/config
    """
    repack_objects.cordon(api_url, node)
    spec = {
        "wanted": {"empty": {"nodes": [node]}},
        "budgets": {"moves": moves},
        "mode": mode.value,
        "priority": priority,
    }
    name = f"drain-{node}"
    repack_objects.create(api_url, name, spec)
    output.console().print(f"{node} is cordoned; watch: kubectl get repack {name} --watch", soft_wrap=True)
