"""The demo's picture on a screen: who waits and why is seen on the smallest."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text

from allocator.claims.ledger import Hold
from allocator.claims.snapshot import NodeView
from allocator.mig.profile import Placement
from cli import demo_picture
from simulator.picture import Picture, PodRow
from simulator.workloads.work import LeftOut
from tests.unit.cli.gpu_views import gpu, occupant

REASON = "4 nodes: 1g.5gb + 8 × 7g.40gb is more than all its GPUs could hold empty"
HEAD = [Text("migsched demo"), Text("API http://127.0.0.1:8080/"), Text("In another terminal:"), *[Text("  a")] * 3]


def picture(waiting: int = 1, running: int = 20, nodes: int = 4) -> Picture:
    pods = [PodRow("default", f"cannot-fit-{number}", "Pending", "", REASON, ()) for number in range(waiting)]
    for number in range(running):
        hold = Hold("main", f"GPU-{number % 8}", Placement("1g.5gb", number % 7, 1))
        pods.append(PodRow("default", f"triton-7c999f969c-{number:05}", "Running", "node-0", "", (hold,)))
    gpus = tuple(gpu(occupant("1g.5gb", 0, 1), index=index) for index in range(5))
    empty = tuple(gpu(index=index) for index in range(5, 8))
    return Picture(tuple(pods), tuple(NodeView(f"node-{number}", (*gpus, *empty)) for number in range(nodes)), "real")


@pytest.mark.parametrize(("waiting", "nodes"), [(1, 1), (1, 50), (40, 4), (0, 1)])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 23), (120, 50), (40, 24)])
def test_the_screen_fits_and_says_who_waits_and_why(waiting: int, nodes: int, width: int, height: int) -> None:
    """On 80 × 24 and others: every line fits; a pod that waits is there with its whole reason, more are counted."""
    drawn = demo_picture.screen(picture(waiting, nodes=nodes), HEAD, width, height, coloured=False)
    lines = [line.plain for line in drawn]
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert ("PENDING" in text) == (waiting > 0)
    if waiting:
        assert "cannot-fit-0" in text
        assert "could hold empty" in text
    if waiting == 40:
        assert "more wait" in text
    assert " GPUs without" in text


def test_pods_take_the_room_that_is_left() -> None:
    """Those that do not fit are counted, and what shows them is named."""
    lines = [line.plain for line in demo_picture.screen(picture(), HEAD, 100, 40, coloured=True)]
    assert lines[-1].startswith("… ")
    assert "--once prints all" in lines[-1]
    tall = [line.plain for line in demo_picture.screen(picture(), HEAD, 100, 100, coloured=True)]
    assert sum("triton-" in line and "Running" in line for line in tall) == 20


def test_what_is_stuck_is_named() -> None:
    """A picture of a cluster that did not come to rest says so and names the pods, in the table and in JSON."""
    stuck = replace(picture(), rested=False, stuck=("default/triton-0",))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(demo_picture.whole(stuck, HEAD, coloured=False))
    assert "Did not come to rest: default/triton-0" in console.export_text()
    document = stuck.document()
    assert (document["rested"], document["stuck"]) == (False, ["default/triton-0"])
    assert (picture().document()["rested"], picture().document()["stuck"]) == (True, [])


def test_what_was_left_out_is_named() -> None:
    """Objects and fields that nobody made pods of are in the table with kind, name, field and why, and counted live."""
    left = LeftOut("PodCliqueSet", "grove", "spec.what", "is not expanded here", "a.yaml: document 1")
    partly = replace(picture(), left_out=(left,), without_pods=("Service",))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(demo_picture.whole(partly, HEAD, coloured=False))
    text = console.export_text()
    assert re.search(r"PodCliqueSet grove +spec\.what +is not expanded here", text)
    assert "makes no pods: Service" in text
    assert partly.document()["left_out"] == [
        {"kind": "PodCliqueSet", "name": "grove", "field": "spec.what", "why": left.why, "place": left.place}
    ]
    live = [line.plain for line in demo_picture.screen(partly, HEAD, 100, 40, coloured=False)]
    assert any("1 left out of the manifests" in line for line in live)
