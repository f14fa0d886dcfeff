"""All files that `make bundle` writes, by path below deploy/olm."""

from collections.abc import Mapping
from pathlib import Path

from testbed.olm import beside, bundle, catalog, mirror, secondary
from testbed.olm.sources import FOLDER, OlmSources
from testbed.olm.split import split

FOLDERS = ("beside", "bundle", "catalog", "mirror", "secondary-scheduler")


def files(sources: OlmSources, deploy: Path = FOLDER.parent) -> dict[str, str]:
    """Text by path, such as `bundle/metadata/annotations.yaml`; `deploy` is a checkout's folder."""
    parts = split(sources.objects)
    made = {
        "beside": beside.files(sources, parts),
        "bundle": bundle.files(sources, parts),
        "catalog": catalog.files(sources, parts),
        "mirror": mirror.files(sources, deploy),
        "secondary-scheduler": secondary.files(deploy),
    }
    return {f"{folder}/{name}": text for folder, texts in made.items() for name, text in texts.items()}


def write(made: Mapping[str, str], output: Path) -> None:
    """Write them below a folder, and remove what else is in the folders that are written."""
    for folder in FOLDERS:
        for path in (output / folder).rglob("*"):
            if path.is_file() and str(path.relative_to(output)) not in made:
                path.unlink()
    for name, text in made.items():
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
