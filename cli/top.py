"""`migsched top`: nodes, their GPUs, and what is on every memory slice."""

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from allocator import errors
from allocator.claims import contract, inventory, node_document, snapshot
from allocator.claims.snapshot import NodeView
from cli import api_client, output, slot_map
from cli.output import Format


def top(
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    mig_nodes: Annotated[
        bool, typer.Option("--mig-nodes", help="Read the agents' MigNodes of the cluster instead of asking the API.")
    ] = False,
    node: Annotated[list[str] | None, typer.Option(help="Only this node; may be repeated.")] = None,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Show nodes, GPUs and a map of every GPU's memory slices. Exit code 1 if there is nothing to show.

    Example: migsched top --node node-1
    """
    views = asyncio.run(_from_cluster(api_url)) if mig_nodes else _from_api(api_url)
    wanted = [view for view in views if not node or view.name in node]
    output.show(form, lambda: [node_document.encode(view) for view in wanted], lambda: _table(wanted))
    if not wanted:
        raise typer.Exit(1)


def _from_api(api_url: api_client.Address) -> list[NodeView]:
    return api_client.get(api_url, "/api/v1/nodes", lambda nodes: [node_document.decode(node) for node in nodes])


async def _from_cluster(address: api_client.Address) -> list[NodeView]:
    """What the agents report; claims that are not cut yet are the scheduler's alone and do not show."""
    from kubeclient.kube import Connection  # slow to load
    from kubeclient.kubeconfig import Kubeconfig
    from simulator.cluster import api
    from simulator.cluster.kube_api import KubeApi

    files = api_client.kubeconfigs(address.kubeconfig)
    if not files:
        raise errors.SettingsError("kubeconfig", "~/.kube/config", "there is none: name one, or set KUBECONFIG")
    connection = await Connection.to(await Kubeconfig.load(*files, context=address.context))
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
