"""The layers that are not the product's own: Debian, locked wheels, NVIDIA's programs. Called by `build`.

They change when a lock does, take most of the time, and are kept in the cache.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from testbed import build_cache, go_toolchain
from testbed.image import components, debian_packages, errors, layer, oci_archive, python_packages
from testbed.image.components import ImagePart
from testbed.node import toolkit
from testbed.progress import Progress

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "deploy" / "images"
LOCK = SOURCES / "debian.lock"
TARGETS = ("scheduler", "agent", "cli")
_MAKERS = ("components", "debian_packages", "layer", "parts", "python_packages")  # modules that a layer depends on
TOOLKIT = Path("opt/nvidia-container-toolkit")  # where the agent looks for NVIDIA's programs


@dataclass(frozen=True, slots=True)
class Parts:
    """Layers, licences and lists of components, in one folder of the cache."""

    folder: Path

    def layer(self, name: str) -> Path:
        """The tar file `base`, `toolkit`, or of a target."""
        return self.folder / f"{name}.tar"

    def components(self, name: str) -> list[ImagePart]:
        """What that layer is made of."""
        return [ImagePart(**entry) for entry in json.loads((self.folder / f"{name}.json").read_text("utf-8"))]

    def licences(self, name: str) -> Path:
        """The folder with the licences of that layer, as it is below / in the image."""
        return self.folder / f"{name}-licences"

    @property
    def root(self) -> Path:
        """The unpacked base, whose Python compiles the product's bytecode."""
        return self.folder / "root"


def requirements(target: str) -> Path:
    """The locked wheels of a target."""
    return ROOT / "requirements" / f"image-{target}.txt"


def ensure_built(tell: Progress, *, cache: Path | None = None) -> Parts:
    """The parts, making those first that these locks have not made yet.

    Raises ImageError where this machine's architecture is not locked, or a package is not to be had or not as locked.
    """
    root = cache or build_cache.root()
    programs = toolkit.ensure_built(tell, cache=cache)
    finished = root / "images" / _key()
    build_cache.entry(finished, lambda partial: _make(partial, programs, root, tell), tell, what="the images' layers")
    return Parts(finished)


def _key() -> str:
    digest = hashlib.sha256(toolkit.key().encode())
    sources = (Path(__file__).with_name(f"{name}.py") for name in _MAKERS)
    for path in (LOCK, *map(requirements, TARGETS), *sources):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _make(folder: Path, programs: toolkit.ToolkitPrograms, cache: Path, tell: Progress) -> None:
    parts = Parts(folder)
    _make_base(parts, tell)
    for target in TARGETS:
        tell(f"installing {requirements(target).name}")
        root = folder / "work"
        python_packages.install(requirements(target), root)
        _keep(parts, target, components.of_python(root), root)
        python_packages.compile_bytecode(root / python_packages.SITE, "/" / python_packages.SITE, parts.root)
        layer.write(parts.layer(target), root)
        shutil.rmtree(root)
    root = folder / "work"
    target_folder = root / TOOLKIT
    target_folder.mkdir(parents=True)
    for program in (programs.ctk, programs.hook):
        shutil.copy(program, target_folder)
    layer.write(parts.layer("toolkit"), root)
    go = go_toolchain.ensure((1, 26, 6), cache / "control-plane", tell)
    _keep(parts, "toolkit", components.of_go(toolkit.SOURCES, go, programs.ctk, root), root)
    shutil.rmtree(root)


def _make_base(parts: Parts, tell: Progress) -> None:
    packages = debian_packages.read_lock(LOCK)
    wrong = {package.architecture for package in packages} - {"all", oci_archive.architecture()}
    if wrong:
        here = oci_archive.architecture()
        raise errors.ImageError(
            f"{LOCK.name} is of {', '.join(sorted(wrong))} and this machine is {here}: images are built on a "
            "machine of their own architecture; `make lock-images` there writes its lock"
        )
    tell(f"fetching {len(packages)} packages of Debian")
    fetched = parts.folder / "packages"
    fetched.mkdir()
    parts.root.mkdir()
    debian_packages.unpack(debian_packages.fetch(packages, fetched), parts.root)
    shutil.rmtree(fetched)
    _keep(parts, "base", components.of_debian(packages, parts.root), parts.root)
    library = parts.root / python_packages.STANDARD_LIBRARY
    python_packages.compile_bytecode(library, "/" / python_packages.STANDARD_LIBRARY, parts.root)
    layer.write(parts.layer("base"), parts.root)


def _keep(parts: Parts, name: str, found: list[ImagePart], root: Path) -> None:
    """Note what a layer is made of, and take its licences out of it: they go into a layer with all of an image's."""
    entries = [asdict(component) for component in found]
    (parts.folder / f"{name}.json").write_text(json.dumps(entries), encoding="utf-8")
    (root / components.FOLDER).rename(parts.licences(name))
