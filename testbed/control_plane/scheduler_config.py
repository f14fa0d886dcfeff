"""kube-scheduler's configuration for a local control plane. Called by the simulator's cluster, tests and benchmarks.

The shipped `deploy/kube-scheduler/config.yaml` is the single source: what users deploy is what tests and benchmarks
run. Here only what must differ on loopback is replaced: how to reach the API server and the extender, and no leader
election, because there is one scheduler.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from allocator import errors

TEMPLATE = Path(__file__).parents[2] / "deploy" / "kube-scheduler" / "config.yaml"
PROFILE = "migsched"

_KIND = "KubeSchedulerConfiguration"
_RATE = 5_000  # requests per second and burst: the API server on this machine is the limit, not the client

Config = dict[str, Any]  # a KubeSchedulerConfiguration


def kube_scheduler_config(
    extender_url: str | None,
    kubeconfig: Path,
    managed_resources: Sequence[str] | None = None,
    *,
    profile: str = PROFILE,
    template: Path = TEMPLATE,
) -> Config:
    """The shipped KubeSchedulerConfiguration, made fit for a local control plane.

    `extender_url` is where our extender listens, such as `http://127.0.0.1:8765/v1`; None for the stock scheduler
    alone. `kubeconfig` says how kube-scheduler reaches the API server. `managed_resources` are the resource names that
    the extender is asked about, in place of the template's. `profile` is the `schedulerName` of the only profile, and
    `template` the file to start from.

    Raises InputError where the template is not a KubeSchedulerConfiguration with one profile and one extender.
    """
    config = _read(template)
    config.update(_local(kubeconfig))
    config["profiles"][0]["schedulerName"] = profile
    if extender_url is None:
        del config["extenders"]
    else:
        extender = config["extenders"][0]
        extender["urlPrefix"] = extender_url
        if managed_resources is not None:
            extender["managedResources"] = [{"name": name, "ignoredByScheduler": False} for name in managed_resources]
    return config


def stock(kubeconfig: Path, names: Sequence[str] = ()) -> Config:
    """The configuration of a kube-scheduler with its own defaults, on a local control plane.

    `names` are those under which pods may name it, in place of `default-scheduler` alone.
    """
    profiles = {"profiles": [{"schedulerName": name} for name in names]} if names else {}
    return {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": _KIND, **profiles, **_local(kubeconfig)}


def _local(kubeconfig: Path) -> Config:
    return {
        "clientConnection": {"kubeconfig": str(kubeconfig.absolute()), "qps": _RATE, "burst": _RATE},
        "leaderElection": {"leaderElect": False},
    }


def _read(template: Path) -> Config:
    config = yaml.safe_load(template.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or config.get("kind") != _KIND:
        raise errors.InputError(str(template), config, "must be a KubeSchedulerConfiguration")
    for field in ("profiles", "extenders"):
        entries = config.get(field)
        if not isinstance(entries, list) or len(entries) != 1:
            raise errors.InputError(f"{template}: {field}", entries, "must be a list of one entry")
    return config
