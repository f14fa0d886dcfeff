"""Builds the three images into one folder. Called by `python -m testbed.image` and by the tests that run them."""

import hashlib
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed import build_cache
from testbed.image import components, containerfile, layer, oci_archive, parts, python_packages, sbom
from testbed.image.containerfile import Stage
from testbed.image.oci_archive import Image
from testbed.image.parts import Parts
from testbed.progress import Progress

CONTAINERFILE = parts.SOURCES / "Containerfile"
REPOSITORY = "localhost"  # what a container runtime calls an image that was never in a registry

_LAYERS_OF = {"scheduler": ("base", "scheduler"), "agent": ("base", "agent", "toolkit"), "cli": ("base", "cli")}


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image in its archive. `digest` is its manifest's; `layers` are bytes by name, lowest first, uncompressed."""

    name: str
    archive: Path
    sbom: Path
    digest: str
    layers: Mapping[str, int]


def version() -> str:
    """The product's version, as pyproject.toml says it."""
    project = tomllib.loads((parts.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def stages() -> dict[str, Stage]:
    """What the Containerfile says, for this version."""
    return containerfile.read(CONTAINERFILE.read_text(encoding="utf-8"), {"VERSION": version()})


def build(output: Path, tell: Progress, *, cache: Path | None = None) -> dict[str, BuiltImage]:
    """Write `migsched-TARGET.tar`, an OCI archive, and `migsched-TARGET.cdx.json` for each target into `output`.

    Raises BuildError where a part of them cannot be made; the message says why and what to do.
    """
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as place:
        context = make_context(Path(place), tell, cache=cache)
        built = {}
        for target, stage in stages().items():
            if target not in parts.TARGETS:
                continue
            name = f"migsched-{target}"
            image = Image(f"{REPOSITORY}/{name}:{version()}", stage.settings, [context / file for file in stage.layers])
            archive = output / f"{name}.tar"
            digests = oci_archive.write(archive, [image])
            document = output / f"{name}.cdx.json"
            shutil.copyfile(context / f"{target}.cdx.json", document)
            sizes = {path.name: path.stat().st_size for path in image.layers}
            built[target] = BuiltImage(image.name, archive, document, digests[image.name], sizes)
    return built


def make_context(place: Path, tell: Progress, *, cache: Path | None = None) -> Path:
    """Fill the folder `place` with everything that the Containerfile adds, and with itself; return `place`.

    Raises BuildError where a part cannot be made.
    """
    made = parts.ensure_built(tell, cache=cache)
    shutil.copyfile(CONTAINERFILE, place / "Containerfile")
    for name in ("base", "toolkit", *parts.TARGETS):
        (place / f"{name}.tar").symlink_to(made.layer(name))
    (place / "migsched.tar").symlink_to(_product(made, tell, cache or build_cache.root()))
    for target in parts.TARGETS:
        _write_about(place, target, made)
    return place


def _product(made: Parts, tell: Progress, cache: Path) -> Path:
    """The layer of our own wheel, kept by what the wheel holds."""
    with tempfile.TemporaryDirectory() as scratch:
        wheel = python_packages.build_wheel(Path(scratch))
        key = hashlib.sha256(made.folder.name.encode() + wheel.read_bytes()).hexdigest()[:16]

        def make(partial: Path) -> None:
            root = partial / "root"
            python_packages.install_product(wheel, root)
            python_packages.compile_bytecode(root / python_packages.SITE, "/" / python_packages.SITE, made.root)
            layer.write(partial / "migsched.tar", root)
            shutil.rmtree(root)

        return build_cache.entry(cache / "image-product" / key, make, tell, what="the product") / "migsched.tar"


def _write_about(place: Path, target: str, made: Parts) -> None:
    """The layer with licences and SBOM of one image, and the SBOM beside it."""
    names = _LAYERS_OF[target]
    listed = [component for name in names for component in made.components(name)]
    document = sbom.document(f"migsched-{target}", version(), listed)
    (place / f"{target}.cdx.json").write_bytes(document)
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        root = Path(scratch)
        for name in names:
            shutil.copytree(made.licences(name), root / components.FOLDER, dirs_exist_ok=True)
        ours = root / components.FOLDER / "migsched"
        ours.mkdir()
        shutil.copyfile(parts.ROOT / "LICENSE", ours / "LICENSE")
        (root / sbom.PLACE).mkdir(parents=True)
        (root / sbom.PLACE / sbom.NAME).write_bytes(document)
        layer.write(place / f"{target}-about.tar", root)
