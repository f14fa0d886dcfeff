"""containerd is built once per version of go.mod, go.sum and our own program."""

from pathlib import Path

import pytest

from testbed import errors
from testbed.node import build

# `go version` is answered; `go build … -o DIR/ . tool` makes the programs unless told to fail
_GO = """#!/bin/sh
here={here}
if [ "$1" = version ]; then echo "go version go1.30.0 linux/amd64"; exit 0; fi
echo "$@" >> $here/calls
[ ! -e $here/failing ] || {{ echo 'undefined: gopher'; exit 1; }}
while [ "$1" != -o ]; do shift; done
for name in containerd containerd-shim-runc-v2 ctr real-node bridge host-local; do echo program > "$2$name"; done
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a `go`, the only command on PATH, that records its calls there."""
    directory = tmp_path / "go"
    directory.mkdir()
    (directory / "go").write_text(_GO.format(here=directory), "ascii")
    (directory / "go").chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder as `go/` is, with as little in it as a build reads."""
    directory = tmp_path / "sources"
    directory.mkdir()
    required = "github.com/containerd/containerd/v2 v2.4.2 // indirect"
    (directory / "go.mod").write_text(f"module m\n\ngo 1.26.0\n\nrequire (\n\t{required}\n)\n", "ascii")
    (directory / "go.sum").write_text("", "ascii")
    return directory


def test_all_programs_are_in_one_folder(go: Path, sources: Path, tmp_path: Path) -> None:
    """A build gives every program that a node runs, under its version, in one folder."""
    programs = build.ensure_built(sources=sources, cache=tmp_path)
    made = (programs.containerd, programs.shim, programs.ctr, programs.namespaces)
    for program in (*made, programs.cni / "bridge", programs.cni / "host-local"):
        assert program.read_text("ascii") == "program\n"
        assert program.parent == programs.cni
    assert "version.Version=2.4.2 " in (go / "calls").read_text("ascii")


def test_a_second_call_needs_no_go(go: Path, sources: Path, tmp_path: Path) -> None:
    """What is built is found again without asking Go, until a source changes."""
    first = build.ensure_built(sources=sources, cache=tmp_path)
    (go / "go").rename(go / "gone")
    assert build.ensure_built(sources=sources, cache=tmp_path) == first
    (go / "gone").rename(go / "go")
    (sources / "main.go").write_text("package main\n", "ascii")
    assert build.ensure_built(sources=sources, cache=tmp_path) != first
    assert len((go / "calls").read_text("ascii").splitlines()) == 2


def test_a_failed_build_says_what_failed(go: Path, sources: Path, tmp_path: Path) -> None:
    """The error repeats the compiler's last words, and nothing is kept, so that the next call tries again."""
    (go / "failing").touch()
    with pytest.raises(errors.BuildError, match=r"(?s)building containerd failed \(go exited 1\).*undefined: gopher"):
        build.ensure_built(sources=sources, cache=tmp_path)
    (go / "failing").unlink()
    assert build.ensure_built(sources=sources, cache=tmp_path).containerd.exists()


def test_a_go_mod_without_containerd_is_named(sources: Path) -> None:
    """Where go.mod does not say which containerd, the error names the file."""
    (sources / "go.mod").write_text("module m\n\ngo 1.26.0\n", "ascii")
    with pytest.raises(errors.BuildError, match=r"sources/go\.mod has no line like"):
        build.containerd_version(sources)
