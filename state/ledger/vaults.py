"""Vaults: accounts of locked money. Nobody signs for one; its holder gets out what has vested, and no more.

Locked money is in no balance that could be spent: that is how it is kept from fees, campaigns, bonds and transfers.
"""

from collections.abc import Callable

from omnitensor.protocol import hashing
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import BodyBase, Delegate, VaultExecute, VaultGrant, VaultWithdraw
from omnitensor.protocol.rows import vested
from omnitensor.protocol.types import VAULT_VERSION, Address, Amount, TimeMs
from state.ledger.accounts import account, move, next_number
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.transfers import check_recipient
from state.ledger.view import ReadView, View
from state.records import UNIT, Vault
from state.schema import VAULTS, VAULTS_BY_HOLDER

CarryOut = Callable[[View, BlockContext, Address, BodyBase], tuple[Event, ...]]
VAULT_COUNTER = b"vault"
TERM_MS_MAX = 100 * 366 * 24 * 60 * 60 * 1_000
"""A schedule of more than a century is a mistake in the unit."""


def vault_address(number: int) -> Address:
    """The address of a chain's vault of this number."""
    return Address(bytes([VAULT_VERSION]) + hashing.VAULT(number.to_bytes(8, "big")))


def grant(view: View, ctx: BlockContext, sender: Address, body: VaultGrant) -> tuple[Event, ...]:
    """Locks the sender's money for a holder."""
    check_recipient(body.holder)
    if body.amount == 0:
        raise Rejected("amount", "a grant of nothing", value=0, remedy="give an amount above zero")
    check_schedule(body.start_ms, body.cliff_ms, body.end_ms)
    if body.end_ms <= ctx.timestamp_ms:
        raise Rejected(
            "schedule",
            "the schedule is over already",
            value=body.end_ms,
            remedy="send the money as a transfer, or give a later end",
        )
    row = Vault(
        holder=body.holder,
        granter=sender,
        total=body.amount,
        start_ms=body.start_ms,
        cliff_ms=body.cliff_ms,
        end_ms=body.end_ms,
        withdrawn=Amount(0),
    )
    address = enter(view, row)
    move(view, sender, address, body.amount)
    return (
        event(
            "vault.granted",
            vault=address,
            holder=body.holder,
            granter=sender,
            amount=body.amount,
            start_ms=body.start_ms,
            cliff_ms=body.cliff_ms,
            end_ms=body.end_ms,
        ),
    )


def enter(view: View, row: Vault) -> Address:
    """Enters a vault, whose money the caller brings; its address."""
    address = vault_address(next_number(view, VAULT_COUNTER))
    view.put(VAULTS, row, address)
    view.put(VAULTS_BY_HOLDER, UNIT, row.holder, address)
    return address


def withdraw(view: View, ctx: BlockContext, sender: Address, body: VaultWithdraw) -> tuple[Event, ...]:
    """Moves what has vested to the holder."""
    row = vault_of(view, sender, body.vault)
    free = withdrawable(view, body.vault, row, ctx.timestamp_ms)
    if not 0 < body.amount <= free:
        raise Rejected(
            "vault_locked",
            f"{format_omnit(free)} can be withdrawn now",
            value=format_omnit(body.amount),
            remedy="withdraw less; see the schedule with: otensor-cli vault list",
        )
    move(view, body.vault, sender, body.amount)
    view.put(VAULTS, row.with_withdrawn(row.withdrawn + body.amount), body.vault)
    return (event("vault.withdrawn", vault=body.vault, to=sender, amount=body.amount),)


def execute(
    carry_out: CarryOut, view: View, ctx: BlockContext, sender: Address, body: VaultExecute
) -> tuple[Event, ...]:
    """Carries out a vault's order, all of it or nothing. Whatever that brings besides what it put at stake is the holder's."""
    vault_of(view, sender, body.vault)
    before = account(view, body.vault).balance
    said = carry_out(view, ctx, body.vault, body.order)
    staked = body.order.amount if isinstance(body.order, Delegate) else 0
    earned = account(view, body.vault).balance - (before - staked)
    assert earned >= 0, f"an order of the vault spent {-earned}"
    executed = event("vault.executed", vault=body.vault, holder=sender, order=body.order.KIND)
    if not earned:
        return (executed, *said)
    move(view, body.vault, sender, earned)
    return (executed, *said, event("vault.earned", vault=body.vault, to=sender, amount=earned))


def withdrawable(view: ReadView, address: Address, row: Vault, now: TimeMs) -> int:
    """What the holder may take now: what has vested and was not taken, as far as it is there; after the end, whatever is there.

    What is staked is not there, and what slashing took is missing from the part that vests last.
    """
    balance = account(view, address).balance
    if now >= row.end_ms:
        return balance
    return min(balance, vested(row, now) - row.withdrawn)


def vault_of(view: ReadView, holder: Address, address: Address) -> Vault:
    """A holder's vault. Raises Rejected."""
    row = view.get(VAULTS, address)
    if row is None or row.holder != holder:
        raise Rejected(
            "vault_unknown",
            "the account holds no such vault",
            value=address,
            remedy="list its vaults with: otensor-cli vault list",
        )
    return row


def check_schedule(start_ms: int, cliff_ms: int, end_ms: int) -> None:
    """Raises Rejected unless start, cliff and end come in this order and the whole is no longer than a century."""
    if not start_ms <= cliff_ms <= end_ms or not start_ms < end_ms <= start_ms + TERM_MS_MAX:
        raise Rejected(
            "schedule",
            "start, cliff and end are not in order, or more than a hundred years apart",
            value=f"{start_ms}, {cliff_ms}, {end_ms}",
            remedy="give times in milliseconds: the start first, then the cliff, then the end",
        )
