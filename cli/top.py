"""`migsched top`: nodes, their GPUs, and what is on every memory slice."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from allocator import errors
from allocator.claims import contract, inventory, node_document, snapshot
from allocator.claims.snapshot import NodeView
from cli import api_client, documents, flags, gpu_filter, output, slot_map
from cli.gpu_filter import GpuFilter, Sort
from cli.output import Format


def top(
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    mig_nodes: Annotated[
        bool, typer.Option("--mig-nodes", help="Read the agents' MigNodes of the cluster instead of asking the API.")
    ] = False,
    saved: documents.SnapshotFile = None,
    node: Annotated[list[str] | None, typer.Option(help="Only this node; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only GPUs of this model; may be repeated.")] = None,
    profile: Annotated[
        list[str] | None, typer.Option(help="Only GPUs with a slice of this profile; may be repeated.")
    ] = None,
    namespace: flags.Namespace = None,
    used: Annotated[bool, typer.Option("--used", help="Only GPUs with a slice on them.")] = False,
    sort: Annotated[Sort, typer.Option(help="By name, by free memory slices, or the fullest first.")] = Sort.NODE,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="A live screen: scroll by arrows, s sorts, u hides free GPUs.")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.5, metavar="SECONDS", help="With --watch: when to ask again.")] = 2.0,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Show nodes, GPUs and a map of every GPU's memory slices. Exit code 1 if there is nothing to show.

    Example: migsched top --watch --used --sort full
    """
    wanted = GpuFilter(tuple(node or ()), tuple(model or ()), tuple(profile or ()), namespace or "", used)
    _check_snapshot(saved, mig_nodes=mig_nodes, watch=watch)
    with _source(api_url, saved, mig_nodes=mig_nodes) as ask:
        if watch:
            _check_terminal(form)
            from cli import top_screen  # only where there is a terminal

            top_screen.run(top_screen.TopScreen(filter=wanted, sort=sort), ask, interval)
            return
        views = ask()
    shown = gpu_filter.sorted_nodes(wanted.of(views), sort)
    if shown or form is not Format.TABLE:  # an empty table says nothing
        output.show(form, lambda: [node_document.encode(view) for view in shown], lambda: _table(shown))
    if not shown:
        why = (
            f"no GPU of {wanted.text()} among {len(views)} nodes" if views else "the cluster has no node with MIG GPUs"
        )
        typer.echo(f"migsched: nothing to show: {why}", err=True)
        raise typer.Exit(1)


def _check_terminal(form: Format) -> None:
    """Raise SettingsError where a live screen cannot be shown."""
    if form is not Format.TABLE:
        raise errors.SettingsError("watch", str(form), "is for people: leave out --output")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise errors.SettingsError("watch", "true", "needs a terminal; leave it out to print once")


def _check_snapshot(file: Path | None, *, mig_nodes: bool, watch: bool) -> None:
    """Raise SettingsError for flags that contradict a snapshot file."""
    for flag, given in (("mig-nodes", mig_nodes), ("watch", watch)):
        if file is not None and given:
            raise errors.SettingsError(flag, "true", "looks at a cluster as it is: leave it out, or --snapshot")


@contextlib.contextmanager
def _source(
    address: api_client.Address, file: Path | None, *, mig_nodes: bool
) -> Iterator[Callable[[], list[NodeView]]]:
    """A function that asks for all nodes, each time anew."""
    if file is not None:
        yield lambda: list(documents.snapshot(file, address).snapshot.nodes)
        return
    if mig_nodes:
        yield lambda: asyncio.run(_from_cluster(address))
        return
    with api_client.opened(address) as api:
        yield lambda: api_client.ask(api, "/api/v1/nodes", lambda nodes: [node_document.decode(node) for node in nodes])


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
    counts = ("GPUS", "SLICES", "MEMORY TAKEN", "MEMORY FREE")
    table = output.table("NODE", *counts, "MODELS", numbers=counts)
    table.add_column("PROBLEM", style="red")
    for node in nodes:
        table.add_row(node.name, *_numbers(node), ", ".join(sorted({gpu.model for gpu in node.gpus})), _problem(node))
    sums = Text(f"{gpu_filter.totals(nodes)}; MEMORY counts memory slices", style="dim")
    return Group(slot_map.draw(nodes, coloured=output.coloured()), table, sums)


def _numbers(node: NodeView) -> tuple[str, str, str, str]:
    """GPUs, slices cut or promised, memory slices taken and free."""
    slices = sum(len(gpu.occupants) for gpu in node.gpus)
    taken, free = (sum(map(count, node.gpus)) for count in (gpu_filter.taken, gpu_filter.free))
    return str(len(node.gpus)), str(slices), str(taken), str(free)


def _problem(node: NodeView) -> str:
    bad = [node.problem] if node.problem else [f"GPU {gpu.index}: {gpu.problem}" for gpu in node.gpus if gpu.problem]
    return "; ".join([f"closed to new pods: {node.closed}", *bad] if node.closed else bad)
