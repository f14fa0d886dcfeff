"""The command line under test."""

from pathlib import Path

import pytest

from tests.unit.cli.command_line import CommandLine


@pytest.fixture
def migsched(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    """`migsched.run("top", "-o", "json")`, for a terminal without colours."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("HOME", str(tmp_path))  # whoever has a kubeconfig there does not have it asked
    for variable in ("MIGSCHED_API_URL", "KUBECONFIG"):
        monkeypatch.delenv(variable, raising=False)
    return CommandLine(capsys, monkeypatch)
