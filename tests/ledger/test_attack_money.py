"""Orders made to halt the chain, to corrupt its state, or to act with what belongs to another."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import (
    SCOPES_ALL,
    CampaignFund,
    CampaignOpen,
    Category,
    SessionKeyAdd,
    SessionKeyRemove,
    StakeAdd,
    StakeWithdraw,
    SubmissionCommit,
)
from omnitensor.protocol.types import SUPPLY_MAX, U64_MAX, Amount, CampaignId, Hash, Height
from state.ledger import earnings
from state.ledger.errors import Unpayable
from state.ledger.prepared import Prepared, prepare
from state.ledger.transition import check_payable
from state.records_review import Earnings
from state.schema import CAMPAIGNS, EARNINGS, SESSION_KEYS, VALIDATORS
from tests.ledger.world import OMNIT, SPEC, World, address_of, declaration, key_of, review


def test_bonds_of_many_items_may_exceed_the_supply() -> None:
    """A sponsor asks the whole supply as an item's bond: committing to several items is refused, not a fault of the node."""
    world = World()
    campaign = world.open(replace(SPEC, item_bond=Amount(SUPPLY_MAX)))
    receipt = world.do("ann", SubmissionCommit(CampaignId(campaign), Hash(bytes(32)), 256))
    assert receipt.code == "balance"


def test_lifetime_sums_of_a_campaign_pass_the_supply() -> None:
    """Money that goes round in circles is counted each time; the rows must still be rows when the count passes the supply."""
    world = World(check_every_block=False)
    campaign = world.open()
    row = world.campaign(campaign)
    most = Amount(SUPPLY_MAX)
    world.view.put(
        CAMPAIGNS, replace(row, funded=most, paid_contributors=most, paid_reviewers=most), campaign
    )
    world.submit("ann", campaign, declaration("a"))
    assert world.do("sponsor", CampaignFund(CampaignId(campaign), Amount(OMNIT))).ok
    review(world)
    after = world.campaign(campaign)
    assert after.funded == SUPPLY_MAX + OMNIT
    assert after.paid_contributors > SUPPLY_MAX < after.paid_reviewers


def test_lifetime_sums_stop_where_a_row_ends() -> None:
    world = World(check_every_block=False)
    campaign = world.open()
    most = U64_MAX - 1
    row = Earnings(most, most, 0, most, 0, 0, 0, 0, ())
    for name in ("ann", *world.validator_names):
        world.view.put(EARNINGS, row, address_of(name))
    world.view.put(CAMPAIGNS, replace(world.campaign(campaign), funded=U64_MAX), campaign)
    world.submit("ann", campaign, declaration("a"))
    assert world.do("sponsor", CampaignFund(CampaignId(campaign), Amount(OMNIT))).ok
    review(world)
    assert world.campaign(campaign).funded == U64_MAX
    assert earnings.earnings(world.view, address_of("ann")).contribution == U64_MAX


def test_a_validator_that_left_comes_back_with_a_whole_stake() -> None:
    """Else many cheap validators would sit where fewer are eligible than there are seats."""
    world = World()
    assert world.do("val0", StakeWithdraw(Amount(world.stake))).ok
    least = world.params.validator_stake_min
    assert world.do("val0", StakeAdd(Amount(1))).code == "stake_min"
    assert world.do("val0", StakeAdd(Amount(least - 1))).code == "stake_min"
    assert world.do("val0", StakeAdd(Amount(least))).ok
    row = world.view.get(VALIDATORS, address_of("val0"))
    assert row is not None
    assert row.stake == least


def test_nobody_takes_over_the_session_key_of_another() -> None:
    """A script that still holds an expired or removed key would act for whoever could take it over."""
    world = World()
    key = key_of("session")
    assert world.do("ann", SessionKeyAdd(key, 7, Height(world.height + 3), Amount(10**12))).ok
    world.blocks(5)
    assert world.do("ben", SessionKeyAdd(key, 7, Height(900), Amount(10**12))).code == "session_taken"
    assert world.do("ann", SessionKeyAdd(key, 7, Height(900), Amount(10**12))).ok
    assert world.do("ann", SessionKeyRemove(key)).ok
    assert world.do("ann", SessionKeyRemove(key)).code == "session_unknown"
    assert world.do("ben", SessionKeyAdd(key, 7, Height(900), Amount(10**12))).code == "session_taken"
    held = world.view.get(SESSION_KEYS, key)
    assert held is not None
    assert held.owner == address_of("ann")
    assert held.valid_until < world.height
    assert world.do("ann", SessionKeyAdd(key, 1, Height(900), Amount(10**12))).ok


def test_keys_that_made_room_stay_their_owners() -> None:
    world = World()
    for number in range(32):
        world.send("ann", SessionKeyAdd(key_of(f"key{number}"), 7, Height(3), Amount(10**12)))
    world.block()
    world.blocks(3)
    assert world.do("ann", SessionKeyAdd(key_of("new"), 7, Height(900), Amount(10**12))).ok
    assert (
        world.do("ben", SessionKeyAdd(key_of("key0"), 7, Height(900), Amount(10**12))).code == "session_taken"
    )
    for number in range(31):
        world.send("ann", SessionKeyAdd(key_of(f"key{number}"), 7, Height(900), Amount(10**12)))
    assert {receipt.code for receipt in world.block().result.receipts} == {"ok"}
    assert (
        world.do("ann", SessionKeyAdd(key_of("more"), 7, Height(900), Amount(10**12))).code == "session_limit"
    )


def test_a_stolen_session_key_can_not_tip_the_accounts_money_away() -> None:
    """Its thief may lead a view: what a session key tips is bounded by what its transaction burns."""
    world = World()
    assert world.do("ann", SessionKeyAdd(key_of("key"), SCOPES_ALL, Height(1_000), Amount(10**12))).ok
    body = SubmissionCommit(CampaignId(1), Hash(bytes(32)), 1)
    made = world.order("ann", body, signer=key_of("key"), tip=Amount(1_000_000))
    fee = prepare(made).weight * world.params.base_fee_initial
    ctx = world.context(world.height + 1)

    def tipping(tip: int, signer: str) -> Prepared:
        return prepare(replace(made, tip=Amount(tip), signer=key_of(signer)))

    assert fee < 1_000_000
    assert check_payable(world.view, ctx, tipping(fee - 9, "key"))
    for tip in (fee + 9, 1_000_000 * OMNIT):
        with pytest.raises(Unpayable) as refusal:
            check_payable(world.view, ctx, tipping(tip, "key"))
        assert refusal.value.code == "session_tip"
    assert check_payable(world.view, ctx, tipping(1_000_000 * OMNIT, "ann"))


def test_a_campaigns_row_stays_small() -> None:
    """Whatever touches a campaign writes its row anew: thousands of rows of thirty kilobytes would fit one block."""
    names = tuple(Category("\U0001f600" * 60 + f"{place:04}", 10_000, 0) for place in range(64))
    for change in ({"instructions": "\U0001f600" * 4_000}, {"categories": names}):
        receipt = World().do("sponsor", CampaignOpen(replace(SPEC, **change), Amount(100 * OMNIT)))
        assert receipt.code == "campaign_spec"
        assert "put the instructions into a document" in receipt.reason
    plain = replace(SPEC, instructions="a" * 4_000)
    assert World().do("sponsor", CampaignOpen(plain, Amount(100 * OMNIT))).ok
