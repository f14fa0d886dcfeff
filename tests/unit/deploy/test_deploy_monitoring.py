"""Rules say what to do about each alert, at a place that exists; monitors select what is deployed."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

import scheduler.metrics
from benchmarks.monitoring import dashboards
from benchmarks.monitoring.panels import WIDTH, Dashboard
from node_agent.settings import Settings as AgentSettings
from tests.unit.deploy import manifests, monitoring

DOCS = manifests.DEPLOY.parent / "docs"
PAGE = DOCS / "monitoring.md"
ALERTS = monitoring.alerts()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_means_and_where_to_read_on(rule: Mapping[str, Any]) -> None:
    """Each alert has a severity, a summary, a description, and the address of its own section of docs/monitoring.md."""
    assert re.fullmatch(r"Migsched[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    annotations = rule["annotations"]
    assert annotations["summary"].endswith((".", "tested."))
    assert "{{" not in annotations["summary"]
    assert len(annotations["description"]) > 20
    page, anchor = annotations["runbook_url"].removeprefix("https://example.invalid/migsched/").split("#")
    assert (page, anchor) == ("monitoring.html", rule["alert"].lower())
    assert f"### {rule['alert']}\n" in PAGE.read_text(encoding="utf-8")


def test_the_page_explains_no_alert_that_there_is_not() -> None:
    """The sections of docs/monitoring.md that are named like alerts are the alerts, each once."""
    sections = re.findall(r"^### (Migsched\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(sections) == sorted(rule["alert"] for rule in ALERTS)


def test_rules_stand_in_one_place() -> None:
    """No page of the docs has alert rules of its own."""
    assert [page.name for page in DOCS.rglob("*.md") if "- alert:" in page.read_text(encoding="utf-8")] == []


def test_monitors_select_what_is_deployed() -> None:
    """ServiceMonitor and PodMonitor find the Service and the agents' pods by their labels, and ports that they have."""
    service = manifests.one(manifests.DEPLOY / "kustomize" / "service.yaml", "Service")
    found = manifests.one(monitoring.MONITORING / "scrape" / "scheduler.yaml", "ServiceMonitor")
    assert found["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert found["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {endpoint["port"] for endpoint in found["spec"]["endpoints"]} <= {
        p["name"] for p in service["spec"]["ports"]
    }
    daemon_set = manifests.one(manifests.DEPLOY / "agent" / "daemonset.yaml", "DaemonSet")
    found = manifests.one(monitoring.MONITORING / "scrape" / "agent.yaml", "PodMonitor")
    template = daemon_set["spec"]["template"]
    assert found["metadata"]["namespace"] == daemon_set["metadata"]["namespace"]
    assert found["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    (endpoint,) = found["spec"]["podMetricsEndpoints"]
    assert ports[endpoint["port"]] == AgentSettings.model_fields["metrics_port"].default
    job = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
    assert any(f'job="{job}"' in rule["expr"] for rule in ALERTS if rule["alert"] == "MigschedAgentDown")


def test_what_alerts_compare_with_nothing_is_there_from_the_start() -> None:
    """A sum over releases that never happened is 0 and not absent, or the alert would never fire."""
    sample = scheduler.metrics.Metrics().registry.get_sample_value
    for outcome in ("released", "refused", "returned"):
        assert sample("migsched_queue_releases_total", {"outcome": outcome}) == 0


def test_every_alert_has_both_scenes() -> None:
    """For each alert there is a scene in which it fires, and one in which it does not (tests/e2e/test_promtool.py)."""
    scenes = yaml.safe_load((manifests.DEPLOY.parent / "tests/data/promtool/alerts.yaml").read_text(encoding="utf-8"))
    assert sorted(scenes) == sorted(rule["alert"] for rule in ALERTS)
    assert all(scene.keys() == {"fires", "quiet"} for scene in scenes.values())


def test_dashboards_are_those_of_the_code() -> None:
    """deploy/monitoring/dashboards has exactly the files that `make monitoring` writes."""
    there = {path.name: path.read_text(encoding="utf-8") for path in dashboards.FOLDER.iterdir()}
    assert there == dashboards.files()


@pytest.mark.parametrize("dashboard", dashboards.DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_panels_can_be_read_without_asking(dashboard: Dashboard) -> None:
    """Each panel has a title of its own, a description, a unit and queries; none lies on another or off the screen."""
    titles = [panel.title for panel in dashboard.panels()]
    assert len(set(titles)) == len(titles)
    taken: set[tuple[int, int]] = set()
    document = dashboard.document()
    for panel in document["panels"]:
        place = panel["gridPos"]
        fields = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not fields & taken, panel["title"]
        assert place["x"] + place["w"] <= WIDTH
        taken |= fields
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH")[: len(panel["targets"])]
            assert panel["targets"], panel["title"]
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


def test_dashboards_show_what_an_administrator_asks_for() -> None:
    """Slot map, room by profile, pending by reason, stranded share, time to slice, unused slices, memory used."""
    titles = {panel.title for dashboard in dashboards.DASHBOARDS for panel in dashboard.panels()}
    assert titles >= {
        "Slot map",
        "Could start now",
        "Pods that wait, by reason",
        "Stranded share",
        "Time to slice",
        "Unused slices",
        "GiB-hours by namespace",
        "Wait for a place",
        "Agents not ready",
    }


def test_every_dashboard_is_shipped() -> None:
    """The kustomization puts each file into the ConfigMap that Grafana's sidecar looks for."""
    (made,) = manifests.one(monitoring.MONITORING / "kustomization.yaml", "Kustomization")["configMapGenerator"]
    assert sorted(made["files"]) == sorted(f"dashboards/{name}" for name in dashboards.files())
    assert made["options"]["labels"]["grafana_dashboard"] == "1"
