"""Attacks on submissions and reviews, each tried through real blocks."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import ReportCommit, ReportReveal, SubmissionCommit, SubmissionReveal
from omnitensor.protocol.reviews import encode_report, report_commitment
from omnitensor.protocol.types import BatchId, CampaignId, Hash
from state.ledger.errors import Unpayable
from state.ledger.prepared import prepare
from state.ledger.transition import Execution
from state.records_review import BatchPhase, ItemStatus, SeatState
from tests.ledger.test_review_flow import everyone_commits, started
from tests.ledger.world import GOOD, OMNIT, World, address_of, content_of, declaration, review, salt_of


def test_a_content_hash_seen_in_a_reveal_can_not_be_overtaken() -> None:
    """Whoever sees the reveal commits later, and the earlier commitment owns the content, whoever reveals first."""
    world = World()
    campaign = world.open()
    mine = (declaration("treasure"),)
    world.commit("ann", campaign, mine, salt_of("ann"))
    world.block()
    # The thief learned the content another way, commits, and is quicker with its reveal.
    world.commit("ben", campaign, mine, salt_of("ben"))
    world.block()
    world.reveal("ben", campaign, mine, salt_of("ben"))
    world.block()
    assert world.item(1).status == ItemStatus.QUEUED
    world.reveal("ann", campaign, mine, salt_of("ann"))
    world.block()
    assert (world.item(1).status, world.item(1).reasons) == (ItemStatus.REJECTED, ("duplicate",))
    assert world.item(2).status == ItemStatus.QUEUED
    review(world)
    assert world.item(2).status == ItemStatus.PAID
    assert world.item(2).contributor == address_of("ann")
    assert world.item(1).paid == 0


def test_a_thief_already_in_review_is_rejected_at_the_verdict() -> None:
    world = World()
    campaign = world.open()
    mine = (declaration("treasure"),)
    world.commit("ann", campaign, mine, salt_of("ann"))
    world.block()
    world.commit("ben", campaign, mine, salt_of("ben"))
    world.block()
    world.reveal("ben", campaign, mine, salt_of("ben"))
    world.blocks(4)
    assert world.item(1).status == ItemStatus.IN_REVIEW
    world.reveal("ann", campaign, mine, salt_of("ann"))
    world.block()
    review(world)
    assert (world.item(1).status, world.item(1).reasons) == (ItemStatus.REJECTED, ("duplicate",))
    assert world.item(2).status == ItemStatus.PAID


def test_a_later_commitment_to_known_content_is_a_duplicate_at_a_cost() -> None:
    world = World()
    campaign = world.open()
    assert world.submit("ann", campaign, declaration("one")).ok
    before = world.balance("ben")
    assert world.submit("ben", campaign, declaration("one")).ok
    item = world.item(2)
    assert (item.status, item.reasons) == (ItemStatus.REJECTED, ("duplicate",))
    fees = sum(receipt.fee + receipt.tip for receipt in world.receipts[-2:])
    assert world.balance("ben") == before - fees - OMNIT * 2_500 // 10_000


def test_either_hash_alone_betrays_a_duplicate() -> None:
    world = World()
    campaign = world.open()
    original = declaration("one")
    world.submit("ann", campaign, original)
    liar = content_of("other")
    same_digest = replace(original, content=replace(liar, sha256=original.content.sha256))
    same_root = replace(original, content=replace(liar, chunk_root=original.content.chunk_root))
    world.submit("ben", campaign, same_digest, same_root)
    assert [world.item(n).reasons for n in (2, 3)] == [("duplicate",), ("duplicate",)]


def test_duplicates_within_one_bundle_pay_for_themselves() -> None:
    world = World()
    campaign = world.open()
    world.submit("ann", campaign, declaration("one"), declaration("one"), declaration("two"))
    assert [world.item(n).status for n in (1, 2, 3)] == [
        ItemStatus.QUEUED,
        ItemStatus.REJECTED,
        ItemStatus.QUEUED,
    ]
    assert world.campaign(campaign).counts.queued == 2


def test_the_same_content_may_serve_two_campaigns() -> None:
    world = World()
    first, second = world.open(), world.open()
    world.submit("ann", first, declaration("one"))
    world.submit("ann", second, declaration("one"))
    assert world.item(2).status == ItemStatus.QUEUED


def test_a_copied_submission_commitment_opens_nothing_and_blocks_nobody() -> None:
    world = World()
    campaign = world.open()
    declared, salt = (declaration("one"),), salt_of("ann")
    commitment = world.commitment("ann", campaign, declared, salt)
    world.do("ben", SubmissionCommit(CampaignId(campaign), commitment, 1))
    world.commit("ann", campaign, declared, salt)
    assert world.block().result.receipts[0].ok, "the copy does not stand in the way"
    theft = world.do("ben", SubmissionReveal(CampaignId(campaign), commitment, salt, declared))
    assert theft.code == "commitment"
    world.reveal("ann", campaign, declared, salt)
    assert world.block().result.receipts[0].ok


def test_a_submission_is_revealed_by_its_own_account_alone() -> None:
    world = World()
    campaign = world.open()
    declared, salt = (declaration("one"),), salt_of("ann")
    commitment = world.commit("ann", campaign, declared, salt)
    world.block()
    theft = world.do("ben", SubmissionReveal(CampaignId(campaign), commitment, salt, declared))
    assert theft.code == "submission_unknown"


def test_a_commitment_of_another_campaign_or_chain_opens_nothing() -> None:
    world, elsewhere = World(), World(chain_id="other-1")
    first, second = world.open(), world.open()
    declared, salt = (declaration("one"),), salt_of("ann")
    of_first = world.commitment("ann", first, declared, salt)
    of_other_chain = elsewhere.commitment("ann", second, declared, salt)
    for commitment in (of_first, of_other_chain):
        world.do("ann", SubmissionCommit(CampaignId(second), commitment, 1))
        receipt = world.do("ann", SubmissionReveal(CampaignId(second), commitment, salt, declared))
        assert receipt.code == "commitment"


def test_a_transaction_of_another_chain_can_not_stand_in_a_block() -> None:
    world = World()
    campaign = world.open()
    order = world.order("ann", SubmissionCommit(CampaignId(campaign), Hash(bytes(32)), 1), chain_id="other-1")
    execution = Execution(world.view, world.context(world.height + 1))
    with pytest.raises(Unpayable) as refusal:
        execution.apply(prepare(order))
    assert refusal.value.code == "chain_id"


def test_a_commitment_can_not_be_revealed_in_its_own_block() -> None:
    """Otherwise whoever orders the block could put its own commitment between the two."""
    world = World()
    campaign = world.open()
    declared, salt = (declaration("one"),), salt_of("ann")
    world.commit("ann", campaign, declared, salt)
    world.reveal("ann", campaign, declared, salt)
    assert [receipt.code for receipt in world.block().result.receipts] == ["ok", "reveal_early"]


def test_a_copied_report_commitment_opens_nothing() -> None:
    """The commitment binds its reviewer: a copy is a report that can't be revealed, and costs the whole bond."""
    world = World()
    _, number = started(world)
    victim, thief, *others = world.seats(number, SeatState.SEATED)
    report, salt = encode_report((GOOD,) * 3), salt_of("secret")
    made = report_commitment(world.chain_id, BatchId(number), 1, address_of(victim), salt, report)
    world.send(victim, ReportCommit(BatchId(number), 1, made, b""))
    world.send(thief, ReportCommit(BatchId(number), 1, made, b""))
    for name in others:
        world.send_commit(name, number, (GOOD,) * 3)
    world.block()
    assert world.batch(number).phase == BatchPhase.REVEAL
    assert world.do(victim, ReportReveal(BatchId(number), 1, salt, report)).ok
    assert world.do(thief, ReportReveal(BatchId(number), 1, salt, report)).code == "commitment"
    for name in others:
        world.send_reveal(name, number, (GOOD,) * 3)
    world.blocks(5)
    assert world.seats(number, SeatState.WITHHELD) == [thief]
    assert [one["amount"] for one in world.said("penalty")] == [2 * 3 * OMNIT]


def test_a_report_is_revealed_by_its_own_seat_alone() -> None:
    world = World()
    _, number = started(world)
    everyone_commits(world, number)
    owner, other, *_ = world.seats(number, SeatState.COMMITTED)
    report = encode_report((GOOD,) * 3)
    stolen = ReportReveal(BatchId(number), 1, salt_of(owner, number), report)
    assert world.do(other, stolen).code == "commitment"
    assert world.do("ann", stolen).code == "no_seat"
    assert world.do(owner, stolen).ok
    assert world.do(owner, stolen).code == "seat_state"


def test_a_report_of_another_batch_or_chain_opens_nothing() -> None:
    world = World(validators=5)
    campaign, number = started(world)
    name, *others = world.seats(number, SeatState.SEATED)
    report, salt = encode_report((GOOD,) * 3), salt_of("secret")
    of_other_batch = report_commitment(world.chain_id, BatchId(number + 1), 1, address_of(name), salt, report)
    of_other_chain = report_commitment("other-1", BatchId(number), 1, address_of(others[0]), salt, report)
    world.send(name, ReportCommit(BatchId(number), 1, of_other_batch, b""))
    world.send(others[0], ReportCommit(BatchId(number), 1, of_other_chain, b""))
    for other in others[1:]:
        world.send_commit(other, number, (GOOD,) * 3)
    world.block()
    for cheat in (name, others[0]):
        assert world.do(cheat, ReportReveal(BatchId(number), 1, salt, report)).code == "commitment"
    assert world.campaign(campaign).counts.in_review == 3


def test_nothing_is_revealed_before_everybody_committed() -> None:
    world = World()
    _, number = started(world)
    name, *_ = world.seats(number, SeatState.SEATED)
    world.send_commit(name, number, (GOOD,) * 3)
    world.block()
    world.send_reveal(name, number, (GOOD,) * 3)
    assert world.block().result.receipts[0].code == "reveal_closed"


def test_nothing_is_committed_once_reports_are_shown() -> None:
    world = World()
    _, number = started(world)
    late, *others = world.seats(number, SeatState.SEATED)
    for name in others:
        world.send_commit(name, number, (GOOD,) * 3)
    world.blocks(9)
    world.send_commit(late, number, (GOOD,) * 3)
    assert world.block().result.receipts[0].code == "commit_closed"


def test_the_sponsor_never_reviews_its_own_campaign_and_contributors_not_their_own_batch() -> None:
    for seed in range(5):
        world = World(validators=7, people=("ann", "ben", f"someone{seed}"))
        campaign = world.open(sponsor="val0")
        world.submit("val1", campaign, declaration(f"x{seed}"), declaration(f"y{seed}"))
        world.blocks(6)
        assert set(world.seats(1, SeatState.SEATED)) == {"val2", "val3", "val4", "val5", "val6"}


def test_an_unrevealed_commitment_does_not_hold_content_back() -> None:
    """Committing to somebody else's content and never revealing blocks nobody."""
    world = World()
    campaign = world.open()
    world.commit("ben", campaign, (declaration("one"),), salt_of("ben"))
    world.block()
    world.submit("ann", campaign, declaration("one"))
    review(world)
    assert world.item(1).status == ItemStatus.PAID


def test_a_flood_of_open_submissions_has_an_end() -> None:
    world = World(check_every_block=False)
    campaign = world.open()
    for n in range(65):
        world.commit("ann", campaign, (declaration(f"{n}"),), salt_of(n))
    codes = [receipt.code for receipt in world.block().result.receipts]
    assert codes == ["ok"] * 64 + ["submissions_open"]
