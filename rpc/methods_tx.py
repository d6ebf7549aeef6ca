"""Methods tx.*: what became of a transaction, and whose there are. Reads, and takes signed transactions in."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from omnitensor.protocol import limits
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import Height
from rpc import present
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    AmountText,
    Count,
    Cursor,
    HashText,
    Limit,
    address_of,
    hash_of,
    place_of,
    place_text,
)
from rpc.proofs import LeafProof, receipt_proof, transaction_proof
from rpc.table import TABLE, Context, Params, Result
from state.reader import Reader
from state.records import PlacedReceipt


class SubmitParams(Params, frozen=True):
    tx: Annotated[
        str,
        Meta(
            pattern="^([0-9a-f]{2})+$",
            max_length=2 * limits.transaction_bytes_max,
            description="The signed transaction's canonical bytes as hexadecimal",
        ),
    ]


class Submitted(Result, frozen=True):
    id: HashText


@TABLE.method("tx.submit", side_by_side=True)
async def submit(context: Context, params: SubmitParams) -> Submitted:
    """Takes a signed transaction into the mempool and passes it on. Sending the same one again is harmless."""
    return Submitted(id=(await context.backend.submit(bytes.fromhex(params.tx))).hex())


class TransactionParams(Params, frozen=True):
    id: HashText
    proof: Annotated[
        bool, Meta(description="Whether proofs of the receipt and the transaction are wanted too")
    ] = False


class ReceiptShown(Result, frozen=True):
    code: Annotated[str, Meta(description="`ok`, or the code of the error: then only fee and nonce changed")]
    reason: str
    fee: AmountText
    tip: AmountText
    weight: Count
    events: list[dict[str, Any]]


class TransactionShown(Result, frozen=True, omit_defaults=True):
    id: HashText
    status: Literal["pending", "final", "unknown"]
    first_block: Annotated[
        Count | None,
        Meta(
            description="Of an unknown one: it may be final in a block below this height, which this node has pruned"
        ),
    ] = None
    height: Count | None = None
    index: Count | None = None
    kind: str | None = None
    sender: AddressText | None = None
    nonce: Count | None = None
    receipt: ReceiptShown | None = None
    body: Annotated[dict[str, Any] | None, Meta(description="The order's kind and fields")] = None
    proof: Annotated[
        LeafProof | UnsetType,
        Meta(description="Of the receipt under its block's `receipts_root`, when asked for"),
    ] = UNSET
    transaction_proof: Annotated[
        LeafProof | UnsetType,
        Meta(description="Of the transaction itself under its block's `transactions_root`, with the other"),
    ] = UNSET


@TABLE.method("tx.get")
async def transaction(context: Context, params: TransactionParams) -> TransactionShown:
    """What became of a transaction: pending, final with its receipt, or unknown to this node."""
    tx_id = hash_of(params.id)
    placed = context.reader.receipt(tx_id)
    if placed is not None:
        final: TransactionShown = await context.in_thread(partial(_final, context.reader, params, placed))
        return final
    pending = context.backend.pending(tx_id)
    if pending is None:
        return TransactionShown(
            id=params.id, status="unknown", first_block=context.reader.first_block or None
        )
    return _shown(params.id, pending)


def _final(reader: Reader, params: TransactionParams, placed: PlacedReceipt) -> TransactionShown:
    found = reader.transactions_at(placed.height, (placed.index,))
    assert found is not None, "a receipt's block is there"
    receipt = placed.receipt
    return _shown(
        params.id,
        found[1][0],
        height=placed.height,
        index=placed.index,
        receipt=ReceiptShown(
            code=receipt.code,
            reason=receipt.reason,
            fee=present.amount_text(receipt.fee),
            tip=present.amount_text(receipt.tip),
            weight=receipt.weight,
            events=[present.event(event) for event in receipt.events],
        ),
        proof=receipt_proof(reader, placed) if params.proof else UNSET,
        transaction_proof=transaction_proof(reader, placed) if params.proof else UNSET,
    )


def _shown(
    tx_id: str,
    found: Transaction,
    height: int | None = None,
    index: int | None = None,
    receipt: ReceiptShown | None = None,
    proof: LeafProof | UnsetType = UNSET,
    transaction_proof: LeafProof | UnsetType = UNSET,
) -> TransactionShown:
    return TransactionShown(
        id=tx_id,
        status="pending" if receipt is None else "final",
        height=height,
        index=index,
        kind=found.body.KIND,
        sender=present.address_text(found.sender),
        nonce=found.nonce,
        receipt=receipt,
        body=present.body(found.body),
        proof=proof,
        transaction_proof=transaction_proof,
    )


class ByAddressParams(Params, frozen=True):
    address: AddressText
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class HistoryLine(Result, frozen=True):
    id: HashText
    height: Count
    index: Count
    timestamp_ms: Count
    kind: str
    sender: AddressText
    code: str
    fee: AmountText


class HistoryPage(Result, frozen=True):
    transactions: list[HistoryLine]
    next: Cursor | None
    first_block: Annotated[
        Count,
        Meta(description="What is in blocks below this height is not listed: this node does not keep it"),
    ]


@TABLE.method("tx.by_address", heavy=True)
def by_address(context: Context, params: ByAddressParams) -> HistoryPage:
    """Final transactions that an address sent or that name it, the newest first."""
    reader = context.reader
    found = reader.transactions_by_address(
        address_of(params.address), place_of(params.cursor), params.limit + 1
    )
    lines: list[HistoryLine] = []
    for height, group in groupby(found[: params.limit], key=lambda one: one[0][0]):
        rows = list(group)
        block = reader.transactions_at(Height(height), [index for (_, index), _ in rows])
        assert block is not None, "what the index names is there"
        header, transactions = block
        for ((_, index), tx_id), transaction in zip(rows, transactions, strict=True):
            placed = reader.receipt(tx_id)
            assert placed is not None, "what the index names is there"
            lines.append(
                HistoryLine(
                    id=tx_id.hex(),
                    height=height,
                    index=index,
                    timestamp_ms=header.timestamp_ms,
                    kind=transaction.body.KIND,
                    sender=present.address_text(transaction.sender),
                    code=placed.receipt.code,
                    fee=present.amount_text(placed.receipt.fee),
                )
            )
    more = len(found) > params.limit
    return HistoryPage(
        transactions=lines,
        next=place_text(found[params.limit - 1][0]) if more else None,
        first_block=reader.first_block,
    )
