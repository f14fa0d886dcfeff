"""The service behind its lock on a genuine API server, with a pod that waits, for tests of the page and its rights."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from scheduler import settings
from scheduler.cache.kube import KubeClient
from scheduler.service import Service
from simulator.cluster import queue_policy
from testbed.control_plane import build, certificates
from testbed.control_plane.control_plane import ControlPlane
from tests.e2e import deployed
from tests.waiting import eventually

ROLES = {"reader": "migsched-reader", "operator": "migsched-operator"}
NOBODY = "nobody"  # a user with no role
POD = "default/train"


@contextmanager
def cluster(binaries: build.Binaries, directory: Path) -> Iterator[ControlPlane]:
    """An API server with the scheduler's options applied, and an account for each role and for nobody."""
    with deployed.cluster(binaries, directory) as started:
        deployed.apply_options(started, "queue", "moves", "api-lock")
        queue_policy.wait_until(started, gates=True)
        started.kubectl("wait", "--for=condition=Established", "crd/repacks.migsched.io")
        started.kubectl("create", "serviceaccount", NOBODY)
        for account, role in ROLES.items():
            started.kubectl("create", "serviceaccount", account)
            subject = f"--serviceaccount=default:{account}"
            started.kubectl("create", "clusterrolebinding", f"page-{account}", f"--clusterrole={role}", subject)
        yield started


@dataclass
class Asking:
    """The service and who asks it."""

    service: Service
    client: httpx.AsyncClient
    tokens: dict[str, str]

    async def post(self, account: str, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        """What the service says to somebody."""
        bearing = {"Authorization": f"Bearer {self.tokens[account]}"} if account else {}
        return await self.client.post(path, json=body, headers={**bearing, **headers})

    async def get(self, account: str, path: str) -> httpx.Response:
        """The same for a question."""
        return await self.client.get(path, headers={"Authorization": f"Bearer {self.tokens[account]}"})


@asynccontextmanager
async def asking(started: ControlPlane, folder: Path) -> AsyncIterator[Asking]:
    """The service, ready, with a waiting pod."""
    pair = certificates.ensure(folder)
    kubeconfig = started.kubeconfig_of(deployed.SCHEDULER)
    chosen = settings.load(
        kubeconfig=kubeconfig, extender_port=0, api_host="127.0.0.1", api_port=0, shutdown_s=0.1,
        api_access="tokens", api_cert=pair.serving, api_key=pair.serving_key, queue=True, moves=True,
    )  # fmt: skip
    service = Service(chosen, await KubeClient.connect(kubeconfig), api_apart=True)
    await service.start()
    tokens = {name: started.kubectl("create", "token", name).stdout.strip() for name in (*ROLES, NOBODY)}
    trust = ssl.create_default_context(cafile=pair.authority)
    async with httpx.AsyncClient(base_url=service.api_url, verify=trust, trust_env=False, timeout=30) as client:
        await service.synced()
        waiting = deployed.pod("train", resources={"limits": {"nvidia.com/mig-7g.40gb": "1"}})
        await asyncio.to_thread(deployed.create, started, waiting)
        await eventually(lambda: any(pod.title == POD for pod in service.state.queue), "the pod is in the queue")
        yield Asking(service, client, tokens)
    await service.stop()
