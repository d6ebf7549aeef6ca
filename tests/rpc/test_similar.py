"""review.similar over a real socket: edited copies are found with what they repeat, and what is unknown is called so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from consensus.work.fingerprint import distance, fingerprint
from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import (
    CampaignOpen,
    ItemDeclaration,
    SubmissionCommit,
    SubmissionReveal,
    Transfer,
)
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.reviews import items_root, submission_commitment
from omnitensor.protocol.types import NANO, Amount, CampaignId, Hash
from state.ledger import transition
from state.ledger.context import BlockContext
from state.ledger.view import View
from state.records_work import ItemFingerprint, ItemScores
from state.schema import FINGERPRINTS, ITEM_SCORES
from tests.rpc.test_methods import CONTRIBUTOR, PARAMS, SPEC, SPONSOR
from tests.rpc.world import Client, TestBackend, store_content
from tests.sdk.samples import texts
from tests.state.chain_fixtures import CHAIN_ID, key, make_genesis

OTHER = key("a2")
PAGES = [text.encode() for text in texts().values() if len(text) > 2_000]
ORIGINAL, STRANGER = PAGES[0], PAGES[5]
EDITED = ORIGINAL.upper()[:-40] + b" and this is how it ends in the copy"
CAMPAIGN = CampaignId(1)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[TestBackend]:
    made = TestBackend(tmp_path, make_genesis(params=PARAMS))
    yield made
    made.close()


def begin(backend: TestBackend) -> None:
    backend.commit((SPONSOR, Transfer(OTHER.address, Amount(10 * NANO))))
    backend.commit((SPONSOR, CampaignOpen(SPEC, Amount(100 * NANO))))


class Bundle:
    """Items of one sender on their way."""

    def __init__(
        self, backend: TestBackend, sender: SigningKey, *contents: bytes, stored: bool = True
    ) -> None:
        self.backend, self.sender = backend, sender
        self.items = tuple(ItemDeclaration(content_id_of(data), "text/plain", 0, 0) for data in contents)
        self.salt = Hash(bytes([len(contents)]) * 32)
        self.commitment = submission_commitment(
            CHAIN_ID, CAMPAIGN, items_root(self.items), sender.address, self.salt
        )
        for data in contents if stored else ():
            store_content(backend.content, data, b"")

    def commit(self) -> None:
        self.backend.commit((self.sender, SubmissionCommit(CAMPAIGN, self.commitment, len(self.items))))

    def reveal(self) -> None:
        self.backend.commit((self.sender, SubmissionReveal(CAMPAIGN, self.commitment, self.salt, self.items)))


def prove(backend: TestBackend, prints: dict[int, bytes], scores: dict[int, bytes]) -> None:
    """A block at whose end work has proven these fingerprints and scores."""

    def step(view: View, ctx: BlockContext) -> tuple[Event, ...]:
        for item, bits in prints.items():
            view.put(FINGERPRINTS, ItemFingerprint(bits), CAMPAIGN, item)
        for item, said in scores.items():
            view.put(ITEM_SCORES, ItemScores(said), item)
        return ()

    with mock.patch.object(transition, "END_OF_BLOCK", (*transition.END_OF_BLOCK, step)):
        backend.commit()


async def found(client: Client, backend: TestBackend, batch: int = 1) -> Any:
    for _ in range(4):
        backend.commit()
    return await client.call("review.similar", batch=batch)


async def test_an_edited_copy_is_found_with_what_it_repeats(client: Client, backend: TestBackend) -> None:
    begin(backend)
    bundle = Bundle(backend, CONTRIBUTOR, ORIGINAL, STRANGER, EDITED, b"tiny")
    bundle.commit()
    bundle.reveal()
    answer = await found(client, backend)
    bits = distance(fingerprint(ORIGINAL), fingerprint(EDITED))
    assert 0 < bits <= answer["bits_max"] == 40
    assert distance(fingerprint(ORIGINAL), fingerprint(STRANGER)) > 40
    by_number = {each["item"]: (each["known"], each["nearest"]) for each in answer["items"]}
    assert by_number == {
        1: (True, None),
        2: (True, None),
        3: (True, {"item": 1, "distance": bits, "proven": False}),
        4: (False, None),
    }
    assert (answer["candidates"], answer["candidates_unknown"], answer["unfinished"]) == (3, 1, False)
    assert [each["place"] for each in answer["items"]] == [0, 1, 2, 3]
    batch = await client.call("review.batch", batch=1)
    assert [each["item"] for each in answer["items"]] == [each["item"] for each in batch["items"]]


async def test_who_committed_first_is_the_original(client: Client, backend: TestBackend) -> None:
    """Also when it was revealed second, and has the higher number."""
    begin(backend)
    first, second = Bundle(backend, CONTRIBUTOR, ORIGINAL), Bundle(backend, OTHER, EDITED)
    first.commit()
    second.commit()
    backend.commit(
        (OTHER, SubmissionReveal(CAMPAIGN, second.commitment, second.salt, second.items)),
        (CONTRIBUTOR, SubmissionReveal(CAMPAIGN, first.commitment, first.salt, first.items)),
    )
    answer = await found(client, backend)
    original = next(
        item["item"]
        for item in (await client.call("item.list", campaign=1))["items"]
        if item["content"]["chunk_root"] == first.items[0].content.chunk_root.hex()
    )
    nearest = {each["item"]: each["nearest"] for each in answer["items"]}
    assert nearest.pop(original) is None
    assert [each["item"] for each in nearest.values()] == [original]


async def test_earlier_batches_count_and_absent_bytes_are_unknown(
    client: Client, backend: TestBackend
) -> None:
    begin(backend)
    first = Bundle(backend, CONTRIBUTOR, ORIGINAL)
    first.commit()
    first.reveal()
    backend.commit()
    backend.commit()
    second = Bundle(backend, OTHER, EDITED, STRANGER, stored=False)
    second.commit()
    second.reveal()
    answer = await found(client, backend, 2)
    assert [each["known"] for each in answer["items"]] == [False, False]
    assert answer["candidates_unknown"] == 2
    store_content(backend.content, EDITED, b"")
    answer = await client.call("review.similar", batch=2, round=1)
    nearest = {each["item"]: each["nearest"] for each in answer["items"]}
    assert nearest[2]["item"] == 1
    assert nearest[3] is None


async def test_one_answer_computes_so_much(
    client: Client, backend: TestBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(backend)
    bundle = Bundle(backend, CONTRIBUTOR, ORIGINAL, EDITED)
    bundle.commit()
    bundle.reveal()
    monkeypatch.setattr(limits, "fingerprinted_bytes_per_call_max", max(len(ORIGINAL), len(EDITED)))
    answer = await found(client, backend)
    assert answer["unfinished"]
    assert sum(each["known"] for each in answer["items"]) == 1
    answer = await client.call("review.similar", batch=1)
    assert not answer["unfinished"]
    assert [each["nearest"] is None for each in sorted(answer["items"], key=lambda each: each["item"])] == [
        True,
        False,
    ]


async def test_candidates_are_the_newest(
    client: Client, backend: TestBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(backend)
    bundle = Bundle(backend, CONTRIBUTOR, ORIGINAL, STRANGER, EDITED)
    bundle.commit()
    bundle.reveal()
    monkeypatch.setattr(limits, "near_duplicate_candidates_max", 2)
    answer = await found(client, backend)
    assert answer["candidates"] == 2
    assert all(each["nearest"] is None for each in answer["items"]), "the original is the third newest"


async def test_proven_fingerprints_come_first_and_are_called_so(client: Client, backend: TestBackend) -> None:
    """Here they say something else than the bytes do, so that it shows which are taken."""
    begin(backend)
    bundle = Bundle(backend, CONTRIBUTOR, ORIGINAL, STRANGER, EDITED, stored=False)
    bundle.commit()
    bundle.reveal()
    answer = await found(client, backend)
    assert not any(each["known"] or each["proven"] for each in answer["items"])
    prove(backend, {1: bytes(32), 2: b"\x0f" + bytes(31)}, {2: b"\xc1\x05"})
    by_number = {each["item"]: each for each in (await client.call("review.similar", batch=1))["items"]}
    assert by_number[2]["nearest"] == {"item": 1, "distance": 4, "proven": True}
    assert by_number[2]["scores"] == [-63, 5]
    assert by_number[1]["proven"]
    assert by_number[1]["scores"] is None
    assert not by_number[3]["known"]
    store_content(backend.content, EDITED, b"")
    third = next(
        each for each in (await client.call("review.similar", batch=1))["items"] if each["item"] == 3
    )
    assert third["known"]
    assert not third["proven"]


async def test_no_such_batch(client: Client) -> None:
    assert await client.fault("review.similar", {"batch": 9}) == (-32001, "not_found")
    assert (await client.fault("review.similar", {"batch": -1}))[0] == -32602


async def test_what_was_rejected_stands_against_nobody(client: Client, backend: TestBackend) -> None:
    begin(backend)
    bundle = Bundle(backend, CONTRIBUTOR, ORIGINAL, ORIGINAL, EDITED)
    bundle.commit()
    bundle.reveal()
    answer = await found(client, backend)
    assert (await client.call("item.get", item=2))["status"] == "rejected"
    assert {each["item"] for each in answer["items"]} == {1, 3}
    assert (answer["candidates"], answer["candidates_unknown"]) == (2, 0)
