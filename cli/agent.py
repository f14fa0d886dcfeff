"""`migsched agent`: the node agent on a GPU node, on simulated GPUs, or for one look."""

import asyncio
import os
import platform
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from allocator.claims import contract
from cli import flags as setting_flags
from cli import output
from config import fail_points
from node_agent import preconditions, settings
from node_agent.gpu import device
from node_agent.preconditions import Precondition


@setting_flags.of_fields(settings.Settings, observer="observe")
def agent(
    flags: Mapping[str, Any],
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; flags and MIGSCHED_AGENT_… win.")] = None,
    simulate: Annotated[
        str | None, typer.Option(metavar="MODEL:COUNT", help="Simulated GPUs instead of real ones: a100-40gb:8.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="With --observe: look once, print, exit.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Print what the agent needs on this node and what is missing, exit.")
    ] = False,
    form: Annotated[output.Format, typer.Option("-o", help="How --once and --check print.")] = output.Format.TABLE,
) -> None:
    """Cut slices on this node's GPUs as placements ask, and hand them to the kubelet, until SIGTERM or Ctrl-C.

    Each flag can also be set as MIGSCHED_AGENT_<FLAG> or in the file named by --config.

    Examples: migsched agent --check; migsched agent --observe --once -o json;
    migsched agent --node gpu-1 --simulate a100-40gb:8
    """
    wanted = settings.load(config, **{**flags, "node": flags["node"] or None})
    if not wanted.node:
        wanted = wanted.model_copy(update={"node": platform.node()})
    from node_agent import service  # its libraries are slow to load: not for --help

    if check:
        judged = asyncio.run(service.check(wanted, lambda: _devices(simulate, wanted), simulated=simulate is not None))
        output.show(form, lambda: _document(wanted.node, judged), lambda: _check_table(judged))
        raise typer.Exit(1 if preconditions.failures(judged) else 0)
    if once:
        if not wanted.observer:
            raise typer.BadParameter("--once looks without changing anything: add --observe")
        options = wanted.options(simulated=simulate is not None)
        status = service.observe(_devices(simulate, wanted), wanted.node, options)
        output.show(form, lambda: status, lambda: _table(status))
        raise typer.Exit(0 if status["conditions"][0]["status"] == "True" else 1)
    fail_points.arm(os.environ)
    boot = f"simulated-{uuid.uuid4()}" if simulate else service.boot_id()  # simulated GPUs die with their process
    asyncio.run(service.run(wanted, lambda: _devices(simulate, wanted), boot=boot, simulated=simulate is not None))


def _document(node: str, judged: Sequence[Precondition]) -> dict[str, Any]:
    """The preconditions as JSON has them; `ok` is null where it cannot be told."""
    listed = [msgspec.to_builtins(precondition) for precondition in judged]
    return {"node": node, "ok": not preconditions.failures(judged), "preconditions": listed}


def _check_table(judged: Sequence[Precondition]) -> Table:
    """The preconditions for people."""
    words = {True: "yes", False: "NO", None: "?"}
    table = output.table("PRECONDITION", "MET", "WHAT IS WRONG", "FIX")
    for column in table.columns:
        column.overflow = "fold"
    for precondition in judged:
        fix = precondition.fix if precondition.ok is not True else ""
        table.add_row(precondition.name, words[precondition.ok], precondition.wrong, fix)
    return table


def _devices(simulate: str | None, wanted: settings.Settings) -> device.MigDevices:
    """Real or simulated GPUs."""
    if simulate is None:
        from node_agent.gpu.nvml.devices import NvmlDevices
        from node_agent.gpu.nvml.driver import Driver

        return NvmlDevices(Driver(root=wanted.driver_root))
    from simulator.gpu import devices, driver

    return devices.SimulatedDevices(driver.simulate(simulate, seed=wanted.node))


def _table(status: dict[str, Any]) -> Table:
    """The report for people: a row per GPU and slice."""
    report = contract.node_report(msgspec.convert(status, contract.MigNodeStatus), "")
    table = output.table(
        "GPU", "PRODUCT", "MIG MODE", "SLICE", "STATE", "MIG UUID", "OWNER", "MESSAGE", numbers=("GPU",)
    )
    table.caption = status["conditions"][0]["message"]
    for gpu in report.gpus:
        table.add_row(str(gpu.index), gpu.product, gpu.mig_mode.value, "", "", "", "", gpu.message)
        for slice_ in gpu.slices:
            owner = f"{slice_.owner.namespace}/{slice_.owner.pod}" if slice_.owner else ""
            ill = slice_.illness.message if slice_.illness else ""
            table.add_row("", "", "", str(slice_.placement), slice_.state.value, slice_.mig_uuid, owner, ill)
    return table
