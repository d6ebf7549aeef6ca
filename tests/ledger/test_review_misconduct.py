"""Reports opened before their time, reports signed twice, and references of duplicates, through real blocks."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import (
    SCOPES_ALL,
    DuplicateOf,
    ReportCommit,
    ReportContradiction,
    ReportLeak,
    ReportReveal,
    Scope,
    SessionKeyAdd,
    SessionKeyRemove,
)
from omnitensor.protocol.codec import encode
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.reviews import Flag, encode_report
from omnitensor.protocol.transactions import Transaction, signed, unsigned
from omnitensor.protocol.types import Amount, BatchId, Hash, Height, ItemId
from state.ledger import sessions
from state.ledger.accounts import Pot, pot
from state.records import Account
from state.records_review import BatchPhase, ItemStatus, SeatState
from state.schema import (
    ACCOUNTS,
    BATCHES,
    OPEN_SEATS,
    REVIEWERS,
    SEATS,
    SESSION_KEYS_BY_OWNER,
    VALIDATORS,
)
from tests.ledger.test_review_flow import started
from tests.ledger.test_review_second import finish
from tests.ledger.world import (
    CHAIN,
    GOOD,
    OMNIT,
    SPEC,
    World,
    address_of,
    declaration,
    review,
    salt_of,
)

BOND = 2 * 3 * OMNIT
REPORT = encode_report((GOOD,) * 3)


def leak_of(name: str, number: int, salt: Hash | None = None) -> ReportLeak:
    return ReportLeak(BatchId(number), 1, address_of(name), salt or salt_of(name, number), REPORT)


def test_a_report_opened_by_another_costs_its_bond_and_pays_the_finder() -> None:
    world = World(validators=9)
    campaign, number = started(world)
    loose, *others = world.seats(number, SeatState.SEATED)
    world.send_commit(loose, number, (GOOD,) * 3)
    world.block()
    before, burned = world.balance("ben"), pot(world.view, Pot.BURNED)
    receipt = world.do("ben", leak_of(loose, number))
    assert receipt.ok, receipt
    assert world.balance("ben") == before + BOND // 2 - receipt.fee - receipt.tip
    assert pot(world.view, Pot.BURNED) == burned + BOND // 2 + receipt.fee
    row = world.view.get(VALIDATORS, address_of(loose))
    assert row is not None
    assert (row.stake, row.held) == (world.stake - BOND, 0)
    assert world.do("cyd", leak_of(loose, number)).code == "leak_late", "once"
    for name in others:
        world.send_commit(name, number, (GOOD,) * 3)
    world.blocks(2)
    assert world.seats(number, SeatState.LEAKED) == [loose]
    review(world)
    assert world.item(1).status == ItemStatus.PAID, "the verdict does without it"
    finish(world, campaign)


def test_a_report_can_not_leak_by_its_author_falsely_or_late() -> None:
    world = World(validators=9)
    _, number = started(world)
    name, *others = world.seats(number, SeatState.SEATED)
    assert world.do("ben", leak_of(name, number)).code == "leak_late", "nothing is committed yet"
    world.send_commit(name, number, (GOOD,) * 3)
    world.block()
    assert world.do(name, leak_of(name, number)).code == "leak_own"
    assert world.do("ben", leak_of(name, number, salt_of("wrong"))).code == "commitment"
    assert world.do("ben", leak_of("ann", number)).code == "no_seat"
    for other in others:
        world.send_commit(other, number, (GOOD,) * 3)
    world.block()
    assert world.batch(number).phase == BatchPhase.REVEAL
    assert world.do("ben", leak_of(name, number)).code == "leak_late"


# -- contradictions


class Signer:
    """A validator with a key that signs: it takes the row of another one."""

    def __init__(self, world: World) -> None:
        self.key = SigningKey(b"\7" * 32)
        self.address = self.key.address
        row = world.view.get(VALIDATORS, address_of("val0"))
        assert row is not None
        world.view.delete(VALIDATORS, address_of("val0"))
        world.view.put(VALIDATORS, row, self.address)

    def commit(self, number: int, text: str, key: SigningKey | None = None, chain: str = CHAIN) -> bytes:
        body = ReportCommit(BatchId(number), 1, salt_of(text), b"sealed")
        return encode(self.sign(body, key or self.key, chain))

    def sign(self, body: object, key: SigningKey, chain: str) -> Transaction:
        made = unsigned(
            chain_id=chain,
            sender=self.address,
            nonce=0,
            valid_until=Height(1_000),
            max_fee=Amount(0),
            tip=Amount(0),
            body=body,  # type: ignore[arg-type] # a body
            signer=key.public,
        )
        return signed(made, key.sign(made.id))


def drawn() -> tuple[World, Signer, int, int]:
    world = World(validators=5)
    signer = Signer(world)
    campaign, number = started(world)
    assert signer.address in world.batch(number).seats
    return world, signer, campaign, number


def test_two_reports_signed_for_one_seat_cost_its_bond_and_jail() -> None:
    world, signer, campaign, number = drawn()
    body = ReportContradiction(signer.commit(number, "one"), signer.commit(number, "other"))
    receipt = world.do("ben", body)
    assert receipt.ok, receipt
    row = world.view.get(VALIDATORS, signer.address)
    seat = world.view.get(SEATS, number, 1, signer.address)
    assert row is not None
    assert seat is not None
    assert (row.stake, row.held, row.jailed) == (world.stake - BOND, 0, True)
    assert (seat.state, seat.penalty) == (SeatState.CONTRADICTED, BOND)
    assert world.campaign(campaign).penalties == BOND // 2
    assert world.do("ben", body).code == "contradiction", "once"


def test_a_session_key_contradicts_for_its_owner_alone() -> None:
    world, signer, _, number = drawn()
    session = SigningKey(b"\x08" * 32)
    body = ReportContradiction(signer.commit(number, "one"), signer.commit(number, "two", session))
    assert world.do("ben", body).code == "contradiction"
    assert world.do("cyd", SessionKeyAdd(session.public, 1, Height(500), Amount(10**12))).ok
    assert world.do("ben", body).code == "contradiction", "a key of somebody else's"


@pytest.mark.parametrize("ended", ["scope", "removed", "expired", "made room"])
def test_a_session_key_that_could_not_commit_the_report_jails_nobody(ended: str) -> None:
    """Else whoever has a key that uploads, or one that was taken back long ago, takes the bond of each seat that follows."""
    world = World(validators=5)
    signer, key = Signer(world), SigningKey(b"\x08" * 32)
    world.view.put(ACCOUNTS, Account(Amount(0), 0), signer.address)
    until = 3 if ended in ("expired", "made room") else 500
    scopes = Scope.UPLOAD | Scope.WORK | Scope.REPORT if ended == "scope" else SCOPES_ALL
    sessions.add(
        world.view,
        world.context(1),
        signer.address,
        SessionKeyAdd(key.public, scopes, Height(until), Amount(1)),
    )
    if ended == "removed":
        sessions.remove(world.view, world.context(1), signer.address, SessionKeyRemove(key.public))
    if ended == "made room":
        world.view.delete(SESSION_KEYS_BY_OWNER, signer.address, key.public)
    _, number = started(world)
    assert world.height > 3
    assert signer.address in world.batch(number).seats
    body = ReportContradiction(signer.commit(number, "one", key), signer.commit(number, "other", key))
    receipt = world.do("ben", body)
    assert receipt.code == "contradiction"
    assert "could not" in receipt.reason
    row = world.view.get(VALIDATORS, signer.address)
    assert row is not None
    assert (row.stake, row.jailed) == (world.stake, False)


@pytest.mark.parametrize("ended", ["not", "removed", "removed twice"])
def test_a_session_key_that_could_commit_the_report_contradicts_it(ended: str) -> None:
    """Also where it was removed after the seat was drawn: nobody gets away with two reports by taking back the key."""
    world, signer, _, number = drawn()
    key = SigningKey(b"\x08" * 32)
    view, ctx = world.view, world.context(world.height + 1)
    order = SessionKeyAdd(key.public, Scope.REVIEW, Height(500), Amount(1))
    sessions.add(view, ctx, signer.address, order)
    if ended != "not":
        sessions.remove(view, ctx, signer.address, SessionKeyRemove(key.public))
    if ended == "removed twice":
        sessions.add(view, ctx, signer.address, order)
        sessions.remove(view, ctx, signer.address, SessionKeyRemove(key.public))
    body = ReportContradiction(signer.commit(number, "one"), signer.commit(number, "two", key))
    world.block()
    assert world.do("ben", body).ok


@pytest.mark.parametrize("lie", ["same", "seat", "chain", "forged", "bytes", "kind"])
def test_what_is_no_contradiction(lie: str) -> None:
    world, signer, _, number = drawn()
    first, second = signer.commit(number, "one"), signer.commit(number, "other")
    if lie == "same":
        second = first
    elif lie == "seat":
        second = signer.commit(number + 1, "other")
    elif lie == "chain":
        second = signer.commit(number, "other", chain="other-1")
    elif lie == "forged":
        second = signer.commit(number, "other", SigningKey(b"\x09" * 32))
    elif lie == "bytes":
        second = second[:-1]
    else:
        second = encode(signer.sign(SessionKeyRemove(signer.key.public), signer.key, CHAIN))
    assert world.do("ben", ReportContradiction(first, second)).code == "contradiction"
    row = world.view.get(VALIDATORS, signer.address)
    assert row is not None
    assert not row.jailed


# -- references of duplicates


def test_a_duplicate_is_flagged_with_what_it_repeats() -> None:
    """Without a reference the flag counts for nothing; with one from everybody the item goes to a second round and falls."""
    for named in (False, True):
        world = World(validators=12)
        campaign = world.open(replace(SPEC, second_seats=5))
        world.submit("ann", campaign, declaration("original"))
        world.submit("ben", campaign, declaration("almost the original"))
        world.blocks(8)
        for number in world.open_batches():
            flagging(world, number, named=named)
        for number in world.open_batches():
            world.blocks(4)
            flagging(world, number, named=named)
        copy = world.item(2)
        assert copy.status == (ItemStatus.REJECTED if named else ItemStatus.ACCEPTED)
        assert copy.reasons == (("duplicate",) if named else ())
        assert world.item(1).status in (ItemStatus.ACCEPTED, ItemStatus.PAID)
        finish(world, campaign)


def flagging(world: World, number: int, *, named: bool) -> None:
    """A batch in which everybody calls item 2 a copy of item 1."""
    batch = world.batch(number)
    scores = tuple(replace(GOOD, flags=Flag.DUPLICATE) if item == 2 else GOOD for item in batch.items)
    for name in world.seats(number, SeatState.SEATED):
        world.send_commit(name, number, scores)
    world.block()
    found = (DuplicateOf(batch.items.index(ItemId(2)), ItemId(1)),) if named and 2 in batch.items else ()
    for name in world.seats(number, SeatState.COMMITTED):
        salt, report = salt_of(name, number), encode_report(scores)
        world.send(name, ReportReveal(BatchId(number), batch.round, salt, report, found))
    world.block()


@pytest.mark.parametrize(
    "references",
    [((0, 2),), ((1, 2),), ((1, 99),), ((9, 1),), ((2, 1), (1, 1)), ((1, 1), (1, 1)), ((0, 1),), ((2, 1),)],
)
def test_references_that_are_refused(references: tuple[tuple[int, int], ...]) -> None:
    """To a later one, to itself, to nothing, from nowhere, out of order, twice, from the first one, from one not flagged."""
    world = World(validators=9)
    _, number = started(world)
    items = world.batch(number).items
    flagged = replace(GOOD, flags=Flag.DUPLICATE)
    scores = tuple(GOOD if item == 3 and references == ((2, 1),) else flagged for item in items)
    seated = world.seats(number, SeatState.SEATED)
    for name in seated:
        world.send_commit(name, number, scores)
    world.block()
    place = {item - 1: items.index(item) for item in items}  # the beacon has mixed them
    name = seated[0]
    body = ReportReveal(
        BatchId(number),
        1,
        salt_of(name, number),
        encode_report(scores),
        tuple(DuplicateOf(place.get(at, at), ItemId(item)) for at, item in references),
    )
    assert world.do(name, body).code == "duplicate_reference"
    good = tuple(DuplicateOf(at, ItemId(1)) for at in sorted(place.values()) if items[at] == 2)
    assert world.do(name, replace(body, duplicates=good)).ok


def test_a_seat_that_was_paid_can_not_be_contradicted() -> None:
    """It stays revealed after its verdict, and holds nothing: freeing its bond once more would stop every node."""
    world, signer, _, number = drawn()
    first, second = signer.commit(number, "one"), signer.commit(number, "other")
    for address in world.batch(number).seats:
        seat = world.view.get(SEATS, number, 1, address)
        assert seat is not None
        world.view.put(SEATS, replace(seat, state=SeatState.REVEALED, bond=Amount(0)), number, 1, address)
        world.view.delete(OPEN_SEATS, address, number, 1)
        row = world.view.get(VALIDATORS, address)
        assert row is not None
        world.view.put(VALIDATORS, row.with_held(0), address)
        record = world.view.get(REVIEWERS, address)
        assert record is not None
        world.view.put(REVIEWERS, replace(record, seats_open=0), address)
    world.view.put(BATCHES, replace(world.batch(number), phase=BatchPhase.DONE), number)
    world.check_every_block = False
    receipt = world.do("ben", ReportContradiction(first, second))
    assert receipt.code == "contradiction"
