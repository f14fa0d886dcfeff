"""The kubeconfig that several files make together, as `KUBECONFIG=a:b` names them. Read by `kubeconfig`.

The rules are kubectl's ("Organizing Cluster Access Using kubeconfig Files"): the first file that names something wins,
and a relative path in a file starts from that file's folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

_NAMED = ("clusters", "contexts", "users")
_PATHS = {"cluster": ("certificate-authority",), "user": ("client-certificate", "client-key", "tokenFile")}

Document = dict[str, Any]


def merge(files: Sequence[Path]) -> Document:
    """All files as one document, with absolute paths in it. Raises OSError, TypeError and yaml.YAMLError."""
    merged: Document = {"apiVersion": "v1", "kind": "Config", **{name: [] for name in _NAMED}, "current-context": ""}
    for file in files:
        document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        if not isinstance(document, dict):
            raise TypeError(f"{file} is not a mapping")
        for kind in _NAMED:
            known = {entry["name"] for entry in merged[kind]}
            entries = document.get(kind) or ()
            merged[kind] += [_absolute(entry, file.parent) for entry in entries if entry["name"] not in known]
        merged["current-context"] = merged["current-context"] or document.get("current-context") or ""
    return merged


def user_of(document: Mapping[str, Any], context: str | None) -> Mapping[str, Any]:
    """The user of a context, or of the current one; empty where it names none."""
    name = context or document["current-context"]
    body = next(entry["context"] for entry in document["contexts"] if entry["name"] == name)
    users = [entry["user"] for entry in document.get("users") or () if entry["name"] == body.get("user")]
    return users[0] or {} if users else {}


def _absolute(entry: Document, folder: Path) -> Document:
    """An entry whose paths do not depend on where it stands."""
    changed = dict(entry)
    for part, fields in _PATHS.items():
        body = entry.get(part)
        if isinstance(body, dict):
            paths = {field: str(folder / str(body[field])) for field in fields if body.get(field)}
            changed[part] = {**body, **paths, **_absolute_plugin(body, folder)}
    return changed


def _absolute_plugin(body: Mapping[str, Any], folder: Path) -> Document:
    """A plugin named by a relative path with a slash; a bare name is looked up in PATH."""
    plugin = body.get("exec")
    if not isinstance(plugin, dict) or "/" not in str(plugin.get("command", "")):
        return {}
    return {"exec": {**plugin, "command": str(folder / str(plugin["command"]))}}
