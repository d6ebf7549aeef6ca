"""Jail: a validator in it is drawn for no seat and is in no set from the next epoch on, until it asks to be let out.

It keeps its stake, its delegators, its vote for the rest of the epoch, and the duties of its seats. Who is jailed, and what that
costs, is ``downtime``'s and ``misconduct``'s to say; who was removed for good never comes out.
"""

from msgspec.structs import replace

from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import ValidatorUnjail
from omnitensor.protocol.types import Address, Height
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.validators import registered
from state.ledger.view import View
from state.records_attendance import Downtime
from state.schema import DOWNTIME, VALIDATORS


def begin(view: View, ctx: BlockContext, address: Address, weight: int = 0) -> Height:
    """Jails a validator; the height from which on it may leave.

    ``weight`` is what counts towards the bound on downtime. Whoever is in jail for that already counts as before.
    """
    row, before = view.get(VALIDATORS, address), view.get(DOWNTIME, address)
    assert row is not None, "whoever is jailed is in the register"
    until = Height(ctx.height + ctx.params.jail_blocks)
    view.put(VALIDATORS, replace(row, jailed=True), address)
    absent = 0 if before is None else before.epochs
    if before is not None and before.until > ctx.height:
        weight = max(weight, before.weight)
    view.put(DOWNTIME, Downtime(absent, ctx.epoch, until, weight), address)
    return until


def unjail(view: View, ctx: BlockContext, sender: Address, body: ValidatorUnjail) -> tuple[Event, ...]:
    """Lets the sender be chosen again, from the next boundary on, and drawn for seats."""
    row = registered(view, sender)
    if not row.jailed:
        raise Rejected(
            "not_jailed", "the validator is not in jail", value=sender, remedy="there is nothing to do"
        )
    jailed = view.get(DOWNTIME, sender)
    assert jailed is not None, "whoever is in jail and was not removed has a term"
    if ctx.height < jailed.until:
        raise Rejected(
            "jail_time",
            f"the validator stays in jail until height {jailed.until}",
            value=ctx.height,
            remedy=f"send it again from height {jailed.until} on, with the node running",
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
