"""What a client trusts: a checkpoint that its user gave, and the newest block that it verified, kept in the user's folder.

Knows files and records. What is stored was verified before, and is public; whoever may write the folder may as well log in.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

import msgspec

from omnitensor.light import TRUST_PERIOD_MS, Checkpoint, ProofError, TrustedPoint
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.types import Epoch
from omnitensor.protocol.votes import ValidatorEntry, ValidatorTable
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.home import Home
from omnitensor.sdk.results import bytes_of

FOLDER: Final = "light"


@dataclasses.dataclass(frozen=True, slots=True)
class Trust:
    """What verifying begins with, and where it is remembered. Without a folder it is forgotten with the client."""

    checkpoint: Checkpoint | None = None
    period_ms: int = TRUST_PERIOD_MS
    """For how long a verified block is a beginning: `omnitensor.light.trust_period_ms` of the chain's parameters."""
    home: Home | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint | str | None, period_s: float | None, home: Home | None) -> Trust:
        """From what a user gave. Raises CheckpointError, InputError."""
        given = Checkpoint.parse(checkpoint) if isinstance(checkpoint, str) else checkpoint
        if period_s is None:
            return cls(given, home=home)
        if not 0 < period_s < float("inf"):
            raise InputError(
                "a trust period is a number of seconds above zero",
                value=period_s,
                remedy="leave it out for two weeks, less an epoch",
            )
        return cls(given, int(period_s * 1_000), home)


class StoredPoint(msgspec.Struct, frozen=True):
    """A trusted point as a file; canonical bytes as hexadecimal text. Height and epoch are there for people."""

    height: int
    epoch: int
    header: str
    voters: str


class PointFile:
    """The file of one chain."""

    def __init__(self, home: Home, genesis_hash: str) -> None:
        self._home: Final = home
        self.path: Final[Path] = home.folder / FOLDER / f"{genesis_hash.lower()}.json"

    def load(self, chain_id: str) -> TrustedPoint | None:
        """The point that was saved, None where there is none. Raises StorageError where the file is damaged."""
        stored = self._home.read(self.path, StoredPoint)
        if stored is None:
            return None
        try:
            header = decode(Header, bytes_of(stored.header))
            entries = decode(tuple[ValidatorEntry, ...], bytes_of(stored.voters))
            point = TrustedPoint(header, ValidatorTable(Epoch(stored.epoch), entries))
            if header.chain_id != chain_id:
                raise ProofError("the file is of another chain", value=header.chain_id)
        except ProtocolError as error:
            raise StorageError(
                f"the block that was verified last can't be read: {error.reason}",
                value=self.path,
                remedy="move the file away; what it holds is verified anew",
            ) from error
        return point

    def save(self, point: TrustedPoint) -> None:
        """Put a point on disk, unless a newer one is there. Raises StorageError."""
        known = self._home.read(self.path, StoredPoint)
        if known is not None and known.height >= point.height:
            return
        stored = StoredPoint(
            point.height, point.epoch, encode(point.header).hex(), encode(point.table.entries).hex()
        )
        self._home.write(self.path, stored)
