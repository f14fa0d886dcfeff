"""`migsched pending`, and `migsched explain` of owners and of remedies, against an API that the test plays."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli import pending_list
from tests.unit.cli.command_line import CommandLine, serving
from tests.unit.cli.test_top_and_explain import explanation

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
REASON = "2 nodes: no free 7g.40gb placement on any GPU (2 fragmented)"


def waiting(name: str, code: str = "fragmented", reason: str = REASON) -> dict[str, Any]:
    """A pending pod as the API lists it."""
    pod = {"namespace": "team", "pod": name, "uid": f"uid-{name}", "request": "7g.40gb", "code": code}
    more = {"priority": 0, "service": "", "scheduler": "migsched", "gates": []}
    return pod | more | {"reason": reason, "since": "2026-01-31T12:00:00Z"}


def listed(*pods: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The API's list of these."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for pod in pods:
        group = {"code": pod["code"], "reason": pod["reason"], "pods": 0, "oldest": pod["since"]}
        groups.setdefault((pod["code"], pod["reason"]), group)["pods"] += 1
    answer = {"pending": len(pods), "placed": 3, "left_out": 0, "cut_by": "", "groups": list(groups.values())}
    return answer | {"pods": list(pods)} | changes


PENDING = listed(waiting("a"), waiting("b"), waiting("c", "gated", "held by the scheduling gate x"))
SLICE_PLACE = {"gpu": "GPU-1", "profile": "1g.5gb", "start": 0}
MOVE = {"step": 1, "pod": "team/etl", "from_node": "n1", "to_node": "n2"}
REMEDY = {
    "pod": "default/train-0",
    "state": "found",
    "reason": "",
    "cheapest": {"kind": "moves", "node": "n1", "moves": [MOVE], "gpc": 1, "optimal": True},
    "remedies": [
        {"kind": "wait", "node": "n1", "pods": ["team/etl"], "until": "2026-01-31T13:00:00Z", "terminating": True},
        {"kind": "moves", "node": "n1", "moves": [MOVE], "gpc": 1, "optimal": True},
        {"kind": "profile", "node": "n2", "swaps": [{"from": "3g.20gb", "to": "4g.20gb", "count": 1}]},
        {"kind": "nodes", "nodes": 1, "model": "a100-40gb", "gpus_per_node": 1},
    ],
    "trials": [],
    "notes": ["whether they may run there"],
}


def test_pending_pods_are_grouped_by_reason(migsched: CommandLine) -> None:
    """One heading per reason with the number of its pods, then the pods; what is left out is counted."""
    answer = listed(waiting("a"), waiting("b"), waiting("c", "gated", "held"), left_out=7, cut_by="limit", pending=10)
    with serving({"/api/v1/pending?namespace=team&limit=500": (200, answer)}) as url:
        outcome = migsched.run("pending", "-n", "team", "--api-url", url)
    assert outcome.code == 0
    assert f"2 pods: fragmented, {REASON}" in outcome.out
    assert "1 pod: gated, held" in outcome.out
    assert "and 7 younger pods, which would take a larger --limit than 3" in outcome.out


def test_queued_pods_show_how_many_come_first(migsched: CommandLine) -> None:
    """A group with a queued pod has a column for that, empty for pods without a turn; other groups have none."""
    queued = waiting("a") | {"queue_position": 12}
    answer = listed(queued, waiting("b") | {"queue_position": None}, waiting("c", "gated", "held"))
    with serving({"/api/v1/pending?limit=500": (200, answer)}) as url:
        lines = migsched.run("pending", "--api-url", url).out.splitlines()
    assert [line.split() for line in lines if "POD" in line] == [
        ["AGE", "BEFORE", "IT", "POD", "ASKS", "FOR"],
        ["AGE", "POD", "ASKS", "FOR"],
    ]
    assert next(line for line in lines if "team/a" in line).split()[1:] == ["12", "team/a", "7g.40gb"]
    assert next(line for line in lines if "team/b" in line).split()[1:] == ["team/b", "7g.40gb"]


def test_pending_for_programs(migsched: CommandLine) -> None:
    """JSON is what the API said."""
    with serving({"/api/v1/pending?limit=20": (200, PENDING)}) as url:
        outcome = migsched.run("pending", "--limit", "20", "-o", "json", "--api-url", url)
    assert (outcome.code, json.loads(outcome.out)) == (0, PENDING)


def test_explain_all_is_the_same_list(migsched: CommandLine) -> None:
    """`explain --all` lists all that wait, and its exit code says that some do."""
    with serving({"/api/v1/pending?limit=500": (200, PENDING)}) as url:
        outcome = migsched.run("explain", "--all", "--api-url", url)
    assert outcome.code == 1
    assert "team/c" in outcome.out


@pytest.mark.parametrize("kind", ["deployment", "deploy", "Deployment"])
def test_explain_an_owner(kind: str, migsched: CommandLine) -> None:
    """The waiting pods of a Deployment; where none waits, exit code 0; where there is none, 2."""
    path = "/api/v1/pending?namespace=team&service=Deployment/chat&limit=500"
    codes = []
    for answer in (listed(waiting("chat-1")), listed(), listed(placed=0)):
        with serving({path: (200, answer)}) as url:
            outcome = migsched.run("explain", f"{kind}/chat", "-n", "team", "--api-url", url)
        codes.append(outcome.code)
    assert codes == [1, 0, 2]
    assert "no MIG pod of it is known in team" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["pod/train-0"], "train-0"),
        (["train-0", "-n", "team"], "team/train-0"),
        (["po/train-0", "-n", "team"], "team/train-0"),
        (["team/train-0"], "team/train-0"),
        (["team/train-0", "-n", "team"], "team/train-0"),
    ],
)
def test_a_pod_may_be_named_as_kubectl_does(arguments: list[str], asked: str, migsched: CommandLine) -> None:
    """`pod/NAME` and `-n` name the pod that they name for kubectl."""
    with serving({f"/api/v1/explain?pod={asked}": (200, explanation())}) as url:
        outcome = migsched.run("explain", *arguments, "--api-url", url)
    assert outcome.code == 0


@pytest.mark.parametrize("arguments", [[], ["--all", "p"], ["a/p", "-n", "b"]])
def test_what_names_no_pod_or_two_is_refused(arguments: list[str], migsched: CommandLine) -> None:
    """No pod, a pod beside --all, and two namespaces are refused in one line."""
    outcome = migsched.run("explain", *arguments)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1


def test_remedies_are_told_the_cheapest_first(migsched: CommandLine) -> None:
    """Each kind of remedy is a line, and what was not looked at is said."""
    waits = explanation(phase="pending", node="", slices=[], reason="full", code="full")
    paths = {
        "/api/v1/explain?pod=train-0": (200, waits),
        "/api/v1/remedy?pod=default/train-0&time_limit_s=4": (200, REMEDY),
    }
    with serving(paths) as url:
        outcome = migsched.run("explain", "train-0", "--api-url", url)
        as_json = json.loads(migsched.run("explain", "train-0", "-o", "json", "--api-url", url).out)
        without = migsched.run("explain", "train-0", "--no-remedy", "--api-url", url)
    text = " ".join(outcome.out.split())
    assert "cheapest remedy: wait for team/etl on n1, which terminates, until 2026-01-31T13:00:00Z" in text
    assert "or: move 1 pod: team/etl from n1 to n2; it then fits on n1" in text
    assert "or: ask for 1 × 4g.20gb instead of 3g.20gb, which fits now on n2" in text
    assert "or: add 1 node with 1 empty GPU of a100-40gb" in text
    assert "not looked at: whether they may run there" in text
    assert as_json["remedy"] == REMEDY
    assert "remedy" not in without.out


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((200, REMEDY | {"state": "fits", "reason": "it fits on node n1"}), "by now it fits on node n1"),
        ((503, {"detail": "the planner is busy"}), "no remedy was searched: "),
        (
            (200, REMEDY | {"state": "none_found", "reason": "none was found within 4 s", "cheapest": None}),
            "no remedy: none was found within 4 s",
        ),
    ],
)
def test_an_explanation_does_not_wait_for_a_remedy(answer: Any, says: str, migsched: CommandLine) -> None:
    """Where there is no remedy, the explanation is there and says why."""
    waits = explanation(phase="pending", node="", slices=[], reason="full", code="full")
    paths = {
        "/api/v1/explain?pod=train-0": (200, waits),
        "/api/v1/remedy?pod=default/train-0&time_limit_s=4": answer,
    }
    with serving(paths) as url:
        outcome = migsched.run("explain", "train-0", "--api-url", url)
    assert outcome.code == 1
    assert says in " ".join(outcome.out.split())


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (200_000, "2d")]
)
def test_an_age_is_short(seconds: int, said: str) -> None:
    """An age has one unit, and never loses half of itself to rounding."""
    since = (NOW - timedelta(seconds=seconds)).isoformat()
    assert pending_list.age(since, NOW) == said


def test_an_age_that_cannot_be_told() -> None:
    """A time that is none is a question mark, and one in the future is no age."""
    assert pending_list.age("", NOW) == "?"
    assert pending_list.age((NOW + timedelta(hours=1)).isoformat(), NOW) == "0s"
