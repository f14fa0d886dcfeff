"""Files that only their owner may read: keys, tokens and kubeconfigs. Called by `certificates` and `credentials`."""

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Write `text` to `path` with mode 0600 from its first byte on, replacing what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
