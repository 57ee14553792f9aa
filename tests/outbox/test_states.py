from __future__ import annotations

from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.database.tables import DeliveryState
from service.outbox.states import ENDS, LONGEST_RETRY, TRANSITIONS, WAITING, allowed, retry_after


class Life(RuleBasedStateMachine):
    """Any life that the rules allow."""

    def __init__(self) -> None:
        super().__init__()
        self.path = [DeliveryState.QUEUED]

    @precondition(lambda self: self.path[-1] not in ENDS)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        after = data.draw(st.sampled_from(sorted(TRANSITIONS[self.path[-1]])))
        assert allowed(self.path[-1], after)
        self.path.append(after)

    @precondition(lambda self: self.path[-1] in ENDS)
    @rule(after=st.sampled_from(DeliveryState))
    def rest(self, after: DeliveryState) -> None:
        assert not allowed(self.path[-1], after)

    @invariant()
    def sent_only_after_sending(self) -> None:
        """Or by the word of an operator on what was sent and not answered."""
        if self.path[-1] is DeliveryState.SENT:
            assert self.path[-2] in (DeliveryState.SENDING, DeliveryState.UNCERTAIN)

    @invariant()
    def never_two_ends(self) -> None:
        assert sum(state in ENDS for state in self.path) <= 1

    @invariant()
    def sending_is_reached_by_a_claim_of_a_waiting_row(self) -> None:
        if self.path[-1] is DeliveryState.SENDING:
            assert self.path[-2] in WAITING


TestLife = Life.TestCase


def test_ends_are_ends_and_every_state_has_its_rules() -> None:
    assert set(TRANSITIONS) == set(DeliveryState)
    assert all(not TRANSITIONS[state] for state in ENDS)


@given(st.integers(0, 100), st.integers())
def test_waits_grow_are_spread_and_bounded(attempts: int, seed: int) -> None:
    wait = retry_after(attempts, Random(seed))
    assert timedelta(minutes=1) <= wait <= LONGEST_RETRY
    assert retry_after(max(attempts, 1) + 2, Random(seed)) >= wait
