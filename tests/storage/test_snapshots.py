"""Snapshots: taken from a chain that goes on, loaded into a database as good as the first, refused when one byte is another."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from node import trust
from omnitensor.light import Checkpoint
from omnitensor.protocol.codec import encode
from omnitensor.protocol.state_proof import PAGE_ENTRIES_MAX
from omnitensor.protocol.types import Epoch, Hash, Height
from state import indexing, opening
from state.chain import Chain
from state.commitment import commitment_of
from state.rows import state_rows
from state.schema import TABLES, Kind
from state.snapshots import chunks, loading, taking
from state.snapshots.files import FOOT_BYTES, MAGIC, SnapshotFile, chunk_starts, end_of_rows, heights_in
from state.snapshots.manifest import CHUNKS, Manifest, SnapshotError, read_manifest, state_root
from state.store import Snapshot
from tests.state.chain_fixtures import START_MS, build
from tests.storage.chains import EPOCH_BLOCKS, PARAMS, genesis_of, grow, grown, rows

EPOCHS = 6
HEIGHT = EPOCHS * EPOCH_BLOCKS
NOW_MS = START_MS + PARAMS.block_interval_ms


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Chain]:
    """A snapshot with chunks of every size (some above a page's, none above), and the chain that it is of."""
    folder = tmp_path_factory.mktemp("taken")
    chain = grown(folder, HEIGHT, accounts=3_000)
    path = taking.take(chain.reader(), chain.genesis_hash, folder / "snapshots")
    return path, chain


def load(path: Path, folder: Path, **how: object) -> Chain:
    """As a node does: believed first, then loaded."""
    checkpoint = how.get("checkpoint")
    assert checkpoint is None or isinstance(checkpoint, Checkpoint)
    genesis = genesis_of(3_000)
    with SnapshotFile(path) as source:
        follower = trust.follow(source.manifest, source.steps(), genesis, checkpoint, NOW_MS)
        loading.load(source, follower.kept(source.steps()), genesis, folder / "chain")
    return Chain.open(folder / "chain", genesis)


def of_state(chain: Chain) -> dict[bytes, bytes]:
    return {k: v for k, v in rows(chain).items() if TABLES[k[0]].kind is not Kind.CHAIN or k[0] == 9}


def test_a_node_from_a_snapshot_is_as_good_as_the_first(taken: tuple[Path, Chain], tmp_path: Path) -> None:
    path, first = taken
    second = load(path, tmp_path)
    assert second.head == first.head
    assert dict(state_rows(Snapshot(second._store._raw))) == {
        k: v for k, v in rows(first).items() if TABLES[k[0]].kind is Kind.STATE
    }
    opening.verify(Snapshot(second._store._raw), second._tip)
    indexing.verify(second._store)
    reader = second.reader()
    assert reader.first_block == HEIGHT + 1
    assert all(reader.step(Epoch(epoch)) == first.reader().step(Epoch(epoch)) for epoch in range(EPOCHS))
    for place in range(3):
        block = build(first)
        second.check(block)
        second.commit(block.hash, None)
        first.check(block)
        first.commit(block.hash, None)
        assert second.head.hash == first.head.hash, place
        assert second._tip.commitment.root() == first._tip.commitment.root()
        assert second._tip.history == first._tip.history
    for height in range(HEIGHT, HEIGHT + 3):
        assert second.reader().prove_block(Height(height)) == first.reader().prove_block(Height(height))
    opening.verify(Snapshot(second._store._raw), second._tip)
    second.close()
    Chain.open(tmp_path / "chain").close()


def test_sizes_from_nothing_to_many_rows_give_the_state_root(tmp_path: Path) -> None:
    """The root over chunks against the trie's own, where pages are above the chunks, in them, and below."""
    chance = random.Random(4)
    for count in (0, 1, 2, 15, 16, 17, 18, 40, 300, 4_000, 9_000):
        found = [
            (b"\x11" + chance.randbytes(20), chance.randbytes(chance.randrange(40))) for _ in range(count)
        ]
        heaps: list[list[tuple[bytes, chunks.Row]]] = [[] for _ in range(CHUNKS)]
        for row in found:
            hashed = sha256(row[0]).digest()
            heaps[hashed[0]].append((hashed, row))
        infos = []
        for index, heap in enumerate(heaps):
            data, info = chunks.encode_chunk(sorted(heap))
            infos.append(info)
            assert [row for _, row in sorted(heap)] == list(chunks.read_chunk(index, info, data).rows)
        assert state_root(infos) == commitment_of(found).root(), count


def test_it_is_taken_while_the_chain_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are committed in the middle of it, and it is of the boundary all the same; rows go over the disk, too."""
    monkeypatch.setattr(taking, "HEAPED_BYTES_MAX", 20_000)
    chain = grown(tmp_path, HEIGHT, accounts=1_500)
    begun, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        begun.set()
        assert go_on.wait(30)

    made: list[Path] = []
    reader = chain.reader()
    thread = threading.Thread(
        target=lambda: made.append(taking.take(reader, chain.genesis_hash, tmp_path / "s", pause))
    )
    thread.start()
    assert begun.wait(30)
    grow(chain, EPOCH_BLOCKS)
    go_on.set()
    thread.join(30)
    with SnapshotFile(made[0]) as found:
        assert found.manifest.header.height == HEIGHT
        assert found.manifest.rows == sum(1 for _ in reader.state_rows())
    assert heights_in(tmp_path / "s") == [HEIGHT]
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [f"{HEIGHT}.snapshot"]
    chain.close()


def test_one_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    chain = grown(tmp_path, EPOCH_BLOCKS)

    class Stopped(Exception):
        pass

    def pause() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        taking.take(chain.reader(), chain.genesis_hash, tmp_path / "s", pause)
    assert list((tmp_path / "s").iterdir()) == []
    grow(chain, 1)
    with pytest.raises(SnapshotError, match="epoch's last block"):
        taking.take(chain.reader(), chain.genesis_hash, tmp_path / "s")
    chain.close()


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    chain = grown(tmp_path, EPOCH_BLOCKS)
    for _ in range(3):
        taking.take(chain.reader(), chain.genesis_hash, tmp_path / "s")
        grow(chain, EPOCH_BLOCKS)
    (tmp_path / "s" / "9.heaps").mkdir()
    (tmp_path / "s" / "9.new").write_bytes(b"half")
    taking.clean(tmp_path / "s")
    assert taking.keep_newest(tmp_path / "s", 2) == [EPOCH_BLOCKS]
    assert heights_in(tmp_path / "s") == [3 * EPOCH_BLOCKS, 2 * EPOCH_BLOCKS]
    assert len(list((tmp_path / "s").iterdir())) == 2
    chain.close()


def test_any_flipped_byte_is_refused(taken: tuple[Path, Chain], tmp_path: Path) -> None:
    """Places all over the file, in every part of it, and nothing is left where a database would be."""
    whole = bytearray(taken[0].read_bytes())
    with SnapshotFile(taken[0]) as source:
        starts, rows_end = chunk_starts(source.manifest), end_of_rows(source.manifest)
    chance = random.Random(7)
    parts = [
        (0, len(MAGIC)),
        (starts[0], starts[CHUNKS]),
        (starts[CHUNKS], rows_end),
        (rows_end, len(whole) - FOOT_BYTES),
        (len(whole) - FOOT_BYTES, len(whole)),
    ]
    genesis = genesis_of(3_000)
    bad = tmp_path / "bad"
    for trial in range(60):
        low, high = parts[trial % len(parts)]
        changed = bytearray(whole)
        changed[chance.randrange(low, high)] ^= 1 << chance.randrange(8)
        bad.write_bytes(changed)
        with pytest.raises(SnapshotError) as refusal:
            check_whole(bad, genesis)
        assert refusal.value.reason
        assert refusal.value.remedy


def check_whole(path: Path, genesis: object) -> None:
    """All that loading checks, without writing."""
    with SnapshotFile(path) as source:
        trust.follow(source.manifest, source.steps(), genesis, None, NOW_MS)  # type: ignore[arg-type]
        for index in range(CHUNKS):
            chunks.read_chunk(index, source.manifest.chunks[index], source.chunk(index))
        loading.check_block(source)


Change = Callable[[Manifest, list[bytes]], tuple[Manifest, list[bytes]]]


def poisoned(path: Path, out: Path, change: Change) -> Path:
    """A snapshot file that is whole in its form, with another content."""
    with SnapshotFile(path) as source:
        parts = [source.chunk(index) for index in range(CHUNKS)]
        manifest, parts = change(source.manifest, parts)
        rest = path.read_bytes()[chunk_starts(source.manifest)[CHUNKS] : end_of_rows(source.manifest)]
    encoded = encode(manifest)
    out.write_bytes(
        MAGIC + b"".join(parts) + rest + encoded + len(encoded).to_bytes(8, "big") + sha256(encoded).digest()
    )
    return out


def swapped(manifest: Manifest, parts: list[bytes]) -> tuple[Manifest, list[bytes]]:
    infos = list(manifest.chunks)
    infos[3], infos[4], parts[3], parts[4] = infos[4], infos[3], parts[4], parts[3]
    return msgspec.structs.replace(manifest, chunks=tuple(infos)), parts


def with_rows(
    index: int, edit: Callable[[list[chunks.Row]], list[chunks.Row]], *, honest_root: bool
) -> Change:
    """A chunk with other rows; with a node and a root of its own, or the true node with other bytes."""

    def change(manifest: Manifest, parts: list[bytes]) -> tuple[Manifest, list[bytes]]:
        old = chunks.read_chunk(index, manifest.chunks[index], parts[index])
        data, info = chunks.encode_chunk(
            sorted((sha256(row[0]).digest(), row) for row in edit(list(old.rows)))
        )
        if honest_root:
            info = msgspec.structs.replace(info, node=manifest.chunks[index].node)
        infos = list(manifest.chunks)
        infos[index], parts[index] = info, data
        header = manifest.header
        if not honest_root:
            header = msgspec.structs.replace(header, state_root=state_root(infos))
        return msgspec.structs.replace(manifest, chunks=tuple(infos), header=header), parts

    return change


def richer(found: list[chunks.Row]) -> list[chunks.Row]:
    return [(found[0][0], found[0][1] + b"\x00"), *found[1:]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (swapped, "out of place|do not make the state root|another chunk"),
        (with_rows(0, lambda found: found[1:], honest_root=True), "not those under|out of place|length"),
        (with_rows(0, richer, honest_root=True), "not those under"),
        (
            with_rows(200, lambda found: [*found, (b"\x11" + b"another", b"row")], honest_root=True),
            "not those|another chunk|out of place|wrong length",
        ),
        (with_rows(0, richer, honest_root=False), "another block's|not the one that its steps lead to"),
        (
            lambda manifest, parts: (
                msgspec.structs.replace(
                    manifest, header=msgspec.structs.replace(manifest.header, height=HEIGHT + 4)
                ),
                parts,
            ),
            "another block's",
        ),
        (
            lambda manifest, parts: (msgspec.structs.replace(manifest, below=manifest.below[::-1]), parts),
            "tree over all blocks",
        ),
        (lambda manifest, parts: (msgspec.structs.replace(manifest, version=2), parts), "another version"),
        (
            lambda manifest, parts: (msgspec.structs.replace(manifest, genesis_hash=Hash(bytes(32))), parts),
            "another chain",
        ),
        (
            lambda manifest, parts: (msgspec.structs.replace(manifest, first_step=Epoch(1)), parts),
            "out of place|missing",
        ),
    ],
)
def test_a_poisoned_snapshot_is_refused_with_what_is_wrong(
    taken: tuple[Path, Chain], tmp_path: Path, change: Change, says: str
) -> None:
    bad = poisoned(taken[0], tmp_path / "bad", change)
    with pytest.raises(SnapshotError, match=says):
        check_whole(bad, genesis_of(3_000))
    with pytest.raises(SnapshotError, match=says):
        load(bad, tmp_path)
    assert not (tmp_path / "chain").exists()


def test_a_snapshot_of_a_forged_chain_is_refused(taken: tuple[Path, Chain], tmp_path: Path) -> None:
    """Every hash fits, and no quorum of this chain's voters signed it."""
    other = grown(tmp_path / "other", EPOCH_BLOCKS, accounts=3_000)
    forged = taking.take(other.reader(), other.genesis_hash, tmp_path / "s")
    with SnapshotFile(forged) as source:
        steps = list(source.steps())
        bad = msgspec.structs.replace(
            steps[0].proof.certificate, signature=bytes(reversed(steps[0].proof.certificate.signature))
        )
        steps[0] = msgspec.structs.replace(
            steps[0], proof=msgspec.structs.replace(steps[0].proof, certificate=bad)
        )
        with pytest.raises(SnapshotError, match="do not hold"):
            trust.follow(source.manifest, steps, genesis_of(3_000), None, NOW_MS)
        manifest = msgspec.structs.replace(source.manifest, proof=steps[0].proof)
        with pytest.raises(SnapshotError, match="do not hold"):
            trust.follow(manifest, source.steps(), genesis_of(3_000), None, NOW_MS)
    other.close()


def test_trust_from_a_checkpoint(taken: tuple[Path, Chain], tmp_path: Path) -> None:
    path, first = taken
    genesis = genesis_of(3_000)
    below = first.reader().step(Epoch(2))
    assert below is not None
    with SnapshotFile(path) as source:
        manifest = source.manifest
        late = START_MS + 10**10
        with pytest.raises(SnapshotError, match="--checkpoint HEIGHT:HASH"):
            trust.follow(manifest, source.steps(), genesis, None, late)
        with pytest.raises(SnapshotError, match="no boundary below the snapshot"):
            trust.follow(manifest, source.steps(), genesis, Checkpoint(Height(8), Hash(bytes(32))), late)
        own = Checkpoint(Height(HEIGHT), manifest.header.hash)
        follower = trust.follow(manifest, source.steps(), genesis, own, late)
        assert follower.first == EPOCHS - 1
        with pytest.raises(SnapshotError, match=r"no boundary|another height|do not hold"):
            trust.follow(manifest, source.steps(), genesis, Checkpoint(Height(4), manifest.header.hash), late)
    second = load(path, tmp_path, checkpoint=Checkpoint(below.header.height, below.header.hash))
    assert second.reader().first_step == 2
    kept = second.reader().step(Epoch(2))
    assert kept is not None
    assert kept.voters is not None, "the first step kept says who votes next"
    # And a snapshot of this node is one that others can believe from there.
    again = taking.take(second.reader(), second.genesis_hash, tmp_path / "again")
    second.close()
    (tmp_path / "chain").rename(tmp_path / "gone")
    with pytest.raises(SnapshotError, match=r"steps do not hold|first step"):
        load(again, tmp_path)
    load(again, tmp_path, checkpoint=Checkpoint(below.header.height, below.header.hash)).close()


def test_loading_goes_on_where_it_was_and_begins_anew_with_another(
    taken: tuple[Path, Chain], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, genesis = taken[0], genesis_of(3_000)
    monkeypatch.setattr(loading, "BYTES_PER_WRITE", 1)

    class Killed(Exception):
        pass

    def die(done: int, _: int) -> None:
        heard.append(done)
        if done in (1, 100, CHUNKS):
            raise Killed

    heard: list[int] = []
    other = grown(tmp_path / "other", EPOCH_BLOCKS, accounts=3_000)
    another = taking.take(other.reader(), other.genesis_hash, tmp_path / "s")
    other.close()
    for which in (another, path, path, path):
        with SnapshotFile(which) as source:
            follower = trust.follow(source.manifest, source.steps(), genesis, None, NOW_MS)
            with pytest.raises(Killed):
                loading.load(source, follower.kept(source.steps()), genesis, tmp_path / "chain", die)
        assert not (tmp_path / "chain").exists()
        assert loading.is_begun(tmp_path / "chain")
    assert heard == [1, *range(1, 2), *range(2, 101), *range(101, CHUNKS + 1)], "each chunk once"
    second = load(path, tmp_path)
    with SnapshotFile(path) as source:
        assert second.head.hash == read_manifest(source.encoded).header.hash
    assert not loading.is_begun(tmp_path / "chain")
    opening.verify(Snapshot(second._store._raw), second._tip)
    second.close()
    with pytest.raises(SnapshotError, match="a database already"):
        load(path, tmp_path)


def test_what_is_no_file_of_ours_is_refused(taken: tuple[Path, Chain], tmp_path: Path) -> None:
    whole = taken[0].read_bytes()
    for data in (b"", b"x", whole[:-1], whole[: len(whole) // 2], whole + b"\x00", whole[:100], whole * 2):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(SnapshotError):
            SnapshotFile(tmp_path / "bad")
    with pytest.raises(SnapshotError, match="no snapshot here"):
        SnapshotFile(tmp_path / "absent")
    assert PAGE_ENTRIES_MAX == 16
