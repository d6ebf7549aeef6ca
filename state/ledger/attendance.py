"""Whose votes were included: counted block by block from what each header says of the block below, one compact row an epoch.

Verifies no signature (``omnitensor.protocol.attendance``, before a block is executed), pays nobody and jails nobody.
"""

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import BPS, Address, Epoch
from state.ledger import epochs
from state.ledger.context import BlockContext
from state.ledger.view import ReadView, View
from state.records_attendance import EpochAttendance
from state.schema import ATTENDANCE


def count(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """Takes down whom this block names. The first of an epoch names nobody: the boundary below it is nobody's attendance."""
    if not ctx.attended:
        return ()
    row = of_epoch(view, ctx.epoch)
    votes = list(row.votes)
    for index in ctx.attended:
        votes[index] += 1
    view.put(ATTENDANCE, EpochAttendance(row.blocks + 1, tuple(votes)), ctx.epoch)
    return ()


def of_epoch(view: ReadView, epoch: Epoch) -> EpochAttendance:
    """What was counted in an epoch whose set is kept."""
    row = view.get(ATTENDANCE, epoch)
    if row is not None:
        return row
    voters = epochs.validator_set(view, epoch)
    assert voters is not None, "the set of this epoch is not kept"
    return EpochAttendance(0, (0,) * len(voters.entries))


def shares(view: ReadView, epoch: Epoch) -> dict[Address, int]:
    """Attendance of each voter of an epoch in basis points, by address in the order of its table.

    Whole where nothing was counted; empty where the epoch's set is not kept. Final once the boundary block was counted.
    """
    voters = epochs.validator_set(view, epoch)
    if voters is None:
        return {}
    row = of_epoch(view, epoch)
    return {
        entry.address: share_bps(votes, row.blocks)
        for entry, votes in zip(voters.entries, row.votes, strict=True)
    }


def share_bps(votes: int, blocks: int) -> int:
    """The share of an epoch's counted blocks that a voter was named for, rounded down; whole where none were counted."""
    return votes * BPS // blocks if blocks else BPS
