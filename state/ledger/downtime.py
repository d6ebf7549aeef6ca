"""Who was away for too long: slashed a little and kept out of the next sets, until it says that it is back.

Judged at boundaries alone, by what a whole epoch of many leaders says (``attendance``). Counts no votes and chooses no sets; a
jailed validator keeps its stake, its delegators and the duties of its seats.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import ValidatorUnjail
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.types import BPS, Address, CampaignId, Height
from state.ledger import attendance, earnings, epochs, slashing
from state.ledger.accounts import Pot, burn, move
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.validators import registered, validator
from state.ledger.view import ReadView, View
from state.records_attendance import Downtime
from state.schema import DOWNTIME, VALIDATORS


def judge(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """At the end of a boundary block: counts who was absent in its epoch, and jails whoever was so for too many in a row.

    Those with the least attendance come first. Whoever can't leave jail yet never weighs more than ``jail_share_max_bps`` of
    what would vote without jails: so neither a partition nor a fault of the chain itself can jail a third of the stake at once.
    """
    if not is_boundary(ctx.height, ctx.params):
        return ()
    weights = _weights(view, ctx)
    absent = list(_absent(view, ctx))
    room = _room(view, ctx, sum(weights.values()))
    events: list[Event] = []
    for share, address, row in sorted(absent, key=lambda each: each[:2]):
        weight = weights[address]
        if row.epochs >= ctx.params.downtime_epochs and weight <= room:
            room -= weight
            events.append(_jail(view, ctx, address, replace(row, weight=weight), share))
    return tuple(events)


def unjail(view: View, ctx: BlockContext, sender: Address, body: ValidatorUnjail) -> tuple[Event, ...]:
    """Lets the sender be chosen again, from the next boundary on."""
    row = registered(view, sender)
    if not row.jailed:
        raise Rejected(
            "not_jailed", "the validator is not in jail", value=sender, remedy="there is nothing to do"
        )
    jail = view.get(DOWNTIME, sender)
    until = jail.until if jail is not None else ctx.height
    if ctx.height < until:
        raise Rejected(
            "jail_time",
            f"the validator stays in jail until height {until}",
            value=ctx.height,
            remedy=f"send it again from height {until} on, with the node running",
        )
    if row.stake < ctx.params.validator_stake_min:
        raise Rejected(
            "stake_min",
            f"a validator needs a stake of {format_omnit(ctx.params.validator_stake_min)}",
            value=format_omnit(row.stake),
            remedy="add stake first with: otensor-cli stake add",
        )
    view.put(VALIDATORS, replace(row, jailed=False), sender)
    view.delete(DOWNTIME, sender)
    return (event("validator.unjailed", validator=sender),)


def jailed_until(view: ReadView, address: Address) -> Height | None:
    """From which height on a validator may leave jail; None where it is in none for having been absent."""
    row = view.get(DOWNTIME, address)
    return None if row is None or row.until == 0 else row.until


def _weights(view: ReadView, ctx: BlockContext) -> dict[Address, int]:
    """What each voter of the epoch weighs in it."""
    voters = epochs.validator_set(view, ctx.epoch)
    assert voters is not None, "the set of the epoch under way is never forgotten"
    return {entry.address: entry.weight for entry in voters.entries}


def _absent(view: View, ctx: BlockContext) -> Iterator[tuple[int, Address, Downtime]]:
    """Takes down, and gives with its attendance, everybody who was absent in the epoch and could be jailed for it."""
    for address, share in attendance.shares(view, ctx.epoch).items():
        row = validator(view, address)
        assert row is not None, "a validator is never taken out of the register"
        if share >= ctx.params.attendance_min_bps or row.jailed:
            continue
        before = view.get(DOWNTIME, address)
        follows = before is not None and before.last_epoch + 1 == ctx.epoch
        count = before.epochs + 1 if before is not None and follows else 1
        now = Downtime(count, ctx.epoch, Height(0), 0)
        view.put(DOWNTIME, now, address)
        yield share, address, now


def _room(view: View, ctx: BlockContext, voting: int) -> int:
    """What may be jailed now, by weight. Forgets who is absent no more, and who was removed."""
    locked = 0
    for key, row in view.scan(DOWNTIME):
        address = Address(key)
        held = validator(view, address)
        assert held is not None, "a validator is never taken out of the register"
        if held.removed or (row.until == 0 and row.last_epoch != ctx.epoch):
            view.delete(DOWNTIME, address)
        elif row.until > ctx.height:
            locked += row.weight
    return (voting + locked) * ctx.params.jail_share_max_bps // BPS - locked


def _jail(view: View, ctx: BlockContext, address: Address, row: Downtime, share: int) -> Event:
    until = Height(ctx.height + ctx.params.jail_blocks)
    amount = slashing.slash(view, ctx, address, ctx.params.downtime_slash_bps, spare_held=True)
    burned, reward, rest = slashing.split(amount, ctx.params)
    burn(view, Pot.STAKE, burned)
    move(view, Pot.STAKE, Pot.RESERVE, reward + rest)  # nobody reports what the blocks say themselves
    earnings.record(view, ctx, address, earnings.PENALTY, amount, CampaignId(0))
    held = validator(view, address)
    assert held is not None, "it was just slashed"
    view.put(VALIDATORS, replace(held, jailed=True), address)
    view.put(DOWNTIME, replace(row, until=until), address)
    return event(
        "validator.jailed",
        validator=address,
        epoch=ctx.epoch,
        epochs=row.epochs,
        attendance_bps=share,
        amount=amount,
        burned=burned,
        until=until,
    )
