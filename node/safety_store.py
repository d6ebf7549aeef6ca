"""What this validator has signed, on disk, so that it never signs what would convict it (R9).

Append-only, checksummed, synced before a vote leaves. It refuses what the pure rule of ``consensus.stake.safety`` refuses,
whatever the core asks for. Knows no keys and sends nothing. Calls block on the disk: run them in a thread.

The file: a header, then batches. A batch is written and synced as a whole, and is the unit that a crash can tear.

    header   magic 8, salt 16, bytes of the batches written with it 8, length 2,
             identity (chain id and consensus key, canonical msgpack), SHA-256 of all before
    batch    magic 4, number 8, length 4, head checksum 8; then the records (canonical msgpack), body checksum 16

Checksums are SHA-256 over the salt, the number and what they cover, cut short. The salt is random and stays in the file, so bytes
that strangers chose (blocks) can't pass for a batch. The header and the batches written with it come by an atomic replacement and
are never torn. On opening, anything bad there, or with a good batch behind it, is damage, and refused; a bad end after them is a
batch whose sync never returned, so nothing that depends on it has left, and it is cut off.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

from consensus.stake.effects import Cast, Propose
from consensus.stake.safety import (
    Kept,
    SafetyError,
    SafetyMemory,
    VoteRecord,
    fault_of_proposal,
    fault_of_vote,
)
from node.safety_entries import (
    AwaitEntry,
    Entry,
    EpochEntry,
    FloorEntry,
    Identity,
    KeptEntry,
    ProposalEntry,
    VoteEntry,
    decode_entries,
)
from node.safety_files import Files
from node.safety_record import SafetyRecord, fault_of_import, votes_of
from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.types import (
    BlsPublicKey,
    Epoch,
    Hash,
    TimeMs,
    View,
)
from omnitensor.protocol.votes import Candidate, Certificate, VoteKind

FILE_NAME: Final = "votes"
FILE_MAGIC: Final = b"OTSAFE01"
BATCH_MAGIC: Final = b"OTSB"
SALT_BYTES: Final = 16
HEAD_BYTES: Final = 4 + 8 + 4 + 8
BODY_CHECKSUM_BYTES: Final = 16
COMPACT_BYTES: Final = 4 * limits.MIB
"""A file is rewritten without what is below the floor once it has grown by this."""


SILENT: Final = SafetyMemory(floor=View(2**63 - 1))
"""What a core is started with in an epoch in which it must not sign anything."""


class _View:
    """What is remembered of one view."""

    __slots__ = ("bases", "kept", "proposed", "votes")

    def __init__(self) -> None:
        self.votes: dict[VoteKind, Hash] = {}
        self.bases: dict[Certificate, None] = {}
        self.kept: dict[KeptEntry, None] = {}  # a set in order
        self.proposed = False


class SafetyStore:
    """The record of one validator key. One process at a time has it open; one thread at a time calls it."""

    def __init__(self, files: Files, identity: Identity) -> None:
        """Use ``create`` or ``open``."""
        self._files: Final = files
        self._identity: Final = identity
        self._salt = b""
        self._number = 0
        self._bytes = 0
        self._compacted_bytes = 0
        self._epoch = Epoch(0)
        self._awaits_ms: TimeMs | None = None
        self._floor = View(0)
        self._views: dict[View, _View] = {}
        self._pending: list[Entry] = []
        self._broken = ""

    @classmethod
    def create(
        cls,
        files: Files,
        chain_id: str,
        consensus_key: BlsPublicKey,
        salt: Callable[[int], bytes] = secrets.token_bytes,
        lost_ms: TimeMs | None = None,
    ) -> SafetyStore:
        """A new, empty record, for a key that has never voted on this chain. Raises StorageError when there is one already.

        For a key that has voted and whose record is lost, ``lost_ms`` is now (generously): R9 lets it sign again in the first
        epoch that begins later, in which it can't have signed anything.
        """
        store = cls(files, Identity(chain_id, consensus_key))
        store._awaits_ms = lost_ms
        files.lock()
        try:
            if files.read(FILE_NAME, limits.safety_file_bytes_max) is not None:
                raise StorageError(
                    "there is a safety store already, and it is never overwritten",
                    remedy="start the node with it; it remembers what this validator has signed",
                )
            store._salt = salt(SALT_BYTES)
            store._rewrite()
        except BaseException:
            files.unlock()
            raise
        return store

    @classmethod
    def open(cls, files: Files, chain_id: str, consensus_key: BlsPublicKey) -> SafetyStore:
        """The record as it was left, torn end healed. Raises StorageError when it is absent, damaged, in use, or another key's.

        An absent record is an error because a validator that does not know what it has signed must not sign (R9).
        """
        store = cls(files, Identity(chain_id, consensus_key))
        files.lock()
        try:
            data = files.read(FILE_NAME, limits.safety_file_bytes_max)
            if data is None:
                raise StorageError(
                    "this validator's safety store is missing",
                    remedy="restore the newest copy; where there is none, and no other process: omnitensor-node safety init",
                )
            store._load(data)
        except BaseException:
            files.unlock()
            raise
        return store

    # -- what the driver calls

    @property
    def epoch(self) -> Epoch:
        """The newest epoch in which something may have been signed."""
        return self._epoch

    @property
    def awaits_ms(self) -> TimeMs | None:
        """Where the record was lost: nothing is signed in epochs that began at this instant or before."""
        return self._awaits_ms

    @property
    def floor(self) -> View:
        return self._floor

    def enter(self, epoch: Epoch, began_ms: TimeMs) -> SafetyMemory:
        """What a core of an epoch is started with; ``began_ms`` is the timestamp of the boundary block below it.

        A newer epoch than the record's begins empty, and with it all older ones are over. In an older one (the chain's data was
        set back), and until the end of the epoch in which a record was lost, nothing is signed. Synced when it returns.
        """
        self._check_usable()
        if self._awaits_ms is not None:
            if began_ms <= self._awaits_ms:
                return SILENT
        elif epoch < self._epoch:
            return SILENT
        elif epoch == self._epoch:
            return self.memory
        self._pending = []
        self._write([EpochEntry(epoch)])
        return self.memory

    def _signs_in(self, epoch: Epoch) -> bool:
        return epoch == self._epoch and self._awaits_ms is None

    def _check_epoch(self, epoch: Epoch) -> None:
        """Raises SafetyError unless the record is of this epoch."""
        if not self._signs_in(epoch):
            raise SafetyError(
                f"the safety store is of epoch {self._epoch}" + (", and waits" if self._awaits_ms else ""),
                value=epoch,
                remedy="a validator never votes in an epoch that it can't remember",
            )

    @property
    def memory(self) -> SafetyMemory:
        """All that is remembered above the floor, for the core's ``Start``; votes ascending by view."""
        views = sorted(self._views.items())
        return SafetyMemory(
            self._floor,
            tuple(VoteRecord(kind, view, cid) for view, held in views for kind, cid in held.votes.items()),
            tuple(view for view, held in views if held.proposed),
            tuple(Kept(kept.candidate, kept.block) for _, held in views for kept in held.kept),
            tuple(basis for _, held in views for basis in held.bases),
        )

    def keep(self, candidate: Candidate, block: Block | None) -> None:
        """Keep a candidate and its block: on disk with the next vote's sync (effect ``Keep``)."""
        if self._signs_in(candidate.epoch) and candidate.view > self._floor:
            self._pending.append(KeptEntry(candidate, block))

    def record(self, cast: Cast) -> None:
        """Record a vote and sync; only then may it be signed (effect ``Cast``).

        Raises SafetyError for a vote that would convict, StorageError when the disk fails; sign nothing after either. The same
        vote again is fine and touches no disk.
        """
        self._check_usable()
        self._check_epoch(cast.epoch)
        vote = VoteRecord(cast.kind, cast.view, cast.candidate_id)
        signed = self._signed_in(cast.view)
        fault = fault_of_vote(self._floor, signed, vote)
        if fault is not None:
            raise fault
        if cast.kind not in signed:
            self._write([*self._pending, VoteEntry(cast.kind, cast.view, cast.candidate_id, cast.basis)])

    def record_proposal(self, propose: Propose) -> None:
        """Record a proposal, its block and the leader's NOTARIZE, and sync (effect ``Propose``). Raises as ``record``."""
        self._check_usable()
        self._check_epoch(propose.vote.epoch)
        view = propose.vote.view
        held = self._views.get(view)
        proposed = held is not None and held.proposed
        fault = fault_of_proposal(self._floor, proposed, self._signed_in(view), view)
        if fault is not None:
            raise fault
        vote = propose.vote
        self._write(
            [
                *self._pending,
                ProposalEntry(view),
                KeptEntry(propose.candidate, propose.block),
                VoteEntry(vote.kind, vote.view, vote.candidate_id, None),
            ]
        )

    def raise_floor(self, epoch: Epoch, view: View) -> None:
        """Views of an epoch up to this one are final and committed: forget them, never sign there again. Writes now and then."""
        if not self._signs_in(epoch) or view <= self._floor:
            return
        self._apply(FloorEntry(view))
        self._pending = [
            entry
            for entry in self._pending
            if not isinstance(entry, KeptEntry) or entry.candidate.view > view
        ]
        if self._bytes > self._compacted_bytes + COMPACT_BYTES:
            self._check_usable()
            self._rewrite()

    def close(self) -> None:
        """Write the floor, so that the next start has little to read, and let another process open it."""
        try:
            if not self._broken:
                self._rewrite()
        finally:
            self._broken = "it is closed"
            self._files.unlock()

    def adopt(self, record: SafetyRecord) -> None:
        """Takes over a record that was exported from another folder. Raises SafetyError where this one knows more.

        The store that it came from must never be used again.
        """
        self._check_usable()
        fault = fault_of_import(self.exported(), record)
        if fault is not None:
            raise fault
        self._awaits_ms = record.awaits_ms
        if record.epoch != self._epoch:
            self._views.clear()
        self._epoch, self._floor = record.epoch, View(0)
        entries: list[Entry] = [FloorEntry(record.floor), *votes_of(record)]
        entries += [*map(ProposalEntry, record.proposed), *record.kept]
        for entry in entries:
            self._apply(entry)
        self._rewrite()

    def exported(self) -> SafetyRecord:
        """What must not be forgotten when this validator moves to another machine."""
        memory = self.memory
        return SafetyRecord(
            self._identity.chain_id,
            self._identity.consensus_key,
            self._epoch,
            self._floor,
            self._awaits_ms,
            memory.votes,
            memory.proposed,
            tuple(entry for _, held in sorted(self._views.items()) for entry in held.kept),
            memory.certificates,
        )

    # -- memory

    def _signed_in(self, view: View) -> dict[VoteKind, Hash]:
        held = self._views.get(view)
        return held.votes if held is not None else {}

    def _apply(self, entry: Entry) -> None:
        match entry:
            case EpochEntry(epoch):
                self._epoch, self._floor, self._awaits_ms = epoch, View(0), None
                self._views.clear()
            case AwaitEntry(until_ms):
                self._awaits_ms = until_ms
            case FloorEntry(view):
                self._floor = max(self._floor, View(view))
                for old in [old for old in self._views if old <= self._floor]:
                    del self._views[old]
            case VoteEntry(kind, view, candidate_id, basis) if view > self._floor:
                held = self._views.setdefault(View(view), _View())
                held.votes[kind] = Hash(candidate_id)
                if basis is not None:
                    held.bases[basis] = None
            case ProposalEntry(view) if view > self._floor:
                self._views.setdefault(View(view), _View()).proposed = True
            case KeptEntry(candidate, _) if candidate.view > self._floor:
                held = self._views.setdefault(View(candidate.view), _View())
                held.kept[entry] = None

    def _entries(self) -> list[Entry]:
        """All that is remembered, as entries of one batch."""
        found: list[Entry] = [EpochEntry(self._epoch), FloorEntry(self._floor)]
        if self._awaits_ms is not None:
            found.append(AwaitEntry(self._awaits_ms))
        for view, held in sorted(self._views.items()):
            bases = {basis.candidate_id: basis for basis in held.bases}
            found.extend(held.kept)
            found.extend([ProposalEntry(view)] if held.proposed else [])
            for kind, candidate_id in held.votes.items():
                basis = bases.get(candidate_id) if kind == VoteKind.FINALIZE else None
                found.append(VoteEntry(kind, view, candidate_id, basis))
        return found

    # -- disk

    def _check_usable(self) -> None:
        if self._broken:
            raise StorageError(
                f"the safety store takes no more votes: {self._broken}",
                remedy="mend the disk and start again",
            )

    def _write(self, entries: list[Entry]) -> None:
        """Append one batch and sync it. After a failure nobody knows what is on disk, so nothing is signed any more."""
        data = self._batch(entries)
        try:
            self._files.append(FILE_NAME, data)
            self._files.sync(FILE_NAME)
        except BaseException as error:
            self._broken = f"a write failed ({error})"
            raise
        self._number += 1
        self._bytes += len(data)
        self._pending = []
        for entry in entries:
            self._apply(entry)

    def _rewrite(self) -> None:
        """Replace the file by one that holds just what is remembered, in batches of bounded size."""
        number, self._number = self._number, 0
        parts: list[bytes] = []
        batch: list[Entry] = []
        size = 0
        for entry in self._entries():
            entry_bytes = len(encode(entry))
            if batch and size + entry_bytes > limits.safety_batch_bytes_max // 2:
                parts.append(self._batch(batch))
                self._number += 1
                batch, size = [], 0
            batch.append(entry)
            size += entry_bytes
        parts.append(self._batch(batch))
        self._number += 1
        base = b"".join(parts)
        data = self._header(len(base)) + base
        try:
            self._files.replace(FILE_NAME, data)
        except BaseException as error:
            self._number = number
            self._broken = f"a rewrite failed ({error})"
            raise
        self._bytes = self._compacted_bytes = len(data)

    def _header(self, base_bytes: int) -> bytes:
        identity = encode(self._identity)
        start = (
            FILE_MAGIC
            + self._salt
            + base_bytes.to_bytes(8, "big")
            + len(identity).to_bytes(2, "big")
            + identity
        )
        return start + sha256(start).digest()

    def _batch(self, entries: list[Entry]) -> bytes:
        body = encode(tuple(entries))
        assert len(body) <= limits.safety_batch_bytes_max
        head = BATCH_MAGIC + self._number.to_bytes(8, "big") + len(body).to_bytes(4, "big")
        return head + self._checksum(head)[:8] + body + self._checksum(head + body)[:BODY_CHECKSUM_BYTES]

    def _checksum(self, data: bytes) -> bytes:
        return sha256(self._salt + data).digest()

    def _load(self, data: bytes) -> None:
        at, base_end = self._load_header(data)
        while at < max(len(data), base_end):
            body = self._batch_at(data, at, self._number)
            if body is None:
                if at < base_end or self._good_batch_after(data, at):
                    raise StorageError(
                        f"the safety store is damaged at byte {at}: what this validator has signed can't be told",
                        remedy="restore the newest copy, or follow the chain without voting",
                    )
                self._files.truncate(FILE_NAME, at)
                break
            for entry in self._decode(body, at):
                self._apply(entry)
            at += HEAD_BYTES + len(body) + BODY_CHECKSUM_BYTES
            self._number += 1
        self._bytes = self._compacted_bytes = at

    def _load_header(self, data: bytes) -> tuple[int, int]:
        """Check the header; returns where batches begin, and where those end that were written with it."""
        fixed = len(FILE_MAGIC) + SALT_BYTES + 8 + 2
        end = fixed + int.from_bytes(data[fixed - 2 : fixed], "big")
        if not data.startswith(FILE_MAGIC) or sha256(data[:end]).digest() != data[end : end + 32]:
            raise StorageError(
                "not a safety store, or its beginning is damaged",
                value=data[:8],
                remedy="restore the newest copy",
            )
        self._salt = data[len(FILE_MAGIC) : len(FILE_MAGIC) + SALT_BYTES]
        identity = decode(Identity, data[fixed:end])
        if identity != self._identity:
            raise StorageError(
                "the safety store is of another chain or validator key",
                value=f"{identity.chain_id}, key {identity.consensus_key.hex()[:16]}…",
                remedy="give each key and chain its own folder",
            )
        begin = end + 32
        return begin, begin + int.from_bytes(data[fixed - 10 : fixed - 2], "big")

    def _batch_at(self, data: bytes, at: int, number: int | None) -> bytes | None:
        """The body of the good batch at a place; None when there is none (of that number, where one is given)."""
        head, check = data[at : at + HEAD_BYTES - 8], data[at + HEAD_BYTES - 8 : at + HEAD_BYTES]
        if not head.startswith(BATCH_MAGIC) or len(check) < 8 or self._checksum(head)[:8] != check:
            return None
        if number is not None and int.from_bytes(head[4:12], "big") != number:
            return None
        begin = at + HEAD_BYTES
        end = begin + int.from_bytes(head[12:16], "big")
        body, check = data[begin:end], data[end : end + BODY_CHECKSUM_BYTES]
        good = (
            len(check) == BODY_CHECKSUM_BYTES and self._checksum(head + body)[:BODY_CHECKSUM_BYTES] == check
        )
        return body if good else None

    def _good_batch_after(self, data: bytes, at: int) -> bool:
        """Whether a batch that was begun after the bad one lies behind it: then the bad one had been synced, and is damaged."""
        place = data.find(BATCH_MAGIC, at + 1)
        while place >= 0:
            head, check = (
                data[place : place + HEAD_BYTES - 8],
                data[place + HEAD_BYTES - 8 : place + HEAD_BYTES],
            )
            if len(check) == 8 and self._checksum(head)[:8] == check:
                return True
            place = data.find(BATCH_MAGIC, place + 1)
        return False

    @staticmethod
    def _decode(body: bytes, at: int) -> tuple[Entry, ...]:
        try:
            return decode_entries(body)
        except (msgspec.MsgspecError, ProtocolError) as error:
            raise StorageError(
                f"the safety store holds a record at byte {at} that this version can't read",
                remedy="use the version that wrote it, or a newer one",
            ) from error
