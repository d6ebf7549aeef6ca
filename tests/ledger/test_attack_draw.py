"""Whoever leads the block in which seats are drawn knows its beacon before anybody else, and chooses what stands in the block."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from omnitensor.protocol.bodies import BodyBase, StakeAdd, StakeWithdraw, ValidatorRegister
from omnitensor.protocol.types import Address, Amount, BlsPublicKey, BlsSignature, Hash
from state.ledger import draw, validators
from state.ledger.accounts import Pot, move
from state.ledger.prepared import prepare
from state.ledger.transition import Execution
from state.overlay import Overlay
from state.records_review import BatchPhase, SeatState
from state.schema import BATCHES, VALIDATORS
from tests.ledger.world import OMNIT, SPEC, World, address_of, declaration, key_of

FRIENDS = ("val0", "val1", "val2", "val3")


def before_the_draw() -> tuple[World, int]:
    """The next block draws the seats of a batch."""
    world = World(validators=15, check_every_block=False)
    campaign = world.open()
    world.submit("ann", campaign, *(declaration(f"a{number}") for number in range(6)))
    world.blocks(world.params.batch_wait_blocks)
    (number,) = world.open_batches()
    while world.height + 1 < world.batch(number).draw_at:
        world.block()
    assert world.batch(number).phase == BatchPhase.FROZEN
    return world, number


def drawn(world: World, number: int, orders: dict[str, BodyBase]) -> list[str]:
    """Who would sit if the next block had these orders in it."""
    view = Overlay(world.base)
    execution = Execution(view, world.context(world.height + 1))
    for who, body in orders.items():
        nonce = world.nonces.get(who, 0)
        receipt = execution.apply(prepare(world.order(who, body)))
        world.nonces[who] = nonce
        assert receipt.ok, receipt
    execution.finish()
    batch = view.get(BATCHES, number)
    assert batch is not None
    assert batch.phase == BatchPhase.COMMIT
    return [world.name_of(address) for address in batch.seats]


def test_a_leader_can_not_try_committees_by_a_few_units_of_stake() -> None:
    """One draw for each amount that a friend adds: of a thousand one has all of a coalition's validators."""
    world, number = before_the_draw()
    as_it_is = drawn(world, number, {})
    for amount in range(1, 200):
        assert drawn(world, number, {"val0": StakeAdd(Amount(amount))}) == as_it_is


def test_friends_that_leave_move_nobody_but_themselves() -> None:
    """Nor by who of them may sit: the others come in the order in which they would have come."""
    world, number = before_the_draw()
    as_it_is = drawn(world, number, {})
    assert set(as_it_is) & set(FRIENDS)
    for subset in range(1, 2 ** len(FRIENDS)):
        gone = {who for place, who in enumerate(FRIENDS) if subset >> place & 1}
        found = drawn(world, number, {who: StakeWithdraw(Amount(world.stake)) for who in sorted(gone)})
        stayed = [who for who in as_it_is if who not in gone]
        assert found[: len(stayed)] == stayed


def test_whoever_registers_after_a_batch_was_formed_has_no_seat_in_it() -> None:
    """Its address could have been looked for until it won."""
    world, number = before_the_draw()
    as_it_is = drawn(world, number, {})
    late = [f"late{place}" for place in range(20)]
    for name in late:
        overlay = Overlay(world.base)
        move(overlay, address_of("ann"), address_of(name), 200_000 * OMNIT)
        world.base.apply(overlay)
    with mock.patch.object(validators, "check_key"):
        orders: dict[str, BodyBase] = {
            name: ValidatorRegister(
                Amount(190_000 * OMNIT),
                BlsPublicKey(key_of(name) + bytes(16)),
                BlsSignature(bytes(96)),
                0,
                name,
            )
            for name in late
        }
        assert drawn(world, number, orders) == as_it_is


@pytest.mark.parametrize("price", [1, 60_000, 400_000])
def test_no_fee_is_so_high_that_its_sponsors_friends_alone_sit(price: int) -> None:
    """Those with the most stake of their own would be each other's only reviewers, and earn back what they pay: standing too."""
    world = World(validators=15, check_every_block=False)
    overlay = Overlay(world.base)
    for name in FRIENDS:
        row = overlay.get(VALIDATORS, address_of(name))
        assert row is not None
        move(overlay, address_of("ann"), Pot.STAKE, 900_000 * OMNIT)
        overlay.put(VALIDATORS, row.with_stake(row.stake + 900_000 * OMNIT), address_of(name))
    world.base.apply(overlay)
    spec = replace(
        SPEC, review_fee=Amount(price * OMNIT), first_seats=15, second_seats=0, unit_price=Amount(0)
    )
    campaign = world.open(replace(spec), 7_000_000 * OMNIT)
    world.submit("ann", campaign, declaration("mine"))
    while not world.open_batches() or world.batch(world.open_batches()[0]).phase == BatchPhase.FROZEN:
        world.block()
    (number,) = world.open_batches()
    assert sorted(world.seats(number, SeatState.SEATED)) == sorted(world.validator_names)
    bond = min(2 * price, 32_000) * OMNIT
    assert world.batch(number).bond == bond
    for name in world.validator_names:
        row = world.view.get(VALIDATORS, address_of(name))
        assert row is not None
        assert row.held == bond


ADDRESSES = st.integers(0, 40).map(lambda number: Address(bytes([number]) * 33))


@given(
    st.binary(min_size=32, max_size=32).map(Hash),
    st.dictionaries(ADDRESSES, st.integers(0, 2**60), min_size=1, max_size=15),
    st.data(),
)
def test_a_weight_moves_its_owner_alone(seed: Hash, weights: dict[Address, int], data: st.DataObject) -> None:
    who = data.draw(st.sampled_from(sorted(weights)))
    other = weights | {who: data.draw(st.integers(0, 2**60))}
    before, after = (draw.draw(seed, each, len(each)) for each in (weights, other))
    assert [one for one in before if one != who] == [one for one in after if one != who]
    if other[who] >= weights[who] > 0:
        assert after.index(who) <= before.index(who), "more weight is never worse"
