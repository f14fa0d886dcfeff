"""`migsched top`: nodes, their GPUs, and what is on every memory slice."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from allocator.claims import contract, inventory, node_document, snapshot
from allocator.claims.snapshot import NodeView
from cli import api_client, output, slot_map
from cli.output import Format


def top(
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Read the agents' MigNodes from this cluster instead of asking the API.")
    ] = None,
    node: Annotated[list[str] | None, typer.Option(help="Only this node; may be repeated.")] = None,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Show nodes, GPUs and a map of every GPU's memory slices. Exit code 1 if there is nothing to show.

    Example: migsched top --node node-1
    """
    views = _from_api(api_url) if kubeconfig is None else asyncio.run(_from_cluster(kubeconfig))
    wanted = [view for view in views if not node or view.name in node]
    output.show(form, lambda: [node_document.encode(view) for view in wanted], lambda: _table(wanted))
    if not wanted:
        raise typer.Exit(1)


def _from_api(api_url: str) -> list[NodeView]:
    return api_client.get(api_url, "/api/v1/nodes", lambda nodes: [node_document.decode(node) for node in nodes])


async def _from_cluster(kubeconfig: Path) -> list[NodeView]:
    """What the agents report; claims that are not cut yet are the scheduler's alone and do not show."""
    from kubeclient.kube import Connection  # slow to load
    from simulator.cluster import api
    from simulator.cluster.kube_api import KubeApi

    connection = await Connection.connect(kubeconfig)
    try:
        page = await KubeApi(connection).list(api.MIG_NODE)
    finally:
        await connection.close()
    whole = inventory.Inventory()
    for mig_node in page.items:
        raw = msgspec.json.encode(mig_node.get("status") or {})
        whole.observe(contract.decode_status(raw, mig_node["metadata"]["name"]))
    return list(snapshot.take(whole).nodes)


def _table(nodes: list[NodeView]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("NODE")
    for column in ("GPUS", "SLICES", "TAKEN", "FREE"):
        table.add_column(column, justify="right")
    table.add_column("MODELS")
    table.add_column("PROBLEM", style="red")
    for node in nodes:
        table.add_row(node.name, *_numbers(node), ", ".join(sorted({gpu.model for gpu in node.gpus})), _problem(node))
    return Group(slot_map.draw(nodes), table) if nodes else table


def _numbers(node: NodeView) -> tuple[str, str, str, str]:
    """GPUs, slices cut or promised, memory slices taken and free."""
    taken = sum(gpu.mask.bit_count() for gpu in node.gpus)
    free = sum(gpu.memory_slices - gpu.mask.bit_count() for gpu in node.gpus if not gpu.problem)
    return str(len(node.gpus)), str(sum(len(gpu.occupants) for gpu in node.gpus)), str(taken), str(free)


def _problem(node: NodeView) -> str:
    bad = [f"GPU {gpu.index}: {gpu.problem}" for gpu in node.gpus if gpu.problem]
    return "; ".join([node.problem] if node.problem else bad)
