"""The images' root file system from Debian's packages, each pinned by its hash. Called by `build`.

Packages are unpacked, not installed: no maintainer script runs, so neither root nor a running Debian of that release is
needed, and there is no shell, package manager or set-user-id program in the images. What a script would have done and
the product needs is done here: the bundle of certificates, users, compiled bytecode (`bytecode`).
"""

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from testbed import apt
from testbed.image import errors

# Python and what its modules and the wheels' libraries link to; nothing else, and no package for its dependencies' sake
PACKAGES = (
    "base-files",  # os-release, the texts of common licences
    "ca-certificates",
    "gcc-12-base",  # the licence of GCC's libraries
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "python3.11-minimal",
    "zlib1g",
)

# Modules of Python whose libraries are left out with them, and what no server needs
_LEFT_OUT = (
    "etc/apt/*",
    "etc/default/*",
    "etc/dpkg/*",
    "etc/update-motd.d/*",
    "usr/bin/[!p]*",
    "usr/bin/pdb*",
    "usr/bin/py3*",
    "usr/bin/pydoc*",
    "usr/bin/pygettext*",
    "usr/lib/*/audit/*",
    "usr/lib/*/gconv/*",
    "usr/lib/python3.11/lib-dynload/_crypt.*",
    "usr/lib/python3.11/lib-dynload/_curses*",
    "usr/lib/python3.11/lib-dynload/_dbm.*",
    "usr/lib/python3.11/lib-dynload/_sqlite3.*",
    "usr/lib/python3.11/lib-dynload/nis.*",
    "usr/lib/python3.11/lib-dynload/ossaudiodev.*",
    "usr/lib/python3.11/lib-dynload/readline.*",
    "usr/lib/python3.11/pydoc_data/*",
    "usr/sbin/*",
    "usr/share/[!cdp]*",
    "usr/share/doc-base/*",
    "usr/share/doc/*/[!c]*",
    "usr/share/doc/*/changelog*",
    "usr/share/pixmaps/*",
    "usr/share/python3/*",
    "var/*",
)
_MERGED = ("bin", "lib", "lib64", "sbin")  # links into /usr, as on every Debian now
_USERS = (("root", 0), ("nobody", 65534), ("migsched", 65532))
_EMPTY = ("dev", "proc", "run", "sys", "tmp", "var/tmp", "home/migsched")
_CERTIFICATES = Path("usr/share/ca-certificates")


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """One line of the lock: a package of one version and architecture (`all` for any), and its file's SHA-256."""

    name: str
    version: str
    architecture: str
    sha256: str


def read_lock(path: Path) -> tuple[DebianPackage, ...]:
    """The packages that a lock names, in its order.

    Raises ImageError for a line that is not four words.
    """
    packages = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 4 or len(words[3]) != 64:
            raise errors.ImageError(
                f"{path}:{number}: {line!r} is not NAME VERSION ARCHITECTURE SHA256: run make lock-images"
            )
        packages.append(DebianPackage(*words))
    return tuple(packages)


def lock(names: Sequence[str], directory: Path) -> tuple[DebianPackage, ...]:
    """The versions of packages that the machine's sources offer now; `directory` is for their files.

    Raises AptError where one is not to be had.
    """
    apt.download(names, directory)
    packages = []
    for path in directory.glob("*.deb"):
        name, version, architecture = apt.run(
            ["dpkg-deb", "--show", "--showformat=${Package} ${Version} ${Architecture}", str(path)], directory
        ).split()
        packages.append(DebianPackage(name, version, architecture, _sha256(path)))
    return tuple(sorted(packages, key=lambda package: package.name))


def fetch(packages: Sequence[DebianPackage], directory: Path) -> dict[DebianPackage, Path]:
    """The packages' files in `directory`, fetched and compared with the lock.

    Raises ImageError where one is not to be had in this version, or its file is another one than was locked.
    """
    try:
        apt.download([f"{package.name}={package.version}" for package in packages], directory)
    except apt.AptError as error:
        raise errors.ImageError(
            f"the packages of deploy/images/debian.lock: {error}; images are built where apt has Debian 12 with its "
            "security updates. A version that is no longer offered there: run `make lock-images`, and look at the diff"
        ) from error
    by_hash = {_sha256(path): path for path in directory.glob("*.deb")}
    files = {package: by_hash.get(package.sha256) for package in packages}
    wrong = sorted(package.name for package, path in files.items() if path is None)
    if wrong:
        raise errors.ImageError(
            f"{', '.join(wrong)}: the file fetched has another SHA-256 than deploy/images/debian.lock"
        )
    return {package: path for package, path in files.items() if path is not None}


def unpack(files: dict[DebianPackage, Path], root: Path) -> None:
    """Make a root file system of the packages in `root`, which is empty, each with its licence and its description.

    The description lies in /var/lib/dpkg/status.d, where scanners of images without a package manager look for it.
    """
    for link in _MERGED:
        (root / "usr" / link).mkdir(parents=True)
        (root / link).symlink_to(f"usr/{link}")
    for name in _EMPTY:
        (root / name).mkdir(parents=True)
    status = root / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    for package, path in files.items():
        _extract(path, root)
        (status / package.name).write_text(apt.run(["dpkg-deb", "--field", str(path)], root), encoding="utf-8")
    _write_certificates(root)
    _write_users(root)


def _extract(path: Path, root: Path) -> None:
    plain = root / "unpacked.tar"
    _write_tar(path, plain)
    with tarfile.open(plain) as archive:
        for member in archive:
            name = _merged(member.name.removeprefix("./").rstrip("/"))
            if not name or any(fnmatch(name, pattern) for pattern in _LEFT_OUT):
                continue
            target = root / name
            if member.issym():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                target.symlink_to(member.linkname)
            elif member.isfile() and (content := archive.extractfile(member)) is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
                target.chmod(member.mode & 0o755)
    plain.unlink()


def _merged(name: str) -> str:
    return f"usr/{name}" if name.partition("/")[0] in _MERGED and "/" in name else "" if name in _MERGED else name


def _write_certificates(root: Path) -> None:
    """The bundle that update-ca-certificates makes, where OpenSSL of Debian looks for it."""
    target = root / "etc/ssl/certs/ca-certificates.crt"
    target.parent.mkdir(parents=True, exist_ok=True)
    certificates = sorted((root / _CERTIFICATES).rglob("*.crt"))
    target.write_text("".join(path.read_text(encoding="ascii") for path in certificates), encoding="ascii")
    (root / "usr/lib/ssl").mkdir(parents=True, exist_ok=True)
    (root / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")
    shutil.rmtree(root / _CERTIFICATES)


def _write_users(root: Path) -> None:
    users = [f"{name}:x:{number}:{number}::/home/migsched:/sbin/nologin\n" for name, number in _USERS]
    groups = [f"{name}:x:{number}:\n" for name, number in _USERS]
    (root / "etc/passwd").write_text("".join(users), encoding="ascii")
    (root / "etc/group").write_text("".join(groups), encoding="ascii")


def _write_tar(package: Path, target: Path) -> None:
    try:
        with target.open("wb") as file:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=file, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise errors.ImageError(f"{package.name} cannot be unpacked: {error}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
