"""What a session key may spend: everything that its orders take from the account's balance comes off its allowance."""

import pytest
from msgspec.structs import replace

from omnitensor.protocol.blocks import Receipt
from omnitensor.protocol.bodies import ItemAppeal, SessionKeyAdd, SessionKeyRemove, SubmissionCommit
from omnitensor.protocol.types import Amount, CampaignId, Hash, Height, ItemId
from state.ledger.errors import Unpayable
from state.ledger.prepared import prepare
from state.ledger.transition import check_payable
from state.schema import SESSION_KEYS
from tests.ledger.test_review_second import rejected
from tests.ledger.world import OMNIT, SPEC, World, key_of, salt_of

KEY = key_of("key")
BOND = 5 * OMNIT


def left(world: World) -> int:
    row = world.view.get(SESSION_KEYS, KEY)
    assert row is not None
    return row.allowance


def allow(world: World, amount: int) -> None:
    assert world.do("ann", SessionKeyAdd(KEY, 2, Height(5_000), Amount(amount))).ok
    assert left(world) == amount


def by_key(world: World, body: SubmissionCommit | ItemAppeal) -> Receipt:
    world.queue.append(world.order("ann", body, signer=KEY))
    return world.block().result.receipts[-1]


def commitment(number: int, campaign: int, count: int = 1) -> SubmissionCommit:
    return SubmissionCommit(CampaignId(campaign), Hash(salt_of(number)), count)


def test_a_stolen_key_can_not_bond_the_balance_away() -> None:
    """In a campaign that its thief made for it, with a huge bond for each item."""
    world = World()
    hostile = world.open(replace(SPEC, item_bond=Amount(BOND)))
    allow(world, 12 * OMNIT)
    before = world.balance("ann")
    first, second, third = (by_key(world, commitment(number, hostile)) for number in range(3))
    assert (first.code, second.code, third.code) == ("ok", "ok", "session_allowance")
    assert "OMNIT more: 5 OMNIT (make a new key" in third.reason
    assert third.events == ()
    spent = 2 * BOND + sum(receipt.fee + receipt.tip for receipt in (first, second, third))
    assert before - world.balance("ann") == spent == 12 * OMNIT - left(world)
    assert by_key(world, commitment(4, hostile, 3)).code == "session_allowance"
    # The account's own key is bound by nothing but its balance.
    assert world.do("ann", commitment(3, hostile)).ok


def test_what_returns_does_not_come_back_to_the_allowance() -> None:
    world = World()
    campaign = world.open(replace(SPEC, item_bond=Amount(BOND)))
    allow(world, 12 * OMNIT)
    receipt = by_key(world, commitment(1, campaign))
    after = world.balance("ann")
    world.blocks(world.params.submission_reveal_blocks + 2)
    assert world.balance("ann") == after + BOND
    assert left(world) == 12 * OMNIT - BOND - receipt.fee - receipt.tip
    allow(world, 7 * OMNIT)  # adding it again sets it anew
    assert world.do("ann", SessionKeyRemove(KEY)).ok
    assert left(world) == 0


def test_fees_and_tips_count_and_end_what_can_be_sent() -> None:
    """A hostile script that burns fees ends with the allowance, and never stands in a block without."""
    world = World()
    allow(world, OMNIT + 3)
    receipt = by_key(world, commitment(1, 99))
    assert receipt.code == "campaign_unknown"
    assert left(world) == OMNIT + 3 - receipt.fee - receipt.tip
    order = world.order("ann", commitment(2, 99), signer=KEY)
    ctx = world.context(world.height + 1)
    with pytest.raises(Unpayable) as refusal:
        check_payable(world.view, ctx, prepare(order))
    assert refusal.value.code == "session_allowance"
    exact = replace(order, max_fee=Amount(left(world) - order.tip))
    assert check_payable(world.view, ctx, prepare(exact))
    with pytest.raises(Unpayable):
        check_payable(world.view, ctx, prepare(replace(exact, max_fee=Amount(exact.max_fee + 1))))


def test_an_appeals_bond_counts() -> None:
    world = World(validators=9)
    rejected(world)
    bond = 3 * OMNIT
    allow(world, bond + 3)
    world.queue.append(world.order("ann", ItemAppeal(ItemId(1)), signer=KEY))
    assert world.block().result.receipts[-1].code == "session_allowance"
    allow(world, bond + OMNIT)
    accepted = by_key(world, ItemAppeal(ItemId(1)))
    assert accepted.ok, accepted
    assert left(world) == OMNIT - accepted.fee - accepted.tip
