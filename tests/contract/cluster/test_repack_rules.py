"""What the API server refuses of a Repack, by the rules in deploy/crd/repacks.yaml, and what kubectl shows of one."""

import json
import uuid
from typing import Any

import pytest

from allocator import errors
from allocator.moves import document
from testbed.control_plane.control_plane import ControlPlane
from testbed.errors import CommandError

pytestmark = pytest.mark.e2e

ONE = {"profiles": {"7g.40gb": 1}}
ROOM: dict[str, Any] = {"requests": [ONE]}
POD = {"namespace": "default", "name": "train", "uid": "u"}
ALLOWED: list[dict[str, Any]] = [
    {"wanted": ROOM},
    {"wanted": ROOM, "mode": "Approve", "approved": True},
    {"wanted": ROOM, "mode": "Auto", "approved": False},
    {"wanted": {"empty": {"gpus": 1}}},
    {"wanted": {"empty": {"nodes": ["n1"]}}},
    {"wanted": {"strandedShare": 0}},
    {"wanted": {"strandedShare": 0.1, "requests": [], "empty": {"gpus": 0, "nodes": []}}},
    {"wanted": {"requests": [{**ONE, "count": 1}], "pod": POD}},
    {"wanted": ROOM, "budgets": {"moves": 200, "memoryMib": 0, "perService": 1, "perNamespace": 1, "parallel": 16}},
    {"wanted": ROOM, "window": {"start": "22:00", "end": "06:00"}, "notBefore": "2026-11-30T22:00:00Z"},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"wanted": ROOM, "mode": "Auto", "approved": True}, "only a Repack of mode Approve is approved"),
    ({"wanted": ROOM, "mode": "DryRun", "approved": True}, "only a Repack of mode Approve is approved"),
    ({"wanted": {}}, "nothing is wanted; write requests, empty or strandedShare"),
    ({"wanted": {"requests": [], "empty": {"gpus": 0, "nodes": []}}}, "nothing is wanted"),
    ({"wanted": {"empty": {"gpus": 1}, "pod": POD}}, "pod goes with one request of one copy"),
    ({"wanted": {"requests": [ONE, ONE], "pod": POD}}, "pod goes with one request of one copy"),
    ({"wanted": {"requests": [{**ONE, "count": 2}], "pod": POD}}, "pod goes with one request of one copy"),
    ({"wanted": {**ROOM, "strandedShare": 0.1}}, "strandedShare goes alone"),
    ({"wanted": {"empty": {"nodes": ["n1"]}, "strandedShare": 0.1}}, "strandedShare goes alone"),
    ({"wanted": ROOM, "mode": "Yes"}, 'supported values: "DryRun", "Approve", "Auto"'),
    ({"wanted": ROOM, "budgets": {"moves": 201}}, "should be less than or equal to 200"),
    ({"wanted": ROOM, "budgets": {"parallel": 0}}, "should be greater than or equal to 1"),
    ({"wanted": ROOM, "window": {"start": "24:00", "end": "06:00"}}, "should match"),
    ({"wanted": ROOM, "notBefore": "2026-11-30T22:00:00"}, "date-time"),
    ({"wanted": {"strandedShare": 1.5}}, "should be less than or equal to 1"),
    ({}, "wanted: Required value"),
]


def text(name: str, spec: dict[str, Any]) -> str:
    """A Repack as kubectl takes it."""
    meta = {"name": name}
    return json.dumps({"apiVersion": "migsched.io/v1alpha1", "kind": "Repack", "metadata": meta, "spec": spec})


@pytest.fixture
def made(genuine: ControlPlane) -> str:
    """The name of a Repack that is approved."""
    name = f"rules-{uuid.uuid4().hex[:8]}"
    spec = {"wanted": ROOM, "mode": "Approve", "approved": True}
    genuine.kubectl("create", "--filename=-", standard_input=text(name, spec))
    return name


@pytest.mark.parametrize("spec", ALLOWED)
def test_what_can_be_meant_is_taken(genuine: ControlPlane, spec: dict[str, Any]) -> None:
    """The API server takes it, with its defaults, as the service can read it."""
    stored = genuine.kubectl(
        "create", "--dry-run=server", "--output=json", "--filename=-", standard_input=text("r", spec)
    )
    read = document.read_spec(json.dumps(json.loads(stored.stdout)["spec"]).encode())
    assert read == document.read_spec(json.dumps(spec).encode())


@pytest.mark.parametrize(("spec", "said"), REFUSED)
def test_what_cannot_be_meant_is_refused(genuine: ControlPlane, spec: dict[str, Any], said: str) -> None:
    """The API server says why."""
    with pytest.raises(CommandError) as refused:
        genuine.kubectl("create", "--dry-run=server", "--filename=-", standard_input=text("r", spec))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"wanted": {"requests": [{"profiles": {"4g.20gb": 1}}]}}, "what is wanted cannot change once it is approved"),
        ({"paused": True}, ""),
        ({"budgets": {"moves": 3}}, ""),
        ({"approved": False}, ""),
    ],
)
def test_a_wish_stays_what_was_approved(genuine: ControlPlane, made: str, patch: dict[str, Any], said: str) -> None:
    """Once a Repack is approved another wish is refused; its pause, budgets and approval may change."""
    arguments = ("patch", "repack", made, "--type=merge", "--dry-run=server", f"--patch={json.dumps({'spec': patch})}")
    if not said:
        genuine.kubectl(*arguments)
        return
    with pytest.raises(CommandError) as refused:
        genuine.kubectl(*arguments)
    assert said in str(refused.value)


def test_the_service_refuses_the_same() -> None:
    """What the API server refuses by value, the service does too: it may read objects from before a rule."""
    for spec, _ in REFUSED[2:]:
        with pytest.raises(errors.InputError):
            document.read_spec(json.dumps(spec).encode())


def test_people_see_how_far_it_is(genuine: ControlPlane, made: str) -> None:
    """kubectl shows mode, phase, moves, message and age, and with `-o wide` cost and plans too."""
    proof = {"moves": 2, "cost": 7, "lowerBound": 7, "optimal": True, "memoryMib": 1}
    status = {"phase": "Running", "summary": "1/2", "message": "a-1: waits", "plans": 1, "proof": proof}
    patch = json.dumps({"status": status})
    genuine.kubectl("patch", "repack", made, "--type=merge", "--subresource=status", f"--patch={patch}")
    head, row = genuine.kubectl("get", "rp", made, "--output=wide").stdout.splitlines()
    assert head.split() == ["NAME", "MODE", "PHASE", "MOVES", "MESSAGE", "AGE", "COST", "PLANS"]
    assert row.split()[:6] == [made, "Approve", "Running", "1/2", "a-1:", "waits"]
    assert row.split()[-2:] == ["7", "1"]
    assert "COST" not in genuine.kubectl("get", "repack", made).stdout
