"""What the node agent costs a node: Allocate's own time, start, idle CPU and memory, with 8 GPUs and 56 slices.

Called by `migsched bench agent`. The agent is a process of its own over a libnvidia-ml whose calls are clocked; a
kubelet's device manager asks it over gRPC on Unix sockets, one Allocate after the other as the kubelet does; the API
server is a genuine one, reached by a service account as from a pod. Own time is what the kubelet waited, less the time
in which the slice's GPU was in a driver call meanwhile. Nothing pauses between two Allocates, so that the agent's
steps, which each of them causes, compete.
"""

import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec
import numpy as np
import yaml

from allocator.claims import contract, placement_annotation
from allocator.claims.placement_annotation import Promise
from allocator.mig.profile import GpuPlacement, Placement, resource_name
from benchmarks.benchmark import Progress
from benchmarks.deployed import CRD
from benchmarks.servers.agent_process import DriverUse
from benchmarks.servers.service_process import cpu_seconds
from kubeclient import service_account
from node_agent.slices import device_ids
from simulator.cluster.device_manager import DeviceManager
from simulator.gpu import driver
from testbed.control_plane import build
from testbed.control_plane.control_plane import ControlPlane

NODE = "bench"
GPUS = 8
MODEL = "a100-40gb"
SMALL, HALF, WHOLE = "1g.5gb", "3g.20gb", "7g.40gb"
SLOW_S = 0.3  # to create a GPU instance, while others are allocated; seen on real GPUs: 0.1 to 1.5
GRACE_S = 0.5
STARTS = 3
DEADLINE_S = 90.0
_POLL_S = 0.05

Row = dict[str, Any]


def measure(rounds: int = 4, idle_s: float = 30.0, progress: Progress = lambda _: None) -> list[Row]:
    """Rows of start, Allocate (slice already cut; cut meanwhile; another GPU being cut), idle CPU and memory.

    Times in ms, `count` Allocates; `cpu_percent` of one core, without the simulated driver's own. Raises TimeoutError
    where the agent does not do in 90 s what is waited for, and names it.
    """
    return asyncio.run(_measure(rounds, idle_s, progress))


async def _measure(rounds: int, idle_s: float, progress: Progress) -> list[Row]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="migsched-bench-"))
        progress("agent: starting a control plane")
        plane = stack.enter_context(ControlPlane(Path(folder) / "c", binaries=build.ensure_built(progress)))
        plane.apply(CRD)
        plane.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}])
        kubelet = DeviceManager(Path(folder))
        await kubelet.start()
        stack.push_async_callback(kubelet.stop)
        bench = _Bench(plane, kubelet)
        progress("agent: starting the agent")
        rows = [await bench.start(stack.enter_context(ExitStack()), Path(folder))]
        progress(f"agent: {rounds} × {bench.room} Allocates of slices that are there")
        rows.append(await bench.slices_there(rounds))
        progress(f"agent: idle for {idle_s:g} s with {bench.room} slices in use")
        rows += await bench.idle(idle_s)
        progress("agent: Allocates while other GPUs are cut")
        rows.append(await bench.others_cut())
        progress("agent: Allocates that cut")
        rows.append(await bench.cuts(rounds))
        return rows


class _Bench:
    """One agent, its kubelet, its API server."""

    def __init__(self, plane: ControlPlane, kubelet: DeviceManager) -> None:
        self._plane = plane
        self._kubelet = kubelet
        self._agent: _AgentProcess
        self._gpus = [(gpu.uuid, gpu.catalogue) for gpu in driver.simulate(f"{MODEL}:{GPUS}", seed=NODE).by_index()]
        self._small = [self._place(gpu, SMALL, start) for gpu in range(GPUS) for start in self._starts(SMALL)]
        self._pods = 0

    @property
    def room(self) -> int:
        """How many of the smallest slices the node has."""
        return len(self._small)

    async def start(self, stack: ExitStack, directory: Path) -> Row:
        """How long until all resources are registered, and until the first report is there: medians; the last stays."""
        resources = {profile.resource for _, catalogue in self._gpus for profile in catalogue.profiles}
        registered, reported = [], []
        process = _AgentProcess(self._plane.kubeconfig, self._kubelet, directory)
        for remaining in reversed(range(STARTS)):
            self._kubelet.registrations.clear()
            self._plane.kubectl("delete", "mignodes", "--all")
            began = time.monotonic()
            self._agent = stack.enter_context(process)
            await _until(lambda: resources <= set(self._kubelet.registrations), "all resources are registered")
            registered.append(time.monotonic() - began)
            await self._reported(lambda slices: slices is not None, "the first report")
            reported.append(time.monotonic() - began)
            if remaining:
                await asyncio.to_thread(stack.close)
        return {
            "what": "start",
            "registered_s": round(statistics.median(registered), 2),
            "reported_s": round(statistics.median(reported), 2),
        }

    async def slices_there(self, rounds: int) -> Row:
        """Allocates of slices that were cut before for bound pods; the last round's stay in use."""
        own: list[float] = []
        waited: list[float] = []
        for number in range(rounds):
            if number:
                await self._end_pods()
            self._bind((place,) for place in self._small)
            await self._reported(lambda slices: slices is not None and len(slices) == self.room, "slices are cut")
            self._agent.driver()
            spans = [await self._allocate(SMALL) for _ in range(self.room)]
            self._add(spans, own, waited)
            await self._all_owned()
        return {"what": "slice there"} | _quantiles(own, waited)

    async def idle(self, seconds: float) -> list[Row]:
        """CPU time over a while in which nothing happens, and memory."""
        self._agent.driver()
        before, began = self._agent.cpu_seconds(), time.monotonic()
        await asyncio.sleep(seconds)
        simulated = self._agent.driver().cpu_s
        elapsed = time.monotonic() - began
        spent = self._agent.cpu_seconds() - before
        rss, peak = self._agent.memory_mib()
        return [
            {
                "what": "idle",
                "cpu_percent": round(100 * (spent - simulated) / elapsed, 2),
                "simulated_driver_percent": round(100 * simulated / elapsed, 2),
            },
            {"what": "memory", "rss_mib": round(rss, 1), "peak_mib": round(peak, 1)},
        ]

    async def others_cut(self) -> Row:
        """Allocates on one half of the GPUs while slices for bound pods are cut on the other one, slowly."""
        await self._end_pods()
        self._agent.slow(SLOW_S)
        half = GPUS // 2
        self._bind((self._place(gpu, HALF, start),) for gpu in range(half) for start in self._starts(HALF))
        await self._agent.until_cutting()
        began = time.monotonic()
        places = [place for place in self._small if place.gpu in {uuid for uuid, _ in self._gpus[half:]}]
        spans = [await self._allocate_at(SMALL, device_ids.device_id(place)) for place in places]
        elapsed = time.monotonic() - began
        own: list[float] = []
        waited: list[float] = []
        self._add(spans, own, waited)
        self._agent.slow(0.0)
        await self._reported(lambda slices: _count(slices, HALF) == 2 * half, "the other GPUs are cut")
        self._kubelet.held.clear()
        if elapsed > len(self._starts(HALF)) * half * SLOW_S:
            raise RuntimeError(f"nothing was being cut any more: {len(places)} Allocates took {elapsed:.1f} s")
        return {"what": "others being cut"} | _quantiles(own, waited)

    async def cuts(self, rounds: int) -> Row:
        """Allocates that no pod announced: existing slices are destroyed and others cut, while the kubelet waits."""
        own: list[float] = []
        waited: list[float] = []
        for _ in range(max(1, rounds // 2)):
            for profile, number in ((WHOLE, GPUS), (SMALL, self.room)):
                await self._end_pods()
                self._agent.driver()
                self._add([await self._allocate(profile) for _ in range(number)], own, waited)
                await self._all_in_use(number)  # a report of before would let the next pods come within the grace
        return {"what": "with the cut"} | _quantiles(own, waited)

    # --- what the kubelet does

    async def _allocate(self, profile: str) -> tuple[str, float, float]:
        resource = resource_name(profile)
        (name,) = await self._kubelet.choose(resource)
        return await self._allocate_at(profile, name)

    async def _allocate_at(self, profile: str, name: str) -> tuple[str, float, float]:
        """The GPU, and when Allocate was called and answered."""
        resource = resource_name(profile)
        began = time.monotonic()
        await self._kubelet.allocate_exactly(resource, [name])
        ended = time.monotonic()
        pod = f"pod-{self._pods}-{len(self._kubelet.held)}"
        self._kubelet.held["default", pod, "main", resource] = [name]
        return name, began, ended

    def _add(self, spans: Iterable[tuple[str, float, float]], own: list[float], waited: list[float]) -> None:
        """Milliseconds of these Allocates: all of it, and without the calls of the GPU's driver."""
        index = {uuid.removeprefix("GPU-"): f"GPU {n}" for n, (uuid, _) in enumerate(self._gpus)}
        calls = self._agent.driver().calls
        if not calls:
            raise RuntimeError("no driver call was clocked: all of the driver's time would count as the agent's")
        for name, began, ended in spans:
            lane = next(lane for uuid, lane in index.items() if name.startswith(uuid))
            inside = sum(max(0.0, min(to, ended) - max(at, began)) for who, at, to in calls if who == lane)
            waited.append((ended - began) * 1e3)
            own.append((ended - began - inside) * 1e3)

    # --- pods and reports

    def _bind(self, promised: Iterable[Sequence[GpuPlacement]]) -> None:
        """Pods bound to the node, promised these places."""
        self._pods += 1
        self._plane.apply([_pod(f"pod-{self._pods}-{n}", places) for n, places in enumerate(promised)])

    async def _end_pods(self) -> None:
        """No pod any more; until no slice is in use."""
        self._kubelet.held.clear()
        await asyncio.to_thread(self._plane.kubectl, "delete", "pods", "--all", "--force", "--grace-period=0")
        await self._reported(
            lambda slices: slices is not None and all(slice_["state"] == "idle" for slice_ in slices), "slices are free"
        )

    async def _all_owned(self) -> None:
        await self._reported(
            lambda slices: slices is not None and all("owner" in slice_ for slice_ in slices),
            "every slice has its owner",
        )

    async def _all_in_use(self, number: int) -> None:
        await self._reported(
            lambda slices: slices is not None and [slice_["state"] for slice_ in slices] == ["allocated"] * number,
            "every slice is in use",
        )

    async def _reported(self, is_as_wanted: Callable[[list[Row] | None], bool], what: str) -> None:
        """Until the MigNode's slices (None without a report) are as wanted."""

        def look() -> bool:
            answer = self._plane.kubectl("get", "mignode", NODE, "--output=json", check=False).stdout
            status = json.loads(answer).get("status") if answer else None
            return is_as_wanted(
                [slice_ for gpu in status["gpus"] for slice_ in gpu.get("slices", ())] if status else None
            )

        deadline = time.monotonic() + DEADLINE_S
        while not await asyncio.to_thread(look):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {DEADLINE_S:g} s: {what}")
            await asyncio.sleep(_POLL_S)

    def _starts(self, profile: str) -> Sequence[int]:
        return self._gpus[0][1].by_name[profile].starts

    def _place(self, gpu: int, profile: str, start: int) -> GpuPlacement:
        uuid, catalogue = self._gpus[gpu]
        placement: Placement = catalogue.placement(profile, start)
        return GpuPlacement(uuid, placement)


class _AgentProcess:
    """The measured process; a context manager."""

    def __init__(self, kubeconfig: Path, kubelet: DeviceManager, directory: Path) -> None:
        self._account = directory / "serviceaccount"
        server = _mount_account(kubeconfig, self._account)
        options = {
            "node": NODE,
            "state_dir": directory / "state",
            "cdi_dir": directory / "cdi",
            "device_plugin_dir": kubelet.plugins,
            "pod_resources_socket": kubelet.pod_resources,
            "plugin_registry_dir": directory / "registry",
            "grace_s": GRACE_S,
            "metrics_port": 0,
            "metrics_host": "127.0.0.1",
        }
        in_pod = {service_account.HOST: server.hostname or "", service_account.PORT: str(server.port)}
        settings = {f"MIGSCHED_AGENT_{key.upper()}": str(value) for key, value in options.items()}
        self._environment = os.environ | in_pod | settings
        self._log = directory / "agent.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "_AgentProcess":
        command = [sys.executable, "-m", "benchmarks.servers.agent_process", f"{MODEL}:{GPUS}", str(self._account)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=self._environment
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._running.terminate()
        self._running.wait(60)

    def driver(self) -> DriverUse:
        """What the driver did since this was asked last. Raises RuntimeError if the agent has ended."""
        return self._ask("driver")

    def slow(self, seconds: float) -> None:
        """How long the driver takes from now on to create a GPU instance."""
        self._ask(f"slow {seconds}")

    async def until_cutting(self) -> None:
        """Until the driver has been in one call for a while."""
        log = self._log.read_text().count('"event":"cut"')
        await _until(lambda: self._log.read_text().count('"event":"cut"') > log, "a slice is cut")

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        return cpu_seconds(self._running.pid)

    def memory_mib(self) -> tuple[float, float]:
        """Resident memory now and at its peak."""
        lines = Path(f"/proc/{self._running.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["VmRSS"].split()[0]) / 1024, int(fields["VmHWM"].split()[0]) / 1024

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("the agent was not started")
        return self._process

    def _ask(self, line: str) -> DriverUse:
        process = self._running
        if process.stdin is None or process.stdout is None or process.poll() is not None:
            raise RuntimeError(f"the agent has ended:\n{self._log.read_text()[-2000:]}")
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()
        return msgspec.json.decode(process.stdout.readline(), type=DriverUse)


def _mount_account(kubeconfig: Path, directory: Path) -> SplitResult:
    """Lay out what a pod's service account would find, for the user of a kubeconfig; the API server's URL."""
    document = yaml.safe_load(kubeconfig.read_text())
    (cluster,), (user,) = document["clusters"], document["users"]
    directory.mkdir()
    (directory / "ca.crt").write_bytes(base64.b64decode(cluster["cluster"]["certificate-authority-data"]))
    (directory / "token").write_text(user["user"]["token"])
    url: str = cluster["cluster"]["server"]
    return urlsplit(url)


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {DEADLINE_S:g} s: {what}")
        await asyncio.sleep(_POLL_S / 10)


def _quantiles(own: Sequence[float], waited: Sequence[float]) -> Row:
    p50, p99 = np.percentile(own, [50, 99])
    return {
        "count": len(own),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "most_ms": round(max(own), 2),
        "waited_p99_ms": round(float(np.percentile(waited, 99)), 2),
    }


def _count(slices: list[Row] | None, profile: str) -> int:
    return sum(slice_["profile"] == profile for slice_ in slices or ())


def _pod(name: str, places: Sequence[GpuPlacement]) -> Row:
    promises = [Promise("main", place.gpu, place.placement.profile, place.placement.start) for place in places]
    limits = {resource_name(place.placement.profile): "1" for place in places}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "annotations": {contract.PLACEMENT_ANNOTATION: placement_annotation.encode(promises)},
        },
        "spec": {
            "nodeName": NODE,
            "containers": [{"name": "main", "image": "none", "resources": {"limits": limits}}],
            "automountServiceAccountToken": False,
        },
    }
