"""The built web page is what its sources build to."""

from pathlib import Path

import pytest

from testbed import errors
from testbed.web import build

pytestmark = pytest.mark.e2e


def test_the_built_files_are_those_of_the_sources(tmp_path: Path, axe: str) -> None:
    """A fresh build by the locked tools gives the same files, byte for byte: run `make web` after a change."""
    build.build(tmp_path / "app")
    fresh = {file.name: file.read_bytes() for file in (tmp_path / "app").iterdir()}
    built = {file.name: file.read_bytes() for file in build.BUILT.iterdir()}
    assert sorted(fresh) == sorted(built)
    assert [name for name in fresh if fresh[name] != built[name]] == []


def test_a_wrong_type_is_refused(tmp_path: Path, axe: str) -> None:
    """A build names what TypeScript does not accept, and writes nothing."""
    sources = tmp_path / "web"
    build.copy_sources(sources)
    (sources / "src" / "wrong.ts").write_text("export const wrong: number = 'text';\n", encoding="utf-8")
    with pytest.raises(errors.BuildError, match=r"wrong\.ts"):
        build.build(tmp_path / "app", sources=sources)
    assert not (tmp_path / "app").exists()
