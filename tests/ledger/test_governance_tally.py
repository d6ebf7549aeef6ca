"""The count of votes against one made from scratch: every unit of the voters' stake once, wherever it moved meanwhile.

The oracle keeps who voted what in a dict of its own, walks all delegations at the end, and reckons with fractions.
"""

from __future__ import annotations

from fractions import Fraction
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol.bodies import (
    Delegate,
    ProposalVote,
    Redelegate,
    StakeAdd,
    StakeWithdraw,
    Undelegate,
    VoteOption,
)
from omnitensor.protocol.types import Address, Amount, Epoch, ProposalId
from state.ledger import ballots, slashing
from state.ledger.accounts import Pot
from state.records_governance import ProposalStatus, Tally
from state.schema import DELEGATIONS, OVERRIDES, VALIDATOR_SETS, VALIDATORS
from tests.ledger.governance_world import NO, YES, Governed
from tests.ledger.world import OMNIT, address_of

PEOPLE = ("ann", "ben", "cyd", "dan")
VALIDATORS_ = ("val0", "val1", "val2", "val3")


class Oracle:
    """Who voted what, as people saw it."""

    def __init__(self) -> None:
        self.votes: dict[int, dict[Address, VoteOption]] = {}

    def count(self, world: Governed, proposal: int, epoch: int) -> tuple[list[Fraction], int, int]:
        """Exact stake by option, all stake of voters, and how much of it has said nothing."""
        votes = self.votes.get(proposal, {})
        rows = {Address(key): row for key, row in world.view.scan(VALIDATORS)}
        set_ = world.view.get(VALIDATOR_SETS, epoch)
        assert set_ is not None
        voters = [entry.address for entry in set_.entries if not rows[entry.address].jailed]
        by_option = [Fraction(0)] * 4
        silent = Fraction(0)
        units: list[tuple[Address, Address, Fraction]] = []
        for address in voters:
            units.append((address, address, Fraction(rows[address].stake)))
        for key, delegation in world.view.scan(DELEGATIONS):
            owner, validator = Address(key[:33]), Address(key[33:])
            if validator in voters:
                row = rows[validator]
                units.append((owner, validator, Fraction(delegation.shares * row.delegated, row.shares)))
        for owner, validator, amount in units:
            option = votes.get(owner, votes.get(validator))
            if option is None:
                silent += amount
            else:
                by_option[option] += amount
        power = sum(rows[address].stake + rows[address].delegated for address in voters)
        assert sum(by_option) + silent == power, "the oracle lost something"
        return by_option, power, int(silent)


def held_to(world: Governed, oracle: Oracle, proposal: int, tally: Tally, epoch: int) -> None:
    by_option, power, silent = oracle.count(world, proposal, epoch)
    got = [tally.yes, tally.no, tally.abstain, tally.veto]
    assert tally.power == power
    for mine, exact in zip(got, by_option, strict=True):
        assert abs(mine - exact) < len(VALIDATORS_), "one unit a validator, by rounding"
    assert abs(tally.power - tally.voted - silent) < len(VALIDATORS_)
    if silent == 0:
        assert tally.voted == tally.power, "every unit is in one of the four, none in two"


def epoch_above(world: Governed) -> int:
    return world.height // world.params.epoch_blocks


def now(world: Governed, proposal: int) -> Tally:
    return ballots.count(world.view, Epoch(epoch_above(world)), proposal)


def do_something(rng: Random, world: Governed, oracle: Oracle, proposals: list[int]) -> None:
    who = rng.choice((*PEOPLE, *VALIDATORS_))
    one, other = (address_of(name) for name in rng.sample(VALIDATORS_, 2))
    some = Amount(rng.choice((1, 7, rng.randint(1, 10**6), rng.randint(1, 50_000) * OMNIT)))
    match rng.randint(0, 9):
        case 0 | 1:
            world.send(who, Delegate(one, some))
        case 2:
            world.send(who, Undelegate(one, rng.choice((None, some))))
        case 3 | 4:
            world.send(who, Redelegate(one, other, rng.choice((None, some))))
        case 5:
            world.send(rng.choice(VALIDATORS_), rng.choice((StakeAdd(some), StakeWithdraw(some))))
        case 6 if rng.random() < 0.5:
            ctx = world.context(world.height)
            share = rng.choice((1, 500, 3_333, 9_999))
            slashing.forfeit(world.view, ctx, Pot.STAKE, slashing.slash(world.view, ctx, one, share))
        case _:
            proposal, option = rng.choice(proposals), rng.choice(tuple(VoteOption))
            world.send(who, ProposalVote(ProposalId(proposal), option))


def play(rng: Random, world: Governed, oracle: Oracle, proposals: list[int]) -> None:
    """A block of a few orders; the oracle hears of the votes that were taken."""
    for _ in range(rng.randint(0, 4)):
        do_something(rng, world, oracle, proposals)
    sent = list(world.queue)
    receipts = world.block().result.receipts
    for transaction, receipt in zip(sent, receipts, strict=True):
        body = transaction.body
        if receipt.ok and isinstance(body, ProposalVote):
            oracle.votes.setdefault(body.proposal, {})[transaction.sender] = VoteOption(body.option)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_every_unit_of_stake_counts_once_wherever_it_moves(seed: int) -> None:
    rng = Random(seed)
    world, oracle = Governed(), Oracle()
    for name in PEOPLE:
        world.send(
            name, Delegate(address_of(rng.choice(VALIDATORS_)), Amount(rng.randint(1, 90_000) * OMNIT))
        )
    world.block()
    proposals = [world.propose(who="ann"), world.propose(who="ben")]
    counted = 0
    while any(world.status(each) is ProposalStatus.VOTING for each in proposals):
        play(rng, world, oracle, proposals)
        for each in proposals:
            if world.status(each) is ProposalStatus.VOTING:
                held_to(world, oracle, each, now(world, each), epoch_above(world))
            elif world.height == world.proposal(each).voting_until:
                # The voters are those of the epoch that the block is in, also in its last.
                epoch = (world.height - 1) // world.params.epoch_blocks
                held_to(world, oracle, each, world.proposal(each).tally, epoch)
                counted += 1
    assert counted == 2


def test_moving_stake_between_validators_in_mid_vote_counts_it_where_it_is() -> None:
    world, stake = Governed(), 40_000 * OMNIT
    world.do("ann", Delegate(address_of("val0"), Amount(stake)))
    number = world.propose(who="ben")
    world.vote("val0", number, YES)
    world.vote("val1", number, NO)
    world.vote("ann", number, NO)
    for source, target in (("val0", "val1"), ("val1", "val2")):
        receipt = world.do("ann", Redelegate(address_of(source), address_of(target), Amount(stake // 2)))
        assert receipt.ok == (source == "val0"), "what arrived stays for a while"
        tally = now(world, number)
        assert (tally.yes, tally.no) == (world.stake, world.stake + stake)
        assert tally.voted <= tally.power
    assert world.do("ann", Undelegate(address_of("val0"), None)).ok
    assert now(world, number).no == world.stake + stake // 2, "stake on its way back has no vote"
    world.do("ann", Delegate(address_of("val3"), Amount(stake)))
    assert now(world, number).no == world.stake + stake * 3 // 2, "what came since votes as its owner did"


def test_a_delegator_overrides_with_its_own_stake_alone() -> None:
    world = Governed()
    for name, amount in (("ann", 30_000), ("ben", 10_000)):
        world.do(name, Delegate(address_of("val0"), Amount(amount * OMNIT)))
    number = world.propose(who="cyd")
    world.vote("val0", number, YES)
    assert now(world, number).yes == world.stake + 40_000 * OMNIT
    world.vote("ann", number, NO)
    tally = now(world, number)
    assert (tally.yes, tally.no) == (world.stake + 10_000 * OMNIT, 30_000 * OMNIT)
    # A validator that says nothing leaves its delegators' votes as they are.
    world.do("ann", Delegate(address_of("val1"), Amount(5_000 * OMNIT)))
    tally = now(world, number)
    assert (tally.no, tally.voted) == (35_000 * OMNIT, world.stake + 45_000 * OMNIT)


def test_what_is_slashed_has_no_vote() -> None:
    world = Governed()
    world.do("ann", Delegate(address_of("val0"), Amount(30_000 * OMNIT)))
    number = world.propose(who="ben")
    world.vote("val0", number, YES)
    world.vote("ann", number, NO)
    ctx = world.context(world.height)
    slashing.forfeit(world.view, ctx, Pot.STAKE, slashing.slash(world.view, ctx, address_of("val0"), 5_000))
    world.block()
    tally = now(world, number)
    assert (tally.yes, tally.no) == (world.stake // 2, 15_000 * OMNIT)


def test_shares_in_votes_are_never_more_than_there_are() -> None:
    """After everything, what votes overrode is within what each validator's delegations hold."""
    rng = Random(11)
    world, oracle = Governed(), Oracle()
    numbers = [world.propose(who=name) for name in ("ann", "ben", "cyd")]
    for _ in range(30):
        play(rng, world, oracle, numbers)
    for number in numbers:
        for key, row in world.view.scan(OVERRIDES, number):
            validator = world.view.get(VALIDATORS, key)
            assert validator is not None
            if world.status(number) is ProposalStatus.VOTING:
                assert sum(row.shares) <= validator.shares
