"""Orders of private campaigns: reading keys, and the keys of items given to those who were drawn to judge them. Data only."""

from typing import Annotated, ClassVar

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies.base import BodyBase, Scope
from omnitensor.protocol.codec import Record
from omnitensor.protocol.sealing import READING_KEY_BYTES, WRAP_BYTES
from omnitensor.protocol.types import U64, AddressF, BatchIdF, HashF, ItemIdF

ReadingKeyF = Annotated[bytes, Meta(min_length=READING_KEY_BYTES, max_length=READING_KEY_BYTES)]
"""An X25519 public key."""
WrappedKeyF = Annotated[bytes, Meta(min_length=WRAP_BYTES, max_length=WRAP_BYTES)]
"""An item's key for one reader."""


class ReadingKeySet(BodyBase, frozen=True, tag=37):
    """Says to which key the private items are wrapped that this validator is drawn to judge from now on."""

    KIND: ClassVar[str] = "reading_key_set"
    SCOPE: ClassVar[Scope | None] = Scope.REVIEW
    key: ReadingKeyF


class KeyGrant(Record, frozen=True):
    """An item's key for the seat of one validator."""

    item: ItemIdF
    validator: AddressF
    wrapped: WrappedKeyF


class KeysGrant(BodyBase, frozen=True, tag=38):
    """Gives seats of a batch the keys of private items: of the sender's own, or of any item by the campaign's sponsor."""

    KIND: ClassVar[str] = "keys_grant"
    SCOPE: ClassVar[Scope | None] = Scope.UPLOAD
    batch: BatchIdF
    grants: Annotated[tuple[KeyGrant, ...], Meta(min_length=1, max_length=limits.key_grants_per_order_max)]

    def weight(self) -> int:
        return 100 + 100 * len(self.grants)


class PlainDuplicate(BodyBase, frozen=True, tag=39):
    """Shows that two private items of a campaign have the same plain bytes, by opening what both were declared with."""

    KIND: ClassVar[str] = "plain_duplicate"
    SCOPE: ClassVar[Scope | None] = Scope.UPLOAD
    item: ItemIdF
    """The later one."""
    of: ItemIdF
    digest: HashF
    """SHA-256 of the plain bytes."""
    size: U64
    salt: HashF
    """Of the later item's plain commitment."""
    salt_of: HashF

    def weight(self) -> int:
        return 1_000
