"""Method light.steps: how a light client gets from one epoch's voters to the next. Reads only; believes itself to be doubted."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.types import Epoch, Height
from omnitensor.protocol.votes import ValidatorEntry
from rpc import present
from rpc.errors import PRUNED, domain_error
from rpc.fields import AddressText, Count, HexText, Number
from rpc.jsonrpc import RpcError
from rpc.table import TABLE, Context, Params, Result
from state.reader import Reader
from state.records import StepRow


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
    now = epoch_of(Height(reader.head.height + 1), reader.params())
    end = min(now, params.epoch + params.limit)
    found: list[StepShown] = []
    for epoch in range(params.epoch, end):
        row = reader.step(Epoch(epoch))
        if row is None:
            raise _not_kept(reader, epoch)
        found.append(_shown(Epoch(epoch), row))
    return Steps(steps=found, next=end if end < now else None, epoch=now)


def _shown(epoch: Epoch, row: StepRow) -> StepShown:
    return StepShown(
        epoch=epoch,
        header=present.header(row.header, row.header.hash),
        proof=present.record(row.proof),
        voters=None if row.voters is None else _entries(row.voters),
    )


def _entries(voters: tuple[ValidatorEntry, ...]) -> list[Entry]:
    return [
        Entry(
            address=present.address_text(entry.address),
            consensus_key=entry.consensus_key.hex(),
            weight=entry.weight,
        )
        for entry in voters
    ]


def _not_kept(reader: Reader, epoch: int) -> RpcError:
    """A node that began with a snapshot has the steps from there on."""
    return domain_error(
        PRUNED,
        "pruned",
        "this node does not have the step over this epoch: it began with a snapshot above it",
        str(epoch),
        f"begin with a checkpoint of epoch {reader.first_step} or later, or ask another node",
    )
