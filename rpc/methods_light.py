"""Method light.steps: how a light client gets from one epoch's voters to the next. Reads only; believes itself to be doubted."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.epochs import boundary_of, epoch_of
from omnitensor.protocol.params import Params as ChainParams
from omnitensor.protocol.types import Epoch, Height
from omnitensor.protocol.votes import ValidatorTable
from rpc import present
from rpc.errors import NOT_FOUND, domain_error
from rpc.fields import AddressText, Count, HexText, Number
from rpc.jsonrpc import RpcError
from rpc.table import TABLE, Context, Params, Result
from state.ledger import epochs
from state.reader import Reader
from state.schema import VALIDATOR_SETS, number


class Entry(Result, frozen=True):
    address: AddressText
    consensus_key: HexText
    weight: Count


class StepShown(Result, frozen=True):
    epoch: Annotated[Count, Meta(description="The epoch that this step ends")]
    header: Annotated[dict[str, Any], Meta(description="Of the epoch's last block, as in `chain.block`")]
    proof: Annotated[
        dict[str, Any],
        Meta(description="Candidate (the block's own, or a filler's above it) and FINALIZE certificate"),
    ]
    voters: Annotated[
        list[Entry] | None,
        Meta(description="The next epoch's voters in the order of their table; null where they are the same"),
    ]


class Steps(Result, frozen=True):
    steps: list[StepShown]
    next: Annotated[Count | None, Meta(description="`epoch` of the next page; null at the end")]
    epoch: Annotated[Count, Meta(description="The epoch that votes now: it has no step yet")]


class StepsParams(Params, frozen=True):
    epoch: Annotated[Number, Meta(description="The first epoch whose step is wanted")]
    limit: Annotated[int, Meta(ge=1, le=limits.rpc_steps_max, description="Steps of a page at the most")] = (
        limits.rpc_steps_max
    )


@TABLE.method("light.steps", heavy=True)
def steps(context: Context, params: StepsParams) -> Steps:
    """For light clients, one an epoch that is over: its last header, why that is final, and who votes in the next."""
    reader = context.reader
    chain_params = reader.params()
    now = epoch_of(Height(reader.head.height + 1), chain_params)
    end = min(now, params.epoch + params.limit)
    found: list[StepShown] = []
    table = epochs.table_of(reader, Epoch(params.epoch))
    for epoch in range(params.epoch, end):
        following = epochs.table_of(reader, Epoch(epoch + 1))
        if following is None:
            raise _forgotten(reader, epoch + 1)
        found.append(_step(reader, Epoch(epoch), table, following, chain_params))
        table = following
    return Steps(steps=found, next=end if end < now else None, epoch=now)


def _step(
    reader: Reader, epoch: Epoch, table: ValidatorTable | None, following: ValidatorTable, params: ChainParams
) -> StepShown:
    height = boundary_of(epoch, params)
    line, proof = reader.block_line(height), reader.proof(height)
    assert line is not None, "the boundary of an epoch that is over has a block"
    assert proof is not None, "a boundary has a proof of its own"
    same = table is not None and table.entries == following.entries
    return StepShown(
        epoch=epoch,
        header=present.header(line[0], line[0].hash),
        proof=present.record(proof),
        voters=None if same else _entries(following),
    )


def _entries(table: ValidatorTable) -> list[Entry]:
    return [
        Entry(
            address=present.address_text(entry.address),
            consensus_key=entry.consensus_key.hex(),
            weight=entry.weight,
        )
        for entry in table.entries
    ]


def _forgotten(reader: Reader, epoch: int) -> RpcError:
    oldest = next(number(key) for key, _ in reader.scan(VALIDATOR_SETS))
    return domain_error(
        NOT_FOUND,
        "not_found",
        "the voters of this epoch are not kept any more",
        str(epoch),
        f"begin with a checkpoint of epoch {oldest} or later",
    )
