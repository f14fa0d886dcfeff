"""What deploy/chart has from elsewhere: copies of deploy/'s objects, the settings in its schema, its values' table.

`python -m benchmarks.report.chart` (`make chart`) writes them; a test compares them. So no object is written twice: the
templates change of the copies what values say.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import BaseSettings

from benchmarks.report import settings_pages
from node_agent import settings as agent_settings
from scheduler import settings as scheduler_settings

ROOT = Path(__file__).parents[2]  # of a checkout
HEAD = "| value | default | what it does |\n|---|---|---|\n"

SOURCES = (  # below deploy/, and by the same path below the chart's files/
    "admission/deny/binding.yaml",
    "admission/placement/policy.yaml",
    "admission/policy/policy.yaml",
    "admission/warn/binding.yaml",
    "agent/daemonset.yaml",
    "agent/own-events.yaml",
    "agent/own-node.yaml",
    "crd/mignodes.yaml",
    "crd/repacks.yaml",
    "kube-scheduler/config.yaml",
    "kustomize/deployment.yaml",
    "kustomize/network-policy.yaml",
    "kustomize/service.yaml",
    "openshift-agent/scc.yaml",
    "options/agent-network-policy/network-policy.yaml",
    "options/agent-operator-client/kustomization.yaml",
    "options/agent-operator-labels/rbac.yaml",
    "options/api-lock/rbac.yaml",
    "options/api-lock/roles.yaml",
    "options/moves/rbac.yaml",
    "options/queue-replicas/disruption-budget.yaml",
    "options/queue-replicas/rbac.yaml",
    "options/queue-webhook/service.yaml",
    "options/queue-webhook/webhook.yaml",
    "options/queue/gate.yaml",
    "options/queue/kustomization.yaml",
    "options/queue/rbac.yaml",
    "options/queue/release.yaml",
    "options/queue/told.yaml",
    "rbac/agent/agent.yaml",
    "rbac/agent/namespace.yaml",
    "rbac/scheduler/extender.yaml",
    "rbac/scheduler/kube-scheduler.yaml",
    "rbac/scheduler/one-annotation.yaml",
    "rbac/scheduler/service-account.yaml",
)
MONITORING = ("rules/*.yaml", "dashboards/*.json")  # below deploy/monitoring

# Settings that follow from the chart's other values, or that its pods give no meaning.
OF_THE_CHART = {
    "scheduler": {
        "kubeconfig", "queue", "moves", "leader_election", "lease_namespace", "lease_name", "api_access", "api_cert",
        "api_key", "api_port", "extender_host", "extender_port", "extender_cert", "extender_key", "extender_client_ca",
        "webhook_cert", "webhook_key", "webhook_host", "webhook_port",
    },
    "agent": {
        "kubeconfig", "node", "state_dir", "cdi_dir", "device_plugin_dir", "pod_resources_socket",
        "plugin_registry_dir", "driver_root", "host_driver_root", "host_etc", "manage_operator_labels", "metrics_port",
    },
}  # fmt: skip
_CHART = Path("deploy", "chart")
_WHOLE = {"resources", "labels"}  # maps that are one value
_JSON_TYPES: dict[object, str] = {bool: "boolean", int: "integer", float: "number"}


def copies(root: Path = ROOT) -> dict[str, str]:
    """Text by path below files/."""
    deploy = root / "deploy"
    paths = {deploy / source for source in SOURCES}
    paths |= {path for pattern in MONITORING for path in (deploy / "monitoring").glob(pattern)}
    return {
        str(path.relative_to(deploy)): path.read_text(encoding="utf-8")
        for path in sorted(paths)
        if path.name != "kustomization.yaml" or str(path.relative_to(deploy)) in SOURCES
    }


def schema(root: Path = ROOT) -> str:
    """values.schema.json, with the settings that both services have today."""
    document = json.loads((root / _CHART / "values.schema.json").read_text(encoding="utf-8"))
    for part, form in (("scheduler", scheduler_settings.Settings), ("agent", agent_settings.Settings)):
        document["properties"][part]["properties"]["settings"]["properties"] = dict(_settings(form, OF_THE_CHART[part]))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _settings(form: type[BaseSettings], left_out: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in form.model_fields.items():
        if name not in left_out:
            kind = next((_JSON_TYPES[base] for base in _JSON_TYPES if field.annotation is base), "string")
            yield name, {"type": kind, "description": field.description}


@dataclass(frozen=True, slots=True)
class Value:
    """One value that can be set: its dotted name, its default, and what the comment above it says."""

    name: str
    default: Any
    meaning: str


def values(root: Path = ROOT) -> list[Value]:
    """Every value of values.yaml that holds no further ones, in its order."""
    text = (root / _CHART / "values.yaml").read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)
    listed, comment, parents = list[Value](), list[str](), list[str]()
    for line in text.splitlines():
        if not line.strip():
            comment.clear()
            continue
        if match := re.match(r"( *)# (.*)", line):
            comment.append(match[2])
            continue
        match = re.match(r"( *)([\w-]+):", line)
        if match is None:
            continue  # an item of a list
        parents[len(match[1]) // 2 :] = [match[2]]
        default = _at(defaults, parents)
        if comment and (not isinstance(default, dict) or not default or parents[-1] in _WHOLE):
            listed.append(Value(".".join(parents), default, " ".join(comment)))
        comment.clear()
    return listed


def _at(document: Any, path: list[str]) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def table(root: Path = ROOT) -> str:
    """The values as a Markdown table."""
    return HEAD + "".join(
        f"| `{value.name}` | `{json.dumps(value.default)}` | {value.meaning.replace('|', '&#124;')} |\n"
        for value in values(root)
    )


def written(root: Path = ROOT) -> dict[Path, str]:
    """Every file that is made, with its text; `root` is a checkout's."""
    chart, page = root / _CHART, root / "docs" / "install.md"
    made = {chart / "files" / name: text for name, text in copies(root).items()}
    made[chart / "values.schema.json"] = schema(root)
    made[page] = settings_pages.replaced(page.read_text(encoding="utf-8"), table(root))
    return made


def main() -> None:
    """Write them, and remove copies of what is there no more."""
    made = written()
    for path in (ROOT / _CHART / "files").rglob("*.*"):
        if path not in made:
            path.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
