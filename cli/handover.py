"""`migsched handover`: give a node's GPUs to migsched, or back to NVIDIA's GPU Operator (docs/gpu-operator.md)."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from allocator import errors
from cli import api_client, output
from cli.diagnosis import handover as changes
from cli.diagnosis.handover import HandoverStep
from cli.diagnosis.picture import ClusterPicture, Look
from cli.diagnosis.text import visible
from cli.output import Format

AGENTS = "migsched-agents"
_NAMED = 5


def handover(
    node: Annotated[str, typer.Argument(help="The node.")],
    back: Annotated[bool, typer.Option("--back", help="Give it back to the GPU Operator.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Carry out what changes objects; nothing is drained.")] = False,
    agent_namespace: Annotated[str, typer.Option(help="The namespace that the agents run in.")] = AGENTS,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="The cluster's kubeconfig.", show_default="KUBECONFIG, else ~/.kube/config")
    ] = None,
    context: Annotated[str | None, typer.Option(help="This context of the kubeconfig.")] = None,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Print the commands that give a node's GPUs to migsched, or back; --apply carries them out.

    Example: migsched handover gpu-1
    """
    files = api_client.kubeconfigs(kubeconfig)
    if not files:
        raise errors.SettingsError("kubeconfig", "~/.kube/config", "there is none: name one, or set KUBECONFIG")
    steps, users = asyncio.run(_run(files, context, agent_namespace, node, back=back, apply=apply))
    refused = apply and bool(users)
    document = {
        "node": visible(node),
        "applied": apply and not refused,
        "users": [visible(user) for user in users],
        "steps": [_document(step, applied=apply and not refused) for step in steps],
    }
    output.show(form, lambda: document, lambda: _table(document), whole_lines=True)
    if refused:
        raise typer.Exit(1)


async def _run(
    files: Sequence[Path], context: str | None, agent_namespace: str, name: str, *, back: bool, apply: bool
) -> tuple[list[HandoverStep], list[str]]:
    """The steps, and the pods that are in the way; carried out where that is wanted and none is."""
    from cli.diagnosis.reader import PictureReader, Scope  # slow to load
    from kubeclient.kube import MERGE_PATCH, Connection
    from kubeclient.kubeconfig import Kubeconfig

    connection = await Connection.to(await Kubeconfig.load(*files, context=context))
    try:
        scope = Scope(agent_namespace=agent_namespace, node=name)
        picture = await PictureReader(connection, scope, Look(), lambda: 0.0).read_node()
        _check(picture, name)
        steps = list((changes.back if back else changes.forward)(picture, picture.nodes.items[0]))
        users = changes.users(picture, name)
        for step in steps if apply and not users else ():
            if step.patch is not None:
                path, body = quote(step.path), msgspec.json.encode(step.patch)
                await connection.request("PATCH", path, body=body, content_type=MERGE_PATCH)
    finally:
        await connection.close()
    return steps, users


def _check(picture: ClusterPicture, name: str) -> None:
    """Raise RefusedError where it cannot be told what to set, NotThereError for a node that does not exist."""
    looks: dict[str, Look[Any]] = {
        "nodes": picture.nodes,
        "pods": picture.pods,
        "clusterpolicies": picture.cluster_policies,
        "gpuclusters": picture.gpu_clusters,
    }
    for kind, look in looks.items():
        if look.why_not and not look.absent:
            raise errors.RefusedError(f"handover has to read {kind}: {look.why_not}")
    if not picture.nodes.items:
        raise api_client.NotThereError(f"{visible(name)}: there is no Node of this name")


def _document(step: HandoverStep, *, applied: bool) -> dict[str, Any]:
    return {
        "title": step.title,
        "command": step.command,
        "applied": applied and step.patch is not None,
        "patch": step.patch,
    }


def _table(document: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = []
    for step in document["steps"]:
        done = "done: " if step["applied"] else ""
        parts += [Text(f"# {done}{step['title']}", style="dim"), Text(step["command"])]
    users = document["users"]
    if users:
        more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
        in_the_way = f"in the way: {output.number(len(users), 'pod')} with its GPUs: {', '.join(users[:_NAMED])}{more}"
        parts.append(Text(f"{in_the_way}; --apply changes nothing before they are gone", style="bold yellow"))
    return Group(*parts)
