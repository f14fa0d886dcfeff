"""Licences and the SBOM: each part of an image is listed with a licence, and a part without one stops the build."""

import json
from pathlib import Path

import pytest

from testbed.image import components, errors, python_packages, sbom
from testbed.image.components import ImagePart
from testbed.image.debian_packages import DebianPackage

PACKAGE = DebianPackage("libexample1", "1:2.0~rc1+b1", "amd64", "a" * 64)


def distribution(root: Path, name: str, metadata: str, **files: str) -> None:
    """Install a distribution below a root file system; names of files have `__` for a slash and `_` for a point."""
    information = root / python_packages.SITE / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{metadata}\n")
    for file, text in files.items():
        path = information / file.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_a_distribution_brings_its_licence_files(tmp_path: Path) -> None:
    """Licence files of either place are copied, and the licence is what the metadata says."""
    distribution(tmp_path, "First.Name", "License-Expression: MIT OR Apache-2.0", licenses__LICENSE_MIT="text")
    distribution(tmp_path, "second", "Classifier: License :: OSI Approved :: BSD License", LICENSE="text", RECORD="x")
    first, second = components.of_python(tmp_path)
    assert (first.name, first.licence, first.purl) == ("first-name", "MIT OR Apache-2.0", "pkg:pypi/first-name@1.0")
    assert second.licence == "BSD License"
    copied = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "licenses").rglob("*") if path.is_file()}
    assert copied == {"licenses/pypi/first-name/LICENSE.MIT", "licenses/pypi/second/LICENSE"}


@pytest.mark.parametrize("files", [{}, {"LICENSE": ""}, {"RECORD": "x"}])
def test_a_distribution_without_a_licence_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    """No licence file, or an empty one, stops the build, whatever the metadata says."""
    distribution(tmp_path, "bare", "License-Expression: MIT", **files)
    with pytest.raises(errors.ImageError, match=r"pypi bare 1\.0 has no licence file"):
        components.of_python(tmp_path)


def test_a_debian_package_brings_its_copyright_file(tmp_path: Path) -> None:
    """The file is copied whole; short names are told from running text."""
    folder = tmp_path / "usr/share/doc/libexample1"
    folder.mkdir(parents=True)
    (folder / "copyright").write_text("Files: *\nLicense: GPL-2+ or MIT\n\nLicense: Permission is granted, free\n")
    (component,) = components.of_debian([PACKAGE], tmp_path)
    assert component.licence == "GPL-2+ or MIT"
    assert component.purl == "pkg:deb/debian/libexample1@1%3A2.0~rc1%2Bb1?distro=debian-12"
    assert (tmp_path / "licenses/deb/libexample1/copyright").is_file()
    assert not (tmp_path / "usr/share/doc").exists()


def test_a_debian_package_without_a_copyright_file_is_refused(tmp_path: Path) -> None:
    """Such a package cannot be passed on."""
    (tmp_path / "usr/share/doc/libexample1").mkdir(parents=True)
    with pytest.raises(errors.ImageError, match="libexample1 has no copyright file"):
        components.of_debian([PACKAGE], tmp_path)


def test_the_list_of_parts_is_cyclonedx_and_always_the_same() -> None:
    """Parts are listed by their package URL with licence, folder of licences and hash; order and time do not matter."""
    parts = [ImagePart("pypi", "b", "2", "MIT"), ImagePart("deb", "a", "1", "GPL-2", "f" * 64)]
    written = sbom.document("migsched-agent", "1.2", parts)
    assert written == sbom.document("migsched-agent", "1.2", parts[::-1])
    document = json.loads(written)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == "migsched-agent"
    product, first, second = document["components"]
    assert (product["name"], product["version"]) == ("migsched", "1.2")
    assert [first["purl"], second["purl"]] == ["pkg:deb/debian/a@1?distro=debian-12", "pkg:pypi/b@2"]
    assert first["hashes"] == [{"alg": "SHA-256", "content": "f" * 64}]
    assert second["properties"] == [{"name": sbom.LICENCES, "value": "/licenses/pypi/b"}]
    references = [part["bom-ref"] for part in document["components"]]
    assert len(set(references)) == len(references)
