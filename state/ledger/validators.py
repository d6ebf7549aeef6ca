"""The register of validators and their own stake: registration, adding, withdrawing, unbonding, editing.

Knows nothing of votes or of rewards. Who votes when is ``epochs``' to say.
"""

from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import StakeAdd, StakeWithdraw, ValidatorEdit, ValidatorRegister
from omnitensor.protocol.types import Address, Amount, BlsPublicKey, BlsSignature, Height
from state.ledger import admission
from state.ledger.accounts import Pot, move, next_number
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.records import UNIT, Unbonding, Validator
from state.schema import CONSENSUS_KEYS, COUNTERS, UNBONDING, UNBONDING_BY_VALIDATOR, VALIDATORS, number

UNBONDING_COUNTER = b"unbonding"
REGISTERED_COUNTER = b"validators"


def validator(view: ReadView, address: Address) -> Validator | None:
    """The validator of an account, or None."""
    return view.get(VALIDATORS, address)


def register_size(view: ReadView) -> int:
    """How many validators ever registered: the rows of the register."""
    row = view.get(COUNTERS, REGISTERED_COUNTER)
    return row.next if row else 0


def power(row: Validator) -> int:
    """What a validator weighs in votes and draws: its own stake and what is delegated to it, nanoOMNIT."""
    return row.stake + row.delegated


def register(view: View, ctx: BlockContext, sender: Address, body: ValidatorRegister) -> tuple[Event, ...]:
    """Makes the sender a validator. Its consensus key must be new to the chain and its possession proved."""
    known = view.get(VALIDATORS, sender)
    if known is not None:
        _check_not_removed(known, sender)
        raise Rejected(
            "validator_exists",
            "the account is a validator already",
            value=sender,
            remedy="add stake with: otensor-cli stake add",
        )
    if body.stake < ctx.params.validator_stake_min:
        raise Rejected(
            "stake_min",
            f"a validator needs a stake of {format_omnit(ctx.params.validator_stake_min)}",
            value=format_omnit(body.stake),
            remedy="stake more",
        )
    admission.check(view, ctx.params, sender)
    check_key(view, ctx, body.consensus_key, body.proof_of_possession)
    admit(view, ctx.height, sender, body)
    return (event("validator.registered", validator=sender, stake=body.stake, name=body.name),)


def edit(view: View, ctx: BlockContext, sender: Address, body: ValidatorEdit) -> tuple[Event, ...]:
    """Changes key, commission or name. A new key votes from the next epoch on; this epoch's table keeps the old one."""
    row = registered(view, sender)
    key = body.consensus_key
    if key is not None:
        check_key(view, ctx, key, body.proof_of_possession)
        view.put(CONSENSUS_KEYS, UNIT, key)
    if body.commission_bps is not None and body.commission_bps > row.commission_bps:
        _check_raise(ctx, row, body.commission_bps)
        row = replace(row, commission_raised_at=ctx.height)
    edited = row.edited(
        row.consensus_key if key is None else key,
        row.commission_bps if body.commission_bps is None else body.commission_bps,
        row.name if body.name is None else body.name,
    )
    view.put(VALIDATORS, edited, sender)
    return (
        event(
            "validator.edited",
            validator=sender,
            name=edited.name,
            commission_bps=edited.commission_bps,
            new_key=int(key is not None),
        ),
    )


def _check_raise(ctx: BlockContext, row: Validator, wanted: int) -> None:
    """Raises Rejected where a commission would rise too far or too soon: delegators must have the time to leave."""
    most = row.commission_bps + ctx.params.commission_step_bps
    if wanted > most:
        raise Rejected(
            "commission_step",
            f"a commission of {row.commission_bps} basis points may rise to {most} at once",
            value=wanted,
            remedy="raise it in steps; it may fall as far as you like",
        )
    since = row.commission_raised_at + ctx.params.commission_wait_blocks
    if ctx.height < since:
        raise Rejected(
            "commission_wait",
            f"the commission may rise again at height {since}",
            value=ctx.height,
            remedy="wait until then; it may fall at any time",
        )


def check_key(view: ReadView, ctx: BlockContext, key: BlsPublicKey, possession: BlsSignature | None) -> None:
    """Raises Rejected unless a consensus key is new to the chain and its possession proved."""
    if view.get(CONSENSUS_KEYS, key) is not None:
        raise Rejected(
            "consensus_key_taken",
            "this consensus key was registered before",
            value=key,
            remedy="make a new one with: omnitensor-node keys",
        )
    if possession is None or not ctx.scheme.pop_verify(key, possession):
        raise Rejected(
            "possession",
            "the proof of possession does not verify",
            value=key,
            remedy="take key and proof together, as they are shown by: omnitensor-node keys show",
        )


def admit(view: View, height: Height, address: Address, body: ValidatorRegister) -> None:
    """Enters a validator whose order was checked, and moves its stake."""
    move(view, address, Pot.STAKE, body.stake)
    next_number(view, REGISTERED_COUNTER)
    view.put(CONSENSUS_KEYS, UNIT, body.consensus_key)
    row = Validator(
        stake=body.stake,
        held=Amount(0),
        unbonding=Amount(0),
        unbonding_count=0,
        consensus_key=body.consensus_key,
        commission_bps=body.commission_bps,
        name=body.name,
        jailed=False,
        registered_at=height,
        commission_raised_at=height,
    )
    view.put(VALIDATORS, row, address)


def add_stake(view: View, ctx: BlockContext, sender: Address, body: StakeAdd) -> tuple[Event, ...]:
    """Adds to one's own stake, which must come to a validator's least at least: nobody is one for less."""
    row = registered(view, sender)
    if body.amount == 0:
        raise Rejected("amount", "a stake of nothing", value=0, remedy="give an amount above zero")
    if row.stake + body.amount < ctx.params.validator_stake_min:
        raise Rejected(
            "stake_min",
            f"a validator needs a stake of {format_omnit(ctx.params.validator_stake_min)}",
            value=format_omnit(row.stake + body.amount),
            remedy="add more",
        )
    move(view, sender, Pot.STAKE, body.amount)
    row = row.with_stake(row.stake + body.amount)
    view.put(VALIDATORS, row, sender)
    return (event("stake.added", validator=sender, amount=body.amount, stake=row.stake),)


def withdraw_stake(view: View, ctx: BlockContext, sender: Address, body: StakeWithdraw) -> tuple[Event, ...]:
    """Sends own stake on its way back: paid after ``unbonding_blocks``.

    What open seats hold stays. What is left must be a validator's least stake, or nothing.
    """
    row = registered(view, sender)
    free = row.stake - row.held
    if not 0 < body.amount <= free:
        raise Rejected(
            "stake",
            f"{format_omnit(free)} of the stake can be withdrawn, {format_omnit(row.held)} is held by open seats",
            value=format_omnit(body.amount),
            remedy="withdraw less, or wait until the reviews are done",
        )
    rest = row.stake - body.amount
    if 0 < rest < ctx.params.validator_stake_min:
        raise Rejected(
            "stake_min",
            f"{format_omnit(rest)} would be left, which is below the least stake",
            value=format_omnit(body.amount),
            remedy=f"leave {format_omnit(ctx.params.validator_stake_min)} or withdraw everything",
        )
    if row.unbonding_count >= limits.unbonding_per_validator_max:
        raise Rejected(
            "unbonding_limit",
            "as many withdrawals wait for payment as a validator may have",
            value=row.unbonding_count,
            remedy="wait until one is paid",
        )
    due = unbond(view, ctx, sender, row, body.amount)
    return (event("stake.withdrawn", validator=sender, amount=body.amount, due=due),)


def unbond(view: View, ctx: BlockContext, address: Address, row: Validator, amount: int) -> Height:
    """Sends part of a validator's stake on its way back to its account; the height at which it is paid."""
    due = Height(ctx.height + ctx.params.unbonding_blocks)
    index = next_number(view, UNBONDING_COUNTER)
    move(view, Pot.STAKE, Pot.UNBONDING, amount)
    waiting = Unbonding(Amount(amount))
    view.put(UNBONDING, waiting, due, address, index)
    view.put(UNBONDING_BY_VALIDATOR, waiting, address, due, index)
    row = row.with_unbonding(row.stake - amount, row.unbonding + amount, row.unbonding_count + 1)
    view.put(VALIDATORS, row, address)
    return due


def pay_unbonded(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """Pays the withdrawals that are due, the oldest first, at most ``unbonding_paid_per_block_max`` a block."""
    events: list[Event] = []
    for key, row in view.scan(UNBONDING):
        due, address_part, index = UNBONDING.split(key)
        if number(due) > ctx.height or len(events) == limits.unbonding_paid_per_block_max:
            break
        address = Address(address_part)
        held = view.get(VALIDATORS, address)
        assert held is not None, "a validator is never taken out of the register"
        move(view, Pot.UNBONDING, address, row.amount)
        view.delete(UNBONDING, key)
        view.delete(UNBONDING_BY_VALIDATOR, address, number(due), number(index))
        paid = held.with_unbonding(held.stake, held.unbonding - row.amount, held.unbonding_count - 1)
        view.put(VALIDATORS, paid, address)
        events.append(event("stake.paid", validator=address, amount=row.amount))
    return tuple(events)


def registered(view: ReadView, address: Address) -> Validator:
    row = view.get(VALIDATORS, address)
    if row is None:
        raise Rejected(
            "validator_unknown",
            "the account is no validator",
            value=address,
            remedy="register with: otensor-cli validator register",
        )
    _check_not_removed(row, address)
    return row


def _check_not_removed(row: Validator, address: Address) -> None:
    if row.removed:
        raise Rejected(
            "validator_removed",
            "the validator signed what no honest one signs, and was removed for good",
            value=address,
            remedy="its stake is paid after the unbonding time; validate with another account and another key",
        )
