"""private.* over a real socket: who waits for which keys, what was given, and that nodes say nothing of what they can't see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from omnitensor.protocol import sealing
from omnitensor.protocol.bodies import (
    CampaignOpen,
    ItemDeclaration,
    KeyGrant,
    KeysGrant,
    PrivateItem,
    ReadingKeySet,
    ReportCommit,
    ReportReveal,
    SubmissionCommit,
    SubmissionReveal,
    Transfer,
)
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.reviews import (
    encode_report,
    items_root,
    report_commitment,
    submission_commitment,
)
from omnitensor.protocol.types import NANO, Amount, BatchId, CampaignId, Hash
from state import indexing
from tests.rpc.test_methods import CONTRIBUTOR, GOOD, PARAMS, SPEC, SPONSOR, VALIDATORS
from tests.rpc.world import Client, TestBackend, store_content
from tests.state.chain_fixtures import CHAIN_ID, make_genesis

CAMPAIGN, SALT = CampaignId(1), Hash(b"s" * 32)
SPONSOR_KEY = sealing.ReadingKey(b"sponsor's reading key of 32 byte")
READERS = {name: sealing.ReadingKey(name.encode()[-32:]) for name in VALIDATORS}
KEYS = (b"first item's key of 32 bytes 123", b"second item's key of 32 bytes 12")
SEALED = tuple(bytes([n]) * 600 for n in range(2))
"""Stands for encrypted files: nearly the same bytes, of which nothing follows."""


def declared(place: int) -> ItemDeclaration:
    content = content_id_of(SEALED[place])
    context = sealing.sponsor_context(CHAIN_ID, CAMPAIGN, content.chunk_root, CONTRIBUTOR.address)
    plain = sealing.plain_commitment(KEYS[place], b"d" * 32, 500)
    private = PrivateItem(plain, sealing.wrap(KEYS[place], SPONSOR_KEY.public, context), bytes(60))
    return ItemDeclaration(content, "text/plain", 0, 0, private)


ITEMS = (declared(0), declared(1))


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[TestBackend]:
    made = TestBackend(tmp_path, make_genesis(params=PARAMS))
    yield made
    made.close()


async def started(client: Client, backend: TestBackend) -> list[str]:
    """Two private items whose seats are drawn; who sits."""
    backend.commit(*((SPONSOR, Transfer(one.address, Amount(10 * NANO))) for one in VALIDATORS.values()))
    backend.commit(*((VALIDATORS[name], ReadingKeySet(READERS[name].public)) for name in VALIDATORS))
    spec = replace(SPEC, reading_key=SPONSOR_KEY.public)
    backend.commit((SPONSOR, CampaignOpen(spec, Amount(100 * NANO))))
    commitment = submission_commitment(CHAIN_ID, CAMPAIGN, items_root(ITEMS), CONTRIBUTOR.address, SALT)
    backend.commit((CONTRIBUTOR, SubmissionCommit(CAMPAIGN, commitment, 2)))
    backend.commit((CONTRIBUTOR, SubmissionReveal(CAMPAIGN, commitment, SALT, ITEMS)))
    for data in SEALED:
        store_content(backend.content, data, b"")
    for _ in range(8):
        backend.commit()
        answer = await client.ask("review.batch", {"batch": 1, "round": 1})
        if "result" in answer and answer["result"]["seats"]:
            return [seat["validator"] for seat in answer["result"]["seats"]]
    raise AssertionError("no seats were drawn")


def grants(seats: list[str], *places: int) -> KeysGrant:
    found = []
    for name in seats:
        for place in places:
            who = VALIDATORS[name].address
            root = ITEMS[place].content.chunk_root
            context = sealing.seat_context(CHAIN_ID, CAMPAIGN, root, CONTRIBUTOR.address, 1, place + 1, who)
            wrapped = sealing.wrap(KEYS[place], READERS[name].public, context)
            found.append(KeyGrant(place + 1, who, wrapped))  # type: ignore[arg-type] # an id
    return KeysGrant(BatchId(1), tuple(found))


async def wanted(client: Client, who: Any) -> dict[str, list[int]]:
    found = await client.call("private.wanted", account=format_address(who.address))
    return {seat["validator"]: seat["items"] for seat in found["seats"]}


async def test_a_client_sees_what_is_asked_for_and_gives_it(client: Client, backend: TestBackend) -> None:
    seats = await started(client, backend)
    for name in VALIDATORS:
        assert (await client.call("private.key", validator=name))["key"] == READERS[name].public.hex()
    nobody = format_address(CONTRIBUTOR.address)
    assert await client.call("private.key", validator=nobody) == {"key": None, "since": None}
    shown = await client.call("private.item", item=1)
    assert ITEMS[0].private is not None
    assert shown["sponsor"] == ITEMS[0].private.sponsor.hex()
    assert shown["content"]["chunk_root"] == ITEMS[0].content.chunk_root.hex()
    context = sealing.sponsor_context(CHAIN_ID, 1, ITEMS[0].content.chunk_root, CONTRIBUTOR.address)
    assert SPONSOR_KEY.unwrap(bytes.fromhex(shown["sponsor"]), context) == KEYS[0]
    assert await wanted(client, CONTRIBUTOR) == {name: [1, 2] for name in seats}

    backend.commit((CONTRIBUTOR, grants(seats[:1], 0, 1)), (SPONSOR, grants(seats[1:2], 1)))
    assert await wanted(client, CONTRIBUTOR) == {name: [1, 2] for name in seats[1:]}
    page = await client.call("private.wanted", account=format_address(CONTRIBUTOR.address))
    lacking = {seat["validator"]: seat["lacking"] for seat in page["seats"]}
    assert lacking == {seats[1]: [1], seats[2]: [1, 2]}
    given = await client.call("private.seat", batch=1, validator=seats[0])
    assert (given["granted"], given["key"]) == (2, READERS[seats[0]].public.hex())
    wrapped = bytes.fromhex(given["grants"][0]["contributor"])
    context = sealing.seat_context(
        CHAIN_ID, 1, ITEMS[0].content.chunk_root, CONTRIBUTOR.address, 1, 1, VALIDATORS[seats[0]].address
    )
    assert READERS[seats[0]].unwrap(wrapped, context) == KEYS[0]
    assert READERS[seats[0]].public != READERS[seats[1]].public
    with pytest.raises(sealing.SealError):
        READERS[seats[1]].unwrap(wrapped, context)


async def test_pages_of_what_is_wanted_join(client: Client, backend: TestBackend) -> None:
    seats = await started(client, backend)
    account, found, cursor = format_address(CONTRIBUTOR.address), list[str](), None
    while True:
        page = await client.call("private.wanted", account=account, limit=1, cursor=cursor)
        found += [seat["validator"] for seat in page["seats"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(found) == sorted(seats)


async def test_what_is_over_is_wanted_no_more(client: Client, backend: TestBackend) -> None:
    await started(client, backend)
    for _ in range(PARAMS.report_commit_blocks // 2):
        backend.commit()
    assert await wanted(client, CONTRIBUTOR) == {}


async def test_a_plain_item_and_a_strange_seat_are_said_to_be_none(
    client: Client, backend: TestBackend
) -> None:
    await started(client, backend)
    code = -32001, "not_found"
    assert await client.fault("private.item", [99]) == code
    assert await client.fault("private.seat", [1, format_address(CONTRIBUTOR.address)]) == code


async def test_nodes_compare_nothing_that_is_encrypted(client: Client, backend: TestBackend) -> None:
    """The node has the bytes, and they are nearly the same: it still says that it knows nothing."""
    await started(client, backend)
    found = await client.call("review.similar", batch=1)
    assert [(item["known"], item["nearest"]) for item in found["items"]] == [(False, None)] * 2
    assert (found["candidates"], found["candidates_unknown"], found["unfinished"]) == (0, 2, False)


async def test_a_report_before_the_keys_is_refused(client: Client, backend: TestBackend) -> None:
    seats = await started(client, backend)
    who = VALIDATORS[seats[0]]
    receipt = backend.commit((who, ReportCommit(BatchId(1), 1, Hash(bytes(32)), b""))).result.receipts[-1]
    assert receipt.code == "grants_open"


async def test_facts_are_not_read_from_encrypted_bytes(client: Client, backend: TestBackend) -> None:
    await started(client, backend)
    answer = await client.call("item.facts", item=1)
    assert (answer["private"], answer["known"], answer["agrees"], answer["facts"]) == (
        True,
        False,
        None,
        None,
    )


async def test_the_index_of_who_may_give_keys_follows_from_the_state(
    client: Client, backend: TestBackend
) -> None:
    """While seats wait, and again when the batch is done and their rows are gone."""
    seats = await started(client, backend)
    store = backend.chain._store
    assert indexing.verify(store)["seats to grant"] == 2 * len(seats), (
        "the contributor and the sponsor, for each seat"
    )
    backend.commit((CONTRIBUTOR, grants(seats, 0, 1)))
    report, salt = encode_report((GOOD, GOOD)), Hash(bytes(32))
    commits = [
        (
            VALIDATORS[name],
            ReportCommit(
                BatchId(1),
                1,
                report_commitment(CHAIN_ID, BatchId(1), 1, VALIDATORS[name].address, salt, report),
                b"",
            ),
        )
        for name in seats
    ]
    backend.commit(*commits)
    reveals = [(VALIDATORS[name], ReportReveal(BatchId(1), 1, salt, report)) for name in seats]
    backend.commit(*reveals)
    assert (await client.call("review.batch", batch=1, round=1))["phase"] == "done"
    assert indexing.verify(store)["seats to grant"] == 0
    code = await client.fault("private.seat", [1, seats[0]])
    assert code == (-32001, "not_found")
