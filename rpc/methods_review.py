"""Methods review.*: the seats of validators, the batches they judge, the reports they committed to. Reads only."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.types import Address, BatchId
from rpc import present
from rpc.errors import not_found
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    AmountText,
    Content,
    Count,
    Cursor,
    HexText,
    Limit,
    Number,
    Place,
    address_of,
    content_of,
    place_of,
    place_text,
    shown,
)
from rpc.methods_campaign import campaign_row, item_row
from rpc.table import TABLE, Context, Params, Result
from state.reader import Reader
from state.records_review import SEATS_LIVE, Batch, BatchOutcome, BatchPhase, ItemStatus, Seat, SeatState
from state.schema import BATCHES, REVIEWERS, SEALED_SEATS, SEATS, SEATS_BY_VALIDATOR, number

SeatText = Literal[
    "seated", "committed", "revealed", "declined", "missed", "released", "leaked", "contradicted"
]
PhaseText = Literal["frozen", "accept", "commit", "reveal", "gold", "second", "done"]

SEAT_TEXTS: Final[dict[SeatState, SeatText]] = {
    SeatState.SEATED: "seated",
    SeatState.ACCEPTED: "seated",
    SeatState.COMMITTED: "committed",
    SeatState.REVEALED: "revealed",
    SeatState.DECLINED: "declined",
    SeatState.MISSED: "missed",
    SeatState.WITHHELD: "missed",
    SeatState.RELEASED: "released",
    SeatState.LEAKED: "leaked",
    SeatState.CONTRADICTED: "contradicted",
}
"""A seat's state as reviewers see it: an accepted seat is one to commit from, a withheld reveal one missed."""


def phase_of(batch: Batch, height: int) -> PhaseText:
    """What a batch waits for, in the block after ``height``."""
    match BatchPhase(batch.phase):
        case BatchPhase.FROZEN:
            return "frozen"
        case BatchPhase.COMMIT:
            return "accept" if height < batch.accept_until else "commit"
        case BatchPhase.REVEAL:
            return "reveal"
        case BatchPhase.GOLD:
            return "gold"
        case BatchPhase.SECOND:
            return "second"
        case BatchPhase.DONE:
            return "done"


class AssignmentsParams(Params, frozen=True):
    validator: AddressText
    open_only: bool = True
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class AssignmentShown(Result, frozen=True):
    batch: Count
    round: Count
    campaign: Count
    state: SeatText
    accepted: bool
    phase: PhaseText
    items: Count
    drawn_at: Count
    accept_until: Count
    commit_until: Count
    reveal_from: Annotated[Count | None, Meta(description="Null until the reveal opens")]
    reveal_until: Count | None
    fee: Annotated[AmountText, Meta(description="For the whole batch, at most")]
    bond: AmountText
    paid: AmountText
    penalty: AmountText
    keys_pending: Annotated[
        bool,
        Meta(description="Keys of its private items are missing and may still come: no report is taken yet"),
    ]


class AssignmentsPage(Result, frozen=True):
    assignments: list[AssignmentShown]
    next: Cursor | None


@TABLE.method("review.assignments", heavy=True)
def assignments(context: Context, params: AssignmentsParams) -> AssignmentsPage:
    """A validator's seats, the newest first: those that still have something to do, or all."""
    reader, address = context.reader, address_of(params.validator)
    reviewer = reader.get(REVIEWERS, address)
    left = reviewer.seats_open if reviewer else 0
    at, found = place_of(params.cursor), list[AssignmentShown]()
    start = b"\xff" * 16 if at is None else at[0].to_bytes(8, "big") + at[1].to_bytes(8, "big")
    for seen, (key, _) in enumerate(reader.scan(SEATS_BY_VALIDATOR, address, start=start, reverse=True)):
        place: Place = (number(key[:8]), number(key[8:]))
        if params.open_only and at is None and not left:
            break  # the register counts the open ones, so nobody looks through years of old ones
        if len(found) == params.limit or seen == limits.rpc_scan_rows_max:
            return AssignmentsPage(assignments=found, next=place_text(place))
        batch, seat = reader.get(BATCHES, place[0]), reader.get(SEATS, *place, address)
        assert batch is not None and seat is not None, "an index names what is there"
        is_open = seat.state in SEATS_LIVE and batch.phase != BatchPhase.DONE
        left -= is_open
        if is_open or not params.open_only:
            found.append(_assignment(place, batch, seat, reader, address))
    return AssignmentsPage(assignments=found, next=None)


def _assignment(place: Place, batch: Batch, seat: Seat, reader: Reader, address: Address) -> AssignmentShown:
    height, sealed = reader.head.height, reader.get(SEALED_SEATS, place[0], address)
    pending = sealed is not None and sealed.granted < len(batch.items) and height < sealed.grant_until
    return AssignmentShown(
        batch=place[0],
        round=place[1],
        campaign=batch.campaign,
        state=SEAT_TEXTS[SeatState(seat.state)],
        accepted=seat.state == SeatState.ACCEPTED,
        phase=phase_of(batch, height),
        items=len(batch.items),
        drawn_at=seat.drawn_at,
        accept_until=batch.accept_until,
        commit_until=batch.commit_until,
        reveal_from=batch.reveal_from or None,
        reveal_until=batch.reveal_until or None,
        fee=present.amount_text(batch.fee),
        bond=present.amount_text(seat.bond),
        paid=present.amount_text(seat.paid),
        penalty=present.amount_text(seat.penalty),
        keys_pending=pending,
    )


class BatchParams(Params, frozen=True):
    batch: Number
    round: Number = 1


class DuplicateShown(Result, frozen=True):
    place: Count
    item: Count


class GoldShown(Result, frozen=True):
    item: Count
    completeness: bool
    accuracy: bool
    relevance: bool
    voided: bool


class SeatShown(Result, frozen=True):
    validator: AddressText
    state: SeatText
    drawn_at: Count
    report: Annotated[HexText | None, Meta(description="Four bytes an item, once revealed")]
    duplicates: Annotated[list[DuplicateShown], Meta(description="What items it flags as duplicates repeat")]
    vote: Annotated[Count, Meta(description="Weight of its report in the verdict; 0 before")]
    quality_bps: Annotated[int, Meta(description="Its reviewer's standing after the batch")]
    closeness_bps: Count
    peer_bps: Annotated[int, Meta(description="Points against the other reviewers, or the second round")]
    gold_bps: Annotated[int, Meta(description="Points against gold")]
    paid: AmountText
    penalty: AmountText


class BatchItemShown(Result, frozen=True):
    item: Count
    content: Content
    media_type: str
    tier: Count
    category: Count
    contributor: AddressText
    status: str


class BatchShown(Result, frozen=True):
    batch: Count
    round: Count
    campaign: Count
    phase: PhaseText
    outcome: str
    title: str
    instructions: str
    spec: Annotated[dict[str, Any], Meta(description="The campaign's specification")]
    origin: Annotated[Count | None, Meta(description="Of a second round: the batch of the first")]
    second: Annotated[Count | None, Meta(description="The batch in which disputed items are judged again")]
    appellant: Annotated[AddressText | None, Meta(description="Whose appeal it judges")]
    asked: Annotated[Count, Meta(description="Seats to be drawn")]
    places: Annotated[Count, Meta(description="Seats that a verdict reckons with")]
    thin: Annotated[bool, Meta(description="Members of the first round could be drawn: too few others exist")]
    seats: list[SeatShown]
    items: list[BatchItemShown]
    gold: Annotated[list[GoldShown], Meta(description="Items that were gold, once their sponsor said so")]
    formed_at: Count
    draw_at: Count
    accept_until: Count
    commit_until: Count
    reveal_from: Count | None
    reveal_until: Count | None
    gold_until: Annotated[
        Count | None, Meta(description="Up to which height the sponsor can say what was gold")
    ]
    decided_at: Count | None
    settle_at: Annotated[Count | None, Meta(description="Up to which height its verdicts can be appealed")]
    redraws: Count
    settled: bool
    fee: AmountText
    bond: AmountText


def batch_row(reader: Reader, key: int, round_: int) -> Batch:
    """The batch of a round. Raises RpcError (not found)."""
    row = reader.get(BATCHES, BatchId(key))
    if row is None or row.round != round_:
        raise not_found("batch and round", f"{key}, round {round_}", "review.assignments lists a validator's")
    return row


@TABLE.method("review.batch", heavy=True)
def batch(context: Context, params: BatchParams) -> BatchShown:
    """What a batch holds, by what it is judged, who sits, and how long each step may take."""
    reader = context.reader
    row = batch_row(reader, params.batch, params.round)
    spec = campaign_row(reader, row.campaign).spec
    found = [(key, item_row(reader, key)) for key in row.items]
    return BatchShown(
        batch=params.batch,
        round=row.round,
        campaign=row.campaign,
        phase=phase_of(row, reader.head.height),
        outcome=BatchOutcome(row.outcome).label,
        title=spec.title,
        instructions=spec.instructions,
        spec=present.record(spec),
        origin=row.origin or None,
        second=row.second or None,
        appellant=shown(Address(row.appellant)) if row.appellant else None,
        asked=row.asked,
        places=row.places,
        thin=row.thin,
        gold=gold_shown(row),
        seats=_seats(reader, params.batch, row),
        items=[
            BatchItemShown(
                item=key,
                content=content_of(item.content),
                media_type=item.media_type,
                tier=item.tier,
                category=item.category,
                contributor=shown(item.contributor),
                status=ItemStatus(item.status).label,
            )
            for key, item in found
        ],
        formed_at=row.formed_at,
        draw_at=row.draw_at,
        accept_until=row.accept_until,
        commit_until=row.commit_until,
        reveal_from=row.reveal_from or None,
        reveal_until=row.reveal_until or None,
        gold_until=row.gold_until or None,
        decided_at=row.decided_at or None,
        settle_at=row.settle_at or None,
        redraws=row.redraws,
        settled=row.settled,
        fee=present.amount_text(row.fee),
        bond=present.amount_text(row.bond),
    )


def gold_shown(row: Batch) -> list[GoldShown]:
    """What of a batch was gold, once its sponsor said so."""
    return [
        GoldShown(
            item=row.items[gold.place],
            completeness=bool(gold.bits & 1),
            accuracy=bool(gold.bits & 2),
            relevance=bool(gold.bits & 4),
            voided=gold.voided,
        )
        for gold in row.gold
    ]


def _seats(reader: Reader, key: int, row: Batch) -> list[SeatShown]:
    seats = []
    for address in row.seats:
        seat = reader.get(SEATS, key, row.round, address)
        assert seat is not None, "whoever was drawn has a seat"
        seats.append(
            SeatShown(
                validator=shown(address),
                state=SEAT_TEXTS[SeatState(seat.state)],
                drawn_at=seat.drawn_at,
                report=seat.report.hex() or None,
                duplicates=[DuplicateShown(place=each.place, item=each.item) for each in seat.duplicates],
                vote=seat.vote,
                quality_bps=seat.quality_bps,
                closeness_bps=seat.closeness_bps,
                peer_bps=seat.peer_bps,
                gold_bps=seat.gold_bps,
                paid=present.amount_text(seat.paid),
                penalty=present.amount_text(seat.penalty),
            )
        )
    return seats


class SealedParams(Params, frozen=True):
    batch: Number
    round: Number
    validator: AddressText


class SealedShown(Result, frozen=True):
    commitment: HexText
    sealed: Annotated[HexText, Meta(description="The report under its author's key; empty once revealed")]


@TABLE.method("review.sealed")
def sealed(context: Context, params: SealedParams) -> SealedShown:
    """A reviewer's commitment, and its report as only its key can read it."""
    seat = context.reader.get(SEATS, params.batch, params.round, address_of(params.validator))
    if seat is None or not seat.commitment:
        raise not_found("committed report", f"batch {params.batch}, round {params.round}, {params.validator}")
    return SealedShown(commitment=seat.commitment.hex(), sealed=seat.sealed.hex())
