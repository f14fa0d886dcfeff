"""The product's layer is made twice from one checkout, bytecode included, and comes to the same bytes."""

import hashlib
import sys
from pathlib import Path

import pytest

from testbed.image import layer, python_packages

PACKAGES = ("kubeclient", "node_agent")  # enough code for every kind of constant, compiled in a second


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Something with this Python where a root file system has its own: how it runs is not what is tested here."""
    root = tmp_path / "base"
    libraries = root / "usr/lib/here-linux-gnu"
    libraries.mkdir(parents=True)
    loader = libraries / "ld-linux-here.so.2"
    # takes the loader's arguments, --library-path PATH PROGRAM, and runs this Python with the rest
    loader.write_text(f'#!/bin/sh\nshift 3\nunset PYTHONHOME\nexec {sys.executable} "$@"\n', encoding="ascii")
    loader.chmod(0o755)
    return root


def made(place: Path, wheel: Path, base: Path) -> str:
    """The digest of a layer of some of the wheel's packages."""
    root = place / "root"
    python_packages.install_product(wheel, root)
    site = root / python_packages.SITE
    for package in PACKAGES:
        python_packages.compile_bytecode(site / package, "/" / python_packages.SITE / package, base)
    assert list(site.glob("node_agent/__pycache__/service.*.pyc"))
    layer.write(place / "layer.tar", root)
    return hashlib.sha256((place / "layer.tar").read_bytes()).hexdigest()


def test_the_same_checkout_gives_the_same_layer(tmp_path: Path, base: Path) -> None:
    """Wheel, bytecode and layer are the same bytes at each build, in whatever folder it is done."""
    digests, wheels = set(), set()
    for name in ("first", "elsewhere/second"):
        place = tmp_path / name
        (place / "wheel").mkdir(parents=True)
        wheel = python_packages.build_wheel(place / "wheel")
        wheels.add(wheel.read_bytes())
        digests.add(made(place, wheel, base))
    assert len(wheels) == len(digests) == 1


def test_bytecode_is_used_without_its_sources_time(tmp_path: Path, base: Path) -> None:
    """The flags of a compiled file say that it is never compared with its source (PEP 552)."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "module.py").write_text("value = 1\n", encoding="ascii")
    python_packages.compile_bytecode(folder, Path("/inside/package"), base)
    (compiled,) = folder.glob("__pycache__/*.pyc")
    content = compiled.read_bytes()
    assert int.from_bytes(content[4:8], "little") == 0b01
    assert b"/inside/package/module.py" in content
