"""`migsched explain`: where a pod's slices are, or why it is pending and what would help; of all that wait, a list."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from allocator import errors
from cli import api_client, documents, output, pending_list, remedies
from cli.output import Format
from cli.pending_list import Namespace

_FIELDS = ("namespace", "pod", "uid", "request", "phase", "node", "reason", "nodes", "slices")
_POD_KINDS = ("pod", "pods", "po")
_SERVICES = {  # what kubectl takes for each kind, as owners are called
    **dict.fromkeys(("deployment", "deployments", "deploy"), "Deployment"),
    **dict.fromkeys(("statefulset", "statefulsets", "sts"), "StatefulSet"),
    **dict.fromkeys(("daemonset", "daemonsets", "ds"), "DaemonSet"),
    **dict.fromkeys(("replicaset", "replicasets", "rs"), "ReplicaSet"),
    **dict.fromkeys(("job", "jobs"), "Job"),
}
_NO_ROOM = ("full", "fragmented", "not_offered", "too_large", "no_mig", "too_complex", "nominated")


def explain(
    pod: Annotated[
        str, typer.Argument(help="Name, namespace/name, UID, pod/NAME, deployment/NAME or another owner's.")
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="All pods that wait, as migsched pending lists them.")] = False,
    namespace: Namespace = "",
    snapshot: documents.SnapshotFile = None,
    remedy: Annotated[bool, typer.Option(help="Search for the cheapest remedy of a pod that finds no room.")] = True,
    remedy_s: Annotated[float, typer.Option(min=0.1, max=60, help="How long moves are searched, in seconds.")] = 4.0,
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """Say in plain words why a pod is pending, or where its slices are. Exit code 1 if it has no place.

    Example: migsched explain default/cannot-fit
    """
    if bool(pod) == every:
        raise errors.SettingsError("pod", pod, "name one pod or owner, or write --all")
    kind, slash, name = pod.partition("/")
    if every or (slash and kind.lower() in _SERVICES):
        service = f"{_SERVICES[kind.lower()]}/{name}" if slash else ""
        answer = _all(api_url, snapshot, namespace, service)
        if service and not answer["pending"] + answer["placed"]:
            raise api_client.NotThereError(f"{pod}: no MIG pod of it is known{f' in {namespace}' if namespace else ''}")
        output.show(form, lambda: answer, lambda: pending_list.table(answer, service or "the cluster"))
        raise typer.Exit(1 if answer["pending"] else 0)
    _explain_pod(api_url, snapshot, _pod(pod, namespace), form, remedy_s if remedy else None)


def _all(api_url: api_client.Address, snapshot: Path | None, namespace: str, service: str) -> dict[str, Any]:
    """The pods that wait, in a cluster or in a snapshot file."""
    if snapshot is None:
        return pending_list.ask(api_url, namespace=namespace, service=service)
    from cli import snapshot_explain  # slow to load

    return snapshot_explain.of_all(documents.snapshot(snapshot, api_url), namespace, service, pending_list.LIMIT)


def _pod(pod: str, namespace: str) -> str:
    """The pod as the API takes it. `pod/NAME` is a pod of that name; a pod of a namespace `pod` needs -n."""
    kind, slash, name = pod.partition("/")
    if slash and kind.lower() in _POD_KINDS:
        pod = name
    elif slash and namespace not in ("", kind):
        raise errors.SettingsError("namespace", namespace, f"and {pod!r} name two namespaces; write one of them")
    return f"{namespace}/{pod}" if namespace and "/" not in pod else pod


def _explain_pod(
    api_url: api_client.Address, snapshot: Path | None, pod: str, form: Format, remedy_s: float | None
) -> None:
    if snapshot is not None:
        from cli import snapshot_explain  # slow to load

        saved = documents.snapshot(snapshot, api_url)
        answer = _fields(snapshot_explain.of_pod(saved, pod, remedy_s, _NO_ROOM))
    else:
        answer = api_client.get(api_url, "/api/v1/explain", _fields, pod=pod)
        if remedy_s is not None and answer["phase"] == "pending" and answer.get("code") in _NO_ROOM:
            answer["remedy"] = remedies.ask(api_url, f"{answer['namespace']}/{answer['pod']}", remedy_s)
    output.show(form, lambda: answer, lambda: _table(answer))
    if answer["phase"] != "bound":
        raise typer.Exit(1)


def _fields(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in _FIELDS} | answer


def _table(answer: dict[str, Any]) -> RenderableType:
    head = Text.assemble(
        (f"{answer['namespace']}/{answer['pod']}", "bold"),
        f" asks for {answer['request']}: " if answer["request"] else ": ",
        (answer["phase"], "green" if answer["phase"] == "bound" else "bold red"),
        f" on {answer['node']}" if answer["node"] else "",
        f" for {pending_list.age(answer['since'], datetime.now(UTC))}" if _waits(answer) else "",
        f", {answer['reason']}" if answer["reason"] else "",
    )
    parts: list[RenderableType] = [head]
    if answer["slices"]:
        parts.append(_slices(answer["slices"]))
    if answer["nodes"]:
        parts.append(_nodes(answer["nodes"]))
    if answer.get("kube_scheduler") and answer["kube_scheduler"] not in answer["reason"]:
        parts.append(Text(f"kube-scheduler said last: {answer['kube_scheduler']}"))
    if "remedy" in answer:
        parts += remedies.lines(answer["remedy"])
    parts += [Text(f"note: {note}") for note in answer.get("notes", ())]
    if answer.get("not_looked_at"):
        parts.append(Text(f"not looked at: {'; '.join(answer['not_looked_at'])}", style="dim"))
    return Group(*parts)


def _waits(answer: dict[str, Any]) -> bool:
    """Whether it has no node, and since when is known."""
    return answer["phase"] == "pending" and bool(answer.get("since"))


def _slices(slices: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("CONTAINER", "PROFILE", "GPU", "START", "SIZE"):
        table.add_column(column, justify="right" if column in ("START", "SIZE") else "left")
    for slice_ in slices:
        table.add_row(slice_["container"], slice_["profile"], slice_["gpu"], str(slice_["start"]), str(slice_["size"]))
    return table


def _nodes(nodes: dict[str, str]) -> Table:
    """Refused nodes by reason: thousands of them may share one."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("NODES", justify="right")
    table.add_column("REASON")
    table.add_column("SUCH AS")
    for reason, number in Counter(nodes.values()).most_common():
        table.add_row(str(number), reason, next(name for name, why in nodes.items() if why == reason))
    return table
