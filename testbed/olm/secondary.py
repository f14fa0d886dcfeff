"""What the Secondary Scheduler Operator's kube-scheduler reads: our profile, with the extender behind a Service.

That operator mounts one ConfigMap at /etc/kubernetes, and starts no container beside kube-scheduler.
"""

from pathlib import Path

import yaml

from testbed.olm import documents
from testbed.olm.split import SYSTEM

_MOUNTED = "/etc/kubernetes"
_HEAD = """\
# deploy/kube-scheduler/config.yaml for the Secondary Scheduler Operator, written by `make bundle`: the extender is
# another pod's, reached by mutual TLS. See docs/secondary-scheduler.md.
"""


def files(deploy: Path) -> dict[str, str]:
    """Text by path below secondary-scheduler/; `deploy` has the configuration that is changed."""
    config = yaml.safe_load((deploy / "kube-scheduler" / "config.yaml").read_text(encoding="utf-8"))
    config["leaderElection"] = {"leaderElect": False}  # the operator runs one replica
    (extender,) = config["extenders"]
    extender["urlPrefix"] = f"https://migsched-extender.{SYSTEM}.svc:8765/v1"
    extender["enableHTTPS"] = True
    extender["tlsConfig"] = {
        "caFile": f"{_MOUNTED}/ca.crt",
        "certFile": f"{_MOUNTED}/tls.crt",
        "keyFile": f"{_MOUNTED}/tls.key",
    }
    return {"config.yaml": _HEAD + documents.dump(config)}
