"""deploy/examples on the genuine control plane, by the extender: made into pods by the controllers, placed by us.

The examples name no scheduler, so theirs is added, as deploy/examples/README.md says. By the queue they are placed in
`test_cluster_command`.
"""

from typing import Any

import pytest
import yaml

from allocator.claims import contract
from tests.e2e.scheduling.stack import DEPLOY, Stack, bound, eventually, placements

pytestmark = pytest.mark.e2e

APPLIED = ("triton-1g.yaml", "triton-3g.yaml", "batch-7g.yaml", "cannot-fit.yaml")  # the Dynamo CRD is not here


def test_the_examples_are_placed_on_legal_slices_and_the_one_that_cannot_fit_says_why(stack: Stack) -> None:
    """Each pod of the examples gets a legal, disjoint placement; the impossible one is refused with the reason."""
    for name in APPLIED:
        stack.plane.apply(_named(name))
    eventually(lambda: len(bound(stack.pods())) == 14 + 1 + 1, "16 pods bound")
    held = placements(stack, stack.pods())
    assert sorted(str(p.profile) for there in held.values() for _, p in there) == sorted(
        ["1g.5gb"] * 14 + ["3g.20gb", "7g.40gb"]
    )
    eventually(lambda: all(p["status"]["phase"] == "Running" for p in bound(stack.pods())), "16 pods running")
    stuck = next(p for p in stack.pods() if not p["spec"].get("nodeName"))
    words = stack.explain(f"default/{stuck['metadata']['name']}")["reason"]
    assert words == "5 nodes: 1g.5gb + 8 × 7g.40gb is more than all its GPUs could hold empty"


def test_node_and_placement_are_written_in_one_step(stack: Stack) -> None:
    """No watcher ever sees a MIG pod with a node and without its placement."""
    with stack.recorded() as seen:
        stack.plane.apply(_named("triton-1g.yaml"))
        eventually(lambda: len({one["metadata"]["uid"] for one in bound(seen)}) == 14, "14 pods seen bound")
    assert all(contract.PLACEMENT_ANNOTATION in one["metadata"]["annotations"] for one in bound(seen))


def _named(name: str) -> list[dict[str, Any]]:
    """The objects of an example, whose pods name the scheduler that asks our extender."""
    documents = list(yaml.safe_load_all((DEPLOY / "examples" / name).read_text(encoding="utf-8")))
    for document in documents:
        if document["kind"] == "Pod":
            document["spec"]["schedulerName"] = "migsched"
        elif "template" in document["spec"]:
            document["spec"]["template"]["spec"]["schedulerName"] = "migsched"
    return documents
