"""Removing a validator for good: it is never drawn nor votes again, its seats are let go, and the rest of its stake unbonds.

Who is removed and why is ``evidence``' to say. Its seats may be many, so they are let go at the end of blocks, a bounded number
in each.
"""

from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import Address, BatchId
from state.ledger import agenda, seats
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.validators import unbond
from state.ledger.view import View
from state.records import UNIT
from state.records_review import BatchPhase, SeatState
from state.schema import BATCHES, OPEN_SEATS, REMOVALS, SEATS, VALIDATORS, number


def begin(view: View, address: Address) -> None:
    """Marks a validator; the rest follows at the end of this block and, where it holds many seats, of the next ones."""
    row = view.get(VALIDATORS, address)
    assert row is not None and not row.removed, "a validator is removed once"
    view.put(VALIDATORS, replace(row, jailed=True, removed=True), address)
    view.put(REMOVALS, UNIT, address)


def carry_out(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """At the end of a block, before batches are looked at: lets seats go, then sends the stake on its way back."""
    events: list[Event] = []
    room = limits.seats_released_per_block_max
    for key, _ in view.scan(REMOVALS):
        address = Address(key)
        for place, _ in view.scan(OPEN_SEATS, address):
            if room == 0:
                return tuple(events)
            room -= 1
            events.append(_let_go(view, ctx, address, BatchId(number(place[:8])), number(place[8:])))
        view.delete(REMOVALS, address)
        row = view.get(VALIDATORS, address)
        assert row is not None and row.held == 0, "whoever sits nowhere holds nothing"
        due = unbond(view, ctx, address, row, row.stake) if row.stake else ctx.height
        events.append(event("validator.removed", validator=address, amount=row.stake, due=due))
    return tuple(events)


def _let_go(view: View, ctx: BlockContext, address: Address, number_: BatchId, round_: int) -> Event:
    """Frees a seat at no cost. While reports are committed another is drawn for it; later a verdict does without."""
    batch = view.get(BATCHES, number_)
    seat = view.get(SEATS, number_, round_, address)
    assert batch is not None and seat is not None, "an open seat has its batch"
    assert batch.phase not in (BatchPhase.FROZEN, BatchPhase.DONE), "no seat is open in these phases"
    seats.release(view, number_, batch, seats.Seated(address, seat), SeatState.RELEASED)
    vacancies = batch.vacancies
    if batch.phase == BatchPhase.COMMIT and seat.fills < ctx.params.seat_redraws_max:
        vacancies = (*vacancies, seat.fills + 1)
    view.put(BATCHES, replace(batch, places=batch.places - 1, vacancies=vacancies), number_)
    agenda.look_at_batch_now(view, ctx, number_)
    return event("seat.released", batch=number_, round=round_, campaign=batch.campaign, validator=address)
