"""A safety store's record as text, to move a validator from one machine to another. Reads and writes text; touches no file.

JSON with a checksum, complete or refused. With the votes it holds the notarizations that FINALIZE votes stand on, and the
blocks that were voted for and are not final yet, as many as there is room for: peers have them too, where there are any. Whoever
imports a record must see to it that the place it came from never votes again: two stores of one key get slashed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from consensus.stake.safety import SafetyError, VoteRecord
from node.safety_entries import KeptEntry, VoteEntry
from omnitensor.protocol import limits
from omnitensor.protocol.bls import PUBLIC_KEY_BYTES
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import CodecError, StorageError
from omnitensor.protocol.json_depth import is_deep
from omnitensor.protocol.types import BlsPublicKey, Epoch, Hash, TimeMs, View
from omnitensor.protocol.votes import Certificate, VoteKind

T = TypeVar("T", KeptEntry, Certificate)

FORMAT: Final = "omnitensor-safety-record"
VERSION: Final = 2

_Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Bytes = Annotated[str, Meta(pattern="^([0-9a-f]{2})+$")]
_Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class SafetyRecord:
    """What a validator has signed in the newest epoch in which it may have signed anything."""

    chain_id: str
    consensus_key: BlsPublicKey
    epoch: Epoch
    floor: View
    awaits_ms: TimeMs | None
    votes: tuple[VoteRecord, ...]
    proposed: tuple[View, ...]
    kept: tuple[KeptEntry, ...] = ()
    bases: tuple[Certificate, ...] = ()
    """Notarizations behind FINALIZE votes: whoever cast one can't skip its view, and leaves it by this (R5)."""


class _Vote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Annotated[str, Meta(pattern="^(notarize|skip|finalize)$")]
    view: _Number
    candidate: _Hash


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: _Number
    chain_id: Annotated[str, Meta(min_length=1, max_length=limits.chain_id_chars_max)]
    consensus_key: Annotated[str, Meta(pattern=f"^[0-9a-f]{{{2 * PUBLIC_KEY_BYTES}}}$")]
    epoch: _Number
    floor: _Number
    awaits_ms: _Number | None
    votes: list[_Vote]
    proposed: list[_Number]
    checksum: _Hash
    kept: list[_Bytes] = []  # not in version 1
    bases: list[_Bytes] = []


def to_text(record: SafetyRecord) -> str:
    """The record as a JSON document with its checksum."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "chain_id": record.chain_id,
        "consensus_key": record.consensus_key.hex(),
        "epoch": record.epoch,
        "floor": record.floor,
        "awaits_ms": record.awaits_ms,
        "votes": [
            {"kind": vote.kind.name.lower(), "view": vote.view, "candidate": vote.candidate_id.hex()}
            for vote in record.votes
        ],
        "proposed": list(record.proposed),
        "kept": _with_room(record.kept),
        "bases": _with_room(record.bases),
    }
    document["checksum"] = _checksum(document)
    return json.dumps(document, indent=2) + "\n"


def from_text(text: str | bytes) -> SafetyRecord:
    """Reads a document strictly. Raises StorageError naming what is wrong with it."""
    if len(text) > limits.safety_record_bytes_max:
        raise StorageError("too large for a safety record", value=f"{len(text)} bytes")
    if is_deep(text, limits.json_depth_max):
        raise StorageError("not a safety record: it nests too deep", remedy="export it again")
    try:
        loaded = json.loads(text, object_pairs_hook=_unique)
        read = msgspec.convert(loaded, _Document)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise StorageError(f"not a safety record: {error}", remedy="export it again") from error
    if (read.format, read.version) != (FORMAT, VERSION):
        raise StorageError("a safety record of another format", value=f"{read.format} {read.version}")
    if _checksum({name: value for name, value in loaded.items() if name != "checksum"}) != read.checksum:
        raise StorageError(
            "the safety record was changed or cut: its checksum is another", remedy="export it again"
        )
    return SafetyRecord(
        read.chain_id,
        BlsPublicKey(bytes.fromhex(read.consensus_key)),
        Epoch(read.epoch),
        View(read.floor),
        None if read.awaits_ms is None else TimeMs(read.awaits_ms),
        tuple(
            VoteRecord(VoteKind[vote.kind.upper()], View(vote.view), Hash(bytes.fromhex(vote.candidate)))
            for vote in read.votes
        ),
        tuple(View(view) for view in read.proposed),
        tuple(_read(KeptEntry, text, "block") for text in read.kept),
        tuple(_read(Certificate, text, "certificate") for text in read.bases),
    )


def votes_of(record: SafetyRecord) -> list[VoteEntry]:
    """The votes of a record, each FINALIZE with the notarization that it stands on."""
    bases = {(basis.view, basis.candidate_id): basis for basis in record.bases}
    return [
        VoteEntry(
            vote.kind,
            vote.view,
            vote.candidate_id,
            bases.get((vote.view, vote.candidate_id)) if vote.kind == VoteKind.FINALIZE else None,
        )
        for vote in record.votes
    ]


def fault_of_import(held: SafetyRecord, given: SafetyRecord) -> SafetyError | None:
    """Why a record must not replace the one that is held, or None: it must know all that is known here."""
    if (held.chain_id, held.consensus_key) != (given.chain_id, given.consensus_key):
        return SafetyError(
            "the record is of another chain or validator key",
            value=f"{given.chain_id}, key {given.consensus_key.hex()[:16]}…",
            remedy="give each key and chain its own folder",
        )
    older = SafetyError(
        f"the record is older than the one that is here, of epoch {held.epoch}",
        value=f"epoch {given.epoch}, floor {given.floor}",
        remedy="keep the one that is here, or export the newest again",
    )
    if held.awaits_ms is not None:
        # What was signed before is unknown, so no record can be shown to know all of it.
        return older if given.awaits_ms is None or given.awaits_ms < held.awaits_ms else None
    if given.epoch != held.epoch:
        return older if given.epoch < held.epoch else None
    known = set(given.votes)
    forgotten = [vote for vote in held.votes if vote.view > given.floor and vote not in known]
    unknown = [view for view in held.proposed if view > given.floor and view not in given.proposed]
    return older if given.floor < held.floor or forgotten or unknown else None


def _with_room(entries: tuple[KeptEntry, ...] | tuple[Certificate, ...]) -> list[str]:
    """Those of the lowest views, which others stand on, as far as there is room."""
    found: list[str] = []
    room = limits.safety_record_kept_chars_max
    for entry in entries:
        text = encode(entry).hex()
        room -= len(text)
        if room < 0:
            break
        found.append(text)
    return found


def _read(kind: type[T], text: str, what: str) -> T:
    try:
        return decode(kind, bytes.fromhex(text), limits.safety_batch_bytes_max)
    except CodecError as error:
        raise StorageError(
            f"not a safety record: a {what} can't be read: {error.reason}", remedy="export it again"
        ) from error


def _checksum(document: dict[str, Any]) -> str:
    plain = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return sha256(plain.encode()).hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found
