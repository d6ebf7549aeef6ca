"""A private campaign played on purpose, block by block against the model: what random histories seldom come to."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from msgspec.structs import replace

from omnitensor.protocol import bodies
from omnitensor.protocol.bodies import ItemDeclaration, KeyGrant, PrivateItem
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.sealing import salted_commitment
from omnitensor.protocol.types import NANO, Address, Amount, BatchId, CampaignId, Hash, Height, ItemId
from tests.model.makers import SPEC
from tests.model.scene import Scene, address_of
from tests.model.seats import report_commitment
from tests.model.submissions import ACCEPTED, REJECTED, submission_commitment

PLAIN = sha256(b"the same words").digest()
GOOD = bytes([90, 85, 80, 0])


def salt_of(name: str) -> Hash:
    return Hash(sha256(b"salt" + name.encode()).digest())


def declared(name: str) -> ItemDeclaration:
    digest = sha256(name.encode()).digest()
    sealed = PrivateItem(salted_commitment(salt_of(name), PLAIN, 77), bytes(80), bytes(60))
    return ItemDeclaration(ContentId(Hash(digest), 100, Hash(digest[::-1])), "text/plain", 1, 0, sealed)


def must(scene: Scene, who: str, body: Any) -> None:
    assert scene.order(address_of(who), body) == "ok"


def handed_in(scene: Scene, *names: str) -> None:
    """A private campaign of ann's, and an item of each of these, of the same plain bytes."""
    for validator in scene.VALIDATORS:
        must(scene, validator, bodies.ReadingKeySet(sha256(b"reading" + validator.encode()).digest()))
    spec = replace(SPEC, closes_at=Height(300), reading_key=sha256(b"sponsor").digest(), first_seats=3)
    must(scene, "ann", bodies.CampaignOpen(spec, Amount(900 * NANO)))
    reveals = []
    for name in names:
        items = (declared(name),)
        made = Hash(submission_commitment(scene.model.chain_id, 1, items, address_of(name), Hash(bytes(32))))
        must(scene, name, bodies.SubmissionCommit(CampaignId(1), made, 1))
        reveals.append((name, bodies.SubmissionReveal(CampaignId(1), made, Hash(bytes(32)), items)))
    scene.end_block()
    for name, body in reveals:
        must(scene, name, body)
    while not any(scene.model.batches[number].phase == 1 for number in scene.model.open_batches):
        scene.end_block()


def judged(scene: Scene, *, but: tuple[int, int] = (0, 0)) -> int:
    """Every seat is given every key by the sponsor but one (item and place of the seat), and all report; the batch."""
    (number,) = scene.model.open_batches
    batch = scene.model.batches[number]
    grants = [
        KeyGrant(ItemId(item), Address(seat), bytes(80))
        for place, seat in enumerate(batch.seats)
        for item in batch.items
        if (item, place) != but
    ]
    must(scene, "ann", bodies.KeysGrant(BatchId(number), tuple(grants)))
    report, salt = GOOD * len(batch.items), Hash(bytes(32))
    for _ in range(4):
        scene.end_block()
    for seat in batch.seats:
        made = Hash(report_commitment(scene.model.chain_id, number, 1, seat, salt, report))
        assert scene.order(Address(seat), bodies.ReportCommit(BatchId(number), 1, made, b"")) == "ok"
    scene.end_block()
    for seat in batch.seats:
        assert scene.order(Address(seat), bodies.ReportReveal(BatchId(number), 1, salt, report)) == "ok"
    scene.end_block()
    return number


@pytest.fixture
def scene() -> Any:
    made = Scene()
    yield made
    made.stop()


def test_an_accepted_item_is_shown_to_repeat_another(scene: Scene) -> None:
    handed_in(scene, "ben", "cyd")
    judged(scene)
    assert [scene.model.items[number].status for number in (1, 2)] == [ACCEPTED] * 2
    body = bodies.PlainDuplicate(ItemId(2), ItemId(1), Hash(PLAIN), 77, salt_of("cyd"), salt_of("ben"))
    must(scene, "ann", body)
    assert scene.model.items[2].status == REJECTED
    must(scene, "ann", bodies.CampaignClose(CampaignId(1)))
    for _ in range(12):
        scene.end_block()
    assert scene.model.campaigns[1].available == 0
    scene.close()


def test_an_item_that_one_seat_could_not_read_is_rejected(scene: Scene) -> None:
    handed_in(scene, "ben", "cyd", "dan")
    judged(scene, but=(2, 1))
    statuses = {number: scene.model.items[number].status for number in (1, 2, 3)}
    assert statuses == {1: ACCEPTED, 2: REJECTED, 3: ACCEPTED}
    must(scene, "cyd", bodies.ItemAppeal(ItemId(2)))
    for _ in range(40):
        scene.end_block()
    assert not scene.model.grants
    scene.close()
