"""Rules, dashboards and metrics, judged by Prometheus' own programs."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import prometheus_client
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import node_agent.metrics
from allocator.claims.report import Slice, SliceState
from benchmarks.monitoring import dashboards, exported
from benchmarks.monitoring.panels import Dashboard
from node_agent.usage import SliceUsage
from testbed import errors
from testbed.promtool import build
from testbed.promtool.build import PromPrograms
from tests.builders import node, owner, placement
from tests.integration import embedded_cluster
from tests.unit.deploy import manifests, monitoring
from tests.unit.node_agent.agent_on_node import AgentOnNode
from tests.unit.simulator.cluster.memory_cluster import pod

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]  # the first run builds promtool

DATA = Path(__file__).parents[1] / "data" / "promtool"
SCENES: Mapping[str, Mapping[str, Mapping[str, Any]]] = yaml.safe_load((DATA / "alerts.yaml").read_text("utf-8"))

# What Prometheus and the operator give to every series, what others export, and labels that rules make.
TARGET = {
    "job",
    "instance",
    "node",
    "namespace",
    "pod",
    "container",
    "exported_namespace",
    "exported_pod",
    "exported_container",
}
OTHERS = {"up": frozenset[str](), "ALERTS": frozenset({"alertname", "alertstate"})}
DCGM = {"UUID", "GPU_I_ID", "GPU_I_PROFILE", "gpu", "device", "modelName", "Hostname"}
JOINED = {"namespace", "pod", "container", "profile", "mig_uuid"}


@pytest.fixture(scope="module")
def programs() -> PromPrograms:
    """promtool and the reader of PromQL."""
    try:
        return build.ensure_built()
    except errors.BuildError as error:
        pytest.fail(str(error), pytrace=False)


def try_rules(programs: PromPrograms, folder: Path, scenes: Iterable["Scene"]) -> str:
    """What promtool says against these scenes; empty if nothing."""
    paths = []
    for number, scene in enumerate(scenes):
        rules, test = folder / f"rules-{number}.yaml", folder / f"test-{number}.yaml"
        rules.write_text(yaml.safe_dump({"groups": [{"name": "tried", "rules": list(scene.rules)}]}), encoding="utf-8")
        test.write_text(yaml.safe_dump(scene.document(rules.name)), encoding="utf-8")
        paths.append(str(test))
    done = programs.promtool("test", "rules", *paths)
    return done.stdout if done.returncode else ""


@dataclass(frozen=True)
class Scene:
    """Series, as promtool writes them, a step a minute, and the samples that queries have some time later.

    A scene of many hours is evaluated every ten minutes.
    """

    name: str
    rules: Sequence[Mapping[str, Any]]
    series: Mapping[str, str]
    at: str
    samples: Mapping[str, Mapping[str, float]]  # by query: the value of each series

    def document(self, rule_file: str) -> Mapping[str, Any]:
        """The scene as a test file of promtool."""
        hours = int(self.at.removesuffix("h")) if self.at.endswith("h") else 0
        queries = [
            {
                "expr": query,
                "eval_time": self.at,
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for query, samples in self.samples.items()
        ]
        test = {
            "name": self.name,
            "interval": "1m",
            "input_series": [{"series": key, "values": values} for key, values in self.series.items()],
            "promql_expr_test": queries,
        }
        return {"rule_files": [rule_file], "evaluation_interval": "10m" if hours > 3 else "1m", "tests": [test]}


def alert_scene(alert: str, what: str, *, fires: bool) -> Scene:
    """The scene of an alert, and whether it fires in it."""
    told = SCENES[alert][what]
    (rule,) = (rule for rule in monitoring.alerts() if rule["alert"] == alert)
    records = [record for record in monitoring.rules() if record.get("record", "?") in rule["expr"]]
    query = f'count by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
    samples = {f'{{alertname="{alert}"}}': 1.0} if fires else {}
    return Scene(f"{alert} {what}", [*records, rule], told["series"], told["at"], {query: samples})


def test_rules_are_rules(programs: PromPrograms, tmp_path: Path) -> None:
    """promtool takes every rule, without two of one name, and every template in it."""
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": monitoring.groups(same_names=True)}), encoding="utf-8")
    done = programs.promtool("check", "rules", "--lint=all", "--lint-fatal", str(path))
    assert done.returncode == 0, done.stdout


def test_alerts_fire_when_they_should_and_only_then(programs: PromPrograms, tmp_path: Path) -> None:
    """Each alert fires in one scene and stays quiet in another; told the wrong way round, promtool says no."""
    told = [(alert, what) for alert in SCENES for what in SCENES[alert]]
    assert try_rules(programs, tmp_path, (alert_scene(*scene, fires=scene[1] == "fires") for scene in told)) == ""
    said = try_rules(programs, tmp_path, (alert_scene(*scene, fires=scene[1] != "fires") for scene in told))
    assert said.count("FAILED:") == len(told)


def scraped(text: str, target: Mapping[str, str], values: str = "{value}x20") -> dict[str, str]:
    """The series of a text that a service serves, as Prometheus stores it: what a target's labels are called too is
    `exported_…`. `values` are its samples, where `{value}` is the one that it has.
    """
    series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            own = {f"exported_{key}" if key in target else key: value for key, value in sample.labels.items() if value}
            labels = ",".join(f'{key}="{value}"' for key, value in sorted({**target, **own}.items()))
            series[f"{sample.name}{{{labels}}}"] = values.replace("{value}", str(sample.value))
    return series


def agent_series(*pods: tuple[str, int, str, int]) -> dict[str, str]:
    """What the agent of a node serves of pods: their name, GPU instance, profile and start."""
    metrics = node_agent.metrics.Metrics()
    built = node().gpu()
    for name, gi, profile, start in pods:
        owned = Slice(placement(profile, start), SliceState.ALLOCATED, owner(name), f"MIG-{name}", gi, 0)
        built = built.slices(owned)
    metrics.show(built.slices(Slice(placement("1g.5gb", 3), SliceState.IDLE, None, "MIG-idle", 10, 0)).report())
    own = {"namespace": "migsched-agents", "pod": "migsched-agent-x", "container": "agent"}
    target = {"job": "migsched-agents/migsched-agent", "node": "n1", **own}
    text = prometheus_client.generate_latest(metrics.registry).decode()
    return {key: value for key, value in scraped(text, target).items() if key.startswith("migsched_slice_info")}


EXPORTER = {"job": "dcgm", "namespace": "gpu-operator", "pod": "exporter", "container": "exporter"}
DCGM_RULES = [rule for rule in monitoring.rules(same_names=True) if "DCGM_" in str(rule) or "slice:info" in str(rule)]
JOINED_SERIES = (
    'slice:DCGM_FI_PROF_GR_ENGINE_ACTIVE:max{{UUID="n1-gpu-0",GPU_I_ID="{gi}",GPU_I_PROFILE="{profile}",gpu="0",'
    'device="nvidia0",modelName="NVIDIA A100-SXM4-40GB",Hostname="n1",namespace="default",pod="{pod}",'
    'container="main",profile="{profile}",mig_uuid="MIG-{pod}"}}'
)


def test_dcgm_series_of_a_slice_get_its_pod(programs: PromPrograms, tmp_path: Path) -> None:
    """What dcgm-exporter serves of a slice is recorded once more with the pod that has it, and selects by pod under
    its own name too; slices without a pod and whole GPUs are left alone, and a value that falls is followed.
    """
    text = (DATA / "dcgm.prom").read_text(encoding="utf-8")
    series = {
        **scraped(text, EXPORTER, "1x8 {value}x10"),
        **agent_series(("a", 1, "3g.20gb", 4), ("b", 9, "1g.5gb", 0)),
    }
    own = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
    samples: dict[str, dict[str, float]] = {
        f"slice:{own}:max": {
            JOINED_SERIES.format(pod="a", gi=1, profile="3g.20gb"): 0.875,
            JOINED_SERIES.format(pod="b", gi=9, profile="1g.5gb"): 0.25,
        },
        f'sum by (pod) ({own}{{namespace="default",pod=~"a|b"}})': {'{pod="a"}': 0.875, '{pod="b"}': 0.25},
        f'count({own}{{mig_uuid=""}})': {"{}": 4},
        'sum by (pod) (slice:DCGM_FI_DEV_FB_USED:max{profile="1g.5gb"})': {'{pod="b"}': 900},
        f"avg by (namespace) (slice:{own}:max)": {'{namespace="default"}': 0.5625},
    }
    assert try_rules(programs, tmp_path, [Scene("dcgm", DCGM_RULES, series, "16m", samples)]) == ""


def test_an_id_that_was_used_twice_breaks_no_rule(programs: PromPrograms, tmp_path: Path) -> None:
    """While two pods are shown on one GPU instance, one of them is taken, and other slices keep theirs."""
    text = (DATA / "dcgm.prom").read_text(encoding="utf-8")
    twice = {**agent_series(("old", 9, "1g.5gb", 0)), **agent_series(("new", 9, "1g.5gb", 0), ("a", 1, "3g.20gb", 4))}
    samples = {
        "count by (GPU_I_ID) (slice:DCGM_FI_PROF_GR_ENGINE_ACTIVE:max)": {'{GPU_I_ID="1"}': 1, '{GPU_I_ID="9"}': 1}
    }
    scene = Scene("twice", DCGM_RULES, {**scraped(text, EXPORTER), **twice}, "5m", samples)
    assert try_rules(programs, tmp_path, [scene]) == ""


def test_a_metric_that_nobody_exports_is_found(programs: PromPrograms) -> None:
    """A misspelled metric, a label that it does not have, and what is not PromQL, are each told."""
    wrong = {"name": "sum(migsched_node)", "label": 'migsched_nodes{model="x"}', "by": "sum by (x) (migsched_nodes)"}
    assert [problem.split(":")[0] for problem in unknown(programs, {**wrong, "text": "sum("})] == [*wrong, "text"]


async def served_by_the_scheduler() -> str:
    """What a scheduler serves that has placed a pod."""
    async with embedded_cluster.cluster(1, 1) as running:
        await running.apply([pod("p", "1g.5gb"), pod("too-large", "7g.40gb")])
        await embedded_cluster.settled(running)
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{running.service.api_url}/metrics")).text


def served_by_the_agent(folder: Path) -> str:
    """What an agent serves that has cut a slice for a pod, and accounted for it."""
    agent = AgentOnNode(folder)
    bound = agent.bind("p", "1g.5gb", at=(agent.place("1g.5gb", 0),))
    agent.step()
    agent.admit(bound)
    outcome = agent.step()
    usage = SliceUsage(lambda _: (), agent.metrics, lambda: agent.now)
    for _ in range(2):
        usage.account(outcome.report)
        usage.look(outcome.report)
        agent.now += 1
    return prometheus_client.generate_latest(agent.metrics.registry).decode()


async def test_what_is_served_is_well_named_and_documented(programs: PromPrograms, tmp_path: Path) -> None:
    """promtool finds nothing to say of what a scheduler and an agent at work serve, and docs/metrics.md has each series
    with its labels.
    """
    documented = exported.series()
    for text in (await served_by_the_scheduler(), served_by_the_agent(tmp_path)):
        done = programs.promtool("check", "metrics", standard_input=text.encode())
        assert (done.returncode, done.stdout) == (0, "")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                assert sample.labels.keys() == documented[sample.name], sample.name


def test_rules_ask_for_metrics_that_there_are(programs: PromPrograms) -> None:
    """Each metric and label in a rule is one that the services, dcgm-exporter, the operator or another rule make."""
    rules = list(monitoring.rules(same_names=True))
    assert unknown(programs, {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules}) == []


@pytest.mark.parametrize("dashboard", dashboards.DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_panels_ask_for_metrics_that_there_are(programs: PromPrograms, dashboard: Dashboard) -> None:
    """Each query of a panel is PromQL, over metrics and labels that are exported, and its columns are such labels."""
    asked = {f"{panel.title} {i}": q.expr for panel in dashboard.panels() for i, q in enumerate(panel.queries)}
    for variable in ("$__rate_interval", "$__range"):
        asked = {name: expr.replace(variable, "5m") for name, expr in asked.items()}
    asked |= {f"variable {v.name}": f"{v.metric}{{{v.label}!=''}}" for v in dashboard.variables}
    assert unknown(programs, asked) == []
    for panel in (panel for panel in dashboard.panels() if panel.columns):
        (answer,) = programs.selectors([panel.queries[0].expr.replace("$__range", "1d")])[:1]
        assert panel.columns.keys() - {"Value"} <= set(answer.get("labels", ())), panel.title


def test_autoscalers_ask_in_promql(programs: PromPrograms) -> None:
    """What KEDA asks Prometheus is PromQL, over Triton's own metrics."""
    scaled = manifests.one(monitoring.MONITORING / "autoscaling" / "keda.yaml", "ScaledObject")
    queries = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
    names = {selector["name"] for answer in programs.selectors(queries) for selector in answer["selectors"]}
    assert names == {"nv_inference_queue_duration_us", "nv_inference_request_success"}


def unknown(programs: PromPrograms, expressions: Mapping[str, str]) -> list[str]:
    """What expressions ask for that nobody makes, by name of the expression."""
    known = {**exported.series(), **OTHERS, **dict.fromkeys(recorded(), DCGM | JOINED)}
    found = []
    for name, answer in zip(expressions, programs.selectors(list(expressions.values())), strict=True):
        if "error" in answer:
            found.append(f"{name}: {answer['error']}")
            continue
        labels = set(answer["labels"]) - DCGM
        own: AbstractSet[str]
        for selector in answer["selectors"]:
            if selector["name"].startswith("DCGM_FI_"):
                own = DCGM | JOINED
            elif selector["name"] in known:
                own = known[selector["name"]] | TARGET
            else:
                found.append(f"{name}: no metric {selector['name']}")
                continue
            labels -= own
            found += [f"{name}: {selector['name']} has no label {label}" for label in set(selector["labels"]) - own]
        found += [f"{name}: no label {label}" for label in labels]
    return found


def recorded() -> set[str]:
    """The series that rules make."""
    return {rule["record"] for rule in monitoring.rules() if "record" in rule}
