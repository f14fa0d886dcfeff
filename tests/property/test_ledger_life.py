"""The ledger under every sequence of events, legal and illegal, beside a model in plain words."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from allocator import errors
from allocator.claims.ledger import TRANSITIONS, Claim, ClaimEvent, ClaimState, Hold, Ledger
from tests import builders

PODS = ("a", "b", "c", "d")
NODES = ("n1", "n2")
HOLDS = (builders.hold("g0", "1g.5gb", 0), builders.hold("g0", "3g.20gb", 4), builders.hold("g1", "7g.40gb", 0))
GONE = "gone"


def expected(state: ClaimState, event: ClaimEvent) -> ClaimState | str | None:
    """What an event does to a claim, in words: a state, gone, or None where it cannot happen."""
    match event:
        case ClaimEvent.CONFIRM:  # seen bound, once or again; a pod that is over is not seen bound any more
            return {ClaimState.RESERVED: ClaimState.BOUND, ClaimState.RELEASING: None}.get(state, state)
        case ClaimEvent.REFUSE:  # only what is not known to be bound can turn out refused
            return GONE if state is ClaimState.RESERVED else None
        case ClaimEvent.CUT:  # the agent cuts for pods that live, whether or not we heard of their binding
            return None if state is ClaimState.RELEASING else ClaimState.READY
        case ClaimEvent.LOSE:  # only what was there can be lost; it is cut again
            return ClaimState.BOUND if state is ClaimState.READY else None
        case ClaimEvent.END:  # a pod may be over at any time
            return ClaimState.RELEASING
        case ClaimEvent.FREE:  # and so may its slices
            return GONE


def slots_of(holds: list[Hold]) -> set[tuple[str, int]]:
    """The memory slices of holds, each with its GPU."""
    places = ((hold.gpu, hold.placement) for hold in holds)
    return {(gpu, place.start + offset) for gpu, place in places for offset in range(place.size)}


class LedgerMachine(RuleBasedStateMachine):
    """Claims of few pods on few nodes, so that they meet."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.claims: dict[str, Claim] = {}

    @rule(
        pod=st.sampled_from(PODS),
        node=st.sampled_from(NODES),
        state=st.sampled_from(ClaimState),
        holds=st.lists(st.sampled_from(HOLDS), max_size=2, unique=True),
    )
    def open(self, pod: str, node: str, state: ClaimState, holds: list[Hold]) -> None:
        """A claim begins reserved or bound, and a pod has one at most."""
        claim = builders.claim(pod, node, *holds, state=state)
        if claim.uid in self.claims or state in (ClaimState.READY, ClaimState.RELEASING):
            with pytest.raises(errors.LedgerError):
                self.ledger.open(claim)
            return
        self.ledger.open(claim)
        self.claims[claim.uid] = claim

    @rule(pod=st.sampled_from(PODS), event=st.sampled_from(ClaimEvent))
    def apply(self, pod: str, event: ClaimEvent) -> None:
        """An event happens as the words above say; what cannot happen raises and changes nothing."""
        uid = builders.uid_of(pod)
        claim = self.claims.get(uid)
        after = None if claim is None else expected(claim.state, event)
        if claim is None or after is None:
            with pytest.raises(errors.LedgerError):
                self.ledger.apply(uid, event)
        elif isinstance(after, ClaimState):
            self.claims[uid] = replace(claim, state=after)
            assert self.ledger.apply(uid, event) == self.claims[uid]
        else:
            del self.claims[uid]
            assert self.ledger.apply(uid, event) is None

    @rule(pod=st.sampled_from(PODS), holds=st.lists(st.sampled_from(HOLDS), max_size=2, unique=True))
    def relocate(self, pod: str, holds: list[Hold]) -> None:
        """A claim may be moved to where it truly lies, and remembers what it left; nothing else about it changes."""
        uid = builders.uid_of(pod)
        claim = self.claims.get(uid)
        if claim is None:
            with pytest.raises(errors.LedgerError):
                self.ledger.relocate(uid, tuple(holds))
            return
        had = sorted({*claim.left, *claim.holds}, key=[*claim.left, *claim.holds].index)
        left = tuple(hold for hold in had if not slots_of([hold]) & slots_of(holds))
        self.claims[uid] = replace(claim, holds=tuple(holds), left=left)
        assert self.ledger.relocate(uid, tuple(holds)) == self.claims[uid]

    @invariant()
    def ledger_is_as_modelled(self) -> None:
        """Both indexes hold exactly the claims of the model."""
        self.ledger.check()
        assert len(self.ledger) == len(self.claims)
        assert {claim.uid: claim for claim in self.ledger} == self.claims
        for pod in PODS:
            assert self.ledger.get(builders.uid_of(pod)) == self.claims.get(builders.uid_of(pod))
        for node in (*NODES, "elsewhere"):
            on_node = {claim.uid for claim in self.ledger.on_node(node)}
            assert on_node == {uid for uid, claim in self.claims.items() if claim.node == node}


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(stateful_step_count=30)


@pytest.mark.parametrize("state", ClaimState)
@pytest.mark.parametrize("event", ClaimEvent)
def test_the_table_says_what_the_words_say(state: ClaimState, event: ClaimEvent) -> None:
    """Every pair of state and event is in the transition table exactly if it can happen, with its outcome."""
    outcome = expected(state, event)
    assert ((state, event) in TRANSITIONS) == (outcome is not None)
    if outcome is not None:
        assert TRANSITIONS[state, event] == (None if outcome == GONE else outcome)


def test_every_claim_can_come_to_its_end() -> None:
    """From each state of a claim some event ends its life, so that nothing can be held for ever."""
    assert {state for (state, _), after in TRANSITIONS.items() if after is None} == set(ClaimState)
