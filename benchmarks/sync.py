"""What the first sync costs: time and memory of the service from its start until it is ready.

Called by `migsched bench sync`. The API server is a static one, so that the service alone is measured.
"""

import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.benchmark import Progress
from benchmarks.servers import static_api_server
from benchmarks.servers.service_process import ServiceProcess
from benchmarks.servers.static_api_server import StaticApiServer
from scheduler.cache.port import WatchedKind


def measure(nodes: int = 5_000, slices_per_node: int = 8, progress: Progress = lambda _: None) -> dict[str, Any]:
    """{nodes, pods, seconds, cpu_s, rss_mib, peak_mib}."""
    progress(f"sync: making {nodes} nodes and {nodes * slices_per_node} bound pods")
    lists = {
        WatchedKind.NODE: static_api_server.pages(static_api_server.nodes(nodes)),
        WatchedKind.MIG_NODE: static_api_server.pages(static_api_server.mig_nodes(nodes, slices_per_node)),
        WatchedKind.POD: static_api_server.pages(static_api_server.pods(nodes, slices_per_node)),
    }
    with tempfile.TemporaryDirectory(prefix="migsched-bench-") as folder, StaticApiServer(lists) as server:
        directory = Path(folder)
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(_kubeconfig(server.url))
        progress("sync: starting the service")
        with ServiceProcess(kubeconfig, directory) as service:
            seconds = service.wait_ready()
            rss, peak = service.memory_mib()
            return {
                "nodes": nodes,
                "pods": nodes * slices_per_node,
                "seconds": round(seconds, 2),
                "cpu_s": round(service.cpu_seconds(), 2),
                "rss_mib": round(rss),
                "peak_mib": round(peak),
            }


def _kubeconfig(url: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": url}}],
            "users": [{"name": "bench", "user": {"token": "none"}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        }
    )
