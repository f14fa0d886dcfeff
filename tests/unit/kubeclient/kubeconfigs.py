"""Kubeconfig files as tests need them."""

from pathlib import Path

import yaml


def kubeconfig(directory: Path, url: str, **cluster: object) -> Path:
    """A kubeconfig of a user with a token; `cluster` is said of the cluster beside its URL."""
    file = directory / "kubeconfig"
    parts = {
        "clusters": [{"name": "c", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "x", **parts}))
    return file
