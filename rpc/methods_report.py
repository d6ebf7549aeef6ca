"""Methods that reports are made from: a campaign's batches, an account's items, a reviewer's record. Reads only.

Each page is bounded by the rows that it looks at: seats of batches, items of reports. Sums over pages are the client's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies import CampaignSpec
from omnitensor.protocol.reviews import ItemScore, decode_report
from omnitensor.protocol.types import BPS, Address, ItemId
from rpc import present
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    AmountText,
    Count,
    Cursor,
    HexText,
    Limit,
    Number,
    Place,
    TaskId,
    address_of,
    number_cursor,
    number_of,
    place_of,
    place_text,
    shown,
)
from rpc.methods_campaign import ItemShown, ItemStatusText, campaign_row, item_shown
from rpc.methods_review import SEAT_TEXTS, GoldShown, PhaseText, SeatText, gold_shown, phase_of
from rpc.table import TABLE, Context, Params, Result
from state.reader import Reader
from state.records_review import Batch, BatchOutcome, ItemStatus, Seat, SeatState
from state.schema import (
    BATCHES,
    BATCHES_BY_CAMPAIGN,
    ITEMS,
    ITEMS_BY_CONTRIBUTOR,
    SEATS,
    SEATS_BY_VALIDATOR,
    number,
)

OutcomeText = Literal["pending", "verdict", "no_quorum", "nobody"]


class BatchesParams(Params, frozen=True):
    campaign: TaskId
    since: Annotated[Number, Meta(description="The first batch wanted; those below it are known")] = 0
    members: Annotated[
        bool, Meta(description="Whether each seat is wanted, with its report once revealed")
    ] = False
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class MemberShown(Result, frozen=True):
    validator: AddressText
    state: SeatText
    report: Annotated[HexText | None, Meta(description="Four bytes an item, once revealed")]
    vote: Annotated[Count, Meta(description="Weight of its report in the verdict; 0 before")]
    paid: AmountText
    penalty: AmountText


class BatchLine(Result, frozen=True):
    batch: Count
    round: Count
    phase: PhaseText
    outcome: OutcomeText
    items: Annotated[list[Count], Meta(description="Numbers of its items, in the order of its reports")]
    seats: Annotated[
        dict[str, Count], Meta(description="Seats by their states, those declined or missed included")
    ]
    paid: Annotated[AmountText, Meta(description="To all of its reviewers; final once it is done")]
    penalties: Annotated[AmountText, Meta(description="From all of its reviewers, what burned included")]
    bonds: Annotated[AmountText, Meta(description="Of its seats, held now")]
    gold: Annotated[list[GoldShown], Meta(description="Items that were gold, once their sponsor said so")]
    gold_until: Annotated[
        Count | None, Meta(description="Up to which height the sponsor can say what was gold")
    ]
    origin: Annotated[Count | None, Meta(description="Of a second round: the batch of the first")]
    second: Annotated[Count | None, Meta(description="The batch in which disputed items are judged again")]
    is_appeal: bool
    thin: bool
    formed_at: Count
    commit_until: Count
    reveal_until: Count | None
    decided_at: Count | None
    settle_at: Count | None
    settled: bool
    members: Annotated[list[MemberShown] | None, Meta(description="Its seats, when asked for")]


class BatchesPage(Result, frozen=True):
    batches: list[BatchLine]
    next: Cursor | None


@TABLE.method("campaign.batches", heavy=True)
def batches(context: Context, params: BatchesParams) -> BatchesPage:
    """Batches of a campaign, both rounds, in the order of their numbers: how far each is, what it paid, what was said."""
    reader, campaign = context.reader, number_of(params.campaign)
    campaign_row(reader, campaign)
    start = max(params.since, number_cursor(params.cursor) or 0).to_bytes(8, "big")
    found: list[BatchLine] = []
    seats_read = 0
    for key, _ in reader.scan(BATCHES_BY_CAMPAIGN, campaign, start=start):
        if len(found) == params.limit or seats_read >= limits.rpc_scan_rows_max:
            return BatchesPage(batches=found, next=str(number(key)))
        row = reader.get(BATCHES, number(key))
        assert row is not None, "an index names what is there"
        seats = _seats(reader, number(key), row)
        seats_read += len(seats)
        found.append(_line(number(key), row, seats, reader.head.height, params.members))
    return BatchesPage(batches=found, next=None)


def _seats(reader: Reader, key: int, row: Batch) -> list[tuple[Address, Seat]]:
    found = []
    for address in row.seats:
        seat = reader.get(SEATS, key, row.round, address)
        assert seat is not None, "whoever was drawn has a seat"
        found.append((address, seat))
    return found


def _line(
    key: int, row: Batch, seats: Sequence[tuple[Address, Seat]], height: int, members: bool
) -> BatchLine:
    states = Counter[str](SEAT_TEXTS[SeatState(seat.state)] for _, seat in seats)
    return BatchLine(
        batch=key,
        round=row.round,
        phase=phase_of(row, height),
        outcome=BatchOutcome(row.outcome).label,  # type: ignore[arg-type]  # its labels are these
        items=list(row.items),
        seats=dict(sorted(states.items())),
        paid=present.amount_text(sum(seat.paid for _, seat in seats)),
        penalties=present.amount_text(sum(seat.penalty for _, seat in seats)),
        bonds=present.amount_text(sum(seat.bond for _, seat in seats)),
        gold=gold_shown(row),
        gold_until=row.gold_until or None,
        origin=row.origin or None,
        second=row.second or None,
        is_appeal=bool(row.appellant),
        thin=row.thin,
        formed_at=row.formed_at,
        commit_until=row.commit_until,
        reveal_until=row.reveal_until or None,
        decided_at=row.decided_at or None,
        settle_at=row.settle_at or None,
        settled=row.settled,
        members=[_member(address, seat) for address, seat in seats] if members else None,
    )


def _member(address: Address, seat: Seat) -> MemberShown:
    return MemberShown(
        validator=shown(address),
        state=SEAT_TEXTS[SeatState(seat.state)],
        report=seat.report.hex() or None,
        vote=seat.vote,
        paid=present.amount_text(seat.paid),
        penalty=present.amount_text(seat.penalty),
    )


class AccountItemsParams(Params, frozen=True):
    address: AddressText
    campaign: TaskId | None = None
    status: ItemStatusText | None = None
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class AccountItemsPage(Result, frozen=True):
    items: list[ItemShown]
    next: Cursor | None


@TABLE.method("account.items", heavy=True)
def account_items(context: Context, params: AccountItemsParams) -> AccountItemsPage:
    """Items that an account handed in, to any campaign or to one, the newest first; those of a status."""
    reader = context.reader
    wanted = None if params.campaign is None else number_of(params.campaign)
    if wanted is not None:
        campaign_row(reader, wanted)
    at = number_cursor(params.cursor)
    start = b"\xff" * 8 if at is None else at.to_bytes(8, "big")
    found: list[ItemShown] = []
    rows = reader.scan(ITEMS_BY_CONTRIBUTOR, address_of(params.address), start=start, reverse=True)
    for seen, (key, _) in enumerate(rows):
        if len(found) == params.limit or seen == limits.rpc_scan_rows_max:
            return AccountItemsPage(items=found, next=str(number(key)))
        row = reader.get(ITEMS, number(key))
        assert row is not None, "an index names what is there"
        if wanted in (None, row.campaign) and params.status in (None, ItemStatus(row.status).label):
            found.append(item_shown(reader, number(key), row))
    return AccountItemsPage(items=found, next=None)


class RecordParams(Params, frozen=True):
    validator: AddressText
    campaign: TaskId | None = None
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class RecordLine(Result, frozen=True):
    batch: Count
    round: Count
    campaign: Count
    state: SeatText
    phase: PhaseText
    outcome: OutcomeText
    items: Count
    drawn_at: Count
    decided_at: Count | None
    fee: Annotated[AmountText, Meta(description="For the whole batch, at most")]
    bond: Annotated[AmountText, Meta(description="Held now")]
    paid: AmountText
    penalty: AmountText
    vote: Annotated[Count, Meta(description="Weight of its report in the verdict; 0 before")]
    quality_bps: Annotated[int, Meta(description="Its standing after the batch")]
    closeness_bps: Count
    peer_bps: Annotated[int, Meta(description="Points against the other reviewers, or the second round")]
    gold_bps: Annotated[int, Meta(description="Points against gold")]
    judged: Annotated[Count, Meta(description="Items of its report that have a verdict by now")]
    agreed: Annotated[
        Count, Meta(description="Those of which its report says the same, flags counted as a no")
    ]
    gold_bits: Annotated[
        Count, Meta(description="Answers of gold in the batch: three an item that was not voided")
    ]
    gold_right: Annotated[Count, Meta(description="Those that its report gives")]


class RecordPage(Result, frozen=True):
    record: list[RecordLine]
    next: Cursor | None


@TABLE.method("review.record", heavy=True)
def record(context: Context, params: RecordParams) -> RecordPage:
    """A reviewer's seats, the newest first: what it said against verdicts and gold, its standing after each, what it was paid."""
    reader, address = context.reader, address_of(params.validator)
    wanted = None if params.campaign is None else number_of(params.campaign)
    if wanted is not None:
        campaign_row(reader, wanted)
    at, found, items_read = place_of(params.cursor), list[RecordLine](), 0
    start = b"\xff" * 16 if at is None else at[0].to_bytes(8, "big") + at[1].to_bytes(8, "big")
    for seen, (key, _) in enumerate(reader.scan(SEATS_BY_VALIDATOR, address, start=start, reverse=True)):
        place: Place = (number(key[:8]), number(key[8:]))
        if len(found) == params.limit or seen + items_read >= limits.rpc_scan_rows_max:
            return RecordPage(record=found, next=place_text(place))
        batch, seat = reader.get(BATCHES, place[0]), reader.get(SEATS, *place, address)
        assert batch is not None and seat is not None, "an index names what is there"
        if wanted in (None, batch.campaign):
            found.append(_record_line(reader, place, batch, seat))
            items_read += len(batch.items)
    return RecordPage(record=found, next=None)


def _record_line(reader: Reader, place: Place, batch: Batch, seat: Seat) -> RecordLine:
    judged = agreed = bits = right = 0
    if seat.report:
        spec = campaign_row(reader, batch.campaign).spec
        said = decode_report(seat.report, len(batch.items))
        judged, agreed = _against_verdicts(reader, batch.items, said, spec)
        bits, right = _against_gold(batch, said, spec)
    return RecordLine(
        batch=place[0],
        round=place[1],
        campaign=batch.campaign,
        state=SEAT_TEXTS[SeatState(seat.state)],
        phase=phase_of(batch, reader.head.height),
        outcome=BatchOutcome(batch.outcome).label,  # type: ignore[arg-type]  # its labels are these
        items=len(batch.items),
        drawn_at=seat.drawn_at,
        decided_at=batch.decided_at or None,
        fee=present.amount_text(batch.fee),
        bond=present.amount_text(seat.bond),
        paid=present.amount_text(seat.paid),
        penalty=present.amount_text(seat.penalty),
        vote=seat.vote,
        quality_bps=seat.quality_bps,
        closeness_bps=seat.closeness_bps,
        peer_bps=seat.peer_bps,
        gold_bps=seat.gold_bps,
        judged=judged,
        agreed=agreed,
        gold_bits=bits,
        gold_right=right,
    )


def _against_verdicts(
    reader: Reader, numbers: Sequence[ItemId], said: Sequence[ItemScore], spec: CampaignSpec
) -> tuple[int, int]:
    """Items of a report that have a verdict by now, and of how many it says the same."""
    judged = agreed = 0
    for key, score in zip(numbers, said, strict=True):
        item = reader.get(ITEMS, key)
        assert item is not None, "a batch names items that are there"
        accepted = item.status in (ItemStatus.ACCEPTED, ItemStatus.PAID)
        if item.scores and (accepted or item.status == ItemStatus.REJECTED):
            judged += 1
            agreed += _accepts(score, spec) == accepted
    return judged, agreed


def _accepts(score: ItemScore, spec: CampaignSpec) -> bool:
    """Whether a reviewer's own view of an item is that it should be accepted."""
    passes = all(value >= bar for value, bar in zip(score.criteria, spec.thresholds, strict=True))
    overall = sum(
        value * weight for value, weight in zip(score.criteria, spec.criterion_weights, strict=True)
    )
    return passes and overall >= spec.overall_threshold * BPS and not score.flags


def _against_gold(batch: Batch, said: Sequence[ItemScore], spec: CampaignSpec) -> tuple[int, int]:
    """Answers of gold in a batch, and how many of them a report gives."""
    bits = right = 0
    for gold in batch.gold:
        if gold.voided:
            continue
        for criterion, bar in enumerate(spec.thresholds):
            bits += 1
            right += (said[gold.place].criteria[criterion] >= bar) == bool(gold.bits >> criterion & 1)
    return bits, right
