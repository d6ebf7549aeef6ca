"""What the state holds of private campaigns: reading keys, and which keys of items were given to which seats. Data only."""

from typing import Annotated

from msgspec import Meta

from omnitensor.protocol.bodies.privacy import ReadingKeyF
from omnitensor.protocol.codec import Record
from omnitensor.protocol.sealing import WRAP_BYTES
from omnitensor.protocol.types import U16, AddressF, HeightF


class ReadingKeyRow(Record, frozen=True):
    """A validator's X25519 key, for whatever private items it is drawn to judge from now on."""

    key: ReadingKeyF
    since: HeightF


class SealedSeat(Record, frozen=True):
    """A seat of a private campaign's batch, until the batch is done."""

    key: ReadingKeyF
    """Its validator's reading key when it was drawn."""
    grant_until: HeightF
    """Up to this height it is given keys; from the next one on it may commit without those that are missing."""
    granted: U16
    """Items of the batch whose keys it has."""
    granters: tuple[AddressF, ...]
    """Who may give them: the batch's contributors, each for its own items, then the sponsor for all."""


class Grant(Record, frozen=True):
    """An item's key as a seat was given it: by its contributor, and by the sponsor. Each gives it once."""

    contributor: Annotated[bytes, Meta(max_length=WRAP_BYTES)]
    """Empty where it did not."""
    sponsor: Annotated[bytes, Meta(max_length=WRAP_BYTES)]
