"""Balances: accounts and the chain's named pots, and the only functions that move money among them.

Every unit is in one account or one pot. ``Pot.ACCOUNTS`` is no pot to pay into: it is the running sum over all accounts, kept so
that a node can check the supply at every block.
"""

from enum import Enum
from typing import Final

from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.types import SUPPLY_MAX, U64_MAX, Address
from state.ledger.errors import Rejected
from state.ledger.view import ReadView, View
from state.records import Account, Counter, PotTotal
from state.schema import ACCOUNTS, COUNTERS, POTS


class Pot(Enum):
    """The chain's own money, by what it is for. The value is the key in the state."""

    ACCOUNTS = b"accounts"
    STAKE = b"stake"
    UNBONDING = b"unbonding"
    ESCROW = b"campaigns"
    """Money of campaigns: available, reserved for rewards, for reviews, for escalation, and contributors' rest in challenge."""
    BONDS = b"bonds"
    """Bonds of contributors' items."""
    REWARDS = b"rewards"
    """Rewards of past epochs that nobody claimed yet."""
    DEPOSITS = b"deposits"
    """Deposits of proposals, until they return or burn."""
    SEASONS = b"seasons"
    """Pools of seasons that are over, until their places are paid."""
    COMPETITIONS = b"competitions"
    WORK = b"work"
    """What posters paid for jobs, until it is earned, burns, or returns."""
    WORK_BONDS = b"work bonds"
    """Bonds of workers, and of those who object to a receipt."""
    RESERVE = b"reserve"
    BURNED = b"burned"


PAYABLE: Final = tuple(pot for pot in Pot if pot is not Pot.ACCOUNTS)

Purse = Address | Pot
"""Whoever holds money: an account by its address, or a pot."""

NO_ACCOUNT: Final = Account(0, 0)  # type: ignore[arg-type] # a literal zero is an amount


def account(view: ReadView, address: Address) -> Account:
    """The account, empty where it was never seen."""
    return view.get(ACCOUNTS, address) or NO_ACCOUNT


def pot(view: ReadView, which: Pot) -> int:
    """What a pot holds, nanoOMNIT."""
    row = view.get(POTS, which.value)
    return row.amount if row else 0


def move(view: View, source: Purse, target: Purse, amount: int) -> None:
    """Moves nanoOMNIT from one account or pot to another.

    Raises Rejected (``balance``) where an account has too little; that a pot has too little is a bug.
    """
    # What a stranger asks of an account may exceed the supply (a bond for each of many items): that is a refusal.
    assert amount >= 0, f"{amount} is no amount"
    if amount == 0:
        return
    in_accounts = 0
    if isinstance(source, Pot):
        _add_to_pot(view, source, -amount)
    else:
        _take_from_account(view, source, amount)
        in_accounts -= amount
    if isinstance(target, Pot):
        _add_to_pot(view, target, amount)
    else:
        row = view.get(ACCOUNTS, target) or NO_ACCOUNT
        view.put(ACCOUNTS, Account(row.balance + amount, row.nonce), target)  # type: ignore[arg-type] # sums of amounts
        in_accounts += amount
    if in_accounts:
        _add(view, Pot.ACCOUNTS, in_accounts)


def burn(view: View, source: Purse, amount: int) -> None:
    """Takes money out of use for good; it stays in the sum of the supply."""
    move(view, source, Pot.BURNED, amount)


def lifetime_sum(so_far: int, amount: int) -> int:
    """A sum over a lifetime: money that goes round is counted each time, so it stops where a row's number ends."""
    return min(U64_MAX, so_far + amount)


def next_number(view: View, name: bytes, first: int = 0) -> int:
    """Gives out the next consecutive number of a named counter, beginning at ``first``."""
    row = view.get(COUNTERS, name)
    given = row.next if row else first
    view.put(COUNTERS, Counter(given + 1), name)
    return given


def _take_from_account(view: View, address: Address, amount: int) -> None:
    row = view.get(ACCOUNTS, address) or NO_ACCOUNT
    if row.balance < amount:
        raise Rejected(
            "balance",
            f"the account has {format_omnit(row.balance)}",
            value=format_omnit(amount),
            remedy="add money to the account, or ask for less",
        )
    view.put(ACCOUNTS, Account(row.balance - amount, row.nonce), address)  # type: ignore[arg-type] # a rest of an amount


def _add_to_pot(view: View, which: Pot, amount: int) -> None:
    assert which is not Pot.ACCOUNTS, "the sum over accounts is no pot to pay into"
    _add(view, which, amount)


def _add(view: View, which: Pot, amount: int) -> None:
    held = pot(view, which) + amount
    assert 0 <= held <= SUPPLY_MAX, f"the pot {which.name} would hold {held}"
    view.put(POTS, PotTotal(held), which.value)  # type: ignore[arg-type] # a sum of amounts
