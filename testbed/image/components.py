"""What an image is made of, with each part's licence: the material of the SBOM and of /licenses. Called by `build`.

Three kinds of parts: Debian packages, Python packages, and the Go modules of NVIDIA's programs. Libraries that a wheel
or a program carries inside itself are under that part's own licence files, as its makers put them there.
"""

import email
import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from testbed import go_toolchain
from testbed.image import errors, python_packages
from testbed.image.debian_packages import DebianPackage

FOLDER = Path("licenses")

_NAMES = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS|COPYRIGHT)", re.IGNORECASE)
_IN_THE_SOURCE = {"nvidia-ml-py": "pynvml.py"}  # distributions whose licence is the head of a module
_GO_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A part of an image.

    `kind` is `deb`, `pypi` or `golang`, the type of a package URL. `licence` is an SPDX expression or a name, as the
    part's makers say it. `sha256` is of the file that was fetched, empty where a lock holds hashes of several.
    """

    kind: str
    name: str
    version: str
    licence: str
    sha256: str = ""

    @property
    def purl(self) -> str:
        """The package URL, by which scanners know the part."""
        version = self.version.replace(":", "%3A").replace("+", "%2B")
        match self.kind:
            case "deb":
                return f"pkg:deb/debian/{self.name.replace('+', '%2B')}@{version}?distro=debian-12"
            case _:
                return f"pkg:{self.kind}/{self.name}@{version}"

    @property
    def licences(self) -> Path:
        """The folder in the image that holds its licence."""
        return FOLDER / self.kind / self.name


def of_debian(packages: Iterable[DebianPackage], root: Path) -> list[ImagePart]:
    """The packages unpacked in `root`, whose licences are moved to where all are.

    Raises ImageError where a package has no copyright file.
    """
    components = []
    for package in packages:
        shipped = root / "usr/share/doc" / package.name / "copyright"
        if not shipped.is_file():  # a link to that of another package of the same source
            raise errors.ImageError(f"package {package.name} has no copyright file")
        text = shipped.read_text(encoding="utf-8", errors="replace")
        component = ImagePart("deb", package.name, package.version, _of_copyright(text), package.sha256)
        target = root / component.licences
        target.mkdir(parents=True)
        shutil.copyfile(shipped, target / "copyright")
        components.append(component)
    shutil.rmtree(root / "usr/share/doc")
    return components


def of_python(root: Path) -> list[ImagePart]:
    """The distributions installed below `root`, their licences copied.

    Raises ImageError where a distribution has no licence file.
    """
    site = root / python_packages.SITE
    components = []
    for information in sorted(site.glob("*.dist-info")):
        metadata = email.message_from_string((information / "METADATA").read_text(encoding="utf-8"))
        name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
        component = ImagePart("pypi", name, metadata["Version"], _of_metadata(metadata))
        texts = [path for path in information.rglob("*") if path.is_file() and _is_licence(path, information)]
        if name in _IN_THE_SOURCE:
            texts.append(site / _IN_THE_SOURCE[name])
        _copy(texts, information, root / component.licences, component)
        components.append(component)
    return components


def of_go(module: Path, go: Path, program: Path, root: Path) -> list[ImagePart]:
    """The modules that the go.mod in the folder `module` requires, and Go itself; their licences copied below `root`.

    `program` was built from them; it says by which Go.

    Raises ImageError where modules are not to be had, or one has no licence file.
    """
    required = set(re.findall(r"^\t(\S+) v\S+(?: // indirect)?$", (module / "go.mod").read_text(), re.MULTILINE))
    components = []
    for entry in _downloaded(module, go):
        if entry["Path"] in required:
            folder = Path(entry["Dir"])
            texts = [path for path in folder.iterdir() if path.is_file() and _NAMES.match(path.name)]
            component = ImagePart("golang", entry["Path"], entry["Version"], _of_text(texts))
            _copy(texts, folder, root / component.licences, component)
            components.append(component)
    home = Path(_asked([str(go), "env", "GOROOT"], module).strip())
    version = _asked([str(go), "version", str(program)], module).split()[-1].removeprefix("go")
    component = ImagePart("golang", "stdlib", version, "BSD-3-Clause")
    _copy([home / "LICENSE"], home, root / component.licences, component)
    return [*components, component]


def _copy(texts: Iterable[Path], base: Path, target: Path, component: ImagePart) -> None:
    copied = False
    for text in texts:
        relative = text.relative_to(base) if text.is_relative_to(base) else Path(text.name)
        relative = Path(*(part for part in relative.parts if part != "licenses"))
        if text.stat().st_size:
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(text, target / relative)
            copied = True
    if not copied:
        raise errors.ImageError(f"{component.kind} {component.name} {component.version} has no licence file")


def _is_licence(path: Path, information: Path) -> bool:
    return "licenses" in path.relative_to(information).parts or _NAMES.match(path.name) is not None


def _of_metadata(metadata: Message) -> str:
    stated = metadata.get("License-Expression") or metadata.get("License") or ""
    if stated and "\n" not in stated and len(stated) <= 100:
        return stated
    classifiers = [value for key, value in metadata.items() if key == "Classifier" and value.startswith("License ::")]
    return ", ".join(value.rpartition(" :: ")[2] for value in classifiers) or "see the licence files"


def _of_copyright(text: str) -> str:
    """The short names in a machine-readable copyright file, where it has them."""
    stated = set(re.findall(r"^License: *(\S.*)$", text, re.MULTILINE))
    names = sorted(name for name in stated if re.fullmatch(r"[\w.+-]+( (or|and) [\w.+-]+)*", name))
    return ", ".join(names) or "see the licence files"


_TEXTS = (
    ("Apache License", "Apache-2.0"),
    ("Mozilla Public License", "MPL-2.0"),
    ("Permission is hereby granted", "MIT"),
    ("Neither the name", "BSD-3-Clause"),
    ("Redistributions of source", "BSD-2-Clause"),
)


def _of_text(texts: Iterable[Path]) -> str:
    """SPDX names of what licence files begin with; modules of Go state them nowhere else."""
    names: set[str] = set()
    for path in texts:
        text = path.read_text(encoding="utf-8", errors="replace")
        names.update([name for sign, name in _TEXTS if sign in text][:1])
    return " AND ".join(sorted(names)) or "see the licence files"


def _downloaded(module: Path, go: Path) -> list[dict[str, str]]:
    answer = _asked([str(go), "mod", "download", "-json"], module)
    decoder, entries, position = json.JSONDecoder(), [], 0
    while position < len(answer.rstrip()):
        entry, position = decoder.raw_decode(answer, position)
        entries.append(entry)
        position += len(answer[position:]) - len(answer[position:].lstrip())
    return sorted(entries, key=lambda entry: str(entry["Path"]))


def _asked(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**go_toolchain.environment(), "GOFLAGS": "-mod=readonly"},
        capture_output=True,
        text=True,
        timeout=_GO_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise errors.ImageError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
