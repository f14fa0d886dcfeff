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


def test_pipes_are_a_hundred_columns_wide() -> None:
    """Where nobody says how wide the output is, tables take a hundred columns."""
    assert output.console().width == 100
