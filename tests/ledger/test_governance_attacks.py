"""Governance under those who mean harm, and at awkward moments: crowds, boundaries, jails, several proposals at once."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.bodies import (
    Delegate,
    ParameterChange,
    ParameterChanges,
    Payment,
    ProposalDeposit,
    ProposalSubmit,
    ProposalVote,
    StakeWithdraw,
    TreasurySpend,
)
from omnitensor.protocol.types import Amount, Epoch, ParameterNumber, ProposalId
from state.ledger import ballots
from state.ledger.accounts import Pot, pot
from state.records_governance import ProposalStatus
from state.schema import DEPOSITS, PARAMETER_ORIGINS, VALIDATOR_SETS, VALIDATORS
from tests.ledger.governance_world import GOVERNED, NO, TEXT, YES, Governed
from tests.ledger.world import OMNIT, address_of

DEPOSIT = GOVERNED.proposal_deposit_min


def change(name: str, value: int) -> ParameterChanges:
    return ParameterChanges((ParameterChange(name, ParameterNumber(value)),))


def propose_all(world: Governed, *contents: ParameterChanges | TreasurySpend) -> list[int]:
    """Several proposals in one block, each with its whole deposit."""
    for content in contents:
        world.send("ann", ProposalSubmit("Title", "", content, Amount(DEPOSIT)))
    receipts = world.block().result.receipts
    assert all(receipt.ok for receipt in receipts), receipts
    return [int(dict(receipt.events[0].fields)["proposal"]) for receipt in receipts]


def test_dust_can_not_crowd_a_deposit() -> None:
    """Twenty parts at most, however many want in; each is worth its share, and all get theirs back."""
    people = ("ann", *(f"crowd{n}" for n in range(20)))
    world = Governed(people=people)
    number = world.propose(who="ann", deposit=DEPOSIT // 4)
    taken = 1
    for name in people[1:]:
        world.send(name, ProposalDeposit(ProposalId(number), Amount(DEPOSIT // 20)))
    for receipt in world.block().result.receipts:
        taken += receipt.ok
    assert taken == 1 + 15
    assert world.status(number) is ProposalStatus.VOTING
    assert sum(1 for _ in world.view.scan(DEPOSITS, number)) == 16 <= 20
    world.all_vote(number, NO)
    world.to_end(number)
    assert len(world.said("deposit.returned")) == 16
    assert pot(world.view, Pot.DEPOSITS) == 0


def test_a_deposit_after_its_time_is_refused_even_while_its_end_is_late() -> None:
    world = Governed()
    for _ in range(limits.proposals_pending_max):
        world.send("ann", ProposalSubmit("Title", "", TEXT, Amount(DEPOSIT // 4)))
    assert all(receipt.ok for receipt in world.block().result.receipts)
    last = limits.proposals_pending_max
    world.to_height(world.proposal(last).deposit_until)
    assert world.status(last) is ProposalStatus.DEPOSIT, "others were ended first"
    receipt = world.do("ben", ProposalDeposit(ProposalId(last), Amount(DEPOSIT * 3 // 4)))
    assert (receipt.code, world.status(last)) == ("proposal_not_pending", ProposalStatus.DEPOSIT)
    assert world.to_end(last) is ProposalStatus.EXPIRED
    assert pot(world.view, Pot.DEPOSITS) == 0


def test_what_a_deposit_has_to_be_stays_as_it_was() -> None:
    world = Governed(params=replace(GOVERNED, proposal_deposit_blocks=60))
    waiting = world.propose(deposit=DEPOSIT // 4)
    number = world.propose(change("proposal_deposit_min", 7 * DEPOSIT))
    world.all_vote(number)
    assert world.to_end(number) is ProposalStatus.EXECUTED
    receipt = world.do("ben", ProposalDeposit(ProposalId(waiting), Amount(DEPOSIT * 3 // 4)))
    assert receipt.ok
    assert world.status(waiting) is ProposalStatus.VOTING
    assert not world.do("ben", ProposalSubmit("Title", "", TEXT, Amount(DEPOSIT))).ok, "a new one needs more"


def test_of_two_that_set_one_parameter_in_one_block_the_second_stays() -> None:
    world = Governed()
    first, second = propose_all(world, change("batch_items", 7), change("batch_items", 8))
    for number in (first, second):
        world.all_vote(number)
    assert [world.to_end(number) for number in (first, second)] == [ProposalStatus.EXECUTED] * 2
    assert world.proposal(first).ended_at == world.proposal(second).ended_at
    assert world.in_force.batch_items == 8
    origin = world.view.get(PARAMETER_ORIGINS, b"batch_items")
    assert origin is not None
    assert origin.proposal == second


def test_how_far_a_pace_moves_is_judged_from_where_it_is_by_then() -> None:
    """Doubled and halved in one block: each could be proposed, and the second would be a quarter of what the first left."""
    world = Governed()
    numbers = propose_all(world, change("delta_ms", 1_400), change("delta_ms", 350))
    for number in numbers:
        world.all_vote(number)
    assert [world.to_end(number) for number in numbers] == [ProposalStatus.EXECUTED, ProposalStatus.FAILED]
    world.blocks(GOVERNED.epoch_blocks)
    assert world.in_force.delta_ms == 1_400


def test_a_change_executed_by_a_boundary_block_is_in_force_right_above_it() -> None:
    world = Governed()
    while (world.height + 2 + 8 + 4 - 1) % 10:
        world.block()
    number = world.propose(change("delta_ms", 1_000))
    world.all_vote(number)
    assert world.to_end(number) is ProposalStatus.EXECUTED
    assert world.proposal(number).ended_at % 10 == 0, "the test means to meet a boundary"
    origin = world.view.get(PARAMETER_ORIGINS, b"delta_ms")
    assert origin is not None
    assert origin.in_force_from == world.height + 1
    assert world.in_force.delta_ms == 1_000
    assert world.context(world.height + 1).params.delta_ms == 1_000


def test_a_smaller_set_of_voters_begins_with_an_epoch() -> None:
    world = Governed(validators=7)
    number = world.propose(change("validators_max", 5))
    world.all_vote(number)
    assert world.to_end(number) is ProposalStatus.EXECUTED
    world.to_height(-(-world.height // 10) * 10)
    sets = [len(row.entries) for _, row in world.view.scan(VALIDATOR_SETS)]
    assert sets[-1] == 5
    assert set(sets[:-1]) == {7}


def test_who_leaves_the_voters_in_mid_vote_takes_its_vote_along() -> None:
    world = Governed()
    while world.height % 10 != 5:
        world.block()
    world.do("ann", Delegate(address_of("val0"), Amount(9_000 * OMNIT)))
    number = world.propose()
    world.vote("val0", number, YES)
    world.vote("val1", number, NO)
    assert world.do("val0", StakeWithdraw(Amount(world.stake))).ok
    world.to_height(world.proposal(number).voting_until)
    tally = world.proposal(number).tally
    assert (tally.yes, tally.no, tally.power) == (0, world.stake, 3 * world.stake)


def test_who_is_jailed_has_no_vote() -> None:
    world = Governed()
    number = world.propose()
    world.all_vote(number)
    row = world.view.get(VALIDATORS, address_of("val3"))
    assert row is not None
    world.view.put(VALIDATORS, replace(row, jailed=True), address_of("val3"))
    world.block()
    tally = ballots.count(world.view, Epoch(world.height // 10), number)
    assert (tally.yes, tally.power) == (3 * world.stake, 3 * world.stake)


def test_a_timelock_is_as_long_as_it_was_when_the_votes_were_counted() -> None:
    world = Governed()
    longer, other = propose_all(world, change("proposal_timelock_blocks", 30), change("batch_items", 5))
    for number in (longer, other):
        world.all_vote(number)
    assert [world.to_end(number) for number in (longer, other)] == [ProposalStatus.EXECUTED] * 2
    assert world.proposal(other).ended_at == world.proposal(other).voting_until + 4
    late = world.propose(change("batch_items", 6))
    world.all_vote(late)
    world.to_end(late)
    assert world.proposal(late).executes_at == world.proposal(late).voting_until + 30


def test_the_whole_reserve_can_be_spent_and_rewards_go_on_with_nothing() -> None:
    world = Governed()
    everything = pot(world.view, Pot.RESERVE) - 10_000_000 * OMNIT  # epochs pay rewards meanwhile
    number = world.propose(TreasurySpend((Payment(address_of("ben"), Amount(everything)),)))
    world.all_vote(number)
    assert world.to_end(number) is ProposalStatus.EXECUTED
    world.blocks(3 * GOVERNED.epoch_blocks)
    assert 0 <= pot(world.view, Pot.RESERVE) < 10_000_000 * OMNIT


@pytest.mark.parametrize("crowd", [limits.proposals_voting_max])
def test_counts_that_fall_due_together_are_spread_over_blocks_in_order(crowd: int) -> None:
    world = Governed()
    numbers = propose_all(world, *(change("batch_items", n + 1) for n in range(crowd)))
    for number in numbers:
        for name in world.validator_names:
            world.send(name, ProposalVote(ProposalId(number), YES))
    assert all(receipt.ok for receipt in world.block().result.receipts)
    for number in numbers:
        world.to_end(number)
    ends = [world.proposal(number).ended_at for number in numbers]
    assert ends == sorted(ends)
    assert max(ends.count(height) for height in ends) == limits.proposals_handled_per_block_max
    assert world.in_force.batch_items == crowd, "the last one proposed was executed last"
    assert world.replayed() == dict(world.base.encoded)
