"""deploy/examples on the genuine control plane: applied by kubectl, made into pods by the controllers, placed by us."""

import pytest

from allocator.claims import contract
from tests.e2e.scheduling.stack import DEPLOY, Stack, bound, eventually, placements

pytestmark = pytest.mark.e2e

APPLIED = ("triton-1g.yaml", "triton-3g.yaml", "batch-7g.yaml", "cannot-fit.yaml")  # the Dynamo CRD is not here


def test_the_examples_are_placed_on_legal_slices_and_the_one_that_cannot_fit_says_why(stack: Stack) -> None:
    """Each pod of the examples gets a legal, disjoint placement; the impossible one is refused with the reason."""
    for name in APPLIED:
        stack.plane.kubectl("apply", "--filename", str(DEPLOY / "examples" / name))
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
        stack.plane.kubectl("apply", "--filename", str(DEPLOY / "examples" / "triton-1g.yaml"))
        eventually(lambda: len({one["metadata"]["uid"] for one in bound(seen)}) == 14, "14 pods seen bound")
    assert all(contract.PLACEMENT_ANNOTATION in one["metadata"]["annotations"] for one in bound(seen))
