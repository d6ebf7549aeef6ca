"""Who was away for too long: slashed a little, and jailed.

Judged at boundaries alone, by what whole epochs of many leaders say (``attendance``). Counts no votes and chooses no sets.
"""

from collections.abc import Iterator

from consensus.schedule.leaders import STAKE_VIEW_EVERY, work_leads
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.types import BPS, Address, CampaignId, Height
from state.ledger import attendance, earnings, epochs, jail, slashing, worker_sets
from state.ledger.accounts import Pot, burn, move
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.validators import validator
from state.ledger.view import ReadView, View
from state.records_attendance import Downtime
from state.schema import DOWNTIME


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
            events.append(_jail(view, ctx, address, row.epochs, weight, share))
    return tuple(events)


def _weights(view: ReadView, ctx: BlockContext) -> dict[Address, int]:
    """What each voter of the epoch weighs in it."""
    voters = epochs.validator_set(view, ctx.epoch)
    assert voters is not None, "the set of the epoch under way is never forgotten"
    return {entry.address: entry.weight for entry in voters.entries}


def asked_bps(least: int, blocks: int, *, by_work: bool) -> int:
    """The attendance that is asked for where so many blocks of an epoch were counted.

    Where work drew leaders, two blocks in three may be hostile work's, which holds no stake and may pass over whom it likes. So
    what is asked for is a share of those that stake leads whatever work does, as if nobody were named in the others: of every
    three in a row one, and none of fewer.
    """
    return least * (blocks // STAKE_VIEW_EVERY) // blocks if by_work and blocks else least


def _least(view: ReadView, ctx: BlockContext) -> int:
    """The attendance that is asked for in the ending epoch."""
    by_work = work_leads(worker_sets.worker_set(view, ctx.epoch))
    return asked_bps(
        ctx.params.attendance_min_bps, attendance.of_epoch(view, ctx.epoch).blocks, by_work=by_work
    )


def _absent(view: View, ctx: BlockContext) -> Iterator[tuple[int, Address, Downtime]]:
    """Takes down, and gives with its attendance, everybody who was absent in the epoch and could be jailed for it."""
    least = _least(view, ctx)
    for address, share in attendance.shares(view, ctx.epoch).items():
        row = validator(view, address)
        assert row is not None, "a validator is never taken out of the register"
        if share >= least or row.jailed:
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


def _jail(view: View, ctx: BlockContext, address: Address, count: int, weight: int, share: int) -> Event:
    amount = slashing.slash(view, ctx, address, ctx.params.downtime_slash_bps, spare_held=True)
    burned, reward, rest = slashing.split(amount, ctx.params)
    burn(view, Pot.STAKE, burned)
    move(view, Pot.STAKE, Pot.RESERVE, reward + rest)  # nobody reports what the blocks say themselves
    earnings.record(view, ctx, address, earnings.PENALTY, amount, CampaignId(0))
    until = jail.begin(view, ctx, address, weight)
    return event(
        "validator.jailed",
        validator=address,
        epoch=ctx.epoch,
        epochs=count,
        attendance_bps=share,
        amount=amount,
        burned=burned,
        until=until,
    )
