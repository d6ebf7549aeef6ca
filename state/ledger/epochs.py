"""Who votes in an epoch: the validators of the most power, read from the state at the end of the boundary below it.

So joining, leaving, being jailed and changing a key take effect one epoch later. Draws no leaders and counts no votes.
"""

from typing import Final

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import NANO, Address, Epoch, Hash
from omnitensor.protocol.votes import ValidatorEntry, ValidatorTable
from state.ledger import parameters, pools
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.validators import power
from state.ledger.view import ReadView, View
from state.records import Validator, ValidatorSet
from state.schema import ATTENDANCE, VALIDATOR_SETS, VALIDATORS, WORKER_SETS, number

STAKE_UNIT: Final = NANO
"""A validator's weight in votes is its power in whole units of this."""
SETS_DROPPED_PER_BOUNDARY_MAX: Final = 4
"""Old sets forgotten at a boundary: one leaves the window each time, more only after the window was made shorter."""


def entry_of(address: Address, row: Validator) -> ValidatorEntry:
    """A validator as a voter."""
    return ValidatorEntry(address, row.consensus_key, power(row) // STAKE_UNIT)


def may_vote(row: Validator, params: Params) -> bool:
    """Whether a validator can be in the next epoch's set, if its power is among the largest: its own stake decides."""
    return not row.jailed and not row.removed and row.stake >= max(params.validator_stake_min, STAKE_UNIT)


def choose(view: ReadView, params: Params) -> tuple[ValidatorEntry, ...]:
    """The set that the state gives now: the ``validators_max`` largest by power, of equal ones the lower address; by address.

    Empty where nobody qualifies.
    """
    able: list[tuple[int, Address, Validator]] = []
    for key, row in view.scan(VALIDATORS):
        if may_vote(row, params):
            able.append((-power(row), Address(key), row))
    able.sort(key=lambda each: each[:2])
    chosen = [entry_of(address, row) for _, address, row in able[: params.validators_max]]
    return tuple(sorted(chosen, key=lambda entry: entry.address))


def validator_set(view: ReadView, epoch: Epoch) -> ValidatorSet | None:
    """The set of an epoch; None where it is forgotten or its boundary is not there yet."""
    return view.get(VALIDATOR_SETS, epoch)


def table_of(view: ReadView, epoch: Epoch) -> ValidatorTable | None:
    """The voters of an epoch, or None as ``validator_set``."""
    row = validator_set(view, epoch)
    return None if row is None else ValidatorTable(epoch, row.entries)


def begin(view: View, epoch: Epoch, seed: Hash, entries: tuple[ValidatorEntry, ...]) -> ValidatorTable:
    """Fixes the set of an epoch, and what of its stake can earn."""
    view.put(VALIDATOR_SETS, ValidatorSet(seed, entries), epoch)
    pools.begin_epoch(view, epoch, entries)
    return ValidatorTable(epoch, entries)


def turn(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """At the end of a boundary block: fixes the next epoch's set, and forgets those that no evidence can speak of any more.

    Where nobody qualifies the old set goes on: a chain without voters would end.
    """
    if not is_boundary(ctx.height, ctx.params):
        return ()
    following = Epoch(ctx.epoch + 1)
    params = parameters.above(view, ctx)  # the next epoch's: their turn came just before
    entries = choose(view, params)
    if not entries:
        old = validator_set(view, ctx.epoch)
        assert old is not None, "the set of the epoch under way is never forgotten"
        entries = old.entries
    table = begin(view, following, ctx.beacon, entries)
    _forget(view, Epoch(max(0, following - params.evidence_epochs)))
    return (event("epoch.set", epoch=following, validators=len(table), table=table.hash),)


def _forget(view: View, oldest: Epoch) -> None:
    """Forgets the sets of epochs below the oldest that counts, with their attendance."""
    for place, (key, _) in enumerate(view.scan(VALIDATOR_SETS)):
        epoch = number(key)
        if epoch >= oldest or place == SETS_DROPPED_PER_BOUNDARY_MAX:
            break
        view.delete(VALIDATOR_SETS, epoch)
        view.delete(ATTENDANCE, epoch)
        view.delete(WORKER_SETS, epoch)
