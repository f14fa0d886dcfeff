"""runc and busybox are found on PATH, or unpacked from packages, or it is said what to install."""

import os
import shutil
from pathlib import Path

import pytest

from testbed.node import debian, elf, errors
from testbed.progress import Progress

# Records its calls; `download` makes one .deb for each package, `update` marks that there are lists now.
_APT = """#!/bin/sh
echo "$@" >> {here}/calls
[ -z "{failing}" ] || {{ echo "E: {failing}" >&2; exit 100; }}
case "$*" in
  *update*) : > {here}/lists;;
  *download*)
    [ -e {here}/lists ] || {{ echo 'E: Unable to locate package runc' >&2; exit 100; }}
    : > runc_1.deb; : > busybox_1.deb;;
esac
"""
_DPKG = """#!/bin/sh
/bin/mkdir -p "$3/usr/sbin" "$3/bin"
printf '#!/bin/sh\\n[ "{broken}" = no ] || {{ echo libseccomp.so.2: not found >&2; exit 127; }}\\n' > "$3/usr/sbin/runc"
: > "$3/bin/busybox"
/bin/chmod +x "$3/usr/sbin/runc" "$3/bin/busybox"
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "ascii")
    path.chmod(0o755)
    return path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, empty."""
    directory = tmp_path / "path"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def packages(path: Path, *, lists: bool = True, failing: str = "", broken: str = "no") -> None:
    """Put an apt-get and a dpkg on PATH."""
    program(path / "apt-get", _APT.format(here=path, failing=failing))
    program(path / "dpkg", _DPKG.format(broken=broken))
    if lists:
        (path / "lists").touch()


def install(path: Path, tmp_path: Path, progress: Progress | None = None) -> debian.Tools:
    """Install into a cache of this test, on a machine that has only what is on PATH."""
    return debian.ensure_installed(progress, cache=tmp_path / "cache", admin_directories=str(path))


def elf_program(path: Path, *kinds: int) -> Path:
    """A 64-bit ELF executable with segments of these kinds."""
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    header[32:40] = (64).to_bytes(8, "little")  # the program headers' offset
    header[54:58] = (56).to_bytes(2, "little") + len(kinds).to_bytes(2, "little")  # their size and count
    path.write_bytes(bytes(header) + b"".join(kind.to_bytes(4, "little").ljust(56, b"\0") for kind in kinds))
    path.chmod(0o755)
    return path


def calls(path: Path) -> list[str]:
    return (path / "calls").read_text("ascii").splitlines()


def test_what_is_on_path_is_used(path: Path, tmp_path: Path) -> None:
    """With runc and a static busybox on PATH nothing is fetched."""
    runc, busybox = program(path / "runc", "#!/bin/sh\n"), elf_program(path / "busybox", 1, 1)
    assert install(path, tmp_path) == debian.Tools(runc, busybox)
    assert not (tmp_path / "cache").exists()


def test_a_busybox_that_needs_libraries_is_not_used(path: Path, tmp_path: Path) -> None:
    """A busybox on PATH that is no static executable is left alone, while runc beside it is used."""
    packages(path)
    runc = program(path / "runc", "#!/bin/sh\n")
    program(path / "busybox", "#!/bin/sh\n")
    tools = install(path, tmp_path)
    assert tools == debian.Tools(runc, tmp_path / "cache/debian/runc-busybox-static/bin/busybox")


def test_packages_are_unpacked_once(path: Path, tmp_path: Path) -> None:
    """What PATH lacks is downloaded and unpacked into the cache, and found there the next time."""
    packages(path)
    told: list[str] = []
    first = install(path, tmp_path, told.append)
    assert first.runc.is_file()
    assert first.busybox.is_file()
    assert install(path, tmp_path, told.append) == first
    assert calls(path) == ["--quiet download runc busybox-static"]
    assert told == ["fetching the packages runc, busybox-static"]
    assert not list((tmp_path / "cache").rglob("*.deb"))


def test_lists_of_its_own_where_the_system_has_none(path: Path, tmp_path: Path) -> None:
    """Without package lists, some are fetched into the cache, and the system's are not touched."""
    packages(path, lists=False)
    assert install(path, tmp_path).runc.is_file()
    _first, update, download = calls(path)
    assert update.endswith("--quiet update")
    assert download.endswith("--quiet download runc busybox-static")
    for call in (update, download):
        assert f"Dir::State::Lists={tmp_path / 'cache'}" in call
    assert not list((tmp_path / "cache").rglob("apt"))


def test_no_network_says_what_to_install(path: Path, tmp_path: Path) -> None:
    """Where the packages cannot be fetched, the error repeats apt's words, and nothing is kept in the cache."""
    packages(path, failing="Temporary failure resolving the mirror")
    with pytest.raises(errors.MachineError, match=r"install runc and busybox-static.*Temporary failure resolving"):
        install(path, tmp_path)
    assert [entry.name for entry in (tmp_path / "cache/debian").iterdir()] == ["lock"]


def test_another_distribution_is_told_what_to_install(path: Path, tmp_path: Path) -> None:
    """Without apt-get, the error names the packages."""
    with pytest.raises(errors.MachineError, match=r"install runc and busybox-static.*only.*on Debian or Ubuntu"):
        install(path, tmp_path)


def test_a_runc_that_does_not_run_is_not_kept(path: Path, tmp_path: Path) -> None:
    """An unpacked runc that lacks a library is refused, in the words of the loader."""
    packages(path, broken="yes")
    with pytest.raises(errors.MachineError, match=r"the unpacked runc does not run: libseccomp\.so\.2"):
        install(path, tmp_path)


def test_static_executables_are_told_from_others(tmp_path: Path) -> None:
    """A program without an interpreter segment is static, and scripts, dynamic programs and short files are not."""
    assert elf.is_static(elf_program(tmp_path / "static", 1, 1))
    assert not elf.is_static(elf_program(tmp_path / "dynamic", 1, 3))
    assert not elf.is_static(program(tmp_path / "script", "#!/bin/sh\n"))


def test_the_interpreter_of_these_tests_is_judged_as_the_loader_does() -> None:
    """A real program that the machine's loader loads is not taken for static."""
    shell = shutil.which("env", path=os.defpath)
    assert shell is not None
    assert not elf.is_static(Path(shell))
