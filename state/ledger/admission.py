"""Who may register as a validator: whoever has the stake, or, where the parameter says so, whom governance admitted.

Whoever is a validator already stays one.
"""

from enum import IntEnum

from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Address
from state.ledger.errors import Rejected
from state.ledger.view import ReadView, View
from state.records import UNIT
from state.schema import ADMITTED


class Admission(IntEnum):
    """Values of the parameter ``validator_admission``."""

    STAKE = 0
    GOVERNANCE = 1


def check(view: ReadView, params: Params, account: Address) -> None:
    """Raises Rejected where an account may not register."""
    if params.validator_admission == Admission.GOVERNANCE and view.get(ADMITTED, account) is None:
        raise Rejected(
            "validator_not_admitted",
            "validators are admitted by governance, which has not admitted the account",
            value=account,
            remedy="propose its admission",
        )


def admit(view: View, account: Address) -> None:
    """Lets an account register. Twice is the same as once."""
    view.put(ADMITTED, UNIT, account)


def dismiss(view: View, account: Address) -> None:
    """Takes the admission back; of a validator that registered by it nothing changes."""
    view.delete(ADMITTED, account)
