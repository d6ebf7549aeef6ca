"""Gold through real blocks: what binds a sponsor, what gold does to reviewers, and every way to lie about it."""

from __future__ import annotations

import pytest

from omnitensor.protocol import merkle
from omnitensor.protocol.bodies import (
    CampaignClose,
    EvidenceSubmit,
    GoldCommit,
    GoldOpening,
    GoldRetire,
    GoldReveal,
    GoldSpare,
)
from omnitensor.protocol.reviews import ItemScore, gold_leaf
from omnitensor.protocol.types import Amount, BatchId, CampaignId, Hash, ItemId
from state.ledger.accounts import Pot, pot
from state.records_review import BatchOutcome, BatchPhase, CampaignStatus, ItemStatus, SeatState
from state.schema import GOLD_SETS, SEATS
from tests.ledger.convicts import Court
from tests.ledger.test_review_second import play
from tests.ledger.world import BAD, GOOD, OMNIT, SPEC, World, address_of, content_of, declaration, salt_of

BOND = 13 * OMNIT
"""Five seats of the highest tier come to 12.5."""
ALL, NONE = 7, 0


class Gold:
    """A sponsor's gold: texts and their answers."""

    def __init__(self, campaign: int, answers: dict[str, int], chain: str = "test-1") -> None:
        self.answers = answers
        self.salts = {text: salt_of("gold", text) for text in answers}
        self.leaves = [
            merkle.leaf_hash(gold_leaf(chain, campaign, content_of(text).chunk_root, bits, self.salts[text]))
            for text, bits in answers.items()
        ]
        self.commit = GoldCommit(
            CampaignId(campaign), Hash(merkle.root(self.leaves)), len(answers), Amount(BOND)
        )

    def path(self, text: str) -> tuple[int, tuple[Hash, ...]]:
        index = list(self.answers).index(text)
        return index, tuple(map(Hash, merkle.inclusion_proof(self.leaves, index)))

    def opening(self, text: str, item: int, bits: int | None = None) -> GoldOpening:
        index, path = self.path(text)
        given = self.answers[text] if bits is None else bits
        return GoldOpening(index, ItemId(item), given, self.salts[text], path)

    def spare(self, text: str) -> GoldSpare:
        index, path = self.path(text)
        return GoldSpare(index, content_of(text).chunk_root, self.answers[text], self.salts[text], path)


def asked(
    world: World, answers: dict[str, int], scores: ItemScore | dict[str, ItemScore] = GOOD
) -> tuple[int, int, Gold]:
    """A batch of three items whose reports are open, and which asks for gold."""
    campaign = world.open(SPEC)
    gold = Gold(campaign, answers)
    assert world.do("sponsor", gold.commit).ok
    world.submit("ann", campaign, *[declaration(f"a{n}") for n in range(3)])
    world.blocks(6)
    (number,) = world.open_batches()
    play(world, number, scores)
    assert world.batch(number).phase == BatchPhase.GOLD
    return campaign, number, gold


def finish(world: World, campaign: int) -> None:
    world.send("sponsor", CampaignClose(CampaignId(campaign)))
    world.blocks(60)
    assert world.campaign(campaign).status == CampaignStatus.CLOSED
    assert pot(world.view, Pot.ESCROW) == pot(world.view, Pot.BONDS) == 0


def test_gold_convicts_whoever_accepts_everything() -> None:
    """One looks, four do not: the gold item says who, though the many agree with each other."""
    world = World(validators=9)
    campaign = world.open(SPEC)
    gold = Gold(campaign, {"a0": NONE})
    assert world.do("sponsor", gold.commit).ok
    world.submit("ann", campaign, declaration("a0"))
    world.blocks(6)
    (number,) = world.open_batches()
    lazy, *careful = world.seats(number, SeatState.SEATED)
    play(world, number, {**dict.fromkeys(careful, BAD), lazy: GOOD})
    before = world.balance("sponsor")
    receipt = world.do("sponsor", GoldReveal(BatchId(number), (gold.opening("a0", 1),)))
    assert receipt.ok, receipt
    assert world.balance("sponsor") == before + BOND - receipt.fee - receipt.tip
    seats = {name: world.view.get(SEATS, number, 1, address_of(name)) for name in (lazy, *careful)}
    assert seats[lazy] is not None
    assert (seats[lazy].gold_bps, seats[lazy].peer_bps) == (-10_000, 0)
    assert seats[lazy].penalty > 0
    assert all(seats[name].gold_bps == 10_000 and seats[name].paid > 0 for name in careful)  # type: ignore[union-attr] # they sat
    assert world.campaign(campaign).gold_rates.totals == (1, 1, 1)
    finish(world, campaign)


def test_gold_is_judged_and_paid_as_any_item() -> None:
    world = World(validators=9)
    campaign, number, gold = asked(world, {"a0": ALL})
    assert world.do("sponsor", GoldReveal(BatchId(number), (gold.opening("a0", 1),))).ok
    assert {world.item(n).status for n in (1, 2, 3)} == {ItemStatus.ACCEPTED}
    world.blocks(6)
    assert world.item(1).paid == world.item(2).paid > 0
    finish(world, campaign)


def test_a_lie_about_gold_is_voided_and_costs_its_bond() -> None:
    """The sponsor says of a good item that it is bad, to take the reviewers' pay: they contradict it."""
    world = World(validators=9)
    campaign, number, gold = asked(world, {"a0": NONE})
    burned = pot(world.view, Pot.BURNED)
    assert world.do("sponsor", GoldReveal(BatchId(number), (gold.opening("a0", 1),))).ok
    assert pot(world.view, Pot.BURNED) >= burned + BOND
    assert world.batch(number).gold[0].voided
    assert [seat.gold_bps for _, seat in world.view.scan(SEATS)] == [0] * 5
    assert world.campaign(campaign).gold_rates.totals == (0, 0, 0)
    finish(world, campaign)


def test_two_reviewers_void_no_gold() -> None:
    world = World(validators=2)
    campaign, number, gold = asked(world, {"a0": NONE})
    assert world.do("sponsor", GoldReveal(BatchId(number), (gold.opening("a0", 1),))).ok
    assert not world.batch(number).gold[0].voided
    finish(world, campaign)


def test_withheld_gold_costs_its_bond_when_it_is_opened_and_when_it_is_not() -> None:
    """Gold that went the wrong way for the sponsor's friends is not simply forgotten."""
    for opened in (True, False):
        world = World(validators=9)
        campaign, number, gold = asked(world, {"a0": NONE, "unused": ALL})
        world.blocks(5)
        assert world.batch(number).phase != BatchPhase.GOLD, "the batch does not wait for ever"
        row = world.view.get(GOLD_SETS, campaign)
        assert row is not None
        assert (row.returned, row.taken) == (0, 0)
        if opened:
            before = world.balance("sponsor")
            receipt = world.do(
                "sponsor", GoldRetire(CampaignId(campaign), (gold.spare("a0"), gold.spare("unused")))
            )
            assert receipt.ok, receipt
            assert world.balance("sponsor") == before + BOND - receipt.fee - receipt.tip
        finish(world, campaign)
        row = world.view.get(GOLD_SETS, campaign)
        assert row is not None
        assert (row.returned, row.taken) == ((1, 1) if opened else (0, 2))


def test_gold_under_review_can_not_be_retired() -> None:
    world = World(validators=9)
    campaign = world.open(SPEC)
    gold = Gold(campaign, {"a0": NONE})
    world.do("sponsor", gold.commit)
    world.submit("ann", campaign, declaration("a0"))
    for blocks in (0, 3):
        world.blocks(blocks)
        assert (
            world.do("sponsor", GoldRetire(CampaignId(campaign), (gold.spare("a0"),))).code == "gold_in_use"
        )
    world.blocks(40)
    finish(world, campaign)


@pytest.mark.parametrize("said", ["before", "after", "never"])
def test_gold_whose_reviewers_are_all_removed_costs_its_sponsor_nothing(said: str) -> None:
    """Nobody is left to contradict it, and no verdict was held against it: its bond returns, said or not."""
    court = Court(4)
    campaign, number, gold = asked(court, {"a0": ALL, "unused": ALL})
    if said == "before":
        court.send("sponsor", GoldReveal(BatchId(number), (gold.opening("a0", 1),)))
    for index in range(4):
        court.send("ben", EvidenceSubmit(court.double_vote(index)))
    if said == "after":
        court.send("sponsor", GoldReveal(BatchId(number), (gold.opening("a0", 1),)))
    court.block()
    assert all(receipt.ok for receipt in court.receipts[-4:]), court.receipts[-5:]
    batch = court.batch(number)
    assert (batch.phase, batch.outcome) == (BatchPhase.DONE, BatchOutcome.NO_QUORUM), "nobody is waited for"
    assert court.item(1).status == ItemStatus.UNDECIDED
    row = court.view.get(GOLD_SETS, campaign)
    assert row is not None
    assert (row.returned, row.taken) == ((0, 0) if said == "never" else (1, 0))
    again = court.do("sponsor", GoldRetire(CampaignId(campaign), (gold.spare("a0"),)))
    assert again.code == ("ok" if said == "never" else "gold_used"), "what was said is known to everybody"
    assert court.do("sponsor", GoldRetire(CampaignId(campaign), (gold.spare("unused"),))).ok
    row = court.view.get(GOLD_SETS, campaign)
    assert row is not None
    assert (row.returned, row.taken) == (2, 0)
    finish(court, campaign)


def test_gold_that_is_committed_after_the_batch_does_not_count() -> None:
    world = World(validators=9)
    campaign = world.open(SPEC)
    world.submit("ann", campaign, declaration("a0"))
    world.blocks(4)
    assert world.batch(1).phase != BatchPhase.DONE
    gold = Gold(campaign, {"a0": NONE})
    assert world.do("sponsor", gold.commit).ok
    play(world, 1, GOOD)
    assert world.batch(1).phase == BatchPhase.DONE
    assert world.do("sponsor", GoldReveal(BatchId(1), (gold.opening("a0", 1),))).code == "gold_closed"
    finish(world, campaign)


@pytest.mark.parametrize("lie", ["bits", "item", "chain", "used", "twice", "thief", "batch"])
def test_gold_orders_that_are_refused(lie: str) -> None:
    world = World(validators=9)
    campaign, number, gold = asked(world, {"a0": ALL, "a1": ALL, "other": ALL})
    batch, sender = BatchId(number), "sponsor"
    openings: tuple[GoldOpening, ...] = (gold.opening("a0", 1),)
    if lie == "bits":
        openings, code = (gold.opening("a0", 1, NONE),), "gold_proof"
    elif lie == "item":
        openings, code = (gold.opening("a0", 2),), "gold_proof"
    elif lie == "chain":
        openings, code = (Gold(campaign, gold.answers, "other-1").opening("a0", 1),), "gold_proof"
    elif lie == "twice":
        openings, code = (*openings, *openings), "gold_used"
    elif lie == "thief":
        sender, code = "ben", "not_sponsor"
    elif lie == "batch":
        batch, code = BatchId(9), "batch_unknown"
    else:
        assert world.do("sponsor", GoldRetire(CampaignId(campaign), (gold.spare("other"),))).ok
        again = GoldRetire(CampaignId(campaign), (gold.spare("other"),))
        assert world.do("sponsor", again).code == "gold_used"
        openings, code = (gold.opening("a0", 9),), "gold_item"
    assert world.do(sender, GoldReveal(batch, openings)).code == code
    assert world.do("sponsor", GoldReveal(BatchId(number), ())).ok, "none is an answer"
    finish(world, campaign)


def test_a_campaign_commits_to_gold_once_and_with_a_bond() -> None:
    world = World(validators=9)
    campaign = world.open(SPEC)
    gold = Gold(campaign, {"a0": ALL})
    cheap = GoldCommit(gold.commit.campaign, gold.commit.root, 1, Amount(BOND - OMNIT))
    assert world.do("sponsor", cheap).code == "gold_bond"
    assert world.do("ann", gold.commit).code == "not_sponsor"
    assert world.do("sponsor", gold.commit).ok
    assert world.do("sponsor", gold.commit).code == "gold_exists"
    finish(world, campaign)


def test_a_sponsor_that_colludes_with_reviewers_gains_nothing() -> None:
    """Two of five reject everything with the sponsor's gold behind them: the three contradict neither enough nor in vain.

    The lie stands (three of five are less than four fifths), and yet the item's end is the committee's, and a second round's.
    """
    world = World(validators=20)
    campaign = world.open(SPEC)
    gold = Gold(campaign, {"a0": NONE})
    assert world.do("sponsor", gold.commit).ok
    world.submit("ann", campaign, declaration("a0"))
    world.blocks(6)
    (number,) = world.open_batches()
    first, second, *_ = world.seats(number, SeatState.SEATED)
    play(world, number, {first: BAD, second: BAD})
    assert world.do("sponsor", GoldReveal(BatchId(number), (gold.opening("a0", 1),))).ok
    assert world.item(1).status == ItemStatus.ESCALATED
    play(world, world.item(1).second, GOOD)
    assert world.item(1).status == ItemStatus.ACCEPTED
    finish(world, campaign)
