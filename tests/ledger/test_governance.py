"""Governance on the ledger: deposits, votes, their count, timelock and execution, and what each refuses."""

from __future__ import annotations

import pytest

from omnitensor.protocol import bls, limits
from omnitensor.protocol.bodies import (
    AdmissionChange,
    BodyBase,
    Content,
    ParameterChange,
    ParameterChanges,
    Payment,
    ProposalCancel,
    ProposalDeposit,
    ProposalSubmit,
    ProposalVote,
    SoftwareUpgrade,
    StakeAdd,
    StakeWithdraw,
    TreasurySpend,
    UpgradeCancel,
    ValidatorRegister,
    VoteOption,
)
from omnitensor.protocol.parameter_rules import check_params
from omnitensor.protocol.types import (
    Address,
    Amount,
    Height,
    ParameterNumber,
    ProposalId,
)
from state.ledger.accounts import Pot, pot
from state.records_governance import ProposalStatus
from state.schema import ADMITTED, DEPOSITS, OPEN_PROPOSALS, PARAMETER_ORIGINS, PROPOSALS_DUE, UPGRADES
from tests.ledger.governance_world import ABSTAIN, GOVERNED, NO, TEXT, VETO, YES, Governed
from tests.ledger.world import OMNIT, address_of

DEPOSIT = GOVERNED.proposal_deposit_min


def changes(**values: int | tuple[int, int]) -> ParameterChanges:
    return ParameterChanges(
        tuple(
            ParameterChange(name, ParameterNumber(value[0]), value[1])
            if isinstance(value, tuple)
            else ParameterChange(name, ParameterNumber(value))
            for name, value in values.items()
        )
    )


def spend(amount: int, to: str = "ben") -> TreasurySpend:
    return TreasurySpend((Payment(address_of(to), Amount(amount)),))


def submit(content: Content, deposit: int = DEPOSIT) -> ProposalSubmit:
    return ProposalSubmit("Title", "Summary", content, Amount(deposit))


@pytest.fixture
def world() -> Governed:
    return Governed()


def refused(world: Governed, who: str, body: BodyBase) -> str:
    receipt = world.do(who, body)
    assert not receipt.ok
    return f"{receipt.code}: {receipt.reason}"


def nothing_under_way(world: Governed) -> None:
    for table in (DEPOSITS, OPEN_PROPOSALS, PROPOSALS_DUE):
        assert not list(world.view.scan(table)), table
    assert pot(world.view, Pot.DEPOSITS) == 0


# -- deposits


def test_a_vote_begins_with_the_last_of_the_deposit(world: Governed) -> None:
    number = world.propose(deposit=DEPOSIT // 4)
    assert world.status(number) is ProposalStatus.DEPOSIT
    assert "not being voted on" in refused(world, "val0", ProposalVote(ProposalId(number), YES))
    for amount in (0, DEPOSIT // 20 - 1, DEPOSIT * 3 // 4 + 1):
        assert "deposit: " in refused(world, "ben", ProposalDeposit(ProposalId(number), Amount(amount)))
    assert world.do("ben", ProposalDeposit(ProposalId(number), Amount(DEPOSIT // 4))).ok
    assert world.do("cyd", ProposalDeposit(ProposalId(number), Amount(DEPOSIT // 2))).ok
    proposal = world.proposal(number)
    assert (world.status(number), proposal.deposit) == (ProposalStatus.VOTING, DEPOSIT)
    assert proposal.voting_until == world.height + GOVERNED.proposal_voting_blocks
    assert "does not wait" in refused(world, "ben", ProposalDeposit(ProposalId(number), Amount(DEPOSIT // 4)))


def test_a_deposit_that_is_not_complete_in_time_returns(world: Governed) -> None:
    before = world.balance("ann"), world.balance("ben")
    number = world.propose(deposit=DEPOSIT // 4)
    world.do("ben", ProposalDeposit(ProposalId(number), Amount(DEPOSIT // 4)))
    assert world.to_end(number) is ProposalStatus.EXPIRED
    assert world.height == world.proposal(number).submitted_at + GOVERNED.proposal_deposit_blocks
    fees = [receipt.fee + receipt.tip for receipt in world.receipts]
    assert (before[0] - world.balance("ann"), before[1] - world.balance("ben")) == tuple(fees)
    nothing_under_way(world)


def test_its_proposer_alone_takes_a_proposal_back_before_the_vote(world: Governed) -> None:
    number = world.propose(deposit=DEPOSIT // 4)
    assert "proposer: " in refused(world, "ben", ProposalCancel(ProposalId(number)))
    assert world.proposal(number).summary == "Summary"
    assert world.do("ann", ProposalCancel(ProposalId(number))).ok
    assert world.proposal(number).summary == "", "a text that costs a fee alone is not kept in the state"
    assert world.status(number) is ProposalStatus.CANCELLED
    nothing_under_way(world)
    second = world.propose()
    assert "proposal_not_pending" in refused(world, "ann", ProposalCancel(ProposalId(second)))
    assert "proposal_unknown" in refused(world, "ann", ProposalCancel(ProposalId(77)))


@pytest.mark.parametrize("amount", [0, DEPOSIT // 4 - 1, DEPOSIT + 1])
def test_a_proposal_brings_its_first_part_and_no_more_than_all(world: Governed, amount: int) -> None:
    assert "a proposal comes with a deposit of 25 OMNIT to 100 OMNIT" in refused(
        world, "ann", submit(TEXT, amount)
    )
    assert world.proposals() == 0


def test_proposals_at_once_are_bounded_and_a_whole_deposit_passes_by_those_who_wait(world: Governed) -> None:
    for _ in range(limits.proposals_pending_max + 1):
        world.send("ann", submit(TEXT, DEPOSIT // 4))
    codes = [receipt.code for receipt in world.block().result.receipts]
    assert codes == ["ok"] * limits.proposals_pending_max + ["proposals_open"]
    for _ in range(limits.proposals_voting_max + 1):
        world.send("ben", submit(TEXT))
    codes = [receipt.code for receipt in world.block().result.receipts]
    assert codes == ["ok"] * limits.proposals_voting_max + ["proposals_open"]
    # The last part of a deposit waits for room, too, and nothing of it is taken.
    held = pot(world.view, Pot.DEPOSITS)
    assert "proposals_open" in refused(world, "cyd", ProposalDeposit(ProposalId(1), Amount(DEPOSIT * 3 // 4)))
    assert pot(world.view, Pot.DEPOSITS) == held
    # They all end, a few a block.
    for _ in range(40):
        before = world.proposals() - sum(1 for _ in world.view.scan(OPEN_PROPOSALS))
        world.block()
        ended = world.proposals() - sum(1 for _ in world.view.scan(OPEN_PROPOSALS)) - before
        assert ended <= limits.proposals_handled_per_block_max
    nothing_under_way(world)
    # Those that nobody voted on burned their deposits; those that never were complete got them back.
    assert (
        sum(int(e["amount"]) for e in world.said("deposit.burned")) == limits.proposals_voting_max * DEPOSIT
    )


# -- votes


@pytest.mark.parametrize(
    ("votes", "status"),
    [
        ({}, ProposalStatus.NO_QUORUM),
        ({"val0": YES}, ProposalStatus.NO_QUORUM),  # 25 % of the stake, less than 33.4 %
        ({"val0": YES, "val1": YES}, ProposalStatus.PASSED),
        ({"val0": YES, "val1": NO}, ProposalStatus.REJECTED),  # exactly half is not more than half
        ({"val0": YES, "val1": YES, "val2": NO}, ProposalStatus.PASSED),
        ({"val0": ABSTAIN, "val1": ABSTAIN}, ProposalStatus.REJECTED),
        ({"val0": ABSTAIN, "val1": YES}, ProposalStatus.PASSED),
        ({"val0": YES, "val1": YES, "val2": VETO}, ProposalStatus.PASSED),  # a third is not more than 33.4 %
        ({"val0": YES, "val1": VETO}, ProposalStatus.VETOED),
        ({"val0": YES, "val1": YES, "val2": VETO, "val3": VETO}, ProposalStatus.VETOED),
    ],
)
def test_how_a_vote_ends(world: Governed, votes: dict[str, VoteOption], status: ProposalStatus) -> None:
    number = world.propose()
    for name, option in votes.items():
        world.vote(name, number, option)
    world.to_height(world.proposal(number).voting_until)
    assert world.status(number) is status
    tally = world.proposal(number).tally
    each = world.stake
    assert tally.power == 4 * each
    by_option = [tally.yes, tally.no, tally.abstain, tally.veto]
    assert by_option == [each * list(votes.values()).count(option) for option in VoteOption]
    burns = status in (ProposalStatus.VETOED, ProposalStatus.NO_QUORUM)
    assert len(world.said("deposit.burned")) == burns
    assert len(world.said("deposit.returned")) == (not burns)
    assert pot(world.view, Pot.DEPOSITS) == 0


def test_the_last_vote_of_an_account_counts(world: Governed) -> None:
    number = world.propose()
    for option in (NO, VETO, YES):
        world.all_vote(number, option)
    world.to_height(world.proposal(number).voting_until)
    tally = world.proposal(number).tally
    assert (tally.yes, tally.voted, tally.power) == (4 * world.stake, 4 * world.stake, 4 * world.stake)


def test_a_vote_after_the_end_is_refused_even_while_the_count_is_late(world: Governed) -> None:
    numbers = []
    for _ in range(limits.proposals_handled_per_block_max + 1):
        world.send("ann", submit(TEXT))
    for receipt in world.block().result.receipts:
        numbers.append(int(dict(receipt.events[0].fields)["proposal"]))
    last = numbers[-1]
    world.to_height(world.proposal(last).voting_until - 1)
    world.send("val0", ProposalVote(ProposalId(last), YES))
    assert world.block().result.receipts[0].ok, "the last height of a vote is in it"
    assert world.status(last) is ProposalStatus.VOTING, "others were counted first"
    assert "proposal_not_voting" in refused(world, "val1", ProposalVote(ProposalId(last), YES))
    assert world.proposal(last).tally.yes == world.stake
    assert world.status(last) is ProposalStatus.NO_QUORUM
    assert "proposal_not_voting" in refused(world, "val1", ProposalVote(ProposalId(last), YES))


def test_stake_that_comes_and_goes_counts_as_it_is_at_the_end(world: Governed) -> None:
    number = world.propose()
    world.vote("val0", number, YES)
    world.vote("val1", number, NO)
    assert world.do("val0", StakeAdd(Amount(7 * OMNIT))).ok
    assert world.do("val1", StakeWithdraw(Amount(9 * OMNIT))).ok
    until = world.proposal(number).voting_until
    world.to_height(until)
    tally = world.proposal(number).tally
    assert (tally.yes, tally.no) == (world.stake + 7 * OMNIT, world.stake - 9 * OMNIT)
    assert tally.power == 4 * world.stake - 2 * OMNIT
    # What comes afterwards is too late.
    assert world.do("val0", StakeAdd(Amount(50_000 * OMNIT))).ok
    assert world.proposal(number).tally == tally


def test_whoever_has_no_stake_has_no_vote(world: Governed) -> None:
    number = world.propose()
    assert "vote_without_stake" in refused(world, "ann", ProposalVote(ProposalId(number), YES))
    assert "vote_option" in refused(world, "val0", ProposalVote(ProposalId(number), 4))
    assert "proposal_unknown" in refused(world, "val0", ProposalVote(ProposalId(99), YES))


# -- execution


def test_a_change_waits_out_its_timelock_then_is_in_force_with_the_next_block(world: Governed) -> None:
    number = world.propose(changes(base_fee_min=7, batch_items=9))
    world.all_vote(number)
    world.to_height(world.proposal(number).voting_until)
    assert world.status(number) is ProposalStatus.PASSED
    at = world.proposal(number).executes_at
    assert at == world.height + GOVERNED.proposal_timelock_blocks
    world.to_height(at - 1)
    assert world.in_force == GOVERNED
    world.block()
    assert world.status(number) is ProposalStatus.EXECUTED
    assert (world.in_force.base_fee_min, world.in_force.batch_items) == (7, 9)
    origin = world.view.get(PARAMETER_ORIGINS, b"base_fee_min")
    assert origin is not None
    assert (origin.proposal, origin.executed_at, origin.in_force_from) == (number, at, at + 1)
    assert world.played[-1].ctx.params == GOVERNED, "the block of the execution still ran with the old ones"
    world.block()
    assert world.played[-1].ctx.params.base_fee_min == 7


def test_what_an_epoch_holds_changes_with_the_next_one(world: Governed) -> None:
    while world.height % 10 != 3:
        world.block()
    number = world.propose(changes(block_interval_ms=1_500, batch_items=9))
    world.all_vote(number)
    assert world.to_end(number) is ProposalStatus.EXECUTED
    boundary = -(-world.height // 10) * 10
    assert world.height < boundary
    assert (world.in_force.block_interval_ms, world.in_force.batch_items) == (1_000, 9)
    origin = world.view.get(PARAMETER_ORIGINS, b"block_interval_ms")
    assert origin is not None and origin.in_force_from == boundary + 1  # noqa: PT018 one thing about one row
    world.to_height(boundary)
    assert (world.in_force.block_interval_ms, world.in_force.batch_items) == (1_500, 9)
    world.block()
    assert world.played[-1].ctx.params.block_interval_ms == 1_500
    assert world.played[-2].ctx.params.block_interval_ms == 1_000


def test_a_window_and_what_covers_it_move_together_or_not_at_all(world: Governed) -> None:
    longer = changes(evidence_epochs=9)
    assert "evidence window" in refused(world, "ann", submit(longer))
    assert world.enact(changes(evidence_epochs=9, unbonding_blocks=100)) is ProposalStatus.EXECUTED
    check_params(world.in_force)
    # Now that a longer window is on its way, or in force, the old unbonding time can't come back.
    assert "evidence window" in refused(world, "ann", submit(changes(unbonding_blocks=60)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changes(base_fee_min=0), "from 1 to 1000000"),
        (changes(epoch_blocks=20), "epoch_blocks is fixed"),
        (changes(tax=1), "no such parameter"),
        (changes(block_interval_ms=2_001), "from 500 to 2000"),
        (changes(block_interval_ms=499), "from 500 to 2000"),
        (changes(reputation_decay=5), "another form"),
        (changes(batch_items=(1, 2)), "another form"),
        (changes(reputation_decay=(8, 8)), "no ratio below one"),
        (changes(proposal_threshold_bps=4_999), "from 5000 to 9000"),
        (changes(block_weight_max=100_000), "block_weight_target is above"),
        (ParameterChanges(changes(batch_items=1).changes * 2), "stands twice"),
        (spend(10**18), "the reserve has"),
        (spend(0), "a payment of nothing"),
        (TreasurySpend((Payment(Address(b"\x07" + bytes(32)), Amount(1)),)), "unknown version"),
        (AdmissionChange((), ()), "no account"),
        (AdmissionChange((address_of("ben"),), (address_of("ben"),)), "stands twice"),
        (SoftwareUpgrade("two", "2.0", Height(0)), "has come"),
        (UpgradeCancel("two"), "no such upgrade"),
    ],
)
def test_what_could_not_be_executed_is_not_proposed(world: Governed, content: Content, said: str) -> None:
    assert said in refused(world, "ann", submit(content))
    assert world.proposals() == 0
    nothing_under_way(world)


def test_a_spend_pays_all_or_nothing_out_of_the_reserve(world: Governed) -> None:
    reserve = pot(world.view, Pot.RESERVE)
    share = reserve * 2 // 3
    before = world.balance("ben"), world.balance("cyd")
    numbers = []
    for who in ("ann", "dan"):
        body = submit(
            TreasurySpend(
                (Payment(address_of("ben"), Amount(share - 5)), Payment(address_of("cyd"), Amount(5)))
            )
        )
        world.send(who, body)
    for receipt in world.block().result.receipts:
        numbers.append(int(dict(receipt.events[0].fields)["proposal"]))
    for number in numbers:
        world.all_vote(number)
    for number in numbers:
        world.to_end(number)
    # Both passed; the second is executed in the same block, when the reserve does not suffice any more.
    assert [world.status(number) for number in numbers] == [ProposalStatus.EXECUTED, ProposalStatus.FAILED]
    assert world.proposal(numbers[0]).ended_at == world.proposal(numbers[1]).ended_at
    assert (world.balance("ben") - before[0], world.balance("cyd") - before[1]) == (share - 5, 5)
    assert pot(world.view, Pot.RESERVE) == reserve - share - pot(world.view, Pot.REWARDS)
    assert "the reserve has" in world.proposal(numbers[1]).reason
    nothing_under_way(world)


def test_changes_that_contradict_each_other_in_one_block_fail_in_order(world: Governed) -> None:
    """Each alone can be lived with; after the first the second can't, and nothing of it happens."""
    pair = (
        changes(block_weight_max=2_000_000, batch_items=3),
        changes(block_weight_target=3_000_000, batch_items=4),
    )
    for content in pair:
        world.send("ann", submit(content))
    numbers = [int(dict(r.events[0].fields)["proposal"]) for r in world.block().result.receipts]
    for number in numbers:
        world.all_vote(number)
    for number in numbers:
        world.to_end(number)
    assert [world.status(number) for number in numbers] == [ProposalStatus.EXECUTED, ProposalStatus.FAILED]
    assert world.proposal(numbers[0]).ended_at == world.proposal(numbers[1]).ended_at
    assert "block_weight_target is above" in world.proposal(numbers[1]).reason
    assert (world.in_force.block_weight_max, world.in_force.batch_items) == (2_000_000, 3)
    check_params(world.in_force)


def test_admission(world: Governed) -> None:
    ben, cyd = address_of("ben"), address_of("cyd")
    assert world.enact(AdmissionChange((ben, cyd), ())) is ProposalStatus.EXECUTED
    assert {key for key, _ in world.view.scan(ADMITTED)} == {ben, cyd}
    assert world.enact(AdmissionChange((), (ben,))) is ProposalStatus.EXECUTED
    assert {key for key, _ in world.view.scan(ADMITTED)} == {cyd}


def test_where_governance_admits_nobody_else_becomes_a_validator(world: Governed) -> None:
    secret = bls.keygen(bytes(32))
    body = ValidatorRegister(Amount(40_000 * OMNIT), bls.sk_to_pk(secret), bls.pop_prove(secret), 0, "ben")
    assert world.enact(changes(validator_admission=1)) is ProposalStatus.EXECUTED
    assert "validator_not_admitted" in refused(world, "ben", body)
    assert world.enact(AdmissionChange((address_of("ben"),), ())) is ProposalStatus.EXECUTED
    assert world.do("ben", body).ok


def test_upgrades_are_planned_once_by_name_and_height_and_can_be_taken_back(world: Governed) -> None:
    assert world.enact(SoftwareUpgrade("two", "2.0", Height(500))) is ProposalStatus.EXECUTED
    planned = [(int.from_bytes(key, "big"), row.name) for key, row in world.view.scan(UPGRADES)]
    assert planned == [(500, "two")]
    assert "was planned before" in refused(world, "ann", submit(SoftwareUpgrade("two", "2.1", Height(600))))
    assert "another upgrade" in refused(world, "ann", submit(SoftwareUpgrade("three", "3", Height(500))))
    assert world.enact(UpgradeCancel("two")) is ProposalStatus.EXECUTED
    assert not list(world.view.scan(UPGRADES))
    late = SoftwareUpgrade("late", "9", Height(world.height + 5))
    assert world.enact(late) is ProposalStatus.FAILED, "its height came before its execution"
    assert not list(world.view.scan(UPGRADES))


def test_a_replay_gives_the_same_rows(world: Governed) -> None:
    world.enact(changes(batch_items=9, block_interval_ms=700))
    number = world.propose(spend(5 * OMNIT))
    world.vote("val0", number, VETO)
    world.vote("val1", number, YES)
    world.to_end(number)
    assert world.replayed() == dict(world.base.encoded)
