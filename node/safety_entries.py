"""What a safety store writes down, as records: one a fact. Knows no file and no rule."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.codec import Record
from omnitensor.protocol.types import BlsPublicKeyF, EpochF, HashF, TimeMsF, ViewF
from omnitensor.protocol.votes import Candidate, Certificate, VoteKind


class Identity(Record, frozen=True):
    """Whose record a file is."""

    chain_id: Annotated[str, Meta(min_length=1, max_length=limits.chain_id_chars_max)]
    consensus_key: BlsPublicKeyF


class FloorEntry(Record, frozen=True, tag=1):
    """All views up to this one are over; what was signed there is forgotten."""

    view: ViewF


class VoteEntry(Record, frozen=True, tag=2):
    """A vote. ``basis`` is the notarization behind a FINALIZE."""

    kind: VoteKind
    view: ViewF
    candidate_id: HashF
    basis: Certificate | None


class ProposalEntry(Record, frozen=True, tag=3):
    """This validator proposed in this view."""

    view: ViewF


class KeptEntry(Record, frozen=True, tag=4):
    """A candidate that was voted for, with its block; none for a filler."""

    candidate: Candidate
    block: Block | None


class EpochEntry(Record, frozen=True, tag=5):
    """From here on the records are of this epoch; those before it are over, and nothing is signed there any more."""

    epoch: EpochF


class AwaitEntry(Record, frozen=True, tag=6):
    """The record before was lost. Nothing is signed in an epoch that began at this instant or before (R9)."""

    until_ms: TimeMsF


Entry = FloorEntry | VoteEntry | ProposalEntry | KeptEntry | EpochEntry | AwaitEntry

decode_entries: Final = msgspec.msgpack.Decoder(tuple[Entry, ...]).decode
"""Entries of a batch; raises ``msgspec.MsgspecError``."""
