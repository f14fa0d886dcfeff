"""`migsched scheduler`: the scheduler service on a real cluster."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import flags as setting_flags
from config import fail_points
from scheduler import settings


@setting_flags.of_fields(settings.Settings)
def scheduler(
    flags: Mapping[str, Any],
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; flags and MIGSCHED_… win.")] = None,
) -> None:
    """Serve kube-scheduler's extender and the capacity API until SIGTERM or Ctrl-C.

    Each flag can also be set as MIGSCHED_<FLAG> or in the file named by --config.

    Example: migsched scheduler --kubeconfig ~/.kube/config --api-host 127.0.0.1 --log-format console
    """
    wanted = settings.load(config, **flags)
    from scheduler import service  # its libraries are slow to load: not for --help
    from simulator import planner_tasks

    fail_points.arm(os.environ)
    service.run(wanted, planner_tasks.SIMULATE)
