"""Whether money is conserved. A node asks after every block and halts rather than print money; tests sum everything."""

from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import SUPPLY_MAX
from state.ledger.accounts import Pot, pot
from state.ledger.view import ReadView
from state.schema import ACCOUNTS, VALIDATORS


class SupplyError(ProtocolError):
    """Money was made or lost: a fault of the ledger, for which the node stops."""

    code = "supply"


def totals(view: ReadView) -> dict[Pot, int]:
    """What every pot holds, with the running sum over accounts; nanoOMNIT."""
    return {which: pot(view, which) for which in Pot}


def check_supply(view: ReadView) -> None:
    """Accounts, pots and what burned sum to the genesis supply, by the running sums. Raises SupplyError."""
    total = sum(totals(view).values())
    if total != SUPPLY_MAX:
        raise SupplyError("accounts, pots and burned money do not sum to the genesis supply", value=total)


def check_account_sum(moved: int, before: int, after: int) -> None:
    """The running sum over accounts moved by what the accounts moved by. Raises SupplyError."""
    if after - before != moved:
        raise SupplyError(
            "the sum over accounts does not move as the accounts do", value=after - before - moved
        )


def check_everything(view: ReadView) -> None:
    """Sums every account, stake, delegation, withdrawal and reward against the pots. Slow; raises SupplyError."""
    check_supply(view)
    accounts = sum(row.balance for _, row in view.scan(ACCOUNTS))
    stake = unbonding = 0
    for _, row in view.scan(VALIDATORS):
        stake += row.stake + row.delegated
        unbonding += row.unbonding + row.leaving
    for which, summed in ((Pot.ACCOUNTS, accounts), (Pot.STAKE, stake), (Pot.UNBONDING, unbonding)):
        if pot(view, which) != summed:
            raise SupplyError(
                f"the pot {which.name.lower()} holds {pot(view, which)}, and its rows hold another sum",
                value=summed,
            )
