"""Rows of a data set: what of an accepted item is fixed for good, in a fixed width, and the root over all of them. Data only.

The root depends on the campaign's accepted items alone, never on who exported them, when, or into which files.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from omnitensor.protocol import merkle
from omnitensor.protocol.rows import Item, ItemStatus
from omnitensor.protocol.types import Hash, ItemId

ROW_BYTES: Final = 200
ACCEPTED: Final = (ItemStatus.ACCEPTED, ItemStatus.PAID)


def row_of(number: ItemId, item: Item) -> bytes:
    """An accepted item as a row.

    Item (8 bytes), campaign (8), SHA-256 (32), chunk root (32), size (8), contributor (33), SHA-256 of the media type (32),
    tier (2), category (2), completeness, accuracy, relevance (1 each), overall (1), agreement (2), batch (8), height (8) and
    time (8) of the acceptance, 13 zeros. Integers are big-endian.
    """
    assert item.status in ACCEPTED, "only what was accepted is in a data set"
    accepted = [change for change in item.history if change.status == ItemStatus.ACCEPTED][-1]
    row = b"".join(
        (
            number.to_bytes(8, "big"),
            item.campaign.to_bytes(8, "big"),
            item.content.sha256,
            item.content.chunk_root,
            item.content.size.to_bytes(8, "big"),
            item.contributor,
            sha256(item.media_type.encode()).digest(),
            item.tier.to_bytes(2, "big"),
            item.category.to_bytes(2, "big"),
            bytes(item.scores),
            item.overall.to_bytes(1, "big"),
            item.agreement_bps.to_bytes(2, "big"),
            item.batch.to_bytes(8, "big"),
            accepted.height.to_bytes(8, "big"),
            accepted.timestamp_ms.to_bytes(8, "big"),
        )
    )
    return row.ljust(ROW_BYTES, b"\0")


def dataset_root(rows: Iterable[bytes]) -> Hash:
    """The RFC 6962 root over rows, which are in the order of their items."""
    return Hash(merkle.root_of(rows))
