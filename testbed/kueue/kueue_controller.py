"""Kueue's controller manager as a process beside the local control plane. Called by tests.

What differs from an installation by its manifests, and why:

- It runs as the user `kueue` of the control plane, with the roles of its manifests bound to that user: there is no pod
  whose service account it could have.
- Its webhooks are reached at loopback with the certificate of the control plane's authority, as there is no Service.
  They are those of pods and of Kueue's own kinds, under names of ours: under its own names Kueue would write the
  authority of certificates into them that it makes for the Service.
- Only the integration `pod` is on; jobs need kinds of others. One replica, so no leader election. The API that lists
  pending workloads is off, since it needs an APIService.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from testbed import errors, processes
from testbed.control_plane import certificates, ports, readiness, servers
from testbed.control_plane.control_plane import ControlPlane
from testbed.kueue.build import KueueFiles

USER = "kueue"
NAMESPACE = "kueue-system"

Document = dict[str, Any]

_READY_TIMEOUT_S = 60.0
_WEBHOOK_GROUPS = {
    "",
    "kueue.x-k8s.io",
}  # those of pods and of Kueue's kinds; the others are of integrations that are off
_CONVERTED = ("localqueues", "clusterqueues", "workloads", "cohorts", "multikueueclusters")
_ROLES = ("role.yaml", "manager_secrets_role.yaml", "leader_election_role.yaml")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same language, ten times as fast


class KueueController:
    """Kueue on a control plane that has the user `kueue`. A context manager; entering it takes seconds."""

    def __init__(self, plane: ControlPlane, files: KueueFiles, directory: Path) -> None:
        """Take a directory for its configuration, certificates and log; nothing is started yet."""
        self._plane, self._files, self._directory = plane, files, directory.absolute()
        self._webhook_port, self._health_port = ports.choose_free(2)
        self._supervisor: processes.Supervisor | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """What Kueue has written."""
        return self._directory / "logs" / "kueue.log"

    def start(self) -> None:
        """Apply its manifests, start it, and have the API server ask it about pods once it is ready.

        Raises StartError where it ended or was not ready in time; nothing is left running.
        """
        made = self._write_certificates()
        self._apply_kinds()
        self._plane.apply(self._rights())
        self._supervisor = processes.Supervisor(self._directory)
        try:
            environment = {"KUBECONFIG": str(self._plane.kubeconfig_of(USER))}
            command = [str(self._files.program), f"--config={self._write_configuration()}", "--zap-log-level=2"]
            process = self._supervisor.start("kueue", command, environment)
            url = f"http://{servers.HOST}:{self._health_port}/readyz"
            readiness.wait(readiness.Client(made.authority), url, process, timeout_s=_READY_TIMEOUT_S)
            self._plane.apply(self._webhooks(made.authority))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it. Its webhooks stay and refuse pods, as those of an installed Kueue that is down. Idempotent."""
        if self._supervisor is not None:
            supervisor, self._supervisor = self._supervisor, None
            supervisor.stop()

    def _write_certificates(self) -> certificates.Certificates:
        """The files of the control plane, under the names that Kueue looks for in its folder."""
        made = certificates.ensure(self._plane.directory / "certificates")
        folder = self._directory / "certificates"
        folder.mkdir(parents=True)
        for name, path in (("tls.crt", made.serving), ("tls.key", made.serving_key)):
            (folder / name).symlink_to(path)
        return made

    def _write_configuration(self) -> Path:
        configuration = {
            "apiVersion": "config.kueue.x-k8s.io/v1beta2",
            "kind": "Configuration",
            "namespace": NAMESPACE,
            "health": {"healthProbeBindAddress": f"{servers.HOST}:{self._health_port}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {
                "host": servers.HOST,
                "port": self._webhook_port,
                "certDir": str(self._directory / "certificates"),
            },
            "leaderElection": {"leaderElect": False},
            "clientConnection": {"qps": 500, "burst": 500},
            "integrations": {"frameworks": ["pod"]},
            "featureGates": {"VisibilityOnDemand": False},
        }
        path = self._directory / "configuration.yaml"
        path.write_text(json.dumps(configuration), encoding="utf-8")
        return path

    def _apply_kinds(self) -> None:
        """On the server: with a copy in an annotation, as kubectl keeps by default, they are too large."""
        kinds = [self._with_conversion(one) for path in self._files.manifests("crd/bases") for one in _documents(path)]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": kinds})
        self._plane.kubectl("apply", "--server-side", "--filename=-", standard_input=text)
        names = [f"crd/{one['metadata']['name']}" for one in kinds]
        self._plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)

    def _rights(self) -> Iterator[Document]:
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        secret = {"name": "kueue-webhook-server-cert", "namespace": NAMESPACE}
        yield {"apiVersion": "v1", "kind": "Secret", "metadata": secret}  # Kueue fills it and needs it to be there
        for path in self._files.manifests("rbac"):
            if path.name in _ROLES:
                for document in _documents(path):
                    yield from _bound(document)

    def _with_conversion(self, crd: Document) -> Document:
        """A kind of two versions as its kustomization makes it, converted at loopback."""
        if crd["spec"]["names"]["plural"] in _CONVERTED:
            client = {"url": f"https://{servers.HOST}:{self._webhook_port}/convert"}
            webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
            crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
        return crd

    def _webhooks(self, authority: Path) -> Iterator[Document]:
        bundle = base64.b64encode(authority.read_bytes()).decode("ascii")
        for document in _documents(self._manifest("webhook", "manifests.yaml")):
            document["metadata"]["name"] = f"beside-{document['metadata']['name']}"
            document["webhooks"] = [one for one in document["webhooks"] if _is_about(one["rules"], _WEBHOOK_GROUPS)]
            for one in document["webhooks"]:
                path = one["clientConfig"]["service"]["path"]
                url = f"https://{servers.HOST}:{self._webhook_port}{path}"
                one["clientConfig"] = {"url": url, "caBundle": bundle}
            yield document

    def _manifest(self, part: str, name: str) -> Path:
        for path in self._files.manifests(part):
            if path.name == name:
                return path
        raise errors.StartError(f"Kueue's manifests have no {part}/{name}; look at what its version has")


def _documents(path: Path) -> list[Document]:
    return [one for one in yaml.load_all(path.read_text(encoding="utf-8"), _LOADER) if one]


def _is_about(rules: Sequence[Mapping[str, Any]], groups: set[str]) -> bool:
    return all(set(rule["apiGroups"]) <= groups for rule in rules)


def _bound(role: Document) -> Iterator[Document]:
    """A role under a name that says whose it is, and its binding to the user."""
    metadata = {"name": f"kueue-{role['metadata']['name']}"}
    if role["kind"] == "Role":
        metadata["namespace"] = NAMESPACE
    yield {**role, "metadata": metadata}
    group = "rbac.authorization.k8s.io"
    yield {
        "apiVersion": f"{group}/v1",
        "kind": f"{role['kind']}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": role["kind"], "name": metadata["name"]},
        "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
    }
