"""docs/cli.md says of each command what its help says."""

import re
from pathlib import Path

import pytest

from cli import main
from tests.unit.cli.command_line import CommandLine
from tests.unit.cli.conftest import migsched

__all__ = ["migsched"]

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def rows() -> dict[str, tuple[str, str]]:
    """The table of commands: what each does, and what its exit code 1 says."""
    return {name: (does, one) for name, does, one in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", PAGE, re.M)}


def test_the_table_has_every_command() -> None:
    """In the order of help, with the first sentences of each command's help and the meaning of its exit code 1."""
    assert rows() == {name: (help_, main.EXIT_1.get(name, "–")) for name, help_ in main.COMMANDS.items()}
    assert list(rows()) == list(main.COMMANDS)


@pytest.mark.parametrize("command", main.COMMANDS)
def test_the_help_of_each_command_can_be_read_on_a_small_terminal(
    command: str, migsched: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """80 columns, no colours; it begins with the usage and ends with what exit codes mean, 1 as the page says it."""
    monkeypatch.setenv("COLUMNS", "80")
    outcome = migsched.run(command, "--help")
    lines = outcome.out.strip().splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in outcome.out
    assert lines[0].strip().startswith(f"Usage: migsched {command}")
    said = " ".join(" ".join(lines[-4:]).split())
    assert f"Exit codes: 0 done; {'1 ' + main.EXIT_1[command] if command in main.EXIT_1 else '2 the input'}" in said
    assert ("3 undecided" in said) == (command in main.UNDECIDED)


@pytest.mark.parametrize("flag", ["--kubeconfig", "--context", "--scheduler-namespace", "--api-url", "--token-file"])
@pytest.mark.parametrize("command", ["top", "explain", "capacity", "repack"])
def test_whoever_asks_the_api_has_the_flags_of_the_page(command: str, flag: str) -> None:
    """Each command that the page names can be told where to ask."""
    assert flag in {option for parameter in main.load(command).params for option in parameter.opts}
    assert f"`{command}`" in PAGE
    assert flag in PAGE
