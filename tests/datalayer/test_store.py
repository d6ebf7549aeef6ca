"""Holds the content store to its promises: right bytes or none, resumable, within quotas, gone when nothing refers to it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalayer.quota import NODE_OWNER
from datalayer.store import ContentStore
from datalayer.upload import ContentError
from omnitensor.protocol.content import ContentId, content_id_of
from omnitensor.protocol.errors import StorageError

MIB = 1024 * 1024
OWNER = b"\0" + b"a" * 32
OTHER = b"\0" + b"b" * 32


def bytes_of(size: int, seed: int = 0) -> bytes:
    """Bytes that differ in every chunk."""
    block = hashlib.shake_256(seed.to_bytes(8, "big")).digest(4099)
    return (block * (size // len(block) + 1))[:size]


def leaves_of(data: bytes) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(b"\0" + data[at : at + MIB]).digest() for at in range(0, len(data), MIB))


def chunk_of(data: bytes, index: int) -> bytes:
    return data[index * MIB : (index + 1) * MIB]


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[ContentStore]:
    opened = ContentStore(tmp_path / "content", 64 * MIB, unreferenced_ms=10_000, clock_ms=clock)
    yield opened
    opened.close()


def upload(store: ContentStore, data: bytes, owner: bytes = OWNER) -> ContentId:
    begun = store.begin(content_id_of(data), owner)
    for first, end in begun.missing:
        for index in range(first, end):
            store.put_chunk(begun.upload_id, index, chunk_of(data, index))
    return store.finish(begun.upload_id)


@pytest.mark.parametrize("size", [1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5])
def test_gives_back_what_it_took(store: ContentStore, size: int) -> None:
    data = bytes_of(size)
    content = upload(store, data)
    assert content == content_id_of(data)
    assert store.has(content.chunk_root)
    assert store.stat(content.chunk_root) == content
    assert store.leaf_hashes(content.chunk_root) == leaves_of(data)
    chunks = [store.read_chunk(content.chunk_root, index) for index in range(content.chunks)]
    assert b"".join(chunks) == data
    assert store.read_range(content.chunk_root, size // 2, 100) == data[size // 2 :][:100]
    assert store.path(content.chunk_root).read_bytes() == data


def test_absent_content(store: ContentStore) -> None:
    absent = content_id_of(b"nobody has this").chunk_root
    assert not store.has(absent)
    assert store.stat(absent) is None
    for read in (
        store.leaf_hashes,
        lambda root: store.read_chunk(root, 0),
        lambda root: store.read_range(root, 0, 1),
    ):
        with pytest.raises(ContentError) as caught:
            read(absent)
        assert caught.value.code == "absent"
        assert absent.hex() in str(caught.value)
    store.drop(absent)


def test_refuses_empty_content(store: ContentStore) -> None:
    with pytest.raises(ContentError) as caught:
        store.begin(content_id_of(b""), OWNER)
    assert caught.value.code == "empty"


def test_resumes_in_another_process(tmp_path: Path) -> None:
    data = bytes_of(4 * MIB + 7)
    content = content_id_of(data)
    first = ContentStore(tmp_path, 64 * MIB)
    begun = first.begin(content, OWNER)
    assert begun.missing == ((0, 5),)
    for index in (0, 3):
        first.put_chunk(begun.upload_id, index, chunk_of(data, index))
    first.close()
    second = ContentStore(tmp_path, 64 * MIB)
    again = second.begin(content, OWNER)
    assert again.upload_id == begun.upload_id
    assert again.missing == ((1, 3), (4, 5))
    with pytest.raises(ContentError) as caught:
        second.finish(again.upload_id)
    assert caught.value.code == "incomplete"
    assert caught.value.value == "1-2, 4"
    for index in (1, 2, 4):
        second.put_chunk(again.upload_id, index, chunk_of(data, index))
    assert second.finish(again.upload_id) == content
    assert second.path(content.chunk_root).read_bytes() == data
    second.close()


def test_begin_of_what_is_stored_needs_nothing(store: ContentStore) -> None:
    data = bytes_of(MIB + 1)
    upload(store, data)
    begun = store.begin(content_id_of(data), OTHER)
    assert begun.stored
    assert begun.missing == ()


def test_lie_about_stored_content_is_refused(store: ContentStore) -> None:
    content = upload(store, bytes_of(2 * MIB))
    lie = ContentId(content_id_of(b"x").sha256, content.size, content.chunk_root)
    with pytest.raises(ContentError) as caught:
        store.begin(lie, OTHER)
    assert caught.value.code == "wrong_content"
    assert store.stat(content.chunk_root) == content


def test_wrong_chunk_is_refused_where_leaf_hashes_are_known(store: ContentStore) -> None:
    data = bytes_of(2 * MIB + 9)
    begun = store.begin(content_id_of(data), OWNER, leaves_of(data))
    for index, wrong in ((0, chunk_of(data, 1)), (2, b"123456789"), (1, bytes(MIB))):
        with pytest.raises(ContentError) as caught:
            store.put_chunk(begun.upload_id, index, wrong)
        assert caught.value.code == "wrong_chunk"
    assert store.missing(begun.upload_id) == ((0, 3),)
    for index in (2, 0, 1):
        store.put_chunk(begun.upload_id, index, chunk_of(data, index))
    store.finish(begun.upload_id)


def test_single_chunk_needs_no_leaf_hashes(store: ContentStore) -> None:
    begun = store.begin(content_id_of(b"right"), OWNER)
    with pytest.raises(ContentError) as caught:
        store.put_chunk(begun.upload_id, 0, b"wrong")
    assert caught.value.code == "wrong_chunk"


def test_wrong_leaf_hashes_are_refused(store: ContentStore) -> None:
    data = bytes_of(2 * MIB)
    for wrong in (leaves_of(data)[:1], leaves_of(data)[::-1], (b"x", b"y"), (*leaves_of(data), bytes(32))):
        with pytest.raises(ContentError) as caught:
            store.begin(content_id_of(data), OWNER, wrong)
        assert caught.value.code == "leaf_hashes"
    assert store.usage().uploads == 0


def test_wrong_content_is_found_at_the_end_and_dropped(store: ContentStore) -> None:
    data = bytes_of(2 * MIB)
    begun = store.begin(content_id_of(data), OWNER)
    store.put_chunk(begun.upload_id, 0, bytes(MIB))
    store.put_chunk(begun.upload_id, 1, chunk_of(data, 1))
    with pytest.raises(ContentError) as caught:
        store.finish(begun.upload_id)
    assert caught.value.code == "wrong_content"
    assert store.usage().total == 0
    assert not store.has(content_id_of(data).chunk_root)
    assert store.begin(content_id_of(data), OWNER).missing == ((0, 2),)


def test_wrong_chunk_can_be_sent_again_before_the_end(store: ContentStore) -> None:
    data = bytes_of(2 * MIB)
    begun = store.begin(content_id_of(data), OWNER)
    for index, sent in ((0, bytes(MIB)), (1, chunk_of(data, 1)), (0, chunk_of(data, 0))):
        store.put_chunk(begun.upload_id, index, sent)
    assert store.finish(begun.upload_id) == content_id_of(data)


def test_false_sha256_is_found(store: ContentStore) -> None:
    true = content_id_of(b"some bytes")
    lie = ContentId(content_id_of(b"other").sha256, true.size, true.chunk_root)
    begun = store.begin(lie, OWNER)
    store.put_chunk(begun.upload_id, 0, b"some bytes")
    with pytest.raises(ContentError) as caught:
        store.finish(begun.upload_id)
    assert caught.value.code == "wrong_content"
    assert not store.has(true.chunk_root)


@pytest.mark.parametrize(("index", "size"), [(-1, MIB), (3, 1), (2, 2), (0, 1), (0, 0), (0, MIB + 1)])
def test_shape_of_chunks(store: ContentStore, index: int, size: int) -> None:
    begun = store.begin(content_id_of(bytes_of(2 * MIB + 1)), OWNER)
    with pytest.raises(ContentError) as caught:
        store.put_chunk(begun.upload_id, index, bytes(size))
    assert caught.value.code == "wrong_chunk"


def test_unknown_upload(store: ContentStore) -> None:
    for call in (
        lambda: store.put_chunk("00" * 16, 0, b"x"),
        lambda: store.finish("../../etc"),
        lambda: store.missing(""),
    ):
        with pytest.raises(ContentError) as caught:
            call()
        assert caught.value.code == "no_upload"
    store.abort("00" * 16)


def test_quota_in_total_and_by_owner(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, 10 * MIB, owner_bytes_max=3 * MIB)
    upload(store, bytes_of(2 * MIB))
    with pytest.raises(ContentError) as caught:
        store.begin(content_id_of(bytes_of(2 * MIB, 1)), OWNER)
    assert caught.value.code == "quota"
    assert "account" in caught.value.reason
    other = store.begin(content_id_of(bytes_of(3 * MIB, 2)), OTHER)
    with pytest.raises(ContentError) as caught:  # all owners together: half of the store
        store.begin(content_id_of(bytes_of(MIB, 3)), b"third")
    assert caught.value.code == "quota"
    upload(store, bytes_of(5 * MIB, 4), NODE_OWNER)
    with pytest.raises(ContentError) as caught:
        store.begin(content_id_of(bytes_of(MIB, 5)), NODE_OWNER)
    assert "full" in caught.value.reason
    store.abort(other.upload_id)
    store.begin(content_id_of(bytes_of(MIB, 5)), NODE_OWNER)
    store.close()


def test_uploads_of_an_owner_are_counted_too(tmp_path: Path) -> None:
    """Each is a folder of files, however small: bytes alone would let one account make a million of them."""

    def opened() -> ContentStore:
        return ContentStore(tmp_path, 64 * MIB, owner_uploads_max=3)

    def refused(store: ContentStore, data: bytes) -> ContentError:
        with pytest.raises(ContentError) as caught:
            store.begin(content_id_of(data), OWNER)
        return caught.value

    store = opened()
    done = upload(store, b"done")
    begun = store.begin(content_id_of(b"begun"), OWNER)
    upload(store, b"another")
    assert store.begin(content_id_of(b"begun"), OWNER).upload_id == begun.upload_id, "it goes on"
    assert store.begin(done, OWNER).stored
    fault = refused(store, b"one more")
    assert (fault.code, fault.value) == ("quota", "3 uploads")
    assert "at most 3" in fault.remedy
    store.begin(content_id_of(b"one more"), OTHER)
    for number in range(5):
        upload(store, b"fetched %d" % number, NODE_OWNER)
    store.close()
    store = opened()
    refused(store, b"one more")  # also after a restart
    assert store.settle(OWNER, lambda root: root == done.chunk_root) == 1
    more = store.begin(content_id_of(b"one more"), OWNER)
    refused(store, b"still more")
    assert store.settle(OWNER, lambda root: root == done.chunk_root) == 0
    store.abort(more.upload_id)
    store.begin(content_id_of(b"still more"), OWNER)
    store.close()


def test_small_content_counts_more_than_its_size(store: ContentStore) -> None:
    upload(store, b"x")
    assert store.usage().total == 8 * 1024


def test_counts_the_same_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    store = ContentStore(tmp_path, 64 * MIB, clock_ms=clock)
    upload(store, bytes_of(2 * MIB))
    upload(store, bytes_of(100, 1), NODE_OWNER)
    store.begin(content_id_of(bytes_of(MIB, 2)), OTHER)
    before = store.usage()
    store.close()
    again = ContentStore(tmp_path, 64 * MIB, clock_ms=clock)
    assert again.usage() == before
    assert before.objects == 2
    assert before.uploads == 1
    assert before.unreferenced == 3 * MIB
    again.close()


def test_unreferenced_content_is_dropped_in_time(store: ContentStore, clock: Clock) -> None:
    wanted, unwanted = upload(store, bytes_of(10, 1)), upload(store, bytes_of(10, 2))
    fetched = upload(store, bytes_of(10, 3), NODE_OWNER)
    begun = store.begin(content_id_of(bytes_of(MIB)), OWNER)
    referenced = {wanted.chunk_root}
    clock.now_ms += 9_999
    assert store.expire(referenced.__contains__) == ()
    clock.now_ms += 1
    assert store.expire(referenced.__contains__) == (unwanted.chunk_root,)
    assert not store.has(unwanted.chunk_root)
    assert store.has(fetched.chunk_root)
    with pytest.raises(ContentError):
        store.missing(begun.upload_id)
    # What was once referred to stays, and its uploader is not charged for it.
    clock.now_ms += 10**9
    assert store.expire(lambda root: False) == ()
    assert store.has(wanted.chunk_root)
    assert store.usage().unreferenced == 0


def test_claims_outlive_the_process(tmp_path: Path, clock: Clock) -> None:
    store = ContentStore(tmp_path, 64 * MIB, unreferenced_ms=1_000, clock_ms=clock)
    content = upload(store, bytes_of(10))
    store.close()
    clock.now_ms += 1_000
    again = ContentStore(tmp_path, 64 * MIB, unreferenced_ms=1_000, clock_ms=clock)
    assert again.expire(lambda root: False) == (content.chunk_root,)
    again.close()


def test_damage_on_disk_is_told(store: ContentStore) -> None:
    data = bytes_of(2 * MIB)
    root = upload(store, data).chunk_root
    with store.path(root).open("r+b") as file:
        file.seek(MIB + 5)
        file.write(b"!")
    assert store.read_chunk(root, 0) == chunk_of(data, 0)
    with pytest.raises(StorageError) as caught:
        store.read_chunk(root, 1)
    assert root.hex() in str(caught.value)
    store.drop(root)
    upload(store, data)
    assert store.read_chunk(root, 1) == chunk_of(data, 1)


def test_damage_before_the_end_brings_only_that_chunk_again(store: ContentStore, tmp_path: Path) -> None:
    data = bytes_of(3 * MIB)
    begun = store.begin(content_id_of(data), OWNER)
    for index in range(3):
        store.put_chunk(begun.upload_id, index, chunk_of(data, index))
    with (tmp_path / "content" / "uploads" / begun.upload_id / "data").open("r+b") as file:
        file.seek(MIB + 5)
        file.write(b"!")
    with pytest.raises(ContentError) as caught:
        store.finish(begun.upload_id)
    assert caught.value.code == "incomplete"
    assert store.missing(begun.upload_id) == ((1, 2),)
    store.put_chunk(begun.upload_id, 1, chunk_of(data, 1))
    store.finish(begun.upload_id)


def test_torn_progress_brings_the_chunk_again(tmp_path: Path) -> None:
    data = bytes_of(3 * MIB)
    store = ContentStore(tmp_path, 64 * MIB)
    begun = store.begin(content_id_of(data), OWNER)
    for index in range(3):
        store.put_chunk(begun.upload_id, index, chunk_of(data, index))
    store.close()
    progress = tmp_path / "uploads" / begun.upload_id / "progress"
    raw = progress.read_bytes()
    progress.write_bytes(raw[: 36 + 10])
    again = ContentStore(tmp_path, 64 * MIB)
    assert again.begin(content_id_of(data), OWNER).missing == ((1, 3),)
    again.close()


def test_torn_folders_are_cleared_at_start(tmp_path: Path) -> None:
    ContentStore(tmp_path, 64 * MIB).close()
    (tmp_path / "uploads" / "torn").mkdir()
    (tmp_path / "trash" / "gone").mkdir()
    (tmp_path / "claims" / "zz").write_bytes(b"")
    store = ContentStore(tmp_path, 64 * MIB)
    assert [list((tmp_path / name).iterdir()) for name in ("uploads", "trash", "claims")] == [[], [], []]
    assert store.usage().total == 0
    store.close()


def test_second_process_is_refused(store: ContentStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        ContentStore(tmp_path / "content", MIB)
    assert "another process" in caught.value.reason
    assert caught.value.remedy


def test_two_owners_of_the_same_content(store: ContentStore) -> None:
    data = bytes_of(MIB + 1)
    mine, theirs = (store.begin(content_id_of(data), owner) for owner in (OWNER, OTHER))
    assert mine.upload_id != theirs.upload_id
    for index in range(2):
        for begun in (mine, theirs):
            store.put_chunk(begun.upload_id, index, chunk_of(data, index))
    assert store.finish(mine.upload_id) == store.finish(theirs.upload_id)
    assert store.usage().total == MIB + 1


def test_many_threads_on_one_upload(store: ContentStore) -> None:
    data = bytes_of(8 * MIB)
    begun = store.begin(content_id_of(data), OWNER)
    faults: list[Exception] = []

    def send(order: range) -> None:
        try:
            for index in order:
                store.put_chunk(begun.upload_id, index, chunk_of(data, index))
        except Exception as error:
            faults.append(error)

    threads = [
        threading.Thread(target=send, args=(order,)) for order in (range(8), range(7, -1, -1), range(0, 8, 2))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert store.finish(begun.upload_id) == content_id_of(data)
    assert store.path(begun.content.chunk_root).read_bytes() == data


def test_more_uploads_than_stay_open(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, 64 * MIB)
    begun = [store.begin(content_id_of(b"%d" % number), OWNER) for number in range(80)]
    for number, one in enumerate(begun):
        store.put_chunk(one.upload_id, 0, b"%d" % number)
    assert all(store.finish(one.upload_id) for one in begun)
    assert store.usage().objects == 80
    store.close()


def code_of(call: Callable[[], object]) -> str:
    """The code of the error that a call meets; empty when it meets none."""
    try:
        call()
    except ContentError as error:
        return error.code
    return ""


STEP = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 2)),
    st.tuples(st.just("wrong"), st.integers(0, 2)),
    st.tuples(st.just("finish"), st.just(0)),
    st.tuples(st.just("reopen"), st.just(0)),
    st.tuples(st.just("begin"), st.just(0)),
)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEP, max_size=14), known=st.booleans())
def test_any_order_of_steps(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], known: bool
) -> None:
    """Whatever order chunks, lies, restarts and finishes come in, content is stored exactly when all its bytes are right."""
    folder = tmp_path_factory.mktemp("steps")
    data = bytes_of(2 * MIB + 3)
    content, leaves = content_id_of(data), leaves_of(data) if known else ()
    store = ContentStore(folder, 64 * MIB)
    begun = store.begin(content, OWNER, leaves)
    held: dict[int, bool] = {}  # chunk -> whether its bytes are right
    for step, index in steps:
        chunk = chunk_of(data, index)
        match step:
            case "put" if not store.has(content.chunk_root):
                store.put_chunk(begun.upload_id, index, chunk)
                held[index] = True
            case "wrong" if not store.has(content.chunk_root):
                wrong = chunk[:-1] + bytes([chunk[-1] ^ 1])
                code = code_of(partial(store.put_chunk, begun.upload_id, index, wrong))
                assert code == ("wrong_chunk" if known else "")
                if not known:
                    held[index] = False
            case "finish" if not store.has(content.chunk_root):
                code = code_of(partial(store.finish, begun.upload_id))
                right = all(held.values())
                assert code == ("incomplete" if len(held) < 3 else "" if right else "wrong_content")
                if code == "wrong_content":
                    held.clear()
                    begun = store.begin(content, OWNER, leaves)
            case "reopen":
                store.close()
                store = ContentStore(folder, 64 * MIB)
            case "begin":
                begun = store.begin(content, OWNER, leaves)
                here = set(range(3)) - {i for first, end in begun.missing for i in range(first, end)}
                assert here == (set(held) if not begun.stored else {0, 1, 2})
    if store.has(content.chunk_root):
        assert store.path(content.chunk_root).read_bytes() == data
    assert store.usage().total == content.size
    store.close()
