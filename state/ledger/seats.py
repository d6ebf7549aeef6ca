"""Seats: who may sit, the draw, accepting and declining, and the bond that a seat holds of its validator's stake.

Knows nothing of what the reports say.
"""

from collections.abc import Collection
from typing import NamedTuple

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import SeatAccept, SeatDecline
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS, Address, Amount, BatchId, Height
from state.ledger import agenda, draw, earnings, escrow, privacy, reputation, rewards, standings
from state.ledger.accounts import Pot
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.validators import power
from state.ledger.view import ReadView, View
from state.records import UNIT
from state.records_review import Batch, BatchPhase, Campaign, Reviewer, Seat, SeatState
from state.schema import BATCHES, OPEN_SEATS, READING_KEYS, REVIEWERS, SEATS, SEATS_BY_VALIDATOR, VALIDATORS

NEW_REVIEWER = Reviewer(reputation.FRESH, 0, 0, 0)


class Seated(NamedTuple):
    """One who sits, or sat."""

    validator: Address
    seat: Seat


def reviewer(view: ReadView, address: Address) -> Reviewer:
    """A validator's record as a reviewer, fresh where it has none."""
    return view.get(REVIEWERS, address) or NEW_REVIEWER


def quality(view: ReadView, address: Address, params: Params) -> int:
    return reputation.quality(reviewer(view, address).reputation, params)


def seats_of(view: ReadView, number: BatchId, batch: Batch) -> list[Seated]:
    """All seats of a batch in the order drawn."""
    found: list[Seated] = []
    for address in batch.seats:
        seat = view.get(SEATS, number, batch.round, address)
        assert seat is not None, "whoever was drawn has a seat"
        found.append(Seated(address, seat))
    return found


def eligible(
    view: ReadView, ctx: BlockContext, campaign: Campaign, batch: Batch
) -> tuple[dict[Address, int], bool]:
    """Weight in the draw of everyone who may sit, by address; and whether members of the first round are among them.

    A validator that was registered when the batch was formed, not jailed, with stake free for the bond, and a reading key where
    the campaign is private; not the sponsor, nobody with an item in the batch, nobody who appealed or sat in it. In a second
    round, nobody of the first either, where enough others exist.
    """
    barred = {campaign.sponsor, *batch.contributors, *batch.seats, batch.appellant}
    if not batch.origin:
        return _weights(view, ctx, campaign, batch, barred), False
    origin = view.get(BATCHES, batch.origin)
    assert origin is not None, "a second round has a first"
    fresh = _weights(view, ctx, campaign, batch, barred.union(origin.seats))
    drawn_fresh = sum(address not in origin.seats for address in batch.seats)
    if len(fresh) + drawn_fresh >= ctx.params.fresh_seats_min:
        return fresh, False
    everybody = _weights(view, ctx, campaign, batch, barred)
    return everybody, len(everybody) > len(fresh)


def _weights(
    view: ReadView, ctx: BlockContext, campaign: Campaign, batch: Batch, barred: Collection[bytes]
) -> dict[Address, int]:
    found: dict[Address, int] = {}
    private = privacy.is_private(campaign.spec)
    for key, row in view.scan(VALIDATORS):
        address = Address(key)
        if row.jailed or address in barred or row.stake - row.held < batch.bond or row.stake == 0:
            continue
        if row.registered_at >= batch.formed_at:  # else an address could be looked for that wins the draw
            continue
        if private and view.get(READING_KEYS, address) is None:
            continue
        found[address] = reputation.seat_weight(power(row), quality(view, address, ctx.params))
    return found


def fill(
    view: View, ctx: BlockContext, number: BatchId, batch: Batch, campaign: Campaign, fills: tuple[int, ...]
) -> tuple[Batch, tuple[Event, ...]]:
    """Draws one seat for each of ``fills`` (how many declined before in that place), or as many as there are people.

    The seed comes from this block's beacon. Opens the accept and commit windows anew where anybody was drawn.
    """
    seed = draw.seats_seed(ctx.beacon, number, batch.round, batch.draws)
    weights, thin = eligible(view, ctx, campaign, batch)
    drawn = draw.draw(seed, weights, len(fills))
    batch = replace(batch, draws=batch.draws + 1, thin=batch.thin or thin)
    if not drawn:
        return batch, ()
    params = ctx.params
    batch = replace(
        batch,
        seats=(*batch.seats, *drawn),
        phase=BatchPhase.COMMIT,
        accept_until=Height(ctx.height + params.seat_accept_blocks),
        commit_until=Height(ctx.height + params.report_commit_blocks),
    )
    agenda.look_at_batch(view, max(batch.commit_until, ctx.height + 1), number)
    events: list[Event] = []
    for address, fills_before in zip(drawn, fills, strict=False):
        seat = Seat(
            state=SeatState.SEATED,
            drawn_at=ctx.height,
            bond=batch.bond,
            fills=fills_before,
            commitment=b"",
            sealed=b"",
            report=b"",
            duplicates=(),
            vote=0,
            paid=Amount(0),
            penalty=Amount(0),
            quality_bps=0,
            closeness_bps=0,
            peer_bps=0,
            gold_bps=0,
        )
        view.put(SEATS, seat, number, batch.round, address)
        view.put(SEATS_BY_VALIDATOR, UNIT, address, number, batch.round)
        view.put(OPEN_SEATS, UNIT, address, number, batch.round)
        privacy.seat_drawn(view, ctx, number, batch, campaign, address)
        _hold(view, address, batch.bond)
        events.append(
            event(
                "seat.drawn",
                batch=number,
                round=batch.round,
                campaign=batch.campaign,
                validator=address,
                bond=batch.bond,
                fee=batch.fee,
                commit_until=batch.commit_until,
            )
        )
    return batch, tuple(events)


def accept(view: View, ctx: BlockContext, sender: Address, body: SeatAccept) -> tuple[Event, ...]:
    """Says that the validator will review; it can't decline any more. Silence means the same, once the time is over."""
    seat = _open_seat(view, ctx, sender, body.batch, body.round)
    view.put(SEATS, replace(seat, state=SeatState.ACCEPTED), body.batch, body.round, sender)
    return (event("seat.accepted", batch=body.batch, round=body.round, validator=sender),)


def decline(view: View, ctx: BlockContext, sender: Address, body: SeatDecline) -> tuple[Event, ...]:
    """Gives a seat back at no cost; another is drawn for it at the end of this block."""
    seat = _open_seat(view, ctx, sender, body.batch, body.round)
    batch = view.get(BATCHES, body.batch)
    assert batch is not None, "a seat has its batch"
    release(view, body.batch, batch, Seated(sender, seat), SeatState.DECLINED)
    vacancies = batch.vacancies
    if seat.fills < ctx.params.seat_redraws_max:
        vacancies = (*vacancies, seat.fills + 1)
    view.put(BATCHES, replace(batch, places=batch.places - 1, vacancies=vacancies), body.batch)
    agenda.look_at_batch_now(view, ctx, body.batch)
    return (
        event("seat.declined", batch=body.batch, round=body.round, campaign=batch.campaign, validator=sender),
    )


def release(view: View, number: BatchId, batch: Batch, seated: Seated, state: SeatState) -> None:
    """Frees what a seat holds of its validator's stake, and gives the seat its last state."""
    _let_go(view, seated.validator, seated.seat.bond)
    view.delete(OPEN_SEATS, seated.validator, number, batch.round)
    view.put(
        SEATS,
        replace(seated.seat, state=state, bond=Amount(0)),
        number,
        batch.round,
        seated.validator,
    )


def slash(
    view: View,
    ctx: BlockContext,
    number: BatchId,
    batch: Batch,
    campaign: Campaign,
    seated: Seated,
    amount: int,
    state: SeatState,
    cause: str,
) -> tuple[Campaign, tuple[Event, ...]]:
    """Frees a seat's bond but for ``amount``, which is taken from the validator's stake: half burned, half to the campaign."""
    amount = take(view, ctx, number, batch, seated, amount, state)
    if amount == 0:
        return campaign, ()
    campaign, burned = escrow.take_penalty(view, ctx, campaign, Pot.STAKE, amount)
    return campaign, (
        event("penalty", account=seated.validator, amount=amount, burned=burned, cause=cause, batch=number),
    )


def take(
    view: View,
    ctx: BlockContext,
    number: BatchId,
    batch: Batch,
    seated: Seated,
    amount: int,
    state: SeatState,
) -> int:
    """Frees a seat's bond, and takes up to ``amount`` of it out of the validator's row; its caller moves that money."""
    address = seated.validator
    row = view.get(VALIDATORS, address)
    assert row is not None, "validators are never deleted"
    amount = min(amount, seated.seat.bond, row.stake)
    release(view, number, batch, seated, state)
    if amount == 0:
        return 0
    row = view.get(VALIDATORS, address)
    assert row is not None, "validators are never deleted"
    view.put(VALIDATORS, row.with_stake(row.stake - amount), address)
    seat = view.get(SEATS, number, batch.round, address)
    assert seat is not None, "it was just released"
    view.put(SEATS, replace(seat, penalty=Amount(seat.penalty + amount)), number, batch.round, address)
    earnings.record(view, ctx, address, earnings.PENALTY, amount, batch.campaign, batch=number)
    return amount


def miss(
    view: View,
    ctx: BlockContext,
    number: BatchId,
    batch: Batch,
    campaign: Campaign,
    seated: Seated,
    state: SeatState,
) -> tuple[Campaign, tuple[Event, ...]]:
    """Charges a seat whose report did not come: ``MISSED`` was never committed, ``WITHHELD`` committed and not revealed."""
    withheld = state is SeatState.WITHHELD
    share = ctx.params.no_reveal_slash_bps if withheld else ctx.params.no_commit_slash_bps
    row = reviewer(view, seated.validator)
    view.put(REVIEWERS, replace(row, missed=row.missed + 1), seated.validator)
    rewards.note_review(view, ctx, seated.validator, len(batch.items), 0)
    standings.missed(view, seated.validator)
    said = event(
        f"seat.{state.label}",
        batch=number,
        round=batch.round,
        campaign=batch.campaign,
        validator=seated.validator,
    )
    campaign, events = slash(
        view, ctx, number, batch, campaign, seated, seated.seat.bond * share // BPS, state, state.label
    )
    return campaign, (said, *events)


def batch_and_seat(view: ReadView, sender: Address, number: BatchId, round_: int) -> tuple[Batch, Seat]:
    """A batch and the sender's seat in it. Raises Rejected where there is no such seat."""
    batch = view.get(BATCHES, number)
    if batch is None or batch.round != round_:
        raise Rejected(
            "batch_unknown",
            "there is no such batch and round",
            value=f"{number}/{round_}",
            remedy="see your assignments: otensor-cli review list",
        )
    seat = view.get(SEATS, number, round_, sender)
    if seat is None:
        raise Rejected(
            "no_seat",
            "this validator was not drawn for the batch",
            value=sender,
            remedy="see your assignments: otensor-cli review list",
        )
    return batch, seat


def _open_seat(view: ReadView, ctx: BlockContext, sender: Address, number: BatchId, round_: int) -> Seat:
    """The sender's seat, while it can still be accepted or declined. Raises Rejected."""
    batch, seat = batch_and_seat(view, sender, number, round_)
    until = seat.drawn_at + ctx.params.seat_accept_blocks
    if seat.state != SeatState.SEATED or batch.phase != BatchPhase.COMMIT:
        raise Rejected(
            "seat_state",
            f"the seat is {SeatState(seat.state).label}",
            value=f"{number}/{round_}",
            remedy="a seat is accepted or declined once, before its report is committed",
        )
    if ctx.height > until:
        raise Rejected(
            "seat_late",
            f"the seat could be accepted or declined up to height {until}",
            value=ctx.height,
            remedy="it counts as accepted: commit and reveal a report",
        )
    return seat


def _hold(view: View, address: Address, bond: int) -> None:
    row = view.get(VALIDATORS, address)
    assert row is not None and row.stake - row.held >= bond, "whoever was drawn can hold the bond"
    view.put(VALIDATORS, row.with_held(row.held + bond), address)
    record = reviewer(view, address)
    view.put(REVIEWERS, replace(record, seats_open=record.seats_open + 1), address)


def _let_go(view: View, address: Address, bond: int) -> None:
    row = view.get(VALIDATORS, address)
    record = view.get(REVIEWERS, address)
    assert row is not None and record is not None, "whoever sits is registered and on record"
    assert row.held >= bond and record.seats_open > 0, "a seat's bond is freed once"
    view.put(VALIDATORS, row.with_held(row.held - bond), address)
    view.put(REVIEWERS, replace(record, seats_open=record.seats_open - 1), address)
