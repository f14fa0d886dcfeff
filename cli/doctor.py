"""`migsched doctor`: what is wrong with a cluster, a node or a pod, and what would help."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from allocator import errors
from cli import api_client, diagnosis_table, output
from cli.diagnosis import registry
from cli.diagnosis.finding import Diagnosis, Level, Seen
from cli.diagnosis.picture import ClusterPicture, Look, PicturedService
from cli.diagnosis.text import visible
from cli.output import Format

AGENTS = "migsched-agents"
_WHATS = ("", "node", "pod")
_LEVELS = {"": tuple(Level), "node": (Level.NODE, Level.POD), "pod": (Level.NODE, Level.POD)}
_LEFT_OUT = re.compile(r'^migsched_unreadable_objects\{kind="([a-z]{1,40})"\} ([0-9.e+]{1,20})$', re.M)
_BUILD = re.compile(r'^migsched_build_info\{[^}\n]{0,200}version="([^"\n]{1,40})"', re.M)
_UNDECIDED = 3


def doctor(
    what: Annotated[str, typer.Argument(metavar="node|pod", help="Only a node, or only a pod.")] = "",
    name: Annotated[str, typer.Argument(metavar="NAME", help="The node's name, or the pod's NAMESPACE/NAME.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Findings of each check.")] = registry.LIMIT,
    agent_namespace: Annotated[str, typer.Option(help="The namespace that the agents run in.")] = AGENTS,
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Find what is wrong with a cluster, a node or a pod, each fault with its fix (docs/doctor.md).

    Reads the API server by the kubeconfig; works without migsched's service. Example: migsched doctor node gpu-1
    """
    target = _target(what, name)
    files = api_client.kubeconfigs(api_url.kubeconfig)
    if not files:
        raise errors.SettingsError("kubeconfig", "~/.kube/config", "there is none: name one, or set KUBECONFIG")
    address = replace(api_url, local=False)  # a scheduler on this machine is another cluster's
    service, explanation = _ask_service(address, target if what == "pod" else "")
    picture, own = asyncio.run(_read(files, address, agent_namespace, what, target, service))
    made = registry.diagnose(picture, levels=_LEVELS[what], concerns=_concerns(picture, what, target), limit=limit)
    document = {"explanation": explanation or own, **_document(made, service)}
    output.show(form, lambda: document, lambda: diagnosis_table.table(made, document), whole_lines=True)
    if made.faulty:
        raise typer.Exit(1)
    if made.undecided:
        raise typer.Exit(_UNDECIDED)


def _target(what: str, name: str) -> str:
    """The node, or the pod as `namespace/name`. Raises SettingsError for what is neither."""
    if what not in _WHATS:
        raise errors.SettingsError("what", what, "write node NAME, pod NAMESPACE/NAME, or nothing")
    if bool(what) != bool(name):
        raise errors.SettingsError("name", name, f"write {what or 'node'} and a name")
    return f"default/{name}" if what == "pod" and "/" not in name else name


def _ask_service(address: api_client.Address, pod: str) -> tuple[Look[PicturedService], dict[str, Any]]:
    """What the service says of itself, or why it does not; and its explanation of a pod."""
    explanation: dict[str, Any] = {}
    try:
        with api_client.opened(address) as api:
            text = api_client.ask_text(api, "/metrics").decode(errors="replace")
            version = _BUILD.search(text)
            left_out = tuple((kind, int(float(number))) for kind, number in _LEFT_OUT.findall(text) if float(number))
            service = PicturedService(visible(api.where), version[1] if version else "", left_out)
            if pod:
                explanation = _explanation(api, pod)
            return Look((service,)), explanation
    except (errors.MigschedError, ValueError, OverflowError) as error:
        return Look(why_not=visible(str(error))), explanation


def _explanation(api: api_client.CapacityApi, pod: str) -> dict[str, Any]:
    try:
        return api_client.ask(api, "/api/v1/explain", dict[str, Any], pod=pod)
    except errors.MigschedError:
        return {}


async def _read(
    files: Sequence[Path],
    address: api_client.Address,
    agent_namespace: str,
    what: str,
    target: str,
    service: Look[PicturedService],
) -> tuple[ClusterPicture, dict[str, Any]]:
    """The picture, and what it says of a pod that was asked about. Raises NotThereError for what is not there."""
    from cli.diagnosis.reader import PictureReader, Scope  # slow to load
    from kubeclient.kube import Connection
    from kubeclient.kubeconfig import Kubeconfig

    scope = Scope(address.namespace, agent_namespace, output.program(), target if what == "node" else "")
    connection = await Connection.to(await Kubeconfig.load(*files, context=address.context))
    try:
        reader = PictureReader(connection, scope, service, time.time)
        picture = await reader.read()
    finally:
        await connection.close()
    if what == "node" and not (picture.nodes.why_not or picture.nodes.items or picture.reports.items):
        raise api_client.NotThereError(f"{visible(target)}: there is neither a Node nor a MigNode of this name")
    if what == "pod" and not picture.pods.why_not and not any(pod.title == target for pod in picture.pods):
        raise api_client.NotThereError(f"{visible(target)}: there is no such pod that has to do with GPUs")
    return picture, reader.standings.explain(target) if what == "pod" else {}


def _concerns(picture: ClusterPicture, what: str, target: str) -> Callable[[Seen], bool]:
    """Which findings are about what was asked for."""
    if what == "node":
        return lambda seen: seen.node == target
    if what == "pod":
        node = next((pod.node for pod in picture.pods if pod.title == target), "")
        return lambda seen: seen.pod == target or (not seen.pod and node != "" and seen.node == node)
    return lambda _: True


def _document(made: Diagnosis, service: Look[PicturedService]) -> dict[str, Any]:
    return {
        "service": service.why_not or next((each.where for each in service), ""),
        "service_reached": not service.why_not,
        "findings": msgspec.to_builtins(made.findings),
        "left_out": made.left_out,
        "not_looked_at": msgspec.to_builtins(made.not_looked_at),
        "looked": list(made.looked),
    }
