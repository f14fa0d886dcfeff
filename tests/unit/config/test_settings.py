"""Loading of settings: flag > environment > file > default; what is wrong is named."""

import os
import re
from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from allocator import errors
from config import settings
from node_agent import settings as agent_settings
from scheduler import settings as scheduler_settings


class Form(BaseSettings):
    """Four numbers."""

    model_config = SettingsConfigDict(env_prefix="FORM_", extra="forbid", frozen=True)

    flag: int = Field(0, ge=0, le=9)
    variable: int = 0
    file: int = 0
    default: int = 4


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source is overruled by the one before it; a flag that is None was not given."""
    file = tmp_path / "settings.yaml"
    file.write_text("{flag: 3, variable: 3, file: 3}")
    for name in ("flag", "variable"):
        monkeypatch.setenv(f"FORM_{name.upper()}", "2")
    found = settings.load(Form, file, {"flag": 1, "variable": None})
    assert (found.flag, found.variable, found.file, found.default) == (1, 2, 3, 4)


@pytest.mark.parametrize("name", ["FORM_VARIABLE", "form_variable", "Form_Variable"])
def test_a_variable_in_any_case_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A variable that counts without a file counts with one."""
    file = tmp_path / "settings.yaml"
    file.write_text("variable: 3")
    monkeypatch.setenv(name, "2")
    assert settings.load(Form, None, {}).variable == 2
    assert settings.load(Form, file, {}).variable == 2


def test_a_file_that_is_a_pipe_is_read() -> None:
    """What a shell makes of `--config <(…)` is a file like any other."""
    reading, writing = os.pipe()
    os.write(writing, b"file: 3")
    os.close(writing)
    assert settings.load(Form, Path(f"/dev/fd/{reading}"), {}).file == 3
    os.close(reading)


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    """A file with comments alone is no error."""
    file = tmp_path / "settings.yaml"
    file.write_text("# flag: 3\n")
    assert settings.load(Form, file, {}).default == 4


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("flag: 10", "flag"),
        ("flag: much", "flag"),
        ("no_such_setting: 1", "no_such_setting"),
        ("- a list", "settings file"),
        ("7: a number for a name", "settings file"),
        ("a: [", "settings file"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, text: str, field: str) -> None:
    """Wrong value, unknown key, unreadable file: SettingsError with the file, where it could be read, and the field."""
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(errors.SettingsError, match=f"^({re.escape(str(file))}: )?{field}: "):
        settings.load(Form, file, {})


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "not UTF-8"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    """A file that is not there or not text is an error, not an empty configuration."""
    file = tmp_path / "settings.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(errors.SettingsError, match=r"^settings file: .*cannot be read"):
        settings.load(Form, file, {})


ROOT = Path(__file__).parents[3]
FOLDERS = ("allocator", "benchmarks", "cli", "config", "kubeclient", "node_agent", "scheduler", "simulator", "testbed")
PROGRAMS = [*(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")), ROOT / "Makefile"]


def test_every_variable_that_is_read_here_is_known() -> None:
    """A variable of a test or of the testbed that is not listed would be refused by the services beside it."""
    named = {
        name for file in PROGRAMS for name in re.findall(r"\bMIGSCHED_([A-Z][A-Z_]*[A-Z])\b", file.read_text("utf-8"))
    }
    fields = {field.upper() for field in scheduler_settings.Settings.model_fields}
    fields |= {f"AGENT_{field.upper()}" for field in agent_settings.Settings.model_fields}
    assert named - fields <= settings.OTHER_VARIABLES
