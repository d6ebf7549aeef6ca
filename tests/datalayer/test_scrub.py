"""What changes on the disk is found before a peer is given it: dropped, and had anew."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from hashlib import shake_256
from pathlib import Path

import pytest

from datalayer import files
from datalayer.quota import NODE_OWNER
from datalayer.scrub import Scrub
from datalayer.store import ContentStore
from omnitensor.protocol.content import ContentId, content_id_of
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.limits import MIB, chunk_bytes

SIZES = (3 * MIB + 5, 200_000, 1, 2 * MIB, 70_000)


def data_of(place: int) -> bytes:
    return shake_256(bytes([place])).digest(SIZES[place])


def keep(store: ContentStore, data: bytes) -> ContentId:
    content = content_id_of(data)
    begun = store.begin(content, NODE_OWNER)
    for index in range(content.chunks):
        store.put_chunk(begun.upload_id, index, data[index * chunk_bytes :][:chunk_bytes])
    return store.finish(begun.upload_id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ContentStore]:
    made = ContentStore(tmp_path / "content", 64 * MIB)
    yield made
    made.close()


@pytest.fixture
def contents(store: ContentStore) -> list[ContentId]:
    return [keep(store, data_of(place)) for place in range(len(SIZES))]


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        was = file.read(1)
        file.seek(place)
        file.write(bytes([was[0] ^ 0x10]))


def whole_pass(scrub: Scrub, bytes_max: int) -> set[bytes]:
    """What one pass over the whole store drops, in rounds of so many bytes."""
    found: set[bytes] = set()
    while True:
        found.update(scrub.round(bytes_max))
        if scrub.is_between:
            return found


@pytest.mark.parametrize("bytes_max", [1, MIB, 64 * MIB])
def test_what_changed_is_dropped_and_the_rest_stays(
    store: ContentStore, contents: list[ContentId], bytes_max: int
) -> None:
    scrub = Scrub(store)
    assert whole_pass(scrub, bytes_max) == set()
    long, short, _, lost, cut = contents
    flip(store.path(long.chunk_root), 2 * MIB + 7)
    flip(store.path(short.chunk_root).with_name("meta"), 40)
    store.path(lost.chunk_root).unlink()
    os.truncate(store.path(cut.chunk_root), 69_999)
    store._metas.clear()  # as if it had not been looked at for long
    damaged = {content.chunk_root for content in (long, short, lost, cut)}
    assert whole_pass(scrub, bytes_max) == damaged
    assert [store.has(content.chunk_root) for content in contents] == [False, False, True, False, False]
    for place, content in enumerate(contents):
        if content.chunk_root in damaged:
            assert keep(store, data_of(place)) == content
    assert whole_pass(scrub, bytes_max) == set()


def test_bytes_of_what_is_noted_beside_the_bytes(store: ContentStore) -> None:
    """Digest, size, chunk root and leaf hashes: a node that says a false one of them would be called a liar."""
    content = keep(store, data_of(4))
    for place in range(0, store.path(content.chunk_root).with_name("meta").stat().st_size, 4):
        flip(store.path(content.chunk_root).with_name("meta"), place)
        store._metas.clear()
        assert whole_pass(Scrub(store), 64 * MIB) == {content.chunk_root}, place
        keep(store, data_of(4))


def test_a_disk_that_can_t_read_a_place_has_lost_it_and_one_that_is_busy_has_not(
    store: ContentStore, contents: list[ContentId], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, fault = files.read_at, errno.EMFILE

    def failing(path: Path, offset: int, length: int) -> bytes:
        if path == store.path(contents[0].chunk_root) and offset == chunk_bytes:
            raise OSError(fault, os.strerror(fault))
        return read(path, offset, length)

    monkeypatch.setattr(files, "read_at", failing)
    with pytest.raises(StorageError, match="Too many open files"):
        whole_pass(Scrub(store), 64 * MIB)
    assert store.has(contents[0].chunk_root)
    fault = errno.EIO
    assert whole_pass(Scrub(store), 64 * MIB) == {contents[0].chunk_root}


def test_a_store_whose_bytes_are_gone_opens(tmp_path: Path) -> None:
    first = ContentStore(tmp_path / "content", 64 * MIB)
    content = keep(first, data_of(0))
    first.path(content.chunk_root).unlink()
    first.close()
    second = ContentStore(tmp_path / "content", 64 * MIB)
    assert second.usage().total == 0
    assert not second.has(content.chunk_root)
    assert keep(second, data_of(0)) == content
    second.close()
