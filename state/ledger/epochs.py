"""Who votes in an epoch, as the state has it. Draws no leaders and counts no votes."""

from omnitensor.protocol.types import Epoch, Hash
from omnitensor.protocol.votes import ValidatorEntry, ValidatorTable
from state.ledger.view import ReadView, View
from state.records import ValidatorSet
from state.schema import VALIDATOR_SETS


def validator_set(view: ReadView, epoch: Epoch) -> ValidatorSet | None:
    """The set of an epoch; None where it is forgotten or its boundary is not there yet."""
    return view.get(VALIDATOR_SETS, epoch)


def table_of(view: ReadView, epoch: Epoch) -> ValidatorTable | None:
    """The voters of an epoch, or None as ``validator_set``."""
    row = validator_set(view, epoch)
    return None if row is None else ValidatorTable(epoch, row.entries)


def begin(view: View, epoch: Epoch, seed: Hash, entries: tuple[ValidatorEntry, ...]) -> ValidatorTable:
    """Fixes the set of an epoch."""
    view.put(VALIDATOR_SETS, ValidatorSet(seed, entries), epoch)
    return ValidatorTable(epoch, entries)
