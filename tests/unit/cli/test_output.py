"""How answers are printed."""

import json

import pytest
import yaml
from rich.text import Text

from cli import output
from cli.output import Format

DOCUMENT = {"name": "größe", "numbers": [1, 2], "empty": {}}


def test_json_and_yaml_read_back() -> None:
    """Both forms for programs are what went in."""
    assert json.loads(output.text(Format.JSON, DOCUMENT)) == DOCUMENT
    assert yaml.safe_load(output.text(Format.YAML, DOCUMENT)) == DOCUMENT
    assert "größe" in output.text(Format.YAML, DOCUMENT)


def test_only_the_wanted_form_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    """A table costs no document and a document no table."""

    def never() -> Text:
        raise AssertionError

    output.show(Format.JSON, lambda: DOCUMENT, never)
    assert json.loads(capsys.readouterr().out) == DOCUMENT
    output.show(Format.TABLE, never, lambda: Text("a table"))
    assert capsys.readouterr().out == "a table\n"


@pytest.mark.parametrize(("columns", "width"), [(None, 100), ("60", 60), ("250", 250), ("x", 100), ("3", 100)])
def test_pipes_are_as_wide_as_columns_says(columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody says how wide the output is, or nothing useful, tables take a hundred columns."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert output.console().width == width
