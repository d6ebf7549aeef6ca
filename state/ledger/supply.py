"""Whether money is conserved. A node asks after every block and halts rather than print money; tests sum everything."""

from typing import Final

from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import SUPPLY_MAX, U64_MAX, Address, Epoch
from state.ledger import delegations, pools, rewards
from state.ledger.accounts import Pot, pot
from state.ledger.view import ReadView
from state.schema import (
    ACCOUNTS,
    CHALLENGES,
    COMPETITIONS,
    DELEGATIONS,
    JOBS,
    MATURITIES,
    REDELEGATIONS,
    SEASONS,
    UNDELEGATIONS,
    VALIDATORS,
    WORKERS,
)

NO_EPOCH: Final = Epoch(U64_MAX)


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
    seasons = sum(sum(row.pools) - row.paid for _, row in view.scan(SEASONS))
    competitions = sum(row.pool - row.paid - row.returned for _, row in view.scan(COMPETITIONS))
    bonds = sum(row.bond for _, row in view.scan(WORKERS)) + sum(row.bond for _, row in view.scan(CHALLENGES))
    for which, summed in (
        (Pot.ACCOUNTS, accounts),
        (Pot.STAKE, stake),
        (Pot.UNBONDING, unbonding),
        (Pot.SEASONS, seasons),
        (Pot.COMPETITIONS, competitions),
        (Pot.WORK, sum(row.escrow for _, row in view.scan(JOBS))),
        (Pot.WORK_BONDS, bonds),
    ):
        if pot(view, which) != summed:
            raise SupplyError(
                f"the pot {which.name.lower()} holds {pot(view, which)}, and its rows hold another sum",
                value=summed,
            )
    _check_delegations(view)
    _check_undelegations(view)


def _check_delegations(view: ReadView) -> None:
    """Shares sum to their validators', and nobody is owed more than the pot of rewards has."""
    shares: dict[Address, int] = {}
    owed = 0
    for key, held in view.scan(DELEGATIONS):
        delegator, validator = map(Address, DELEGATIONS.split(key))
        shares[validator] = shares.get(validator, 0) + held.shares
        under_way = sum(lot.shares for _, lot in view.scan(REDELEGATIONS, delegator, validator))
        if not max(1, held.joining, under_way) <= held.shares:
            raise SupplyError(
                "a delegation has fewer shares than joined it or are under way", value=held.shares
            )
        # As of an epoch that no delegation joined in: all that is owed, what joins now included.
        owed += rewards.owed(view, NO_EPOCH, validator, held)
    for key, row in view.scan(VALIDATORS):
        if shares.get(Address(key), 0) != row.shares or row.delegated > row.shares:
            raise SupplyError("the shares of a validator are not those of its delegations", value=row.shares)
        owed += pools.pool_of(view, Address(key)).owed
    if owed > pot(view, Pot.REWARDS):
        raise SupplyError(f"rewards are owed beyond the pot's {pot(view, Pot.REWARDS)}", value=owed)


def _check_undelegations(view: ReadView) -> None:
    """What is on its way back to delegators is worth no more than their validators' rows say, and every end is in line."""
    leaving: dict[Address, list[int]] = {}
    ends = 0
    for key, row in view.scan(UNDELEGATIONS):
        validator = Address(UNDELEGATIONS.split(key)[1])
        left, _ = delegations.undelegated_worth(view, validator, row)
        leaving.setdefault(validator, []).append(left)
        ends += 1
    ends += sum(1 for _ in view.scan(REDELEGATIONS))
    if ends != sum(1 for _ in view.scan(MATURITIES)):
        raise SupplyError("undelegations and redelegations are not those that are in line", value=ends)
    for key, register in view.scan(VALIDATORS):
        amounts = leaving.get(Address(key), [])
        if len(amounts) != register.leaving_count or sum(amounts) > register.leaving:
            raise SupplyError("undelegations come to more than is leaving", value=register.leaving)
        if not amounts and register.leaving:
            raise SupplyError("stake is leaving, and no undelegation has it", value=register.leaving)
