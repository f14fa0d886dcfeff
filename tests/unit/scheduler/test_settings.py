"""Settings: flag > environment > file > default; what is wrong is named."""

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
        ("- a list", "settings file"),
        ("a: [", "settings file"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, text: str, field: str) -> None:
    """Wrong value, unknown key, unreadable file: SettingsError with the field in front."""
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(errors.SettingsError, match=f"^{field}: "):
        settings.load(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is an error, not an empty configuration."""
    with pytest.raises(errors.SettingsError, match="cannot be read"):
        settings.load(tmp_path / "none.yaml")
