"""Reads manifests: YAML files or folders of them, as documents with the place they came from. Called by the demo."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from simulator.workloads import fields
from simulator.workloads.fields import FieldPlace, ManifestError

MAX_DEPTH = 64  # of collections in one another; Kubernetes' own objects need about 20
MAX_VALUES = 1_000_000  # of one document, each reference to an anchor counted anew
_ENDINGS = (".yaml", ".yml", ".json")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a manifest file. `kind` and `name` are texts; all else is unchecked."""

    place: FieldPlace
    api_version: str
    kind: str
    name: str
    body: dict[str, Any]


def read(path: Path) -> list[Manifest]:
    """All objects of a file, or of a folder's files in name order. Raises ManifestError naming file and document."""
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.suffix in _ENDINGS)
        if not files:
            raise ManifestError(str(path), "folder", "has no .yaml file; name another")
        return [manifest for file in files for manifest in read(file)]
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ManifestError(str(path), "file", f"cannot be read: {error}") from error
    return parse(content, path.name)


def parse(content: str, source: str) -> list[Manifest]:
    """All objects of a YAML text; `source` names it in errors. Empty documents are passed over, Lists are opened."""
    manifests: list[Manifest] = []
    try:
        _check_depth(content, source)
        for number, document in enumerate(yaml.load_all(content, Loader=_LOADER), start=1):
            if document is not None:
                _check_plain(document, FieldPlace(f"{source}: document {number}"))
                manifests += _objects(document, FieldPlace(f"{source}: document {number}"))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ManifestError(source, content[:60], f"is not YAML: {error}") from error
    return manifests


def _check_depth(content: str, source: str) -> None:
    """Raise ManifestError for a text that is nested too deeply, before it is composed: the library's composer calls
    itself for each level, in C, and ends the process where there are too many.
    """
    depth = 0
    for event in yaml.parse(content, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            where = f"{source}: line {event.start_mark.line + 1}" if event.start_mark else source
            raise ManifestError(where, content[:60], f"is nested too deeply; write at most {MAX_DEPTH} levels")


def _check_plain(document: object, place: FieldPlace) -> None:
    """Raise ManifestError for a document that is no JSON, refers to itself, or grows by references to anchors."""
    values, left = [(document, 0)], MAX_VALUES
    while values:
        value, depth = values.pop()
        if not isinstance(value, dict | list):
            continue
        left -= len(value)
        if depth > MAX_DEPTH or left < 0:
            raise place.error(str(type(document).__name__), f"is too large: {MAX_DEPTH} levels, {MAX_VALUES} values")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise place.error(key, "keys must be texts; put it in quotes")
        values += [(part, depth + 1) for part in (value.values() if isinstance(value, dict) else value)]


def _objects(document: object, place: FieldPlace) -> Iterator[Manifest]:
    if not isinstance(document, dict):
        raise place.error(document, "must be a mapping with apiVersion, kind and metadata")
    kind, api_version = fields.text(document, "kind", place), fields.text(document, "apiVersion", place)
    if kind == "List":
        for index, item in enumerate(fields.sequence(document, "items", place)):
            yield from _objects(item, place / "items" / index)
        return
    meta = fields.mapping(document, "metadata", place, required=True)
    named = "generateName" if meta.get("generateName") and not meta.get("name") else "name"
    yield Manifest(place, api_version, kind, fields.text(meta, named, place / "metadata"), document)
