"""Gold in private campaigns, through real blocks: it tells on whoever read nothing, and on nobody who could not read it."""

from __future__ import annotations

from omnitensor.protocol.bodies import GoldReveal
from omnitensor.protocol.types import BatchId
from state.records_review import BatchPhase, ItemStatus, SeatState
from state.schema import GOLD_SETS, SEATS
from tests.ledger.test_review_gold import ALL, NONE, Gold
from tests.ledger.test_review_privacy import GRANT_BLOCKS, PRIVATE, grant_all, private, with_keys
from tests.ledger.test_review_second import play
from tests.ledger.world import BAD, GOOD, World, address_of


def drawn(world: World, answers: dict[str, int]) -> tuple[int, int, Gold]:
    """A batch with the one item `a0`, in a campaign that is bound to answers; its seats wait for keys."""
    with_keys(world)
    campaign = world.open(PRIVATE)
    gold = Gold(campaign, answers)
    assert world.do("sponsor", gold.commit).ok
    assert world.submit("ann", campaign, private("a0")).ok
    for _ in range(10):
        world.block()
        for number in world.open_batches():
            if world.batch(number).phase == BatchPhase.COMMIT:
                return campaign, number, gold
    raise AssertionError("no seats were drawn")


def reveal(world: World, number: int, gold: Gold) -> None:
    assert world.batch(number).phase == BatchPhase.GOLD
    (item,) = world.batch(number).items
    assert world.do("sponsor", GoldReveal(BatchId(number), (gold.opening("a0", item),))).ok


def test_private_gold_convicts_whoever_accepts_everything() -> None:
    world = World(validators=9)
    campaign, number, gold = drawn(world, {"a0": NONE})
    grant_all(world, number)
    lazy, *careful = world.seats(number, SeatState.SEATED)
    play(world, number, {**dict.fromkeys(careful, BAD), lazy: GOOD})
    reveal(world, number, gold)
    seats = {name: world.view.get(SEATS, number, 1, address_of(name)) for name in (lazy, *careful)}
    wrong = seats[lazy]
    assert wrong is not None
    assert (wrong.gold_bps, wrong.paid, wrong.penalty > 0) == (-10_000, 0, True)
    for name in careful:
        right = seats[name]
        assert right is not None
        assert (right.gold_bps, right.paid > 0, right.penalty) == (10_000, True, 0)
    assert world.campaign(campaign).gold_rates.totals == (1, 1, 1)


def test_gold_that_a_seat_was_given_no_key_of_convicts_nobody_and_keeps_its_bond() -> None:
    """Whoever hands gold in can make nobody guess: a piece that could not be read holds nobody to its answer."""
    world = World(validators=9)
    campaign, number, gold = drawn(world, {"a0": ALL})
    blind, *_ = world.seats(number, SeatState.SEATED)
    (item,) = world.batch(number).items
    grant_all(world, number, but=((item, blind),))
    world.blocks(GRANT_BLOCKS)
    play(world, number, BAD)  # four fifths and more contradict what none need have read
    reveal(world, number, gold)
    assert world.item(item).status == ItemStatus.REJECTED
    assert "unavailable" in world.item(item).reasons
    row = world.view.get(GOLD_SETS, campaign)
    assert row is not None
    assert (row.returned, row.taken) == (1, 0)
    assert not world.batch(number).gold[0].voided
    for _, seat in world.view.scan(SEATS):
        assert (seat.gold_bps, seat.penalty) == (0, 0)
    assert world.campaign(campaign).gold_rates.totals == (0, 0, 0)
