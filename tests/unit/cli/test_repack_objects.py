"""Repacks as the command line makes them: a planning document becomes a spec, and the address must be a cluster's."""

import msgspec
import pytest

from allocator import errors
from allocator.moves import document
from cli import api_client, repack_objects


def test_a_planning_document_becomes_a_spec() -> None:
    """Requests, what is to be empty, budgets and priority are the document's, under a Repack's names."""
    asked = {
        "requests": [{"name": "train", "profiles": {"7g.40gb": 1}, "count": 2}],
        "empty": {"nodes": ["n1"]},
        "budgets": {"moves": 3, "pods_per_service": 1},
        "priority": 5,
    }
    spec = document.read_spec(msgspec.json.encode(repack_objects.spec_of(asked, "Approve")))
    assert spec.wanted.requests[0].count == 2
    assert spec.wanted.empty.nodes == ("n1",)
    assert (spec.budgets.moves, spec.budgets.per_service, spec.priority) == (3, 1, 5)
    assert not spec.may_move


@pytest.mark.parametrize("part", [{"budgets": {"gpc": 3}}, {"prices": {"a100-40gb": 1}}])
def test_what_a_repack_has_not_is_refused(part: dict[str, object]) -> None:
    """A budget of compute slices, or prices, are named as what does not go with an object."""
    with pytest.raises(errors.InputError, match="leave"):
        repack_objects.spec_of({"empty": {"gpus": 1}, **part}, "Auto")


def test_nothing_wanted_is_refused() -> None:
    """A document that wants nothing makes no object."""
    with pytest.raises(errors.InputError, match="nothing is wanted"):
        repack_objects.spec_of({}, "Auto")


def test_an_api_url_is_no_cluster() -> None:
    """Objects are written to a cluster, and an API's URL names none."""
    with pytest.raises(errors.SettingsError, match="objects of a cluster"):
        repack_objects.approve(api_client.Address(url="http://127.0.0.1:1"), "r")
