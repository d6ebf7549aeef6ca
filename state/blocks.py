"""A block with what its bytes say, each thing computed once: hash, encoded transactions, ids. Knows no state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from omnitensor.protocol import hashing, merkle
from omnitensor.protocol.blocks import Block, Header
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import BlockError, CodecError, LimitError
from omnitensor.protocol.limits import block_bytes_max
from omnitensor.protocol.types import Hash
from state.ledger.prepared import Prepared, prepare

_decoder: Final = msgspec.msgpack.Decoder(Block)
_PAIR: Final = b"\x92"
"""Head of an array of two in msgpack: header and transactions."""


@dataclass(frozen=True, slots=True)
class PreparedBlock:
    """A block, its canonical bytes and hash, and its transactions prepared."""

    block: Block
    encoded: bytes
    hash: Hash
    transactions: tuple[Prepared, ...]

    @property
    def header(self) -> Header:
        return self.block.header


def prepare_block(block: Block) -> PreparedBlock:
    """Prepares a block from its records. Raises BlockError where it is larger than a block may be."""
    return assemble(block, tuple([prepare(transaction) for transaction in block.transactions]))


def assemble(block: Block, transactions: tuple[Prepared, ...]) -> PreparedBlock:
    """A prepared block of prepared transactions, which are the block's. Raises BlockError where it is too large."""
    header = encode(block.header)
    encoded = b"".join(
        [_PAIR, header, _array_head(len(transactions)), *[prepared.encoded for prepared in transactions]]
    )
    if len(encoded) > block_bytes_max:
        raise BlockError(
            "the block is too large", value=f"{len(encoded)} bytes", remedy=f"at most {block_bytes_max}"
        )
    return PreparedBlock(block, encoded, hashing.HEADER(header), transactions)


def decode_block(data: bytes) -> PreparedBlock:
    """A block from its canonical bytes, as a peer or the database gives them. Raises CodecError or LimitError."""
    if len(data) > block_bytes_max:
        raise LimitError("the block is too large", value=f"{len(data)} bytes")
    try:
        block = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise CodecError(f"not a block: {error}", value=bytes(data[:48])) from error
    prepared = prepare_block(block)
    # Encoding each transaction for its id serves the round-trip check as well.
    if prepared.encoded != data:
        raise CodecError("not the canonical encoding of a block", value=bytes(data[:48]))
    return prepared


def root_of_transactions(transactions: Sequence[Prepared]) -> Hash:
    """``omnitensor.protocol.blocks.transactions_root`` from bytes that are at hand."""
    return Hash(merkle.counted_root_of([prepared.encoded for prepared in transactions]))


def _array_head(length: int) -> bytes:
    """Head of a msgpack array of this length."""
    if length < 16:
        return bytes([0x90 | length])
    return b"\xdc" + length.to_bytes(2, "big")
