"""`migsched cluster`: what it leaves behind."""

import contextlib
import shutil
from pathlib import Path

from allocator import errors
from cli import cluster


def left(error: Exception) -> Path:
    """The folder of a cluster that had begun to write logs when this was raised."""
    made: list[Path] = []
    with contextlib.suppress(type(error)), cluster.temporary() as place:
        made.append(place)
        (place / "logs").mkdir()
        raise error
    return made[0]


def test_logs_stay_only_where_they_help() -> None:
    """After a wrong flag nothing stays; after a failure of the cluster itself its logs do."""
    assert not left(errors.SettingsError("api_port", 1, "is taken")).exists()
    place = left(errors.ClusterError("etcd ended by itself"))
    assert (place / "logs").exists()
    shutil.rmtree(place)
