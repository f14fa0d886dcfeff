"""The dashboards of deploy/monitoring, as files.

Gauges of several replicas of the scheduler say the same and are not added up; the agents' counters are. Labels
`exported_…` are those of a slice's pod, `node` is the PodMonitor's.
"""

import json
from pathlib import Path

from benchmarks.monitoring.cluster_dashboard import CLUSTER
from benchmarks.monitoring.node_dashboard import NODES

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring" / "dashboards"
DASHBOARDS = (CLUSTER, NODES)


def files() -> dict[str, str]:
    """The text of each file below deploy/monitoring/dashboards."""
    return {
        f"{dashboard.uid}.json": json.dumps(dashboard.document(), indent=2, ensure_ascii=False) + "\n"
        for dashboard in DASHBOARDS
    }


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
