"""Who led a final block, and by what: the work half of why it is there, beside its proof of finality. Reads only."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from omnitensor.protocol.blocks import Block
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.types import Epoch, Hash, Height, View
from rpc.fields import Count
from rpc.table import Result
from state.ledger import worker_sets
from state.reader import Reader


class Lead(Result, frozen=True):
    view: Annotated[Count, Meta(description="In which the block was offered")]
    drawn_by: Annotated[
        Literal["stake", "work"],
        Meta(
            description="What the leader was drawn by: every third view by stake, the others by work credit"
        ),
    ]
    votes: Annotated[
        bool,
        Meta(description="Whether the leader is a validator of the epoch; a worker without stake is none"),
    ]


def lead_of(reader: Reader, block: Block, genesis_hash: Hash) -> Lead | None:
    """How a block's proposer came to lead. None of genesis, of a block whose view nothing kept here tells, and of epochs whose
    sets are forgotten."""
    header = block.header
    view = _view_of(reader, block)
    if view is None:
        return None
    schedule = worker_sets.leaders_of(reader, Epoch(header.epoch), genesis_hash)
    if schedule is None:
        return None
    leader = schedule.leader(view)
    if schedule.address(leader) != header.proposer:
        return None  # not by consensus: a chain that a program made by itself
    return Lead(
        view=view,
        drawn_by="work" if schedule.is_led_by_work(view) else "stake",
        votes=leader < len(schedule.table),
    )


def _view_of(reader: Reader, block: Block) -> View | None:
    """What the block above says of the votes for this one, or its own proof. A boundary has neither: a filler's proof may speak
    for it, in a later view."""
    header = block.header
    if header.height == 0 or is_boundary(header.height, reader.params()):
        return None
    above = reader.block(Height(header.height + 1)) if header.height < reader.head.height else None
    if above is not None and above.header.attendance is not None:
        return View(above.header.attendance.view)
    proof = reader.proof(header.height)
    return None if proof is None else View(proof.candidate.view)
