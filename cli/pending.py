"""`migsched pending`: the pods that wait for a node, the oldest first, grouped by reason."""

from typing import Annotated

import typer

from cli import api_client, output, pending_list
from cli.output import Format
from cli.pending_list import LIMIT, Namespace


def pending(
    namespace: Namespace = "",
    limit: Annotated[int, typer.Option(min=1, max=5_000, help="At most so many, the oldest.")] = LIMIT,
    api_url: api_client.ApiUrl = api_client.DEFAULT_URL,
    form: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
) -> None:
    """List the MIG pods that wait for a node, the oldest first, grouped by reason.

    Example: migsched pending -n team-a
    """
    answer = pending_list.ask(api_url, namespace=namespace, limit=limit)
    whose = f"namespace {namespace}" if namespace else "the cluster"
    output.show(form, lambda: answer, lambda: pending_list.table(answer, whose))
