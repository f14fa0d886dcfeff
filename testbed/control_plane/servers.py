"""The command lines of etcd, kube-apiserver, kube-controller-manager and kube-scheduler. Called by `control_plane`.

Choices that differ from a production cluster, and why:

- etcd does not fsync: the data is thrown away, and only a crash of the machine could lose it.
- No flow control and no rate limits, so that benchmarks measure the scheduler and not a limit.
- The admission plugin TaintNodesByCondition is off: it taints new nodes `not-ready`, which only node-lifecycle removes.
  node-lifecycle itself does not run: it would evict the pods of simulated nodes, which have no heartbeats. A node is
  usable as soon as it is created. `kubectl taint … NoExecute` still evicts: that is taint-eviction, which runs.
- The admission plugin ServiceAccount is off unless asked for, so that a pod can be created in a namespace before its
  `default` ServiceAccount exists, and no token is mounted. Pods that call the API server need a token by other means.
- Endpoints of the API server are not written (`endpoint-reconciler-type none`): loopback addresses are refused there.
"""

from dataclasses import dataclass
from pathlib import Path

from testbed.control_plane import build, certificates, service_network

HOST = "127.0.0.1"

_WATCHES_END = "5s"  # unset, a stopping API server waits a minute for its watches, which do not end by themselves
_ISSUER = "https://kubernetes.default.svc.cluster.local"
_DATABASE_BYTES = 8 * 1024**3  # a long benchmark fills the usual 2 GiB: old versions go every 5 minutes

# What makes and removes objects that users create. Left out: everything about nodes' health, addresses and
# certificates, volumes (simulated nodes have none), and autoscaling (no metrics).
_CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "replicationcontroller-controller",
    "resourceclaim-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
    "taint-eviction-controller",
    "ttl-after-finished-controller",
)


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on loopback."""

    etcd: int
    etcd_peer: int
    api_server: int


def etcd(binaries: build.Binaries, data: Path, ports: Ports) -> list[str]:
    """The command line of etcd."""
    client, peer = f"http://{HOST}:{ports.etcd}", f"http://{HOST}:{ports.etcd_peer}"
    return [
        str(binaries.etcd),
        f"--data-dir={data}",
        "--unsafe-no-fsync",
        f"--quota-backend-bytes={_DATABASE_BYTES}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def api_server(
    binaries: build.Binaries, files: certificates.Certificates, token_file: Path, ports: Ports, *, accounts: bool
) -> list[str]:
    """The command line of kube-apiserver; with `accounts` pods get the tokens of their service accounts."""
    off = ["TaintNodesByCondition"] if accounts else ["ServiceAccount", "TaintNodesByCondition"]
    return [
        str(binaries.kube_apiserver),
        f"--etcd-servers=http://{HOST}:{ports.etcd}",
        f"--bind-address={HOST}",
        f"--secure-port={ports.api_server}",
        *_serving(files),
        f"--token-auth-file={token_file}",
        "--authorization-mode=RBAC",
        f"--service-account-issuer={_ISSUER}",
        f"--service-account-key-file={files.service_account_key}",
        f"--service-account-signing-key-file={files.service_account_key}",
        f"--service-cluster-ip-range={service_network.SUBNET}",
        "--endpoint-reconciler-type=none",
        "--allow-privileged=true",
        f"--disable-admission-plugins={','.join(off)}",
        "--enable-priority-and-fairness=false",
        "--max-requests-inflight=0",
        "--max-mutating-requests-inflight=0",
        f"--shutdown-watch-termination-grace-period={_WATCHES_END}",
    ]


def controller_manager(
    binaries: build.Binaries, files: certificates.Certificates, kubeconfig: Path, port: int
) -> list[str]:
    """The command line of kube-controller-manager."""
    return [
        str(binaries.kube_controller_manager),
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        f"--controllers={','.join(_CONTROLLERS)}",
        f"--root-ca-file={files.authority}",
        "--kube-api-qps=5000",
        "--kube-api-burst=5000",
        *_side_port(files, port),
    ]


def scheduler(binaries: build.Binaries, files: certificates.Certificates, config: Path, port: int) -> list[str]:
    """The command line of kube-scheduler; `config` is its KubeSchedulerConfiguration."""
    return [str(binaries.kube_scheduler), f"--config={config}", *_side_port(files, port)]


def _serving(files: certificates.Certificates) -> list[str]:
    return [f"--tls-cert-file={files.serving}", f"--tls-private-key-file={files.serving_key}"]


def _side_port(files: certificates.Certificates, port: int) -> list[str]:
    """The flags of the port that serves health and metrics, readable without a token."""
    return [
        f"--bind-address={HOST}",
        f"--secure-port={port}",
        "--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
        *_serving(files),
    ]
