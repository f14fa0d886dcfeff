"""Flags of settings: each field of a form is one flag, and nothing else is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from pydantic import Field
from pydantic_settings import BaseSettings
from typer.testing import CliRunner

from cli import flags as setting_flags
from cli import main
from node_agent import settings as agent_settings
from scheduler import settings as scheduler_settings


class Form(BaseSettings):
    """A field of each type."""

    host_name: str = Field("here", description="A name.")
    port: int = Field(0, description="A number.")
    wait_s: float = Field(1.5, description="A time.")
    most_mib: int = Field(2, description="A size.")
    file: Path | None = Field(None, description="A file.")
    watching: bool = Field(False, description="A choice.")


def called(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, what the command got, and what was printed."""
    got: dict[str, Any] = {}

    @setting_flags.of_fields(Form, watching="watch")
    def command(flags: Mapping[str, Any], own: Annotated[int, typer.Option(help="Its own.")] = 7) -> None:
        """Do it."""
        got.update(flags, own=own)

    application = typer.Typer()
    application.command()(command)
    outcome = CliRunner().invoke(application, arguments, env={"NO_COLOR": "1", "COLUMNS": "200"})
    return outcome.exit_code, got, outcome.output


def test_what_is_not_given_is_none() -> None:
    """A command gets every field, with None for a flag that was not given, beside its own parameters."""
    assert called() == (0, {**dict.fromkeys(Form.model_fields), "own": 7}, "")


def test_a_flag_has_the_type_of_its_field() -> None:
    """Texts, numbers, files and choices arrive as such; what is not a number is refused by the flag's name."""
    given = (
        "--host-name",
        "x",
        "--port",
        "0",
        "--wait-s",
        "2",
        "--most-mib",
        "3",
        "--file",
        "a/b",
        "--watch",
        "--own",
        "1",
    )
    assert called(*given)[1] == {
        "host_name": "x", "port": 0, "wait_s": 2.0, "most_mib": 3, "file": Path("a/b"), "watching": True, "own": 1,
    }  # fmt: skip
    code, _, printed = called("--port", "many")
    assert code == 2
    assert "--port" in printed


def test_help_says_meaning_default_and_unit() -> None:
    """Each flag's help is the field's description with its default, zero included, and the unit of a time or size."""
    lines = [line.strip("│ ").split() for line in called("--help")[2].splitlines() if line.startswith("│")]
    words = {line[0]: " ".join(line[1:]) for line in lines}
    assert words["--host-name"] == "<str> A name. [default: here]"
    assert words["--port"] == "<int> A number. [default: 0]"
    assert words["--wait-s"] == "SECONDS A time. [default: 1.5]"
    assert words["--most-mib"] == "MIB A size. [default: 2]"
    assert words["--file"] == "<path> A file."
    assert words["--watch"] == "<bool> A choice."
    assert words["--own"] == "<int> Its own. [default: 7]"


@pytest.mark.parametrize(
    ("command", "form", "names"),
    [
        ("scheduler", scheduler_settings.Settings, {}),
        ("agent", agent_settings.Settings, {"observer": "observe"}),
    ],
)
def test_every_setting_of_a_service_has_a_flag(
    command: str, form: type[BaseSettings], names: Mapping[str, str]
) -> None:
    """The commands of the services offer each setting once, beside --config."""
    offered = [option for parameter in main.load(command).params for option in parameter.opts]
    assert "--config" in offered
    for field in form.model_fields:
        assert offered.count("--" + names.get(field, field).replace("_", "-")) == 1
