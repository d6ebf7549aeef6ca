"""Methods chain.*: the chain's state, blocks, voters and supply. Reads only."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from omnitensor.protocol.blocks import Block
from omnitensor.protocol.epochs import boundary_of, epoch_of
from omnitensor.protocol.types import SUPPLY_MAX, Epoch, Hash, Height
from omnitensor.protocol.votes import ValidatorEntry
from rpc import present
from rpc.errors import error_of, not_found
from rpc.fields import (
    AddressText,
    AmountText,
    Count,
    HashText,
    HexText,
    Limit,
    Number,
    hash_of,
)
from rpc.jsonrpc import INVALID_PARAMS, RpcError, standard_error
from rpc.leads import Lead, lead_of
from rpc.proofs import LeafProof, events_proof, history_proof
from rpc.table import TABLE, Context, NoParams, Params, Result
from state.ledger import epochs, parameters
from state.ledger.accounts import Pot
from state.reader import Reader
from state.schema import VALIDATORS


class Status(Result, frozen=True):
    chain_id: str
    genesis_hash: HashText
    height: Count
    block_hash: HashText
    timestamp_ms: Count
    epoch: Count
    base_fee: Annotated[Count, Meta(description="nanoOMNIT a unit of weight that the next block pays")]
    first_block: Annotated[
        Count,
        Meta(description="The first height whose block and receipts this node keeps; 0 where it has all"),
    ]
    syncing: bool
    sync_target: Annotated[Count, Meta(description="Highest height that peers report")]
    block_interval_ms: Count
    version: str


@TABLE.method("chain.status")
def status(context: Context, params: NoParams) -> Status:
    """The chain's identity, the last final block, and whether the node is behind."""
    head, node = context.reader.head, context.backend.status()
    return Status(
        chain_id=head.header.chain_id,
        genesis_hash=context.backend.genesis_hash.hex(),
        height=head.height,
        block_hash=head.hash.hex(),
        timestamp_ms=head.header.timestamp_ms,
        epoch=head.header.epoch,
        base_fee=context.reader.next_base_fee,
        first_block=context.reader.first_block,
        syncing=node.syncing,
        sync_target=max(node.sync_target, head.height),
        block_interval_ms=context.reader.params().block_interval_ms,
        version=node.version,
    )


@TABLE.method("chain.params")
def chain_params(context: Context, params: NoParams) -> dict[str, Any]:
    """Every parameter in force by its name; amounts as decimal text."""
    return present.record(context.reader.params())


class BlockParams(Params, frozen=True):
    height: Number | None = None
    hash: HashText | None = None
    history: Annotated[
        bool, Meta(description="Whether a proof is wanted that the last block stands on this one")
    ] = False


class TransactionLine(Result, frozen=True):
    id: HashText
    kind: str
    sender: AddressText


class BlockShown(Result, frozen=True):
    header: Annotated[dict[str, Any], Meta(description="The header's fields, and the block's hash")]
    transactions: list[TransactionLine]
    proof: Annotated[
        dict[str, Any] | None,
        Meta(description="Candidate and FINALIZE certificate; null where a block above brought finality"),
    ]
    lead: Annotated[
        Lead | None,
        Meta(description="Who led it, and by what; null where that is not known any more, and of boundaries"),
    ]
    history: Annotated[
        LeafProof | UnsetType | None,
        Meta(description="Of the block's hash under the last block's `history_root`; null for that block"),
    ] = UNSET


@TABLE.method("chain.block", heavy=True)
def block(context: Context, params: BlockParams) -> BlockShown:
    """A final block by height or by hash; the last one without either."""
    if params.height is not None and params.hash is not None:
        raise standard_error(INVALID_PARAMS, "params", "give height or hash, not both")
    reader = context.reader
    where: Height | Hash = reader.head.height
    if params.height is not None:
        where = Height(params.height)
    elif params.hash is not None:
        where = hash_of(params.hash)
    found = _block_at(reader, where)
    if found is None:
        raise _no_block(reader, params.hash if params.hash is not None else params.height)
    proof = reader.proof(found.header.height)
    return BlockShown(
        header=present.header(found.header, found.hash),
        transactions=[
            TransactionLine(id=one.id.hex(), kind=one.body.KIND, sender=present.address_text(one.sender))
            for one in found.transactions
        ],
        proof=None if proof is None else present.record(proof),
        lead=lead_of(reader, found, context.backend.genesis_hash),
        history=history_proof(reader, found.header.height, found.hash) if params.history else UNSET,
    )


def _no_block(reader: Reader, where: object) -> RpcError:
    """Why there is no block: it is pruned, or there is none of this height or hash (or it was one of those pruned)."""
    if isinstance(where, int) and reader.is_pruned(where):
        return error_of(reader.pruned("this block and what it did", where))
    kept = f", and the first that is kept {reader.first_block}" if reader.first_block else ""
    return not_found("final block", where, f"the last height is {reader.head.height}{kept}")


def _block_at(reader: Reader, where: Height | Hash) -> Block | None:
    if isinstance(where, int) and where > reader.head.height:
        return None
    return reader.block(where)


class EventsParams(Params, frozen=True):
    height: Number
    proof: Annotated[bool, Meta(description="Whether a proof of them is wanted too")] = False


class EventsShown(Result, frozen=True, omit_defaults=True):
    height: Count
    events: Annotated[list[dict[str, Any]], Meta(description="In the order in which they happened")]
    proof: Annotated[
        LeafProof | UnsetType,
        Meta(description="Of all of them together under the block's `receipts_root`, when asked for"),
    ] = UNSET


@TABLE.method("chain.events", heavy=True)
def events(context: Context, params: EventsParams) -> EventsShown:
    """A final block's own events (draws, verdicts, pay): what happened at its end, and in no transaction of it."""
    reader = context.reader
    found = _block_at(reader, Height(params.height))
    if found is None or reader.is_pruned(params.height):
        raise _no_block(reader, params.height)
    return EventsShown(
        height=params.height,
        events=[present.event(event) for event in reader.block_events(found.header.height)],
        proof=events_proof(reader, found) if params.proof else UNSET,
    )


class BlocksParams(Params, frozen=True):
    before: Annotated[
        Number | None, Meta(description="Blocks below this height; the last ones without it")
    ] = None
    limit: Limit = 20


class BlockLine(Result, frozen=True):
    height: Count
    hash: HashText
    timestamp_ms: Count
    proposer: AddressText
    transactions: Count
    base_fee: Count
    weight_used: Count


class BlocksPage(Result, frozen=True):
    blocks: list[BlockLine]
    next: Annotated[Count | None, Meta(description="`before` of the next page; null at the end")]


@TABLE.method("chain.blocks", heavy=True)
def blocks(context: Context, params: BlocksParams) -> BlocksPage:
    """Final blocks, the newest first."""
    reader = context.reader
    top = reader.head.height + 1 if params.before is None else min(params.before, reader.head.height + 1)
    lines = []
    first = reader.first_block
    if first and 1 < top <= first:
        raise error_of(reader.pruned("these blocks", top - 1))
    for height in range(top - 1, max(top - 1 - params.limit, first - 1 if top > 1 else -1), -1):
        found = reader.block_line(Height(height))
        assert found is not None, "every height from the first that is kept up to the head has a block"
        header, count = found
        lines.append(
            BlockLine(
                height=header.height,
                hash=header.hash.hex(),
                timestamp_ms=header.timestamp_ms,
                proposer=present.address_text(header.proposer),
                transactions=count,
                base_fee=header.base_fee,
                weight_used=header.weight_used,
            )
        )
    lowest = top - len(lines)
    return BlocksPage(blocks=lines, next=lowest if lines and lowest > 0 else None)


class Voter(Result, frozen=True):
    address: AddressText
    name: str
    stake: AmountText
    weight: Count
    consensus_key: HexText


class NextVoters(Result, frozen=True):
    epoch: Count
    from_height: Annotated[Count, Meta(description="Height of the first block that they vote on")]
    validators: list[Voter]


class Voters(Result, frozen=True):
    epoch: Count
    boundary: Annotated[Count, Meta(description="Height of the epoch's last block")]
    table: Annotated[HashText, Meta(description="Hash of the table, as in the headers of the epoch")]
    validators: list[Voter]
    next: Annotated[
        NextVoters | None,
        Meta(description="The next epoch's voters, were the boundary now; none for an epoch of the past"),
    ]


class VotersParams(Params, frozen=True):
    epoch: Annotated[
        Number | None, Meta(description="An epoch whose set is kept; the one that votes now")
    ] = None


@TABLE.method("chain.validators")
def voters(context: Context, params: VotersParams) -> Voters:
    """The voters of an epoch, with the weight of their votes and their stake as it is now, and who would vote in the next."""
    reader = context.reader
    chain_params = reader.params()
    now = epoch_of(Height(reader.head.height + 1), chain_params)
    epoch = now if params.epoch is None else Epoch(params.epoch)
    table = epochs.table_of(reader, epoch)
    if table is None:
        raise not_found("epoch", epoch, f"epoch {now} votes now, and those long over are not kept")
    boundary = boundary_of(epoch, chain_params)
    following = None
    if epoch == now:
        entries = epochs.choose(reader, parameters.next_epoch(reader, chain_params)) or table.entries
        following = NextVoters(epoch=epoch + 1, from_height=boundary + 1, validators=_voters(reader, entries))
    return Voters(
        epoch=epoch,
        boundary=boundary,
        table=table.hash.hex(),
        validators=_voters(reader, table.entries),
        next=following,
    )


def _voters(reader: Reader, entries: tuple[ValidatorEntry, ...]) -> list[Voter]:
    found = []
    for entry in entries:
        row = reader.get(VALIDATORS, entry.address)
        found.append(
            Voter(
                address=present.address_text(entry.address),
                name=row.name if row else "",
                stake=present.amount_text(row.stake if row else 0),
                weight=entry.weight,
                consensus_key=entry.consensus_key.hex(),
            )
        )
    return found


class Supply(Result, frozen=True):
    accounts: AmountText
    modules: Annotated[dict[str, AmountText], Meta(description="What the chain's own pots hold, by name")]
    burned: AmountText
    total: AmountText
    genesis: AmountText


@TABLE.method("chain.supply")
def supply(context: Context, params: NoParams) -> Supply:
    """Where every unit is: accounts, pots, burned; they sum to the supply of genesis."""
    pots = context.reader.supply()
    apart = (Pot.ACCOUNTS, Pot.BURNED)
    return Supply(
        accounts=str(pots[Pot.ACCOUNTS]),
        modules={which.value.decode(): str(amount) for which, amount in pots.items() if which not in apart},
        burned=str(pots[Pot.BURNED]),
        total=str(sum(pots.values())),
        genesis=str(SUPPLY_MAX),
    )
