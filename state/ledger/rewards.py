"""Rewards: what stake earns in an epoch, paid at its boundary from the reserve into the pot of rewards, and claimed from there.

Nothing here walks over delegators: a validator's pool has an index, the sum of all rewards of one share, and a delegation knows
up to where it was paid. Every division rounds down, and what it leaves stays in the pot.
"""

from typing import Final, NamedTuple

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import RewardsClaim
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS, Address, Amount, Epoch
from state.ledger import attendance, epochs, pay
from state.ledger.accounts import Pot, move, pot
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.pools import INDEX_BITS, fixed, pool_of, wide, worth
from state.ledger.view import ReadView, View
from state.records import Validator
from state.records_stake import Delegation, EpochReviews, RewardIndex
from state.schema import DELEGATIONS, EPOCH_REVIEWS, REWARD_INDEXES, STAKE_POOLS, VALIDATORS

YEAR_MS: Final = 31_557_600_000
"""365.25 days."""


class Earning(NamedTuple):
    """What of a validator's stake was there through a whole epoch, nanoOMNIT."""

    own: int
    delegated: int

    @property
    def total(self) -> int:
        return self.own + self.delegated


def reward(earning: int, attendance_bps: int, points: int, due: int, params: Params) -> int:
    """nanoOMNIT that a stake earns in an epoch: the closed formula of the specification, rounded down once.

    ``points`` are basis points over ``due`` reviewed items; with none due there is nothing for reviews.
    """
    items = max(1, due)
    rate = (
        params.reward_base_bps * BPS * items
        + params.reward_votes_bps * attendance_bps * items
        + params.reward_reviews_bps * points
    )
    epoch_ms = params.epoch_blocks * params.block_interval_ms
    return earning * epoch_ms * rate // (YEAR_MS * BPS * BPS * items)


def note_review(view: View, ctx: BlockContext, validator: Address, items: int, points_bps: int) -> None:
    """Counts a report that was due: its items, and what each of them is worth for the reward, in basis points."""
    row = view.get(EPOCH_REVIEWS, validator)
    if row is None or row.epoch != ctx.epoch:
        row = EpochReviews(ctx.epoch, 0, 0)
    noted = EpochReviews(ctx.epoch, row.due + items, row.points + items * points_bps)
    view.put(EPOCH_REVIEWS, noted, validator)


def pay_epoch(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """At the end of a boundary block: pays the epoch's voters what their stake earned, as far as the reserve goes."""
    if not is_boundary(ctx.height, ctx.params):
        return ()
    due = _due(view, ctx)
    reserve = pot(view, Pot.RESERVE)
    if sum(amount for _, _, amount in due) > reserve:
        scaled, _ = pay.largest_remainder(reserve, [(address, amount) for address, _, amount in due])
        due = [(address, earning, scaled[address]) for address, earning, _ in due]
    return tuple(_pay(view, ctx, address, earning, amount) for address, earning, amount in due if amount)


def _due(view: ReadView, ctx: BlockContext) -> list[tuple[Address, Earning, int]]:
    """What each voter of the epoch has earned, by address, in the order of the table."""
    voters = epochs.validator_set(view, ctx.epoch)
    attended = attendance.shares(view, ctx.epoch)
    found: list[tuple[Address, Earning, int]] = []
    for entry in voters.entries if voters else ():
        row = view.get(VALIDATORS, entry.address)
        if row is None or row.removed:
            continue
        earning = earning_of(view, ctx.epoch, entry.address, row)
        reviews = view.get(EPOCH_REVIEWS, entry.address)
        points, items = (reviews.points, reviews.due) if reviews and reviews.epoch == ctx.epoch else (0, 0)
        amount = reward(earning.total, attended[entry.address], points, items, ctx.params)
        found.append((entry.address, earning, amount))
    return found


def earning_of(view: ReadView, epoch: Epoch, address: Address, row: Validator) -> Earning:
    """What was there when the epoch began and still is: the lesser of both, own and delegated apart."""
    pool = pool_of(view, address)
    if pool.epoch != epoch:
        return Earning(0, 0)
    return Earning(
        min(pool.own, row.stake), min(pool.delegated, worth(row, row.shares - _joining(view, epoch, address)))
    )


def _joining(view: ReadView, epoch: Epoch, validator: Address) -> int:
    """Shares that came in the epoch and earn from the next one on."""
    row = view.get(REWARD_INDEXES, validator, epoch)
    return row.shares if row else 0


def _pay(view: View, ctx: BlockContext, address: Address, earning: Earning, amount: int) -> Event:
    """Divides a validator's reward: commission and what its own stake earned are its own, the rest is its delegators'."""
    row = view.get(VALIDATORS, address)
    assert row is not None, "whoever earned is in the register"
    pool = pool_of(view, address)
    of_delegators = amount * earning.delegated // earning.total
    commission = of_delegators * pool.commission_bps // BPS
    shared = of_delegators - commission
    move(view, Pot.RESERVE, Pot.REWARDS, amount)
    index = pool.index
    if shared:
        earners = row.shares - _joining(view, ctx.epoch, address)
        index = fixed(wide(pool.index) + (shared << INDEX_BITS) // earners)
    paid = replace(pool, owed=Amount(pool.owed + amount - shared), index=index)
    view.put(STAKE_POOLS, paid, address)
    joined = view.get(REWARD_INDEXES, address, ctx.epoch)
    if joined is not None:
        view.put(REWARD_INDEXES, replace(joined, index=index), address, ctx.epoch)
    return event(
        "reward.paid",
        validator=address,
        epoch=ctx.epoch,
        amount=amount,
        commission=commission,
        delegators=shared,
    )


# -- delegations


def owed(view: ReadView, epoch: Epoch, validator: Address, row: Delegation) -> int:
    """nanoOMNIT of rewards that a delegation could claim in a block of the epoch."""
    now = wide(pool_of(view, validator).index)
    found = (row.shares - row.joining) * (now - wide(row.index))
    if row.joining and row.joined != epoch:
        found += row.joining * (now - wide(_index_after(view, validator, row.joined).index))
    return found >> INDEX_BITS


def settle(
    view: View, ctx: BlockContext, delegator: Address, validator: Address, row: Delegation
) -> tuple[Delegation, int]:
    """Pays a delegation's rewards to its account; the row as it is then, not yet written, and the amount."""
    amount = owed(view, ctx.epoch, validator, row)
    move(view, Pot.REWARDS, delegator, amount)
    row = replace(row, index=pool_of(view, validator).index)
    if row.joining and row.joined != ctx.epoch:
        _read_index(view, validator, row.joined)
        row = replace(row, joining=0)
    return row, amount


def join(view: View, ctx: BlockContext, validator: Address, row: Delegation, shares: int) -> Delegation:
    """A settled delegation with more shares, which earn from the next epoch on."""
    assert not row.joining or row.joined == ctx.epoch, "the delegation was settled"
    index = view.get(REWARD_INDEXES, validator, ctx.epoch)
    if index is None:
        index = RewardIndex(pool_of(view, validator).index, 0, 0)
    index = replace(index, shares=index.shares + shares, users=index.users + (not row.joining))
    view.put(REWARD_INDEXES, index, validator, ctx.epoch)
    return replace(row, shares=row.shares + shares, joining=row.joining + shares, joined=ctx.epoch)


def leave(view: View, ctx: BlockContext, validator: Address, row: Delegation, shares: int) -> Delegation:
    """A settled delegation with fewer shares; those that earn nothing yet go first."""
    assert shares <= row.shares, "a delegation has the shares that leave it"
    joining = min(row.joining, shares)
    if joining:
        index = _index_after(view, validator, ctx.epoch)
        view.put(REWARD_INDEXES, replace(index, shares=index.shares - joining), validator, ctx.epoch)
        if joining == row.joining:
            _read_index(view, validator, ctx.epoch)
    return replace(row, shares=row.shares - shares, joining=row.joining - joining)


def _index_after(view: ReadView, validator: Address, epoch: Epoch) -> RewardIndex:
    index = view.get(REWARD_INDEXES, validator, epoch)
    assert index is not None, "an index stays until every delegation that joined before it has read it"
    return index


def _read_index(view: View, validator: Address, epoch: Epoch) -> None:
    """One delegation less has to read the index."""
    index = _index_after(view, validator, epoch)
    if index.users == 1:
        view.delete(REWARD_INDEXES, validator, epoch)
    else:
        view.put(REWARD_INDEXES, replace(index, users=index.users - 1), validator, epoch)


# -- claims


def claim(view: View, ctx: BlockContext, sender: Address, body: RewardsClaim) -> tuple[Event, ...]:
    """Pays out rewards; a claim in which there is nothing to pay is refused."""
    events = [
        event("reward.claimed", account=sender, validator=validator, amount=amount)
        for validator in body.validators
        if (amount := _claim_one(view, ctx, sender, validator))
    ]
    if not events:
        raise Rejected(
            "rewards_none",
            "there are no rewards to pay out",
            value=len(body.validators),
            remedy="rewards come at the end of an epoch; see: otensor-cli stake status",
        )
    return tuple(events)


def _claim_one(view: View, ctx: BlockContext, sender: Address, validator: Address) -> int:
    if validator == sender:
        pool = pool_of(view, sender)
        if pool.owed == 0:
            return 0
        move(view, Pot.REWARDS, sender, pool.owed)
        view.put(STAKE_POOLS, replace(pool, owed=Amount(0)), sender)
        return pool.owed
    row = view.get(DELEGATIONS, sender, validator)
    if row is None:
        raise Rejected(
            "delegation_unknown",
            "the account delegates nothing to this validator",
            value=validator,
            remedy="see its delegations with: otensor-cli stake status",
        )
    row, amount = settle(view, ctx, sender, validator, row)
    view.put(DELEGATIONS, row, sender, validator)
    return amount
