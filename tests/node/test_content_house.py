"""Which content a node keeps, by what became of the items that name it; and room that is made with an object store's help."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from msgspec.structs import replace

from datalayer.remote import RemoteError, RemoteStore
from datalayer.store import ContentStore
from node import service
from node.content_house import ContentHouse, Round
from node.fetching import Bring
from node.fingerprints import Fingerprints
from node.named_content import contents_named, is_named
from omnitensor.protocol import limits
from omnitensor.protocol.bodies import CampaignClose, CampaignSpec, ItemDeclaration
from omnitensor.protocol.content import ContentId, content_id_of
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import CampaignId, Hash
from omnitensor.protocol.work import CampaignModel, LayerShape
from p2p.messages import ContentQuery, PeerId
from state.reader import Reader
from state.records_review import BatchPhase, SeatState
from tests.ledger.world import BAD, GOOD, SPEC, World, review
from tests.node.node_kit import make_folders, node_at
from tests.node.test_fetching import keep

KEEP_BLOCKS = 20
INTERVAL_MS = 1_000


@dataclass
class Town:
    """A ledger, and a node's store of what is named in it."""

    world: World
    store: ContentStore

    @property
    def reader(self) -> Reader:
        return self.reader_at(INTERVAL_MS)

    def reader_at(self, interval_ms: int) -> Reader:
        """The state, with another block interval in force."""
        view, height = self.world.view, self.world.height
        params = Params(block_interval_ms=interval_ms)
        head = SimpleNamespace(height=height)
        return cast(Reader, SimpleNamespace(get=view.get, scan=view.scan, head=head, params=lambda: params))

    def house(
        self, remote: RemoteStore | None = None, keep_ms: int = KEEP_BLOCKS * INTERVAL_MS
    ) -> ContentHouse:
        return ContentHouse(self.store, Fingerprints(self.store), remote, keep_ms)

    def submit(self, campaign: int, *texts: str) -> None:
        declared = []
        for text in texts:
            keep(self.store, text.encode())
            declared.append(ItemDeclaration(content_id_of(text.encode()), "text/plain", 1, 0))
        assert self.world.submit("ann", campaign, *declared).code == "ok"

    def held(self, *texts: str) -> list[bool]:
        return [self.store.has(content_id_of(text.encode()).chunk_root) for text in texts]


def brought(remote: RemoteStore, store: ContentStore, content: ContentId) -> bool:
    """Whether an object store gave content, step by step."""
    bring = Bring(remote, store, content)
    while bring.left:
        bring.step()
    return bring.whole


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    store = ContentStore(tmp_path / "content", 64 * limits.MIB)
    yield Town(World(), store)
    store.close()


def test_what_a_submission_refers_to_counts_no_more_against_its_uploader(town: Town) -> None:
    for text in ("one", "two", "not submitted"):
        content = content_id_of(text.encode())
        begun = town.store.begin(content, b"ann")
        town.store.put_chunk(begun.upload_id, 0, text.encode())
        town.store.finish(begun.upload_id)
    assert town.store.settle(b"ann", partial(is_named, town.reader)) == 0
    items = [ItemDeclaration(content_id_of(each), "text/plain", 1, 0) for each in (b"one", b"two")]
    assert town.world.submit("ann", town.world.open(), *items).code == "ok"
    assert town.store.settle(b"bob", partial(is_named, town.reader)) == 0
    assert town.store.settle(b"ann", partial(is_named, town.reader)) == 2
    assert town.store.usage().unreferenced == limits.content_charge_bytes_min
    assert town.held("one", "two", "not submitted") == [True] * 3


def test_data_are_kept_as_long_as_something_wants_them(town: Town) -> None:
    good, bad = town.world.open(), town.world.open()
    town.submit(good, "one", "two")
    town.submit(bad, "three", "four")
    keep(town.store, b"of nobody")
    house = town.house()
    assert house.round(town.reader).ended_dropped == 1
    assert town.held("one", "two", "three", "four", "of nobody") == [True] * 4 + [False]
    # Judged: what is accepted stays, what is rejected for good goes.
    for _ in range(60):
        for number in town.world.open_batches():
            batch = town.world.batch(number)
            score = GOOD if batch.campaign == good else BAD
            if batch.phase == BatchPhase.COMMIT:
                for name in town.world.seats(number, SeatState.SEATED, SeatState.ACCEPTED):
                    town.world.send_commit(name, number, (score,) * len(batch.items))
            elif batch.phase == BatchPhase.REVEAL:
                for name in town.world.seats(number, SeatState.COMMITTED):
                    town.world.send_reveal(name, number, (score,) * len(batch.items))
        town.world.block()
        statuses = {town.world.item(item).status for item in (1, 2, 3, 4)}
        rejected = town.world.item(3)
        if rejected.open_verdict:
            assert house.round(town.reader).ended_dropped == 0, "it can still be appealed"
        if statuses == {4, 6} and not rejected.open_verdict:
            break
    assert house.round(town.reader).ended_dropped == 2
    assert town.held("one", "two", "three", "four") == [True, True, False, False]
    # The campaign ends: its data stay for a while, or for good.
    town.world.do("sponsor", CampaignClose(CampaignId(good)))
    town.world.blocks(1)
    ended = town.world.campaign(good).ended_at
    assert ended
    while town.world.height < ended + KEEP_BLOCKS:
        assert house.round(town.reader).ended_dropped == 0
        town.world.block()
    assert town.house(keep_ms=0).round(town.reader).ended_dropped == 0
    faster = town.reader_at(INTERVAL_MS // 2)  # a vote after the node was started
    assert house.round(faster).ended_dropped == 0, "as many days are twice as many blocks"
    assert house.round(town.reader).ended_dropped == 2
    assert town.held("one", "two") == [False, False]


def test_a_campaigns_document_and_model_are_named_and_kept_like_its_data(town: Town) -> None:
    document = keep(town.store, b"What a good sentence is, at length.")
    file = keep(town.store, b"The bytes of a model.")
    model = CampaignModel(file, Hash(bytes(32)), (LayerShape(1024, 2),), 16)
    spec: CampaignSpec = replace(SPEC, specification=document, model=model)
    campaign = town.world.open(spec)
    for content in (document, file):
        assert is_named(town.reader, content.chunk_root)
        assert contents_named(town.reader, content.chunk_root) == (content,)
    assert town.house().round(town.reader).ended_dropped == 0
    town.world.do("sponsor", CampaignClose(CampaignId(campaign)))
    town.world.blocks(KEEP_BLOCKS + 1)
    assert town.house().round(town.reader).ended_dropped == 2


def test_what_waits_for_a_submission_is_left_to_its_time(town: Town) -> None:
    data = b"uploaded and not submitted yet"
    content = content_id_of(data)
    begun = town.store.begin(content, b"somebody")
    town.store.put_chunk(begun.upload_id, 0, data)
    town.store.finish(begun.upload_id)
    assert town.house().round(town.reader) == Round(0, 0, 0, 0, 0)
    assert town.store.has(content.chunk_root)


def test_accepted_data_go_to_the_object_store_and_make_room(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "content", 4 * limits.MIB)
    town, remote = Town(World(), store), RemoteStore(f"file://{tmp_path}/remote")
    campaign = town.world.open()
    texts = [sha256(bytes([place])).hexdigest() * 12_000 for place in range(5)]  # 750 KiB each
    town.submit(campaign, *texts[:4])
    house = town.house(remote, keep_ms=0)
    assert house.round(town.reader) == Round(0, 0, 4, 0, 0), "nothing is accepted yet"
    review(town.world, GOOD)
    done = house.round(town.reader)
    assert done.sent == 4
    assert done.room_made == 0
    town.submit(campaign, texts[4])  # above four fifths of the quota now
    done = house.round(town.reader)
    assert (done.sent, done.room_made > 0) == (0, True)
    assert town.held(texts[4]) == [True], "only what is elsewhere too makes room"
    for text in texts[:4]:
        content = content_id_of(text.encode())
        if not store.has(content.chunk_root):
            assert brought(remote, store, content)
            assert store.read_range(content.chunk_root, 0, 64) == text.encode()[:64]
            store.drop(content.chunk_root)
    store.close()


def test_an_object_store_that_fails_stops_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remote = RemoteStore(f"file://{tmp_path}/remote")
    campaign = town.world.open()
    town.submit(campaign, "one")
    review(town.world, GOOD)

    def broken(*_: object) -> bool:
        raise RemoteError("the object store failed (it is away)")

    with monkeypatch.context() as patch:
        patch.setattr(remote, "has", broken)
        assert town.house(remote, keep_ms=0).round(town.reader) == Round(0, 0, 0, 0, 0)
        with pytest.raises(RemoteError):
            brought(remote, town.store, content_id_of(b"another"))
    assert town.house(remote, keep_ms=0).round(town.reader).sent == 1


def test_what_the_disk_changed_is_dropped_and_wanted_anew(town: Town) -> None:
    campaign = town.world.open()
    town.submit(campaign, "one", "two")
    house, content = town.house(), content_id_of(b"one")
    assert house.round(town.reader).damaged == 0
    town.store.path(content.chunk_root).write_bytes(b"0ne")
    assert house.round(town.reader).damaged == 1
    assert town.held("one", "two") == [False, True]
    assert house.wants(town.reader, content.chunk_root), "whoever asks for it has it fetched"
    keep(town.store, b"one")
    assert house.round(town.reader).damaged == 0


async def test_a_long_round_leaves_the_content_threads_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peers are answered from the one that is left while another file is read."""
    monkeypatch.setattr(service, "EXPIRE_SECONDS", 0.01)
    node = node_at(make_folders(tmp_path, validators=1).homes[0])
    begun, gate = threading.Semaphore(0), threading.Event()

    def long(reader: Reader) -> Round:
        begun.release()
        gate.wait()
        raise StorageError("it ends with the test")

    monkeypatch.setattr(node._house, "round", long)
    await node.start()
    try:
        await asyncio.to_thread(begun.acquire)
        other = asyncio.get_running_loop().run_in_executor(node._disk, gate.wait)
        async with asyncio.timeout(240):
            query = ContentQuery(Hash(bytes(32)), False)
            assert await node._handler.on_request(PeerId(bytes(32)), query) is None
        gate.set()
        await other
    finally:
        gate.set()
        await node.stop()
