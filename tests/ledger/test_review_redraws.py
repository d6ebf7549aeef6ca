"""What seats drawn anew leave behind: windows in which nobody is waited for any more."""

from __future__ import annotations

from msgspec.structs import replace

from omnitensor.protocol.bodies import SeatDecline
from omnitensor.protocol.types import BatchId
from state.records_review import BatchOutcome, BatchPhase, SeatState
from tests.ledger.world import GOOD, QUICK, SPEC, World, declaration


def test_nobody_waits_for_a_window_in_which_all_reports_are_open() -> None:
    """The seats drawn for missing reports are declined: the report that is there was opened before, and decides."""
    world = World(validators=5, params=replace(QUICK, report_reveal_blocks=50))
    campaign = world.open(replace(SPEC, first_seats=3))
    world.submit("ann", campaign, declaration("one"))
    while not (world.open_batches() and world.batch(1).phase == BatchPhase.COMMIT):
        world.block()
    for name in world.seats(1, SeatState.SEATED):
        world.send_commit(name, 1, (GOOD,))
    world.block()
    assert world.batch(1).phase == BatchPhase.REVEAL
    world.send_reveal(world.seats(1, SeatState.COMMITTED)[0], 1, (GOOD,))
    world.blocks(50)
    assert world.batch(1).phase == BatchPhase.COMMIT
    assert len(world.seats(1, SeatState.WITHHELD)) == 2
    for name in world.seats(1, SeatState.SEATED):
        world.send(name, SeatDecline(BatchId(1), 1))
    world.block()
    assert world.batch(1).phase == BatchPhase.REVEAL
    assert world.seats(1, SeatState.COMMITTED) == []
    world.block()
    assert world.batch(1).outcome == BatchOutcome.VERDICT
