"""Triton and Dynamo where they cannot be fetched: what is said, and what is left in the cache."""

from pathlib import Path

import pytest

from testbed.consumers import errors, packages


def test_an_index_that_cannot_be_reached_is_said_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says which programs are missing and what would help; no half of them is taken for the whole."""
    nowhere = "http://127.0.0.1:9/simple"
    for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, nowhere)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    told: list[str] = []
    with pytest.raises(errors.ConsumerError, match=r"(?s)Triton and Dynamo cannot be fetched: .*make PyPI reachable"):
        packages.ensure_installed(told.append, cache=tmp_path / "cache")
    assert told == ["fetching Triton and Dynamo from PyPI: 200 MiB, unpacked 810 MiB"]
    assert [entry.name for entry in (tmp_path / "cache" / "consumers").iterdir()] == ["lock"]
