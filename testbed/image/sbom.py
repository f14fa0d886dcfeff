"""The list of what is in an image, as CycloneDX 1.6 JSON. Called by `build`.

It has no time and no serial number, which the format leaves free, so that the same parts give the same document.
"""

import json
from collections.abc import Iterable
from typing import Any

from testbed.image.components import ImagePart

NAME = "sbom.cdx.json"
PLACE = "usr/share/migsched"
LICENCES = "migsched:licences"  # the property that names a component's folder of licence files


def document(image: str, version: str, components: Iterable[ImagePart]) -> bytes:
    """The document of one image; `image` is its name without a tag."""
    product: dict[str, Any] = {
        "type": "application",
        "bom-ref": "migsched",
        "name": "migsched",
        "version": version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "properties": [{"name": LICENCES, "value": "/licenses/migsched"}],
    }
    content = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": image, "name": image, "version": version}},
        "components": [product, *(_component(part) for part in sorted(components, key=lambda part: part.purl))],
    }
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def _component(part: ImagePart) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "purl": part.purl,
        "licenses": [{"license": {"name": part.licence}}],
        "properties": [{"name": LICENCES, "value": f"/{part.licences}"}],
    }
    if part.sha256:
        entry["hashes"] = [{"alg": "SHA-256", "content": part.sha256}]
    return entry
