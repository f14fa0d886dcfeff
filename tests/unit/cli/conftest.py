"""The command line under test."""

import pytest

from tests.unit.cli.command_line import CommandLine


@pytest.fixture
def migsched(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """`migsched.run("top", "-o", "json")`, for a terminal without colours."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("MIGSCHED_API_URL", raising=False)
    return CommandLine(capsys, monkeypatch)
