"""Proofs as they stand in JSON: rows of the state, receipts and blocks under the roots of headers. Reads only.

They convince whoever has the header, which is final by ``chain.block``; ``omnitensor.light`` checks them.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from omnitensor.protocol.blocks import Block
from omnitensor.protocol.codec import encode
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.types import Height
from rpc.fields import Count, HashText, HexText
from rpc.table import Result
from state.reader import Reader
from state.records import PlacedReceipt


class RowProof(Result, frozen=True):
    height: Annotated[
        Count, Meta(description="The state is the one after this block, under its `state_root`")
    ]
    key: Annotated[HexText, Meta(description="The row's key, its table's prefix byte first")]
    value: Annotated[HexText | None, Meta(description="The row's canonical bytes; null where there is none")]
    page: Annotated[HexText, Meta(description="The trie's page where the row is, or would be")]
    siblings: Annotated[list[HashText], Meta(description="On the way to the page, the root's child first")]


class LeafProof(Result, frozen=True):
    height: Annotated[Count, Meta(description="The block whose header has the root")]
    leaf: Annotated[HexText, Meta(description="The canonical bytes under the root")]
    index: Count
    size: Annotated[Count, Meta(description="Leaves of the tree (RFC 6962)")]
    path: Annotated[list[HashText], Meta(description="Siblings from the leaf up")]


def row_proof(reader: Reader, key: bytes) -> RowProof:
    """Proof of the row under a whole key, or that there is none."""
    value, proof = reader.prove(key)
    return RowProof(
        height=reader.head.height,
        key=key.hex(),
        value=None if value is None else value.hex(),
        page=proof.page.hex(),
        siblings=[sibling.hex() for sibling in proof.siblings],
    )


def receipt_proof(reader: Reader, placed: PlacedReceipt) -> LeafProof:
    """Proof of a receipt under its block's ``receipts_root``."""
    return _leaf_proof(placed.height, encode(placed.receipt), reader.prove_receipt(placed))


def transaction_proof(reader: Reader, placed: PlacedReceipt) -> LeafProof:
    """Proof of a transaction, signature included, under its block's ``transactions_root``."""
    encoded, inclusion = reader.prove_transaction(placed)
    return _leaf_proof(placed.height, encoded, inclusion)


def events_proof(reader: Reader, block: Block) -> LeafProof:
    """Proof of a block's own events under its ``receipts_root``."""
    height = block.header.height
    return _leaf_proof(height, encode(reader.block_events(height)), reader.prove_events(block))


def history_proof(reader: Reader, height: Height, block_hash: bytes) -> LeafProof | None:
    """Proof of a block under the ``history_root`` of the last block; None for that block itself."""
    if height >= reader.head.height:
        return None
    return _leaf_proof(reader.head.height, block_hash, reader.prove_block(height))


def _leaf_proof(height: int, leaf: bytes, inclusion: Inclusion) -> LeafProof:
    return LeafProof(
        height=height,
        leaf=leaf.hex(),
        index=inclusion.index,
        size=inclusion.size,
        path=[sibling.hex() for sibling in inclusion.path],
    )
