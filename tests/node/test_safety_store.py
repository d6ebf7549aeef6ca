"""The safety store: what it remembers, what it refuses, and what any crash at any byte leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.stake.effects import Cast, Propose
from consensus.stake.safety import SafetyError, SafetyMemory, VoteRecord
from node import safety_store
from node.safety_files import DiskFiles
from node.safety_record import SafetyRecord, from_text, to_text
from node.safety_store import FILE_NAME, SILENT, SafetyStore
from omnitensor.protocol import limits
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import BlsPublicKey, Epoch, Hash, TimeMs, View
from omnitensor.protocol.votes import SKIP_ID, VoteKind
from tests.consensus.worlds import Workshop
from tests.simulation.disk import PowerCut, SimDisk

ROOT = Path(__file__).resolve().parents[2]
N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
KEY = BlsPublicKey(b"k" * 48)
A, B = Hash(b"a" * 32), Hash(b"b" * 32)
SHOP = Workshop()


def cast(kind: VoteKind, view: int, candidate_id: Hash = A, basis: bool = False) -> Cast:
    notarization = SHOP.certificate(N, view, candidate_id) if basis else None
    return Cast(kind, Epoch(0), View(view), SKIP_ID if kind == S else candidate_id, 0, notarization)


def propose(view: int, salt: int = 0) -> Propose:
    candidate, block = SHOP.child(view, salt=salt)
    return Propose(candidate, block, (), cast(N, view, candidate.id))


def votes(store: SafetyStore) -> list[tuple[VoteKind, int, bytes]]:
    return [(v.kind, v.view, v.candidate_id) for v in store.memory.votes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "safety"


def reopened(folder: Path, store: SafetyStore | None = None) -> SafetyStore:
    if store is not None:
        store._files.unlock()  # as a killed process: nothing is written on the way out
    return SafetyStore.open(DiskFiles(folder), "chain", KEY)


def test_remembers_everything_across_a_kill(folder: Path) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    kept = propose(1)
    store.keep(kept.candidate, kept.block)
    store.record(cast(N, 1))
    store.record(cast(F, 1, basis=True))
    store.record(cast(S, 2))
    led = propose(3)
    store.record_proposal(led)
    memory = store.memory
    again = reopened(folder, store)
    assert again.memory == memory
    assert memory.proposed == (3,)
    assert [k.candidate for k in memory.kept] == [kept.candidate, led.candidate]
    assert [k.block for k in memory.kept] == [kept.block, led.block]
    assert memory.certificates == (SHOP.certificate(N, 1, A),)
    assert memory.votes[:3] == (
        VoteRecord(N, View(1), A),
        VoteRecord(F, View(1), A),
        VoteRecord(S, View(2), SKIP_ID),
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (cast(N, 1, A), cast(N, 1, B)),
        (cast(F, 1, A), cast(F, 1, B)),
        (cast(S, 1), cast(F, 1)),
        (cast(F, 1), cast(S, 1)),
    ],
    ids=["two notarize", "two finalize", "skip then finalize", "finalize then skip"],
)
def test_refuses_what_would_convict_also_after_a_restart(folder: Path, first: Cast, second: Cast) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    store.record(first)
    for _ in range(2):
        with pytest.raises(SafetyError) as refusal:
            store.record(second)
        assert refusal.value.remedy
        store.record(first)
        store.record(cast(N, 9))
        store = reopened(folder, store)
    assert len(votes(store)) == 2


def test_allows_what_does_not_convict(folder: Path) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    for vote in (cast(N, 1, A), cast(S, 1), cast(N, 2, A), cast(F, 2, B)):
        store.record(vote)
    assert len(votes(store)) == 4


def test_never_proposes_twice_in_a_view(folder: Path) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    store.record_proposal(propose(1))
    store.record(cast(N, 2))
    for again in (propose(1), propose(1, salt=4), propose(2)):
        with pytest.raises(SafetyError):
            store.record_proposal(again)


def test_floor_forgets_and_forbids(folder: Path) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    for view in range(1, 10):
        store.record(cast(S, view))
    store.raise_floor(Epoch(0), View(6))
    store.raise_floor(Epoch(0), View(2))
    assert store.floor == 6
    with pytest.raises(SafetyError):
        store.record(cast(N, 6))
    store.close()
    again = reopened(folder)
    assert again.floor == 6
    assert [view for _, view, _ in votes(again)] == [7, 8, 9]
    with pytest.raises(SafetyError):
        again.record(cast(S, 5))


def test_is_compacted_and_stays_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety_store, "COMPACT_BYTES", 4_000)
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    for view in range(1, 400):
        led = propose(view)
        store.record_proposal(led)
        store.raise_floor(Epoch(0), View(view - 3))
        assert (folder / FILE_NAME).stat().st_size < 12_000
    again = reopened(folder, store)
    assert again.memory.proposed[-3:] == (397, 398, 399)
    assert len(again.memory.proposed) < 12, "at most what was written since the last rewriting"


def test_a_cut_at_every_byte_leaves_a_prefix_of_what_was_recorded(tmp_path: Path) -> None:
    """The file cut short anywhere: opening heals it, remembers whole records only, and in order."""
    folder = tmp_path / "whole"
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    empty = (folder / FILE_NAME).stat().st_size
    seen = [votes(store)]
    sizes = [empty]
    for number in range(1, 6):
        if number == 3:
            store.record_proposal(propose(3))
        else:
            store.record(cast(F if number == 4 else N, number, basis=number == 4))
        seen.append(votes(store))
        sizes.append((folder / FILE_NAME).stat().st_size)
    data = (folder / FILE_NAME).read_bytes()
    for end in range(empty, len(data) + 1):
        disk = SimDisk(Random(0))
        disk.replace(FILE_NAME, data[:end])
        healed = SafetyStore.open(disk, "chain", KEY)
        whole = sum(size <= end for size in sizes) - 1
        assert votes(healed) == seen[whole]
        healed.record(cast(S, 50))
        disk.power_off()
        assert votes(SafetyStore.open(disk, "chain", KEY)) == [*seen[whole], (S, 50, SKIP_ID)]
    for end in range(empty):
        disk = SimDisk(Random(0))
        disk.replace(FILE_NAME, data[:end])
        with pytest.raises(StorageError):
            SafetyStore.open(disk, "chain", KEY)


def test_a_flipped_byte_is_refused_or_costs_the_unsynced_end_only(tmp_path: Path) -> None:
    """Damage before the last batch is never taken for a torn end: what was signed would be forgotten."""
    folder = tmp_path / "whole"
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    for view in (1, 2):
        store.record(cast(N, view))
    last = (folder / FILE_NAME).stat().st_size
    store.record(cast(N, 3))
    data = (folder / FILE_NAME).read_bytes()
    for place in range(len(data)):
        disk = SimDisk(Random(0))
        disk.replace(FILE_NAME, data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])
        if place < last:
            with pytest.raises(StorageError):
                SafetyStore.open(disk, "chain", KEY)
        else:
            assert [view for _, view, _ in votes(SafetyStore.open(disk, "chain", KEY))] == [1, 2]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(1, 30))
def test_power_cut_at_any_disk_operation(seed: int, cut: int) -> None:
    """Whatever returned before the power went is remembered; what was refused stays refused."""
    random = Random(seed)
    disk = SimDisk(random)
    store = SafetyStore.create(disk, "chain", KEY)
    returned: dict[tuple[VoteKind, int], bytes] = {}
    disk.cut_in = cut
    try:
        for view in range(1, 40):
            kind, candidate_id = random.choice((N, S, F)), random.choice((A, B))
            vote = cast(kind, view // 2 + 1, candidate_id)
            try:
                store.record(vote)
                returned[vote.kind, vote.view] = bytes(vote.candidate_id)
            except SafetyError:
                pass
    except PowerCut:
        with pytest.raises(StorageError):
            store.record(cast(N, 99))
    disk.power_off()
    again = SafetyStore.open(disk, "chain", KEY)
    remembered = {(kind, view): bytes(cid) for kind, view, cid in votes(again)}
    assert remembered.items() >= returned.items()
    assert len(remembered) <= len(returned) + 1


def test_a_second_process_is_refused(folder: Path) -> None:
    SafetyStore.create(DiskFiles(folder), "chain", KEY)
    code = (
        "import sys; from pathlib import Path\n"
        "from node.safety_files import DiskFiles\n"
        "from node.safety_store import SafetyStore\n"
        "try: SafetyStore.open(DiskFiles(Path(sys.argv[1])), 'chain', b'k' * 48)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    assert "StorageError another process uses this safety store" in done.stdout


def test_missing_present_and_foreign_records_are_errors(folder: Path) -> None:
    with pytest.raises(StorageError, match="missing"):
        SafetyStore.open(DiskFiles(folder), "chain", KEY)
    SafetyStore.create(DiskFiles(folder), "chain", KEY).close()
    with pytest.raises(StorageError, match="never overwritten"):
        SafetyStore.create(DiskFiles(folder), "chain", KEY)
    with pytest.raises(StorageError, match="another chain"):
        SafetyStore.open(DiskFiles(folder), "other", KEY)
    with pytest.raises(StorageError, match="another chain"):
        SafetyStore.open(DiskFiles(folder), "chain", BlsPublicKey(b"x" * 48))
    reopened(folder).close()


def test_closed_and_failed_stores_sign_nothing(folder: Path) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.record(cast(N, 1))


def test_files_are_for_their_owner_alone(folder: Path) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    store.record(cast(N, 1))
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    store.close()


def test_a_disk_that_fails_says_so_and_ends_signing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        store.record(cast(N, 1))
    monkeypatch.undo()
    with pytest.raises(StorageError, match="takes no more votes"):
        store.record(cast(N, 1))


# -- epochs


def cast_in(epoch: int, kind: VoteKind, view: int, candidate_id: Hash = A) -> Cast:
    return Cast(kind, Epoch(epoch), View(view), SKIP_ID if kind == S else candidate_id, 0)


def test_each_epoch_begins_empty_and_the_old_one_is_over(folder: Path) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    assert store.enter(Epoch(0), TimeMs(0)) == SafetyMemory()
    store.record(cast_in(0, N, 7))
    store.raise_floor(Epoch(0), View(5))
    assert store.enter(Epoch(0), TimeMs(0)).floor == 5, "entering again changes nothing"
    assert store.enter(Epoch(1), TimeMs(10)) == SafetyMemory()
    store.record(cast_in(1, S, 3))
    store.raise_floor(Epoch(0), View(60))  # a late word of the old epoch's core
    for late in (0, 2):
        with pytest.raises(SafetyError, match="epoch 1"):
            store.record(cast_in(late, N, 70))
    again = reopened(folder, store)
    assert (again.epoch, again.floor) == (1, 0)
    assert votes(again) == [(S, 3, SKIP_ID)]
    assert again.enter(Epoch(1), TimeMs(10)).votes == (VoteRecord(S, View(3), SKIP_ID),)
    with pytest.raises(SafetyError, match="convict"):
        again.record(cast_in(1, F, 3))


def test_a_chain_that_was_set_back_signs_nothing_until_it_is_where_the_store_is(folder: Path) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    store.enter(Epoch(4), TimeMs(40))
    store.record(cast_in(4, N, 2))
    for epoch in (0, 3):
        assert store.enter(Epoch(epoch), TimeMs(10 * epoch)) is SILENT
        with pytest.raises(SafetyError):
            store.record(cast_in(epoch, N, 9))
    assert len(store.enter(Epoch(4), TimeMs(40)).votes) == 1


def test_after_a_loss_nothing_is_signed_until_an_epoch_begins_anew(folder: Path) -> None:
    """R9: whatever was signed was signed in an epoch that had begun by then."""
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY, lost_ms=TimeMs(1_000))
    for epoch, began in ((0, 0), (6, 999), (7, 1_000)):
        assert store.enter(Epoch(epoch), TimeMs(began)) is SILENT
        with pytest.raises(SafetyError, match="waits"):
            store.record(cast_in(0, N, 9))
        store = reopened(folder, store)
    assert store.enter(Epoch(8), TimeMs(1_001)) == SafetyMemory()
    store.record(cast_in(8, N, 1))
    assert votes(reopened(folder, store)) == [(N, 1, A)]


# -- moving


def record_of(*casts: Cast, epoch: int = 0, floor: int = 0) -> SafetyRecord:
    return SafetyRecord(
        "chain",
        KEY,
        Epoch(epoch),
        View(floor),
        None,
        tuple(VoteRecord(c.kind, c.view, c.candidate_id) for c in casts),
        (),
    )


def test_a_record_moves_as_text(folder: Path, tmp_path: Path) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    store.enter(Epoch(2), TimeMs(5))
    store.raise_floor(Epoch(2), View(4))
    store.record_proposal(replace_epoch(propose(6), 2))
    store.record(cast_in(2, S, 7))
    record = store.exported()
    read = from_text(to_text(record))
    assert read == record
    assert [kept.candidate.view for kept in read.kept] == [6]
    moved = SafetyStore.create(DiskFiles(tmp_path / "other"), "chain", KEY)
    moved.adopt(read)
    moved.adopt(read)
    assert moved.exported() == record, "a second import adds nothing"
    again = reopened(tmp_path / "other", moved)
    assert again.exported() == record
    with pytest.raises(SafetyError):
        again.record(cast_in(2, F, 7))


def test_a_record_has_what_a_finalize_stands_on(folder: Path, tmp_path: Path) -> None:
    """Whoever said FINALIZE can't skip. Where nobody else has the notarization, the view could not be left without this one's."""
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    store.record(cast(N, 4))
    final = cast(F, 4, basis=True)
    store.record(final)
    record = store.exported()
    assert from_text(to_text(record)) == record
    moved = SafetyStore.create(DiskFiles(tmp_path / "other"), "chain", KEY)
    moved.adopt(record)
    moved.adopt(record)
    assert moved.memory.certificates == (final.basis,)
    assert reopened(tmp_path / "other", moved).memory.certificates == (final.basis,)


def test_a_record_has_room_for_the_blocks_that_others_stand_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    for view in (1, 2, 3):
        store.record_proposal(propose(view))
    record = store.exported()
    chars = [len(encode(kept).hex()) for kept in record.kept]
    monkeypatch.setattr(limits, "safety_record_kept_chars_max", sum(chars) - 1)
    read = from_text(to_text(record))
    assert read.kept == record.kept[:2]
    assert read.votes == record.votes


@pytest.mark.parametrize(("part", "what"), [("kept", "a block"), ("bases", "a certificate")])
def test_a_part_that_can_not_be_read_is_refused(folder: Path, part: str, what: str) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    store.record_proposal(propose(1))
    store.record(cast(F, 2, basis=True))
    document = json.loads(to_text(store.exported()))
    del document["checksum"]
    document[part] = [document[part][0][:-2]]
    plain = json.dumps(document, sort_keys=True, separators=(",", ":"))
    document["checksum"] = sha256(plain.encode()).hexdigest()
    with pytest.raises(StorageError, match=f"{what} can't be read"):
        from_text(json.dumps(document))


def replace_epoch(proposal: Propose, epoch: int) -> Propose:
    return replace(proposal, vote=replace(proposal.vote, epoch=Epoch(epoch)))


@pytest.mark.parametrize(
    ("given", "good"),
    [
        (record_of(cast(N, 5), cast(S, 6), cast(S, 8)), True),
        (record_of(epoch=1), True),
        (record_of(floor=6), True),
        (record_of(cast(N, 5)), False),
        (record_of(cast(N, 5, B), cast(S, 6)), False),
        (record_of(), False),
    ],
)
def test_an_older_record_never_replaces_a_newer_one(folder: Path, given: SafetyRecord, good: bool) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    store.record(cast(N, 5))
    store.record(cast(S, 6))
    if good:
        store.adopt(given)
        assert (store.epoch, store.floor) == (given.epoch, given.floor)
    else:
        with pytest.raises(SafetyError, match="older"):
            store.adopt(given)
        assert votes(reopened(folder, store)) == [(N, 5, A), (S, 6, SKIP_ID)]


def test_a_changed_or_cut_record_is_refused() -> None:
    text = to_text(record_of(cast(N, 5), cast(S, 6), epoch=3))
    for wrong in (
        text.replace('"epoch": 3', '"epoch": 4'),
        text.replace('"view": 5', '"view": 4'),
        text.replace('"notarize"', '"skip"'),
        text[: len(text) // 2],
        text.replace('"floor": 0', '"floor": 0, "floor": 0'),
        text.replace('"version": 2', '"version": 1'),
        "[]",
        "[" * 100_000,
    ):
        with pytest.raises(StorageError):
            from_text(wrong)


def test_a_record_of_another_key_is_refused(folder: Path) -> None:
    store = SafetyStore.create(DiskFiles(folder), "chain", KEY)
    with pytest.raises(SafetyError, match="another chain"):
        store.adopt(replace(record_of(), consensus_key=BlsPublicKey(b"x" * 48)))
