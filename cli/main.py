"""The command line behind `__main__`: finds the command's module, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 the answer is no, 2 the input cannot be used or what it names does not answer.
"""

import errno
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import typer
import typer.core
import typer.main

from allocator import errors

COMMANDS = {  # the first sentences of each command's own help, which is not loaded for the list
    "demo": "Try migsched without a GPU: Triton and Dynamo pods land on simulated MIG slices.",
    "cluster": "Run etcd, kube-apiserver, kube-controller-manager and kube-scheduler here, with simulated GPU nodes.",
    "scheduler": "Serve kube-scheduler's extender and the capacity API until SIGTERM or Ctrl-C.",
    "agent": "Cut slices on this node's GPUs as placements ask, and hand them to the kubelet, until SIGTERM or Ctrl-C.",
    "top": "Show nodes, GPUs and a map of every GPU's memory slices. Exit code 1 if there is nothing to show.",
    "explain": "Say in plain words why a pod is pending, or where its slices are. Exit code 1 if it has no place.",
    "capacity": "Say how many more slices fit, and whether given pods fit together (docs/planning.md).",
    "plan": "Plan GPUs for a demand: counts per profile, services with a rate, or language models (docs/planning.md).",
    "repack": "Plan moves of movable pods that make room for requests or empty whole GPUs (docs/planning.md).",
    "simulate": "Replay a workload on simulated GPUs and report acceptance, waits and moves with 95 % intervals.",
    "bench": "Measure what migsched promises.",
}

_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})

_SETTING = re.compile(r"[a-z]+(_[a-z]+)*")


class _Commands(typer.core.TyperGroup):
    """Commands by module, imported when they are called and not for the list: their libraries are slow to load."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is typer's
        """Names of all commands, in the order of help."""
        return [name for name in COMMANDS if importlib.util.find_spec(f"cli.{name}")]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name as the list shows it, or None."""
        if cmd_name not in self.list_commands(ctx):
            return None
        return typer.core.TyperCommand(cmd_name, help=COMMANDS[cmd_name])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is called, as it is."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, load(name) if name and listed else listed, rest


def load(name: str) -> Any:
    """A command from its module."""
    module = importlib.import_module(f"cli.{name}")
    subcommands = getattr(module, "app", None)
    if subcommands is None:
        subcommands = typer.Typer(add_completion=False)
        subcommands.command(name)(getattr(module, name))
    command = typer.main.get_command(subcommands)
    command.name = name
    if any(parameter.name == "api_url" for parameter in command.params):
        from cli import api_client, flags  # slow to load: not for the list of commands

        flags.add_cluster_flags(command, api_client.CLUSTER_FLAGS)
    return command


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="MIG-aware scheduling for Kubernetes: slices of NVIDIA GPUs, placed so that the most future work still fits.",
)


@app.callback()
def _migsched() -> None:
    """Only a callback makes typer keep the group, which has no commands before they are looked for."""


def main(run: Callable[[], object] = app) -> None:
    """Run the command line and exit."""
    try:
        run()
    except errors.MigschedError as error:
        sys.exit(_say(error))
    except BaseExceptionGroup as group:
        known, unknown = group.split(errors.MigschedError)
        if known is None or unknown is not None:
            raise
        sys.exit(_say(_first(known)))
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in it would fail again at the end
        sys.exit(_say(errors.MigschedError(f"the answer cannot be written: {error.strerror}")))


def _say(error: BaseException) -> int:
    """Print the error; the exit code for it. A setting is called as its flag is."""
    text = str(error)
    if isinstance(error, errors.SettingsError) and _SETTING.fullmatch(error.field):
        text = f"--{error.field.replace('_', '-')}{text.removeprefix(error.field)}"
    print(f"migsched: {text}", file=sys.stderr)  # noqa: T201 - this is the command line's voice
    return 2


def _first(group: BaseExceptionGroup[errors.MigschedError]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
