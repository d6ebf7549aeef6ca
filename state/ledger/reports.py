"""Reports: committed unseen, then revealed. Knows their form, and when a seat may do which; nothing of what they are worth."""

from itertools import pairwise

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import ReportCommit, ReportReveal
from omnitensor.protocol.reviews import (
    REPORT_ITEM_BYTES,
    Flag,
    ReportError,
    decode_report,
    report_commitment,
)
from omnitensor.protocol.types import Address
from state.ledger import agenda, privacy
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.seats import batch_and_seat
from state.ledger.view import View
from state.records_review import Batch, BatchPhase, SeatState
from state.schema import ITEMS, SEATS


def commit(view: View, ctx: BlockContext, sender: Address, body: ReportCommit) -> tuple[Event, ...]:
    """Binds a seat to a report that nobody sees yet; committing accepts the seat."""
    batch, seat = batch_and_seat(view, sender, body.batch, body.round)
    if batch.phase != BatchPhase.COMMIT or ctx.height > batch.commit_until:
        raise Rejected(
            "commit_closed",
            _phase_text(batch),
            value=ctx.height,
            remedy="commit earlier next time; a seat that commits nothing loses part of its bond",
        )
    if seat.state not in (SeatState.SEATED, SeatState.ACCEPTED):
        raise Rejected(
            "seat_state",
            f"the seat is {SeatState(seat.state).label}",
            value=f"{body.batch}/{body.round}",
            remedy="a seat commits one report",
        )
    privacy.check_commit(view, ctx, body.batch, batch, sender)
    view.put(
        SEATS,
        replace(seat, state=SeatState.COMMITTED, commitment=body.commitment, sealed=body.sealed),
        body.batch,
        body.round,
        sender,
    )
    agenda.look_at_batch_now(view, ctx, body.batch)
    return (
        event(
            "report.committed",
            batch=body.batch,
            round=body.round,
            campaign=batch.campaign,
            validator=sender,
            commitment=body.commitment,
        ),
    )


def reveal(view: View, ctx: BlockContext, sender: Address, body: ReportReveal) -> tuple[Event, ...]:
    """Opens the sender's own commitment."""
    batch, seat = batch_and_seat(view, sender, body.batch, body.round)
    if batch.phase != BatchPhase.REVEAL or ctx.height > batch.reveal_until:
        raise Rejected(
            "reveal_closed",
            _phase_text(batch),
            value=ctx.height,
            remedy="reveal while the batch is in its reveal phase",
        )
    if seat.state != SeatState.COMMITTED:
        raise Rejected(
            "seat_state",
            f"the seat is {SeatState(seat.state).label}",
            value=f"{body.batch}/{body.round}",
            remedy="a committed report is revealed once",
        )
    expected = report_commitment(ctx.chain_id, body.batch, body.round, sender, body.salt, body.report)
    if expected != seat.commitment:
        raise Rejected(
            "commitment",
            "this report and this salt do not open the seat's commitment",
            value=seat.commitment,
            remedy="reveal exactly what this validator committed",
        )
    try:
        decode_report(body.report, len(batch.items))
    except ReportError as error:
        raise Rejected("report", error.reason, error.value, error.remedy) from error
    _check_duplicates(view, batch, body)
    view.put(
        SEATS,
        replace(seat, state=SeatState.REVEALED, sealed=b"", report=body.report, duplicates=body.duplicates),
        body.batch,
        body.round,
        sender,
    )
    agenda.look_at_batch_now(view, ctx, body.batch)
    return (
        event(
            "report.revealed", batch=body.batch, round=body.round, campaign=batch.campaign, validator=sender
        ),
    )


def _check_duplicates(view: View, batch: Batch, body: ReportReveal) -> None:
    """Raises Rejected unless each reference is from an item of the batch, flagged, to an earlier one of the same campaign."""
    places = [reference.place for reference in body.duplicates]
    ordered = all(place < after for place, after in pairwise(places))
    for reference in body.duplicates:
        flagged = (
            ordered
            and reference.place < len(batch.items)
            and body.report[REPORT_ITEM_BYTES * reference.place + 3] & Flag.DUPLICATE
        )
        own = view.get(ITEMS, batch.items[reference.place]) if flagged else None
        other = view.get(ITEMS, reference.item)
        if (
            own is None
            or other is None
            or other.campaign != batch.campaign
            or (other.sequence, reference.item) >= (own.sequence, batch.items[reference.place])
        ):
            raise Rejected(
                "duplicate_reference",
                "a reference is from a flagged item of the batch, in their order, to an earlier item of the campaign",
                value=f"{reference.place}: {reference.item}",
                remedy="reveal again without it",
            )


def _phase_text(batch: Batch) -> str:
    match BatchPhase(batch.phase):
        case BatchPhase.FROZEN:
            return "the batch has no seats yet"
        case BatchPhase.COMMIT:
            return f"the batch takes commitments up to height {batch.commit_until}"
        case BatchPhase.REVEAL:
            return f"the batch takes reveals up to height {batch.reveal_until}"
        case BatchPhase.GOLD:
            return "the batch waits for its sponsor's gold"
        case BatchPhase.SECOND:
            return "the batch waits for its second round"
        case BatchPhase.DONE:
            return "the batch is done"
