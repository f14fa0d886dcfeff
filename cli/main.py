"""The command line behind `__main__`: finds the command's module, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 the answer is no, 2 the input cannot be used or what it names does not answer, 3 undecided;
docs/cli.md.
"""

import difflib
import errno
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

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
    "pending": "List the MIG pods that wait for a node, the oldest first, grouped by reason.",
    "doctor": "Find what is wrong with a cluster, a node or a pod, each fault with its fix (docs/doctor.md).",
    "handover": "Print the commands that give a node's GPUs to migsched, or back; --apply carries them out.",
    "capacity": "Say how many more slices fit, and whether given pods fit together (docs/planning.md).",
    "plan": "Plan GPUs for a demand: counts per profile, services with a rate, or language models (docs/planning.md).",
    "repack": "Plan moves of movable pods that make room for requests or empty whole GPUs (docs/planning.md).",
    "drain": "Cordon a node and move its movable MIG pods elsewhere, in the cheapest order (docs/repacking.md).",
    "record": "Record what the web page shows into files that rotate, until Ctrl-C; `migsched replay` shows it.",
    "replay": "Show a recording in the web page on this machine, until Ctrl-C; or make one HTML file of it.",
    "simulate": "Replay a workload on simulated GPUs and report acceptance, waits and moves with 95 % intervals.",
    "bench": "Measure what migsched promises.",
    "completion": "Print the script that completes commands and flags in a shell.",
}

EXIT_1 = {  # what exit code 1 says, by command
    "demo": "something is stuck: not every pod was placed or refused",
    "agent": "--once or --check, and the node is not ready",
    "top": "there is nothing to show",
    "explain": "the pod has no place",
    "doctor": "something is wrong: an error or a warning",
    "handover": "pods use the node's GPUs, and --apply changed nothing",
    "capacity": "the requests do not fit",
    "plan": "the stock is too small",
    "repack": "there is no such plan",
    "bench": "a bound is broken, or a part failed",
}
UNDECIDED = ("doctor", "capacity", "plan", "repack")  # commands that end with 3 where the answer is open
_EXIT_CODES = (
    "Exit codes: 0 done; {one}2 the input cannot be used, or what it names does not answer; {three}130 Ctrl-C."
)

_CLOSED_PIPE = 1  # the library's code for it
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
        """The command that is called, as it is. Raises the library's UsageError naming the nearest one."""
        try:
            name, listed, rest = super().resolve_command(ctx, args)
        except typer.Exit:
            raise
        except Exception as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if near and hasattr(error, "message"):  # the library's own finds none: it knows no lazy commands
                error.message = f"{error.message.rstrip('.')}. Did you mean {near[0]!r}?"
            raise
        return name, load(name) if name and listed else listed, rest


def load(name: str) -> Any:
    """A command from its module."""
    module = importlib.import_module(f"cli.{name}")
    subcommands = getattr(module, "app", None)
    if subcommands is None:
        subcommands = typer.Typer(add_completion=False)
        subcommands.command(name)(getattr(module, name))
    command: Any = typer.main.get_command(subcommands)
    command.name = name
    command.epilog = exit_codes(name)
    if any(parameter.name == "api_url" for parameter in command.params):
        from cli import api_client, flags  # slow to load: not for the list of commands

        flags.add_cluster_flags(command, api_client.CLUSTER_FLAGS)
    _hide_types_of_switches(command)
    return command


def exit_codes(name: str = "") -> str:
    """The line about exit codes in a command's help."""
    one = f"1 {EXIT_1[name]}; " if name in EXIT_1 else "" if name else "1 the answer is no; "
    three = "3 undecided: neither found nor proven impossible; " if not name or name in UNDECIDED else ""
    return _EXIT_CODES.format(one=one, three=three)


def _hide_types_of_switches(command: Any) -> None:
    """A switch takes no value: its help does not say <bool>. The library has no setting for it."""
    make_help = command.get_help_option

    def typeless_help(ctx: Any) -> Any:
        option = make_help(ctx)
        option.display_type_rich = _no_type
        return option

    command.get_help_option = typeless_help
    for parameter in command.params:
        if getattr(parameter, "is_bool_flag", False):
            parameter.display_type_rich = _no_type
    for subcommand in getattr(command, "commands", {}).values():
        subcommand.epilog = subcommand.epilog or command.epilog
        _hide_types_of_switches(subcommand)


def _no_type(**_: Any) -> None:
    """What a switch takes."""


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog=exit_codes(),
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="MIG-aware scheduling for Kubernetes: slices of NVIDIA GPUs, placed so that the most future work still fits.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from config.version import version  # only here

        print(f"migsched {version()}")  # noqa: T201 - the answer
        raise typer.Exit


@app.callback()
def _migsched(
    _: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Only a callback makes typer keep the group, which has no commands before they are looked for."""


def _run() -> None:
    """The command line under the name that it was called by."""
    plugin = os.path.basename(sys.argv[0]).startswith("kubectl-")  # noqa: PTH119 - a name, not a file
    group: Any = typer.main.get_command(app)
    _hide_types_of_switches(group)
    if any(name.endswith("_COMPLETE") for name in os.environ):
        from typer.completion import completion_init  # type: ignore[attr-defined]  # as its own command line does

        completion_init()
    group(prog_name="kubectl mig" if plugin else "migsched")


def main(run: Callable[[], object] = _run) -> None:
    """Run the command line and exit."""
    try:
        run()
    except BaseExceptionGroup as group:  # of tasks: what went wrong in them is told, and not how they were grouped
        _end(_first(group.split(errors.MigschedError)[1] or group))
    except ModuleNotFoundError as error:
        _end(_left_out(error))
    except (errors.MigschedError, OSError) as error:
        _end(error)


def _left_out(error: ModuleNotFoundError) -> Exception:
    """What to say of a library that is not installed: each container image has those of its own commands only."""
    library = (error.name or "").partition(".")[0]
    if not library or importlib.util.find_spec(library) is not None:
        return error
    return errors.MigschedError(
        f"this command needs the Python library {library}, which this image or environment leaves out; "
        "docs/images.md says which image has it"
    )


def _end(error: BaseException) -> None:
    """Exit as an error asks for, which is raised if it is a defect."""
    if isinstance(error, OSError) and error.errno in (*_NOT_WRITTEN, errno.EPIPE):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in it would fail again at the end
        if error.errno == errno.EPIPE:
            sys.exit(_CLOSED_PIPE)
        error = errors.MigschedError(f"the answer cannot be written: {error.strerror}")
    if not isinstance(error, errors.MigschedError):
        raise error from None
    sys.exit(_say(error))


def _say(error: BaseException) -> int:
    """Print the error; the exit code for it. A setting is called as its flag is."""
    text = str(error)
    if isinstance(error, errors.SettingsError) and _SETTING.fullmatch(error.field):
        text = f"--{error.field.replace('_', '-')}{text.removeprefix(error.field)}"
    print(f"migsched: {text}", file=sys.stderr)  # noqa: T201 - this is the command line's voice
    return 2


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
