"""The fleet's vectorised answers against placing on each node by itself, whatever was put and dropped before."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from allocator.mig import gpu_models
from allocator.placement import fitting, policy
from allocator.placement.fitting import GpuState
from allocator.placement.fleet import Fleet
from allocator.request import Request
from tests import builders, strategies

NAMES = tuple(f"n{i}" for i in range(5))
CROWD = tuple(f"crowd{i}" for i in range(70))  # more nodes than a fleet's first array has rows
PROFILES = ("1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "7g.40gb", "1g.6gb", "1g.24gb", "2g.20gb", "9g.99gb")
COMMON = ("1g.5gb", "1g.10gb", "3g.20gb")  # on the model that most GPUs here are, so that answers differ
a100s = strategies.gpu_states(st.just(gpu_models.find(strategies.A100)))
gpus = st.lists(a100s | a100s | strategies.gpu_states(), max_size=3)
one_profile = st.sampled_from(COMMON) | st.sampled_from(PROFILES)
requests = st.lists(one_profile, min_size=1, max_size=4).flatmap(strategies.shared_out)


def alone(states: Sequence[GpuState], request: Request, by: policy.Policy) -> float:
    """What a request costs on a node by itself."""
    placed = fitting.place(states, request, by)
    return float("inf") if placed is None else fitting.cost(request, placed)


class FleetMachine(RuleBasedStateMachine):
    """Puts, drops and questions in any order, beside a plain dictionary of what each node has."""

    @initialize(
        by=st.sampled_from([policy.POLICIES[name] for name in ("mfi", "best-fit", "hami", "worst-fit")]),
        nodes=st.lists(gpus, max_size=len(NAMES)),
    )
    def begin(self, by: policy.Policy, nodes: list[list[GpuState]]) -> None:
        """Some nodes under some policy that goes by loss."""
        self.fleet = Fleet(by)
        self.nodes: dict[str, list[GpuState]] = {}
        for node, states in zip(NAMES, nodes, strict=False):
            self.put(node, states)

    @rule(node=st.sampled_from(NAMES), states=gpus)
    def put(self, node: str, states: list[GpuState]) -> None:
        """Set a node's GPUs."""
        self.fleet.put(node, states)
        self.nodes[node] = states

    @rule(node=st.sampled_from(NAMES), like=st.sampled_from(NAMES), data=st.data())
    def put_alike(self, node: str, like: str, data: st.DataObject) -> None:
        """Set a node's GPUs to those of another, in another order."""
        self.put(node, list(data.draw(st.permutations(self.nodes.get(like, [])))))

    @rule(node=st.sampled_from(NAMES), state=strategies.gpu_states(), number=st.integers(8, 11))
    def put_a_wide_node(self, node: str, state: GpuState, number: int) -> None:
        """Set a node with more GPUs than a row has columns at first."""
        self.put(node, [state] * number)

    @precondition(lambda self: "crowd0" not in self.nodes)
    @rule(state=strategies.gpu_states())
    def put_a_crowd(self, state: GpuState) -> None:
        """Add more nodes than there are rows at first."""
        for node in CROWD:
            self.put(node, [state])

    @rule(node=st.sampled_from([*NAMES, CROWD[0], CROWD[-1]]))
    def drop(self, node: str) -> None:
        """Forget a node, known or not."""
        self.fleet.drop(node)
        self.nodes.pop(node, None)

    @rule(profile=one_profile)
    def ask_for_one(self, profile: str) -> None:
        """The losses of one slice are those of placing it on each node by itself."""
        order = [*NAMES, *CROWD, "nobody"]
        losses = self.fleet.losses(builders.request(profile), self.fleet.rows_of(order))
        for node, loss in zip(order, losses, strict=True):
            assert loss == alone(self.nodes.get(node, ()), builders.request(profile), self.fleet.policy), node

    @rule(request=requests)
    def ask_for_several(self, request: Request) -> None:
        """The losses of several slices are exactly those of placing them on each node by itself."""
        order = [*NAMES, CROWD[0], "nobody"]
        losses = self.fleet.losses(request, self.fleet.rows_of(order))
        for node, loss in zip(order, losses, strict=True):
            assert loss == alone(self.nodes.get(node, []), request, self.fleet.policy), node

    @invariant()
    def nodes_are_those_put(self) -> None:
        """The fleet knows exactly the nodes put and not dropped, with their GPUs."""
        if not hasattr(self, "fleet"):
            return
        assert len(self.fleet) == len(self.nodes)
        assert set(self.fleet.rows) == set(self.nodes)
        rows = self.fleet.rows_of(list(self.nodes))
        assert [self.fleet.name(row) for row in rows] == list(self.nodes)
        for node, states in self.nodes.items():
            assert node in self.fleet
            assert self.fleet.gpus(node) == tuple(states)

    @rule(demanded=st.sets(st.sampled_from(PROFILES)), together=requests)
    def equals_a_fresh_one(self, demanded: set[str], together: Request) -> None:
        """Whatever was put and dropped before, the answers are those of a fleet built afresh."""
        fresh = Fleet(self.fleet.policy)
        for node, states in self.nodes.items():
            fresh.put(node, states)
        order = [*self.nodes, "nobody"]
        for request in (together, *map(builders.request, PROFILES)):
            kept, anew = (f.losses(request, f.rows_of(order)) for f in (self.fleet, fresh))
            assert np.array_equal(kept, anew)
        everywhere = Counter(gpu for states in self.nodes.values() for gpu in states)
        free: Counter[str] = Counter()
        for (geometry, state), number in everywhere.items():
            free[geometry.catalogue.model] += number * geometry.free_slices(state)
        counted = {model: slices for model, (slices, _) in self.fleet.free_and_stranded(demanded).items()}
        assert counted == dict(free)
        assert self.fleet.free_and_stranded(demanded) == fresh.free_and_stranded(demanded)
        for closed in ((), tuple(self.nodes)[:1], ("nobody", *self.nodes)):
            assert self.fleet.placeable(closed) == self._placeable(closed)

    def _placeable(self, closed: tuple[str, ...]) -> dict[tuple[str, str], int]:
        """How many more of each profile fit, GPU by GPU; 0 also for models that only closed nodes have."""
        fitting: Counter[tuple[str, str]] = Counter()
        for node, states in self.nodes.items():
            for geometry, state in states:
                for profile in geometry.profiles:
                    room = 0 if node in closed else geometry.room_for(state, profile)
                    fitting[geometry.catalogue.model, profile] += room
        return dict(fitting)


TestFleet = FleetMachine.TestCase
TestFleet.settings = settings(stateful_step_count=20)
