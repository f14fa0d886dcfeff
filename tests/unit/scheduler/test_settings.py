"""Settings: flag > environment > file > default; what is wrong is named."""

import re
from pathlib import Path

import pytest

from allocator import errors
from scheduler import settings


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source is overruled by the one before it."""
    file = tmp_path / "settings.yaml"
    file.write_text("shortlist: 1\nextender_port: 1001\napi_port: 1002\n")
    monkeypatch.setenv("MIGSCHED_SHORTLIST", "2")
    monkeypatch.setenv("MIGSCHED_EXTENDER_PORT", "2001")
    found = settings.load(file, shortlist=3)
    assert (found.shortlist, found.extender_port, found.api_port, found.policy) == (3, 2001, 1002, "mfi")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("shortlist: 0", "shortlist"),
        ("extender_port: 70000", "extender_port"),
        ("log_format: xml", "log_format"),
        ("no_such_setting: 1", "no_such_setting"),
        ("policy: best", "policy"),
        ("lease_duration_s: 5", "lease_renew_deadline_s"),
        ("lease_retry_s: 12", "lease_retry_s"),
        ("- a list", "settings file"),
        ("a: [", "settings file"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, text: str, field: str) -> None:
    """Wrong value, unknown key, unreadable file: SettingsError with file and field, none of a library's words."""
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(errors.SettingsError, match=f"^({re.escape(str(file))}: )?{field}: ") as raised:
        settings.load(file)
    assert not {"input", "inputs", "Input", "string", "pydantic"} & set(raised.value.fix.split())


def test_an_unknown_key_of_a_file_gets_the_file_and_the_nearest_setting(tmp_path: Path) -> None:
    """No flag is blamed that does not exist."""
    file = tmp_path / "settings.yaml"
    file.write_text("polcy: mfi\n")
    with pytest.raises(errors.SettingsError) as raised:
        settings.load(file)
    assert str(raised.value) == f"{file}: polcy: 'mfi': is not a setting; did you mean policy?"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "MIGSCHED_POLCY",
            "x",
            "environment variable MIGSCHED_POLCY: 'x': is not a setting; did you mean MIGSCHED_POLICY?",
        ),
        ("MIGSCHED_ZZZZZZ", "x", "environment variable MIGSCHED_ZZZZZZ: 'x': is not a setting; remove it"),
        ("MIGSCHED_LOG_LEVEL", "loud", "use debug, info, warning or error"),
        ("MIGSCHED_API_PORT", "many", "environment variable MIGSCHED_API_PORT: 'many': must be a whole number"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in a variable's name is refused as one in a file is, a bad value by the variable's name."""
    monkeypatch.setenv(name, value)
    with pytest.raises(errors.SettingsError, match=re.escape(said)):
        settings.load()


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the agent, of the client, of tests, and those that Kubernetes makes of Services named migsched…."""
    for name, value in {
        "MIGSCHED_AGENT_NODE": "n",
        "MIGSCHED_API_URL": "http://x",
        "MIGSCHED_SERVICE_HOST": "10.0.0.1",
        "MIGSCHED_SERVICE_PORT_HTTP": "8080",
        "MIGSCHED_PORT": "tcp://10.0.0.1:8080",
        "MIGSCHED_PORT_8080_TCP_ADDR": "10.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    assert settings.load().api_port == 8080


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is an error, not an empty configuration."""
    with pytest.raises(errors.SettingsError, match="cannot be read"):
        settings.load(tmp_path / "none.yaml")
