"""Whatever is voted for within the bounds, the chain goes on; whatever is not is refused with its bound.

A whole world lives on meanwhile: a campaign with reviews, stake that comes and goes, rewards, a reserve that is spent whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol.bodies import (
    BodyBase,
    Delegate,
    ParameterChange,
    ParameterChanges,
    Payment,
    ProposalSubmit,
    Redelegate,
    RewardsClaim,
    StakeAdd,
    StakeWithdraw,
    Transfer,
    TreasurySpend,
    Undelegate,
)
from omnitensor.protocol.parameter import Takes, Value
from omnitensor.protocol.parameter_rules import ParameterError, check_params
from omnitensor.protocol.params import SPECS, Params
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import Amount, Height, ParameterNumber
from state.ledger import parameters
from state.ledger.accounts import Pot, pot
from state.ledger.errors import Unpayable
from state.ledger.prepared import prepare
from state.ledger.transition import Execution, Outcome
from state.overlay import DictBase, Overlay
from state.records_governance import ProposalStatus
from state.schema import PARAMS
from tests.ledger.governance_world import GOVERNED, Governed
from tests.ledger.world import BAD, GOOD, OMNIT, Played, address_of, check_books, declaration, review

FREE = [name for name, spec in SPECS.items() if spec.takes is not Takes.GENESIS]
SPAN = 25
"""How long periods of governance may become here: a test has no 90 days."""
SPANS = ("proposal_deposit_blocks", "proposal_voting_blocks", "proposal_timelock_blocks")


@dataclass
class Tolerant(Governed):
    """A world in which an order that can't stand in a block waits for none: parameters may have made it too dear or too heavy."""

    def order(self, who: str, body: BodyBase, **changes: object) -> Transaction:
        return super().order(
            who, body, max_fee=Amount(1_000 * OMNIT), valid_until=Height(self.height + 10), **changes
        )

    def block(self) -> Outcome:
        self.height += 1
        ctx = self.context(self.height)
        execution = Execution(self.view, ctx)
        taken: list[Transaction] = []
        left_out: set[str] = set()
        for transaction in self.queue:
            try:
                execution.apply(prepare(transaction))
                taken.append(transaction)
            except Unpayable as refusal:
                left_out.add(refusal.code)
        assert left_out <= {"block_full", "nonce"}
        self.queue = []
        outcome = execution.finish()
        self.nonces = {name: self.nonce_of(name) for name in self.nonces}
        self.played.append(Played(ctx, tuple(taken)))
        self.receipts += outcome.result.receipts
        self.events += [(self.height, event) for event in outcome.result.events]
        self.base.apply(self.view)
        self.view = Overlay(self.base)
        check_books(self)
        return outcome


def any_value(rng: Random, name: str) -> Value:
    """A value in bounds, often at their very ends."""
    spec = SPECS[name]
    high = min(spec.high, SPAN) if name in SPANS else spec.high

    def number(least: int, most: int) -> int:
        return rng.choice((least, most, rng.randint(least, most), rng.randint(least, min(most, least + 50))))

    if isinstance(getattr(GOVERNED, name), tuple):
        below = number(max(1, spec.low), high)
        return number(spec.low, below - 1), below
    return number(spec.low, high)


def as_content(changes: dict[str, Value]) -> ParameterChanges:
    return ParameterChanges(
        tuple(
            ParameterChange(name, ParameterNumber(value[0]), value[1])
            if isinstance(value, tuple)
            else ParameterChange(name, ParameterNumber(value))
            for name, value in changes.items()
        )
    )


def could_be(world: Governed, changes: dict[str, Value]) -> bool:
    now = world.in_force
    try:
        parameters.changed(now, parameters.next_epoch(world.view, now), changes)
    except ParameterError:
        return False
    return True


def draw_changes(rng: Random, world: Governed) -> dict[str, Value]:
    """A few changes that can be proposed now, as many as fit together of what was drawn."""
    kept: dict[str, Value] = {}
    for name in rng.sample(FREE, rng.randint(4, 14)):
        wanted = kept | {name: any_value(rng, name)}
        if could_be(world, wanted):
            kept = wanted
    return kept


def live(rng: Random, world: Governed, campaign: int, round_: int) -> None:
    """What people do besides, whatever comes of it."""
    who = rng.choice(("ben", "cyd"))
    world.commit(who, campaign, (declaration(f"text {round_} {who}"),), salt := bytes([round_ % 250]) * 32)  # type: ignore[arg-type]  # a hash
    world.block()
    world.reveal(who, campaign, (declaration(f"text {round_} {who}"),), salt)  # type: ignore[arg-type]  # a hash
    world.send("val1", StakeAdd(Amount(OMNIT)))
    world.send("val2", StakeWithdraw(Amount(OMNIT)))
    world.send("dan", Transfer(address_of("ann"), Amount(5)))
    one, other = (address_of(name) for name in rng.sample(world.validator_names, 2))
    some = Amount(rng.choice((1, OMNIT, 50_000 * OMNIT)))
    world.send("ben", rng.choice((Delegate(one, some), Undelegate(one, None), Redelegate(one, other, None))))
    world.send("cyd", Delegate(other, some))
    world.send("ben", RewardsClaim((one, other)))
    world.send("val3", RewardsClaim((address_of("val3"),)))
    world.block()
    review(world, {"val0": BAD} if rng.random() < 0.3 else GOOD, blocks=6)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32))
def test_the_chain_goes_on_with_whatever_is_in_bounds(seed: int) -> None:
    rng = Random(seed)
    world = Tolerant(validators=5)
    campaign = world.open()
    changed = 0
    for round_ in range(5):
        changes = draw_changes(rng, world)
        if not changes:
            continue
        number = world.propose(as_content(changes))
        world.all_vote(number)
        live(rng, world, campaign, round_)
        live(rng, world, campaign, 100 + round_)
        assert world.to_end(number) is ProposalStatus.EXECUTED, world.proposal(number).reason
        check_params(world.in_force)
        world.blocks(GOVERNED.epoch_blocks)  # whatever waited for an epoch is in force now
        check_params(world.in_force)
        for name, value in changes.items():
            assert getattr(world.in_force, name) == value, name
        if rng.random() < 0.2:
            everything = Amount(pot(world.view, Pot.RESERVE))
            if everything:
                world.enact(TreasurySpend((Payment(address_of("dan"), everything),)))
        live(rng, world, campaign, 200 + round_)
        changed += len(changes)
    assert changed
    assert world.replayed() == dict(world.base.encoded)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_in_whatever_order_changes_come_both_rows_can_be_lived_with(seed: int) -> None:
    """Some count at once and some with the next epoch, boundaries come in between, and what is refused changes nothing."""
    rng, view = Random(seed), Overlay(DictBase())
    parameters.put(view, GOVERNED, GOVERNED)
    ctx = Governed().context(GOVERNED.epoch_blocks)  # a boundary block
    taken = refused = 0
    for _ in range(40):
        now = parameters.above(view, ctx)
        later = parameters.next_epoch(view, now)
        names = rng.sample(FREE, rng.randint(1, 3))
        if rng.random() < 0.5:
            names = ["evidence_epochs", "unbonding_blocks", "block_weight_max", "block_weight_target"]
            names = rng.sample(names, rng.randint(1, 3))
        try:
            parameters.put(view, *parameters.changed(now, later, {n: any_value(rng, n) for n in names}))
            taken += 1
        except ParameterError:
            refused += 1
        if rng.random() < 0.2:
            coming = parameters.next_epoch(view, parameters.above(view, ctx))
            parameters.turn(view, ctx)
            assert parameters.above(view, ctx) == coming
            assert view.get(PARAMS, parameters.NEXT_EPOCH) is None
        check_params(parameters.above(view, ctx))
        check_params(parameters.next_epoch(view, parameters.above(view, ctx)))
        for name, spec in SPECS.items():
            if spec.takes is Takes.EPOCH:
                continue
            assert getattr(parameters.above(view, ctx), name) == getattr(
                parameters.next_epoch(view, parameters.above(view, ctx)), name
            ), "what counts at once is the same in both"
    assert taken
    assert refused


@pytest.mark.parametrize("name", FREE)
def test_beyond_the_bounds_is_refused_with_the_bound(name: str) -> None:
    world = _WORLD
    spec = SPECS[name]
    for edge in {spec.low - 1, spec.high + 1} - {-1}:
        value: Value = edge
        if isinstance(getattr(GOVERNED, name), tuple):
            value = (edge, edge + 1) if edge > 0 else (0, edge)
        body = ProposalSubmit("Title", "", as_content({name: value}), Amount(100 * OMNIT))
        receipt = world.do("ann", body)
        assert receipt.code == "parameter"
        bounds = (f"from {spec.low} to {spec.high}", "moves too far at once")
        assert any(bound in receipt.reason for bound in bounds), receipt.reason
    assert world.in_force == GOVERNED


_WORLD = Governed()


def test_a_pace_can_only_be_doubled_or_halved_at_once() -> None:
    stepped = [name for name in FREE if SPECS[name].step]
    assert set(stepped) == {"block_interval_ms", "delta_ms", "standstill_ms", "clock_drift_ms"}
    now = Params()
    for name in stepped:
        before = getattr(now, name)
        for value in (before // 2, before * 2):
            parameters.changed(now, now, {name: value})
        for value in (before // 2 - 1, before * 2 + 1):
            with pytest.raises(ParameterError, match="too far at once") as error:
                parameters.changed(now, now, {name: value})
            assert error.value.remedy.startswith(f"from {before // 2} to {before * 2}")
