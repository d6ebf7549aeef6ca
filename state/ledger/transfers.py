"""Transfers of money between accounts. Knows no fees: ``transition`` takes those."""

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.types import ACCOUNT_VERSION, Address
from state.ledger.accounts import move
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.view import View


def transfer(view: View, ctx: BlockContext, sender: Address, body: Transfer) -> tuple[Event, ...]:
    """Moves the amount to another account, which exists from then on."""
    if body.to[0] != ACCOUNT_VERSION:
        raise Rejected(
            "address",
            "the recipient's address is of an unknown version",
            value=body.to,
            remedy=f"addresses of this chain have version {ACCOUNT_VERSION}",
        )
    if body.amount == 0:
        raise Rejected("amount", "a transfer of nothing", value=0, remedy="give an amount above zero")
    move(view, sender, body.to, body.amount)
    return (Event("transfer", (("from", sender), ("to", body.to), ("amount", body.amount))),)
