"""Delegated stake: delegating, taking back, moving from one validator to another, and what becomes of it in the end.

A delegation is a number of shares in what is delegated to a validator. What leaves is worth what the validator's scale says when
it is paid; what came by redelegation can be slashed for the validator it came from until it lands. Knows nothing of votes.
"""

from typing import NamedTuple

from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import Delegate, Redelegate, Undelegate
from omnitensor.protocol.types import Address, Amount, Epoch, Height
from state.ledger import ballots, pools, rewards, slashing
from state.ledger.accounts import Pot, move, next_number
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.pools import Scale, fixed, kept, scale_of, wide, worth
from state.ledger.view import ReadView, View
from state.records import UNIT, Validator
from state.records_stake import ZERO_FIXED, Delegation, Redelegation, Undelegation
from state.schema import (
    DELEGATIONS,
    DELEGATIONS_BY_VALIDATOR,
    MATURITIES,
    REDELEGATIONS,
    UNDELEGATIONS,
    VALIDATORS,
    number,
)

COUNTER = b"maturities"
NO_DELEGATION = Delegation(0, 0, Epoch(0), ZERO_FIXED)


class Lot(NamedTuple):
    """Shares that leave a delegation together, with the redelegation that they came by, if that is under way."""

    shares: int
    number: int
    came_by: Redelegation | None


def delegate(view: View, ctx: BlockContext, sender: Address, body: Delegate) -> tuple[Event, ...]:
    """Stakes with a validator: earns from the next epoch on."""
    _check_target(view, ctx, sender, body.validator, body.amount)
    before = _visit(view, ctx, sender, body.validator)
    move(view, sender, Pot.STAKE, body.amount)
    shares = _enter(view, ctx, sender, body.validator, body.amount)
    return (
        event("stake.delegated", account=sender, validator=body.validator, amount=body.amount, shares=shares),
        *before,
    )


def undelegate(view: View, ctx: BlockContext, sender: Address, body: Undelegate) -> tuple[Event, ...]:
    """Sends delegated stake on its way back: paid after ``unbonding_blocks``, less what is slashed until then."""
    before = _visit(view, ctx, sender, body.validator)
    row, held = _delegation(view, sender, body.validator)
    amount, shares = _wanted(ctx, row, held.shares, held.shares, body.amount)
    waiting = sum(1 for _ in view.scan(UNDELEGATIONS, sender, body.validator))
    lots = _lots(view, sender, body.validator, held, shares)
    if waiting + len(lots) > limits.undelegations_per_delegation_max:
        raise Rejected(
            "undelegation_limit",
            "as many undelegations from this validator wait for payment as an account may have",
            value=waiting,
            remedy="wait until one is paid",
        )
    _leave(view, ctx, sender, body.validator, held, amount, shares)
    move(view, Pot.STAKE, Pot.UNBONDING, amount)
    due = Height(ctx.height + ctx.params.unbonding_blocks)
    given = passed = entries = 0
    for lot in lots:
        _shorten(view, sender, body.validator, lot)
        passed += lot.shares
        part = amount * passed // shares - given
        given += part
        if part:
            _put_undelegation(view, ctx, sender, body.validator, part, due, lot.came_by)
            entries += 1
    row = _validator(view, body.validator)
    leaving = replace(row, leaving=Amount(row.leaving + amount), leaving_count=row.leaving_count + entries)
    view.put(VALIDATORS, leaving, body.validator)
    said = event("stake.undelegated", account=sender, validator=body.validator, amount=amount, due=due)
    return (said, *before)


def redelegate(view: View, ctx: BlockContext, sender: Address, body: Redelegate) -> tuple[Event, ...]:
    """Moves stake to another validator at once. What came by a redelegation that is under way stays where it is."""
    if body.source == body.target:
        raise Rejected(
            "redelegation_same",
            "source and target are one validator",
            value=body.source,
            remedy="name two validators",
        )
    before = _visit(view, ctx, sender, body.source)
    row, held = _delegation(view, sender, body.source)
    free = held.shares - _under_way(view, sender, body.source)
    if free == 0:
        raise Rejected(
            "redelegation_under_way",
            "all of this delegation came by redelegations that are under way",
            value=format_omnit(worth(row, held.shares)),
            remedy="wait until they land, or undelegate",
        )
    amount, shares = _wanted(ctx, row, free, held.shares, body.amount)
    _check_target(view, ctx, sender, body.target, amount)
    before = (*before, *_visit(view, ctx, sender, body.target))
    if (
        sum(1 for _ in view.scan(REDELEGATIONS, sender, body.target))
        >= limits.redelegations_per_delegation_max
    ):
        raise Rejected(
            "redelegation_limit",
            "as many redelegations to this validator are under way as an account may have",
            value=limits.redelegations_per_delegation_max,
            remedy="wait until one lands",
        )
    _leave(view, ctx, sender, body.source, held, amount, shares)
    arrived = _enter(view, ctx, sender, body.target, amount)
    due = Height(ctx.height + ctx.params.unbonding_blocks)
    generation, left = scale_of(view, body.source)
    lot = Redelegation(body.source, arrived, ctx.height, due, generation, fixed(left))
    index = next_number(view, COUNTER)
    view.put(REDELEGATIONS, lot, sender, body.target, index)
    view.put(MATURITIES, UNIT, due, sender, body.target, index)
    said = event(
        "stake.redelegated", account=sender, source=body.source, target=body.target, amount=amount, due=due
    )
    return (said, *before)


def mature(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """Pays undelegations that are due and ends redelegations, the oldest first, a bounded number a block."""
    events: list[Event] = []
    for done, (key, _) in enumerate(view.scan(MATURITIES)):
        due, delegator, validator, index = MATURITIES.split(key)
        if number(due) > ctx.height or done == limits.maturities_per_block_max:
            break
        who, to, which = Address(delegator), Address(validator), number(index)
        if view.get(UNDELEGATIONS, who, to, which) is not None:
            events += _pay(view, ctx, who, to, which)
        else:
            events += _visit(view, ctx, who, to)
            view.delete(REDELEGATIONS, who, to, which)
        view.delete(MATURITIES, key)
    return tuple(events)


# -- what both ends do


def _check_target(view: ReadView, ctx: BlockContext, sender: Address, target: Address, amount: int) -> None:
    """Raises Rejected where nothing more can be delegated to a validator, by this account or at all."""
    row = _validator(view, target)
    if target == sender:
        raise Rejected(
            "delegation_own",
            "a validator does not delegate to itself",
            value=target,
            remedy="add to its own stake with: otensor-cli stake add",
        )
    if row.removed:
        raise Rejected(
            "validator_removed",
            "the validator was removed for good",
            value=target,
            remedy="choose another: otensor-cli validator list",
        )
    if amount < ctx.params.delegation_min and view.get(DELEGATIONS, sender, target) is None:
        raise Rejected(
            "delegation_min",
            f"a delegation is worth {format_omnit(ctx.params.delegation_min)} at least",
            value=format_omnit(amount),
            remedy="delegate more",
        )
    if amount == 0:
        raise Rejected("amount", "a delegation of nothing", value=0, remedy="give an amount above zero")
    if row.shares > limits.shares_per_unit_max * row.delegated:
        raise Rejected(
            "validator_depleted",
            "nearly all that was delegated to this validator was slashed",
            value=target,
            remedy="choose another: otensor-cli validator list",
        )
    if view.get(DELEGATIONS, sender, target) is None:
        there = sum(1 for _ in view.scan(DELEGATIONS, sender))
        if there >= limits.delegations_per_account_max:
            raise Rejected(
                "delegation_limit",
                "the account delegates to as many validators as it may",
                value=there,
                remedy="take one delegation back whole, or use another account",
            )


def _wanted(ctx: BlockContext, row: Validator, free: int, whole: int, wanted: int | None) -> tuple[int, int]:
    """Amount and shares of an order to take some out of a delegation: of ``free`` shares, where it has ``whole``.

    The shares are rounded up and the amount is exact, so that those who stay never pay. Raises Rejected.
    """
    most = worth(row, free)
    if wanted is None or wanted == most:
        amount, shares = most, free
    else:
        if not 0 < wanted < most:
            raise Rejected(
                "delegation",
                f"{format_omnit(most)} of the delegation can be taken",
                value=format_omnit(wanted),
                remedy="ask for less, or for everything",
            )
        amount, shares = wanted, -(-wanted * row.shares // row.delegated)
    if shares < free and worth(row, whole - shares) < ctx.params.delegation_min:
        raise Rejected(
            "delegation_min",
            f"less than {format_omnit(ctx.params.delegation_min)} would be left",
            value=format_omnit(amount),
            remedy="take everything, or leave more",
        )
    return amount, shares


def _enter(view: View, ctx: BlockContext, delegator: Address, validator: Address, amount: int) -> int:
    """Adds money that is in the pot of stakes to a delegation that was visited; the shares that it makes, rounded down."""
    row = _validator(view, validator)
    shares = amount * row.shares // row.delegated if row.delegated else amount
    grown = replace(row, delegated=Amount(row.delegated + amount), shares=row.shares + shares)
    view.put(VALIDATORS, grown, validator)
    held = view.get(DELEGATIONS, delegator, validator)
    if held is None:
        held = replace(NO_DELEGATION, index=pools.pool_of(view, validator).index)
        view.put(DELEGATIONS_BY_VALIDATOR, UNIT, validator, delegator)
    view.put(DELEGATIONS, rewards.join(view, ctx, validator, held, shares), delegator, validator)
    ballots.moved(view, delegator, validator, held.shares, held.shares + shares)
    return shares


def _leave(
    view: View,
    ctx: BlockContext,
    delegator: Address,
    validator: Address,
    held: Delegation,
    amount: int,
    shares: int,
) -> None:
    """Takes shares out of a visited delegation and their amount out of what is delegated; the money is the caller's to move."""
    row = _validator(view, validator)
    shrunk = replace(row, delegated=Amount(row.delegated - amount), shares=row.shares - shares)
    assert shrunk.shares or not shrunk.delegated, "whoever leaves last takes everything"
    view.put(VALIDATORS, shrunk, validator)
    ballots.moved(view, delegator, validator, held.shares, held.shares - shares)
    held = rewards.leave(view, ctx, validator, held, shares)
    if held.shares:
        view.put(DELEGATIONS, held, delegator, validator)
    else:
        view.delete(DELEGATIONS, delegator, validator)
        view.delete(DELEGATIONS_BY_VALIDATOR, validator, delegator)


def _visit(view: View, ctx: BlockContext, delegator: Address, validator: Address) -> tuple[Event, ...]:
    """Brings a delegation up to date: pays its rewards, and takes what its redelegations owe for slashes at their source."""
    held = view.get(DELEGATIONS, delegator, validator)
    if held is None:
        return ()
    held, paid = rewards.settle(view, ctx, delegator, validator, held)
    view.put(DELEGATIONS, held, delegator, validator)
    events: list[Event] = []
    if paid:
        events.append(event("reward.claimed", account=delegator, validator=validator, amount=paid))
    for key, lot in view.scan(REDELEGATIONS, delegator, validator):
        then, now = Scale(lot.generation, wide(lot.scale)), scale_of(view, lot.source)
        if then == now:
            continue
        left = kept(lot.shares, then, now)
        cut = lot.shares - left
        looked_at = replace(lot, shares=left, generation=now.generation, scale=fixed(now.left))
        view.put(REDELEGATIONS, looked_at, delegator, validator, number(key))
        if cut:
            events.append(_forfeit(view, ctx, delegator, validator, lot.source, cut))
    return tuple(events)


def _forfeit(
    view: View, ctx: BlockContext, delegator: Address, validator: Address, source: Address, shares: int
) -> Event:
    """Takes shares out of a delegation for a slash at the validator that they came from."""
    row, held = _delegation(view, delegator, validator)
    amount = worth(row, shares)
    _leave(view, ctx, delegator, validator, held, amount, shares)
    slashing.forfeit(view, ctx, Pot.STAKE, amount)
    return event("stake.forfeited", account=delegator, validator=validator, source=source, amount=amount)


# -- shares under way, and stake on its way back


def _under_way(view: ReadView, delegator: Address, validator: Address) -> int:
    """Shares of a delegation that came by redelegations under way."""
    return sum(lot.shares for _, lot in view.scan(REDELEGATIONS, delegator, validator))


def _lots(view: ReadView, delegator: Address, validator: Address, held: Delegation, shares: int) -> list[Lot]:
    """Of which lots shares leave: first those that came straight from the account, then redelegations, the oldest first."""
    free = held.shares - _under_way(view, delegator, validator)
    found = [Lot(min(free, shares), 0, None)] if free else []
    rest = shares - min(free, shares)
    for key, came_by in view.scan(REDELEGATIONS, delegator, validator):
        if rest == 0:
            break
        taken = min(rest, came_by.shares)
        if taken:
            found.append(Lot(taken, number(key), came_by))
        rest -= taken
    assert rest == 0, "a delegation's shares are free or came by redelegations"
    return found


def _shorten(view: View, delegator: Address, validator: Address, lot: Lot) -> None:
    """Takes a lot's shares out of its redelegation."""
    if lot.came_by is None:
        return
    left = lot.came_by.shares - lot.shares
    if left:
        view.put(REDELEGATIONS, replace(lot.came_by, shares=left), delegator, validator, lot.number)
    else:
        view.delete(REDELEGATIONS, delegator, validator, lot.number)
        view.delete(MATURITIES, lot.came_by.due, delegator, validator, lot.number)


def _put_undelegation(
    view: View,
    ctx: BlockContext,
    delegator: Address,
    validator: Address,
    amount: int,
    due: Height,
    came_by: Redelegation | None,
) -> None:
    generation, left = scale_of(view, validator)
    row = Undelegation(
        amount=Amount(amount),
        since=ctx.height,
        due=due,
        generation=generation,
        scale=fixed(left),
        source=came_by.source if came_by else b"",
        source_generation=came_by.generation if came_by else 0,
        source_scale=came_by.scale if came_by else ZERO_FIXED,
    )
    index = next_number(view, COUNTER)
    view.put(UNDELEGATIONS, row, delegator, validator, index)
    view.put(MATURITIES, UNIT, due, delegator, validator, index)


def undelegated_worth(view: ReadView, validator: Address, row: Undelegation) -> tuple[int, int]:
    """What is left of an undelegation after its validator's slashes, and what of that after those of its source."""
    left = kept(row.amount, Scale(row.generation, wide(row.scale)), scale_of(view, validator))
    if not row.source:
        return left, left
    source = Address(row.source)
    then = Scale(row.source_generation, wide(row.source_scale))
    return left, kept(left, then, scale_of(view, source))


def _pay(
    view: View, ctx: BlockContext, delegator: Address, validator: Address, index: int
) -> tuple[Event, ...]:
    """Pays one undelegation. What rounding left of a validator's undelegations goes to the reserve with the last."""
    row = view.get(UNDELEGATIONS, delegator, validator, index)
    assert row is not None, "the caller has seen it"
    left, paid = undelegated_worth(view, validator, row)
    move(view, Pot.UNBONDING, delegator, paid)
    slashing.forfeit(view, ctx, Pot.UNBONDING, left - paid)
    view.delete(UNDELEGATIONS, delegator, validator, index)
    register = _validator(view, validator)
    register = replace(
        register, leaving=Amount(register.leaving - left), leaving_count=register.leaving_count - 1
    )
    assert register.leaving >= 0, "undelegations never come to more than is leaving"
    if register.leaving_count == 0:
        move(view, Pot.UNBONDING, Pot.RESERVE, register.leaving)
        register = replace(register, leaving=Amount(0))
    view.put(VALIDATORS, register, validator)
    return (event("stake.returned", account=delegator, validator=validator, amount=paid),)


def _delegation(view: ReadView, delegator: Address, validator: Address) -> tuple[Validator, Delegation]:
    """Raises Rejected where an account delegates nothing to a validator."""
    row = _validator(view, validator)
    held = view.get(DELEGATIONS, delegator, validator)
    if held is None:
        raise Rejected(
            "delegation_unknown",
            "the account delegates nothing to this validator",
            value=validator,
            remedy="see its delegations with: otensor-cli stake status",
        )
    return row, held


def _validator(view: ReadView, address: Address) -> Validator:
    row = view.get(VALIDATORS, address)
    if row is None:
        raise Rejected(
            "validator_unknown",
            "there is no such validator",
            value=address,
            remedy="see who there is: otensor-cli validator list",
        )
    return row
