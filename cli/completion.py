"""`migsched completion SHELL`: the script by which a shell completes commands, flags and their values."""

import enum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]  # imported there, not marked as public


class Shell(enum.StrEnum):
    """The shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell.", show_default=False)]) -> None:
    """Print the script that completes commands and flags in a shell.

    Bash: `source <(migsched completion bash)` in ~/.bashrc. Zsh: the same with zsh, after compinit. Fish:
    `migsched completion fish | source` in ~/.config/fish/config.fish.

    Example: migsched completion bash
    """
    script = get_completion_script(prog_name="migsched", complete_var="_MIGSCHED_COMPLETE", shell=shell.value)
    typer.echo(script)
