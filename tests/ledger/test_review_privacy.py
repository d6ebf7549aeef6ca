"""Private campaigns in the ledger: who may be drawn, who gives keys to whom up to when, and what a missing key costs."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from omnitensor.protocol import sealing
from omnitensor.protocol.blocks import Receipt
from omnitensor.protocol.bodies import (
    CampaignOpen,
    ItemAppeal,
    ItemDeclaration,
    KeyGrant,
    KeysGrant,
    PlainDuplicate,
    PrivateItem,
    ReadingKeySet,
    SeatDecline,
    SubmissionReveal,
)
from omnitensor.protocol.types import Amount, BatchId, Hash, ItemId
from state.ledger.accounts import Pot, pot
from state.records_review import BatchOutcome, BatchPhase, ItemStatus, SeatState
from state.schema import GRANTS, PRIVATE_ITEMS, READING_KEYS, REVIEWERS, SEALED_SEATS, SEATS_TO_GRANT
from tests.ledger.world import BAD, GOOD, OMNIT, QUICK, SPEC, World, address_of, declaration, review, salt_of

SPONSOR_KEY = sealing.ReadingKey(sha256(b"the sponsor's reading key").digest()).public
PRIVATE = replace(SPEC, reading_key=SPONSOR_KEY)
WRAPPED = bytes(range(80))
GRANT_BLOCKS = 4
"""Half of the time to commit."""


def reading_key(name: str) -> bytes:
    return sealing.ReadingKey(sha256(b"reading" + name.encode()).digest()).public


def private(text: str) -> ItemDeclaration:
    sealed = PrivateItem(salt_of("plain", text), WRAPPED, bytes(60))
    return replace(declaration(text), private=sealed)


def with_keys(world: World, names: tuple[str, ...] | None = None) -> None:
    for name in world.validator_names if names is None else names:
        world.send(name, ReadingKeySet(reading_key(name)))
    world.block()


def started(world: World, *, items: tuple[str, ...] = ("one", "two", "three")) -> int:
    """A batch of private items, each of ann but the last, ben's; its seats are drawn."""
    campaign = world.open(PRIVATE)
    assert world.submit("ann", campaign, *[private(text) for text in items[:-1]]).ok
    assert world.submit("ben", campaign, private(items[-1])).ok
    for _ in range(10):
        world.block()
        for number in world.open_batches():
            if world.batch(number).phase == BatchPhase.COMMIT:
                return number
    raise AssertionError("no seats were drawn")


def owner_of(world: World, item: int) -> str:
    return world.name_of(world.item(item).contributor)


def grant(world: World, number: int, who: str, pairs: list[tuple[int, str]]) -> Receipt:
    grants = tuple(KeyGrant(ItemId(item), address_of(name), WRAPPED) for item, name in pairs)
    return world.do(who, KeysGrant(BatchId(number), grants))


def grant_all(world: World, number: int, *, but: tuple[tuple[int, str], ...] = ()) -> None:
    """Contributors give every seat every key, except these."""
    batch, seats = world.batch(number), world.seats(number, SeatState.SEATED)
    for who in sorted({owner_of(world, item) for item in batch.items}):
        pairs = [
            (item, name)
            for item in batch.items
            for name in seats
            if owner_of(world, item) == who and (item, name) not in but
        ]
        if pairs:
            assert grant(world, number, who, pairs).ok


def test_private_items_are_reviewed_and_paid_once_every_seat_has_their_keys() -> None:
    world = World()
    with_keys(world)
    number = started(world)
    items = world.batch(number).items
    grant_all(world, number)
    review(world)
    assert [world.item(item).status for item in items] == [ItemStatus.PAID] * 3
    assert [world.view.get(PRIVATE_ITEMS, item) is not None for item in items] == [True] * 3
    for table in (SEALED_SEATS, GRANTS, SEATS_TO_GRANT):
        assert not any(True for _ in world.view.scan(table)), "what a done batch needed is gone"


def test_only_validators_with_a_reading_key_are_drawn() -> None:
    world = World(validators=7)
    with_keys(world, ("val1", "val4"))
    number = started(world)
    assert sorted(world.seats(number, SeatState.SEATED)) == ["val1", "val4"]


def test_without_any_reader_items_are_undecided_at_no_cost() -> None:
    world = World()
    campaign = world.open(PRIVATE)
    assert world.submit("ann", campaign, private("one")).ok
    bonds = pot(world.view, Pot.BONDS)
    review(world)
    assert world.item(1).status == ItemStatus.UNDECIDED
    assert world.item(1).reasons == ("no_reviewers",)
    assert pot(world.view, Pot.BONDS) == bonds - OMNIT


@pytest.mark.parametrize("lacking", [1, 2, 5])
def test_a_missing_key_rejects_the_item_at_its_contributors_cost(lacking: int) -> None:
    """However few seats lack it, and whatever they say: others' items, and all reviewers, are none the worse for it."""
    world = World()
    with_keys(world)
    number = started(world)
    first, *others = world.batch(number).items
    seats = world.seats(number, SeatState.SEATED)
    grant_all(world, number, but=tuple((first, name) for name in seats[:lacking]))
    world.blocks(GRANT_BLOCKS)
    review(world)
    item = world.item(first)
    assert item.status == ItemStatus.REJECTED
    assert "unavailable" in item.reasons
    assert item.escalation == 0, "it needs no second round"
    taken = [said for said in world.said("penalty") if said.get("item") == first]
    assert [said["amount"] for said in taken] == [OMNIT // 4]
    assert [world.item(other).status for other in others] == [ItemStatus.PAID] * 2
    for name in seats:
        row = world.view.get(REVIEWERS, address_of(name))
        assert row is not None
        assert row.reputation.total_weight == len(others) * 1000 * 4_000 // 10_000, (
            "judged by what all could read"
        )


def test_what_could_not_be_read_voids_no_agreement_of_others() -> None:
    """Whoever lacks a key may say anything: the item is unavailable, and nobody is held against it."""
    world = World()
    with_keys(world)
    number = started(world)
    first = world.batch(number).items[0]
    seats = world.seats(number, SeatState.SEATED)
    grant_all(world, number, but=((first, seats[0]),))
    world.blocks(GRANT_BLOCKS)
    review(world, {seats[0]: BAD})
    assert world.item(first).scores == (0, 0, 0)
    assert world.item(first).agreement_bps == 10_000


def test_a_seat_waits_for_its_keys_and_no_longer() -> None:
    world = World()
    with_keys(world)
    number = started(world)
    name = world.seats(number, SeatState.SEATED)[0]
    sealed = world.view.get(SEALED_SEATS, number, address_of(name))
    assert sealed is not None
    assert sealed.grant_until == world.height + GRANT_BLOCKS
    codes = []
    while world.height <= sealed.grant_until:
        world.send_commit(name, number, (GOOD,) * 3)
        codes.append(world.block().result.receipts[-1].code)
    assert codes == ["grants_open"] * GRANT_BLOCKS + ["ok"]


def test_a_seat_with_all_keys_commits_at_once() -> None:
    world = World()
    with_keys(world)
    number = started(world)
    grant_all(world, number)
    name = world.seats(number, SeatState.SEATED)[0]
    world.send_commit(name, number, (GOOD,) * 3)
    assert world.block().result.receipts[-1].ok


def test_a_key_that_comes_late_is_refused() -> None:
    world = World()
    with_keys(world)
    number = started(world)
    first = world.batch(number).items[0]
    name = world.seats(number, SeatState.SEATED)[0]
    world.blocks(GRANT_BLOCKS)
    assert grant(world, number, owner_of(world, first), [(first, name)]).code == "grant_late"


def test_the_sponsor_can_give_keys_that_the_contributor_did_not() -> None:
    world = World()
    with_keys(world)
    number = started(world)
    items = world.batch(number).items
    pairs = [(item, name) for item in items for name in world.seats(number, SeatState.SEATED)]
    assert grant(world, number, "sponsor", pairs).ok
    review(world)
    assert [world.item(item).status for item in items] == [ItemStatus.PAID] * 3


def test_a_sponsors_bad_key_keeps_nobodys_good_one_out() -> None:
    """A sponsor who wants items for nothing gives bad keys first: the contributor's stand beside them."""
    world = World()
    with_keys(world)
    number = started(world)
    first = world.batch(number).items[0]
    name = world.seats(number, SeatState.SEATED)[0]
    assert grant(world, number, "sponsor", [(first, name)]).ok
    good = bytes(reversed(WRAPPED))
    body = KeysGrant(BatchId(number), (KeyGrant(first, address_of(name), good),))
    assert world.do(owner_of(world, first), body).ok
    row = world.view.get(GRANTS, number, first, address_of(name))
    assert row is not None
    assert (row.contributor, row.sponsor) == (good, WRAPPED)
    sealed = world.view.get(SEALED_SEATS, number, address_of(name))
    assert sealed is not None
    assert sealed.granted == 1, "an item counts once"


def test_keys_are_given_once_by_whose_they_are_and_to_who_sits() -> None:
    world = World(params=replace(QUICK, report_commit_blocks=60))
    with_keys(world)
    number = started(world)
    items = world.batch(number).items
    first = items[0]
    seats = world.seats(number, SeatState.SEATED)
    idle = next(name for name in world.validator_names if name not in seats)
    owner, stranger = owner_of(world, first), "cyd"
    assert grant(world, number, stranger, [(first, seats[0])]).code == "grant_whose"
    others = next(item for item in items if owner_of(world, item) != owner)
    assert grant(world, number, owner, [(others, seats[0])]).code == "grant_whose"
    assert grant(world, number, owner, [(99, seats[0])]).code == "grant_whose"
    assert grant(world, number, owner, [(first, idle)]).code == "grant_seat"
    assert grant(world, number + 7, owner, [(first, seats[0])]).code == "batch_unknown"
    assert grant(world, number, owner, [(first, seats[0])]).ok
    assert grant(world, number, owner, [(first, seats[0])]).code == "grant_exists"
    twice = [(first, seats[1]), (first, seats[1])]
    assert grant(world, number, owner, twice).code == "grant_exists"
    assert world.view.get(GRANTS, number, first, address_of(seats[1])) is None, "refused whole"


def test_a_seat_keeps_the_reading_key_that_it_was_drawn_with() -> None:
    world = World()
    with_keys(world)
    number = started(world)
    name = world.seats(number, SeatState.SEATED)[0]
    assert world.do(name, ReadingKeySet(reading_key("another"))).ok
    sealed, row = (
        world.view.get(SEALED_SEATS, number, address_of(name)),
        world.view.get(READING_KEYS, address_of(name)),
    )
    assert sealed is not None
    assert row is not None
    assert (sealed.key, row.key) == (reading_key(name), reading_key("another"))


def test_a_declined_seats_replacement_is_asked_for_anew() -> None:
    world = World()
    with_keys(world)
    number = started(world)
    grant_all(world, number)
    gone = world.seats(number, SeatState.SEATED)[0]
    assert world.do(gone, SeatDecline(BatchId(number), 1)).ok
    drawn = [name for name in world.seats(number, SeatState.SEATED) if name != gone]
    new = [
        name
        for name in drawn
        if (row := world.view.get(SEALED_SEATS, number, address_of(name))) and row.granted == 0
    ]
    assert len(new) == 1
    for item in world.batch(number).items:
        assert grant(world, number, owner_of(world, item), [(item, new[0])]).ok
    assert grant(world, number, "ann", [(1, gone)]).code == "grant_seat"
    review(world)
    assert world.item(1).status == ItemStatus.PAID


def test_an_appeal_draws_seats_that_need_keys_too() -> None:
    """An accepted item whose second committee is given no keys is lost to its contributor."""
    world = World(validators=20)
    with_keys(world)
    number = started(world, items=("one", "two"))
    grant_all(world, number)
    while world.item(1).status != ItemStatus.ACCEPTED:
        review(world, blocks=1)
    assert world.do("cyd", ItemAppeal(ItemId(1))).ok
    second = world.item(1).second
    while world.batch(second).phase == BatchPhase.FROZEN:
        world.block()
    world.blocks(GRANT_BLOCKS)
    review(world)
    assert world.batch(second).outcome == BatchOutcome.VERDICT
    assert world.item(1).status == ItemStatus.REJECTED
    assert "unavailable" in world.item(1).reasons


def test_private_and_plain_items_are_not_mixed() -> None:
    world = World()
    hidden, shown = world.open(PRIVATE), world.open(SPEC)
    assert world.submit("ann", hidden, declaration("plain")).code == "item_private"
    assert world.submit("ann", shown, private("sealed")).code == "item_private"


def test_a_submission_commits_to_the_wraps_too() -> None:
    """Nobody can open another's commitment with keys that open nothing."""
    world = World()
    campaign = world.open(PRIVATE)
    salt, item = Hash(bytes(32)), private("one")
    commitment = world.commit("ann", campaign, (item,), salt)
    world.block()
    assert item.private is not None
    forged = replace(item, private=replace(item.private, sponsor=bytes(80)))
    receipt = world.do("ann", SubmissionReveal(campaign, commitment, salt, (forged,)))  # type: ignore[arg-type] # an id
    assert receipt.code == "commitment"


def test_a_reading_key_keeps_secrets_and_is_a_validators() -> None:
    world = World()
    assert world.do("val1", ReadingKeySet(bytes(32))).code == "reading_key"
    assert world.do("ann", ReadingKeySet(reading_key("ann"))).code == "not_validator"
    for key in (bytes(32), b"short", (1).to_bytes(32, "little")):
        body = CampaignOpen(replace(SPEC, reading_key=key), Amount(1_000 * OMNIT))
        assert world.do("sponsor", body).code == "campaign_spec"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 4))), st.sets(st.integers(0, 4), max_size=2))
def test_an_item_is_unavailable_exactly_where_somebody_who_reported_lacked_its_key(
    missing: set[tuple[int, int]], silent: set[int]
) -> None:
    """Against plain sets: which keys were withheld from whom, and who did not report at all."""
    world = World()
    with_keys(world)
    number = started(world)
    items = world.batch(number).items
    seats = world.seats(number, SeatState.SEATED)
    grant_all(world, number, but=tuple((items[place], seats[seat]) for place, seat in missing))
    world.blocks(GRANT_BLOCKS)
    for place, name in enumerate(seats):
        if place not in silent:
            world.send_commit(name, number, (GOOD,) * len(items))
    while world.batch(number).phase == BatchPhase.COMMIT:
        world.block()
    for place, name in enumerate(seats):
        if place not in silent:
            world.send_reveal(name, number, (GOOD,) * len(items))
    world.block()
    expected = {place for place, seat in missing if seat not in silent}
    found = {place for place, item in enumerate(items) if world.item(item).status == ItemStatus.REJECTED}
    assert found == expected
    assert {world.item(item).status for place, item in enumerate(items) if place not in expected} <= {
        ItemStatus.ACCEPTED
    }


# -- equal plain bytes

PLAIN = sha256(b"the same words").digest()


def same_plain(text: str) -> ItemDeclaration:
    """Encrypted differently each time, of the same plain bytes; its salt is made of the text."""
    sealed = PrivateItem(sealing.salted_commitment(salt_of("plain", text), PLAIN, 77), WRAPPED, bytes(60))
    return replace(declaration(text), private=sealed)


def duplicate(later: int, earlier: int, texts: tuple[str, str], **changes: object) -> PlainDuplicate:
    made = PlainDuplicate(
        ItemId(later),
        ItemId(earlier),
        Hash(PLAIN),
        77,
        salt_of("plain", texts[0]),
        salt_of("plain", texts[1]),
    )
    return replace(made, **changes)


def test_equal_plain_bytes_are_rejected_once_they_are_shown() -> None:
    """Queued at once, in review at the verdict, accepted with what was not paid yet: whoever can open both shows it."""
    world = World(params=replace(QUICK, batch_wait_blocks=8))
    with_keys(world)
    campaign = world.open(PRIVATE)
    assert world.submit("ann", campaign, same_plain("a")).ok
    assert world.submit("ben", campaign, same_plain("b")).ok
    assert world.submit("cyd", campaign, same_plain("c")).ok
    assert world.do("sponsor", duplicate(2, 1, ("b", "a"))).ok
    assert world.item(2).status == ItemStatus.REJECTED
    assert world.item(2).reasons == ("duplicate",)
    while not world.open_batches() or world.batch(world.open_batches()[0]).phase != BatchPhase.COMMIT:
        world.block()
    (number,) = world.open_batches()
    assert world.item(3).status == ItemStatus.IN_REVIEW
    assert world.do("dan", duplicate(3, 1, ("c", "a"))).ok
    assert world.do("dan", duplicate(3, 1, ("c", "a"))).code == "duplicate_late"
    grant_all(world, number)
    while world.item(1).status != ItemStatus.ACCEPTED:
        review(world, blocks=1)
    assert (world.item(3).status, world.item(3).reasons) == (ItemStatus.REJECTED, ("duplicate",))


def test_an_accepted_duplicate_loses_what_was_not_paid_yet() -> None:
    world = World()
    with_keys(world)
    campaign = world.open(PRIVATE)
    assert world.submit("ann", campaign, same_plain("a")).ok
    assert world.submit("ben", campaign, same_plain("b")).ok
    while not world.open_batches() or world.batch(world.open_batches()[0]).phase != BatchPhase.COMMIT:
        world.block()
    grant_all(world, world.open_batches()[0])
    while world.item(2).status != ItemStatus.ACCEPTED:
        review(world, blocks=1)
    paid = world.item(2).paid
    assert world.do("sponsor", duplicate(2, 1, ("b", "a"))).ok
    item = world.item(2)
    assert (item.status, item.open_verdict, item.paid, item.bond) == (ItemStatus.REJECTED, 0, paid, 0)
    assert item.reward_reserved == 0
    assert world.do("ben", ItemAppeal(ItemId(2))).code == "appeal_closed", "a duplicate's end is final"
    review(world)
    assert world.item(1).status == ItemStatus.PAID
    assert world.campaign(campaign).escrow.reward == 0
    assert world.do("sponsor", duplicate(1, 2, ("a", "b"))).code == "duplicate_order"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"digest": Hash(bytes(32))}, "duplicate_proof"),
        ({"size": 78}, "duplicate_proof"),
        ({"salt": Hash(bytes(32))}, "duplicate_proof"),
        ({"salt_of": Hash(bytes(32))}, "duplicate_proof"),
        ({"item": ItemId(1), "of": ItemId(2)}, "duplicate_order"),
        ({"of": ItemId(2)}, "duplicate_order"),
        ({"of": ItemId(9)}, "item_unknown"),
        ({"item": ItemId(3)}, "duplicate_proof"),
    ],
)
def test_what_is_not_so_can_not_be_shown(changes: dict[str, object], code: str) -> None:
    world = World()
    campaign = world.open(PRIVATE)
    assert world.submit("ann", campaign, same_plain("a")).ok
    assert world.submit("ben", campaign, same_plain("b")).ok
    assert world.submit("cyd", campaign, private("another text")).ok
    assert world.do("sponsor", duplicate(2, 1, ("b", "a"), **changes)).code == code
    assert world.item(2).status in (ItemStatus.QUEUED, ItemStatus.IN_REVIEW)
