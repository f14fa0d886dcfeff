"""`migsched scheduler`: the scheduler service on a real cluster."""

from pathlib import Path
from typing import Annotated

import typer

from scheduler import settings

_FIELDS = settings.Settings.model_fields


def _flag(field: str, name: str = "") -> typer.models.OptionInfo:
    info = _FIELDS[field]
    default = "" if info.default is None else f" [dim]\\[default: {info.default}][/dim]"
    option = typer.Option(f"--{name or field.replace('_', '-')}", help=f"{info.description}{default}")
    assert isinstance(option, typer.models.OptionInfo)
    return option


def scheduler(
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; flags and MIGSCHED_… win.")] = None,
    kubeconfig: Annotated[Path | None, _flag("kubeconfig")] = None,
    extender_host: Annotated[str | None, _flag("extender_host")] = None,
    extender_port: Annotated[int | None, _flag("extender_port")] = None,
    api_host: Annotated[str | None, _flag("api_host")] = None,
    api_port: Annotated[int | None, _flag("api_port")] = None,
    policy: Annotated[str | None, _flag("policy")] = None,
    shortlist: Annotated[int | None, _flag("shortlist")] = None,
    shortlist_slack: Annotated[float | None, _flag("shortlist_slack")] = None,
    max_body_mib: Annotated[int | None, _flag("max_body_mib")] = None,
    bind_timeout_s: Annotated[float | None, _flag("bind_timeout_s")] = None,
    nomination_ttl_s: Annotated[float | None, _flag("nomination_ttl_s")] = None,
    tie_wait_s: Annotated[float | None, _flag("tie_wait_s")] = None,
    requeue_interval_s: Annotated[float | None, _flag("requeue_interval_s")] = None,
    shutdown_s: Annotated[float | None, _flag("shutdown_s")] = None,
    planner_workers: Annotated[int | None, _flag("planner_workers")] = None,
    planner_queue: Annotated[int | None, _flag("planner_queue")] = None,
    planner_deadline_s: Annotated[float | None, _flag("planner_deadline_s")] = None,
    planner_memory_mib: Annotated[int | None, _flag("planner_memory_mib")] = None,
    planner_nice: Annotated[int | None, _flag("planner_nice")] = None,
    planner_idle_s: Annotated[float | None, _flag("planner_idle_s")] = None,
    demand_interval_s: Annotated[float | None, _flag("demand_interval_s")] = None,
    log_format: Annotated[str | None, _flag("log_format")] = None,
    log_level: Annotated[str | None, _flag("log_level")] = None,
) -> None:
    """Serve kube-scheduler's extender and the capacity API until SIGTERM or Ctrl-C.

    Each flag can also be set as MIGSCHED_<FLAG> or in the file named by --config.

    Example: migsched scheduler --kubeconfig ~/.kube/config --log-format console
    """
    flags = {name: value for name, value in locals().items() if name != "config"}
    wanted = settings.load(config, **flags)
    from scheduler import service  # its libraries are slow to load: not for --help
    from simulator import planner_tasks

    service.run(wanted, planner_tasks.simulate)
