"""The local control plane: etcd, kube-apiserver and, where asked for, kube-controller-manager and kube-scheduler.

Called by `migsched cluster`, the end-to-end tests and the benchmarks. What it is not: there are no nodes (a POST makes
one, and nothing needs its heartbeats) and no DNS, service proxy or container runtime. `servers` says how its settings
differ from a production cluster's.
"""

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from testbed import errors, processes
from testbed.control_plane import build, certificates, credentials, ports, readiness, scheduler_config, servers
from testbed.progress import Progress

_READY_TIMEOUT_S = 60.0
_KUBECTL_TIMEOUT_S = 60.0
_CRD = "customresourcedefinition.apiextensions.k8s.io/"  # how kubectl names one that it applied


@dataclass(frozen=True, slots=True)
class ControlPlaneProcess:
    """A running kube-scheduler or kube-controller-manager."""

    process: processes.Process
    url: str  # serves /metrics, /healthz, /livez and /readyz without a token, over TLS of the local authority


class ControlPlane:
    """One cluster in one directory. A context manager, sync or async; all of its methods may block for seconds.

    Started again in the same directory, it comes back with the same objects.

    Attributes:
        url: of kube-apiserver.
        token: of the admin, a member of system:masters.
        tokens: user name → token.
        kubeconfig: path of the admin's kubeconfig, mode 0600.
        log_directory: one `NAME.log` per program.
    """

    def __init__(
        self,
        directory: Path,
        *,
        users: Mapping[str, Sequence[str]] | None = None,
        accounts: bool = False,
        binaries: build.Binaries | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Take a directory for data, logs and credentials; nothing is started yet.

        `directory` is made where it is missing; it holds secrets, so it should be the caller's alone. `users` (name →
        groups) are those beside the admin, who may do what RBAC objects say. With `accounts` pods need their service
        account, and get its token; what makes `default` ones is kube-controller-manager. `binaries` are the programs,
        built or found in the cache on start where left out. `progress` hears what a build does.
        """
        self.directory = directory.absolute()
        self.log_directory = self.directory / "logs"
        self.tokens: Mapping[str, str] = credentials.new_tokens(users or {})
        self.token = self.tokens[credentials.ADMIN]
        self._users = users or {}
        self._accounts = accounts
        self._binaries = binaries
        self._progress = progress
        self._ports = servers.Ports(*ports.choose_free(3))
        self._supervisor: processes.Supervisor | None = None
        self.url = f"https://{servers.HOST}:{self._ports.api_server}"
        self.kubeconfig = self.kubeconfig_of(credentials.ADMIN)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def children(self) -> tuple[processes.Process, ...]:
        """The process of every program started, in order, ended ones included; empty unless started."""
        return self._supervisor.processes if self._supervisor else ()

    def kubeconfig_of(self, user: str) -> Path:
        """The path of a user's kubeconfig; it is written on start."""
        return self.directory / ("kubeconfig" if user == credentials.ADMIN else f"kubeconfig-{user.replace(':', '-')}")

    def start(self) -> None:
        """Start etcd and kube-apiserver and wait until the API server is ready and has its `default` namespace.

        Raises BuildError where the programs had to be built and could not be. Raises StartError where the directory is
        in use or cannot be used, or a program ended or was not ready in time; nothing is left running.
        """
        if self._supervisor is not None:
            raise errors.StartError(f"the control plane in {self.directory} is started already")
        if self._binaries is None:
            self._binaries = build.ensure_built(self._progress)
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._supervisor = processes.Supervisor(self.directory)
        except OSError as error:
            raise errors.StartError(
                f"the directory {self.directory} cannot be used: {error.strerror or error}"
            ) from error
        try:
            self._write_credentials()
            self._start_api_server()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every program. The directory stays. Idempotent."""
        if self._supervisor is not None:
            supervisor, self._supervisor = self._supervisor, None
            supervisor.stop()

    def start_controller_manager(self) -> ControlPlaneProcess:
        """Start kube-controller-manager: Deployments become pods, owned objects are collected, namespaces are emptied.

        Raises StartError where it did not become healthy.
        """
        port = ports.choose_free(1)[0]
        command = servers.controller_manager(self._programs, self._certificates, self.kubeconfig, port)
        return self._start_side_server("kube-controller-manager", command, port, "healthz")

    def start_scheduler(
        self, config: scheduler_config.Config | str | Path | None = None, *, name: str = "kube-scheduler"
    ) -> ControlPlaneProcess:
        """Start kube-scheduler and wait until its caches are full. Several may run under different names.

        `config` is a KubeSchedulerConfiguration (`scheduler_config.kube_scheduler_config` makes one) as a mapping, YAML
        text or a file; None stands for stock settings and the profile `default-scheduler`. `name` is that of the
        program's log, and needed to tell two of them apart.

        Raises StartError where it did not become ready, e.g. because it refuses the configuration; the message says
        why.
        """
        match config:
            case Path():
                text = config.read_text(encoding="utf-8")
            case str():
                text = config
            case None:
                text = yaml.safe_dump(scheduler_config.stock(self.kubeconfig))
            case _:
                text = yaml.safe_dump(config)
        path = self.directory / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        port = ports.choose_free(1)[0]
        return self._start_side_server(
            name, servers.scheduler(self._programs, self._certificates, path, port), port, "readyz"
        )

    def restart_apiserver(self) -> None:
        """Stop kube-apiserver, if it runs, and start it on the same port with the same data; wait until it is ready."""
        self._process("kube-apiserver").restart()
        self._wait_for_api_server()

    def kill_apiserver(self) -> None:
        """SIGKILL kube-apiserver; `restart_apiserver` brings it back."""
        self._process("kube-apiserver").kill()

    def save(self, to: Path) -> None:
        """Copy all objects into a new directory; etcd and kube-apiserver are away meanwhile."""
        self._without_etcd(lambda data: shutil.copytree(data, to))

    def restore(self, saved: Path) -> None:
        """Put all objects back as they were saved, as after a disaster; etcd and kube-apiserver are away meanwhile."""

        def put_back(data: Path) -> None:
            shutil.rmtree(data)
            shutil.copytree(saved, data)

        self._without_etcd(put_back)

    def _without_etcd(self, work: Callable[[Path], object]) -> None:
        server, etcd = self._process("kube-apiserver"), self._process("etcd")
        server.stop()
        etcd.stop()
        work(self.directory / "etcd")
        etcd.restart()
        self.restart_apiserver()

    def kubectl(
        self,
        *arguments: str,
        standard_input: str | None = None,
        user: str = credentials.ADMIN,
        check: bool = True,
        timeout_s: float = _KUBECTL_TIMEOUT_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as `user` and return what it wrote. The caller's ~/.kube is neither read nor written.

        Raises CommandError where it took longer than `timeout_s` or, where `check` is set, its exit status is not 0.
        """
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),  # for plugins
            "HOME": str(self.directory),
            "KUBECONFIG": str(self.kubeconfig_of(user)),
        }
        shown = f"kubectl {' '.join(arguments)}"
        try:
            done = subprocess.run(
                [self._programs.kubectl, *arguments],
                input=standard_input or "",
                env=environment,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise errors.CommandError(f"{shown}: no end after {timeout_s:g} s") from error
        if check and done.returncode:
            raise errors.CommandError(f"{shown}: exit status {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done

    def apply(self, manifests: Path | Iterable[Mapping[str, Any]]) -> list[str]:
        """Create or change objects, and wait until applied CustomResourceDefinitions are served.

        `manifests` is a file or folder of YAML or JSON, or the objects themselves.

        Returns:
            What was applied, e.g. `["node/n1", "deployment.apps/web"]`.

        Raises CommandError where an object was refused.
        """
        if isinstance(manifests, Path):
            applied = self.kubectl("apply", "--output=name", "--filename", str(manifests)).stdout.split()
        else:
            listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
            applied = self.kubectl("apply", "--output=name", "--filename=-", standard_input=listed).stdout.split()
        definitions = [name for name in applied if name.startswith(_CRD)]
        if definitions:
            self.kubectl("wait", "--for=condition=Established", *definitions)
        return applied

    @property
    def _programs(self) -> build.Binaries:
        if self._binaries is None:
            raise errors.StartError(f"the control plane in {self.directory} is not started")
        return self._binaries

    @property
    def _certificates(self) -> certificates.Certificates:
        return certificates.ensure(self.directory / "certificates")

    def _process(self, name: str) -> processes.Process:
        for process in self.children:
            if process.name == name:
                return process
        raise errors.StartError(f"{name} is not started in {self.directory}")

    def _write_credentials(self) -> None:
        authority = self._certificates.authority
        credentials.write_token_file(self.directory / "tokens.csv", self._users, self.tokens)
        for user, token in self.tokens.items():
            credentials.write_kubeconfig(
                self.kubeconfig_of(user), url=self.url, authority=authority, user=user, token=token
            )

    def _start_api_server(self) -> None:
        programs, tokens = self._programs, self.directory / "tokens.csv"
        self._launch("etcd", servers.etcd(programs, self.directory / "etcd", self._ports))
        server = servers.api_server(programs, self._certificates, tokens, self._ports, accounts=self._accounts)
        self._launch("kube-apiserver", server)
        self._wait_for_api_server()

    def _launch(self, name: str, command: Sequence[str]) -> processes.Process:
        if self._supervisor is None:
            raise errors.StartError(f"start the control plane in {self.directory} before {name}")
        return self._supervisor.start(name, command)

    def _wait_for_api_server(self) -> None:
        client = readiness.Client(self._certificates.authority)
        deadline = time.monotonic() + _READY_TIMEOUT_S
        # the namespace is made by a controller inside kube-apiserver that /readyz does not wait for
        for path in ("readyz", "api/v1/namespaces/default"):
            readiness.wait(
                client,
                f"{self.url}/{path}",
                self._process("kube-apiserver"),
                timeout_s=max(0.0, deadline - time.monotonic()),
                token=self.token,
                needs=[self._process("etcd")],
            )

    def _start_side_server(self, name: str, command: Sequence[str], port: int, check: str) -> ControlPlaneProcess:
        server = ControlPlaneProcess(self._launch(name, command), f"https://{servers.HOST}:{port}")
        try:
            readiness.wait(
                readiness.Client(self._certificates.authority),
                f"{server.url}/{check}",
                server.process,
                timeout_s=_READY_TIMEOUT_S,
            )
        except errors.StartError:
            server.process.stop()
            raise
        return server
