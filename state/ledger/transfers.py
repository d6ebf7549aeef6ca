"""Transfers of money between accounts. Knows no fees: ``transition`` takes those."""

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.keys import has_known_version
from omnitensor.protocol.types import Address
from state.ledger.accounts import move
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.view import View


def transfer(view: View, ctx: BlockContext, sender: Address, body: Transfer) -> tuple[Event, ...]:
    """Moves the amount to another account, which exists from then on."""
    check_recipient(body.to)
    if body.amount == 0:
        raise Rejected("amount", "a transfer of nothing", value=0, remedy="give an amount above zero")
    move(view, sender, body.to, body.amount)
    return (Event("transfer", (("from", sender), ("to", body.to), ("amount", body.amount))),)


def check_recipient(address: Address) -> None:
    """Raises Rejected where money sent to an address could never be spent: nobody knows its version."""
    if not has_known_version(address):
        raise Rejected(
            "address",
            "the recipient's address is of an unknown version",
            value=address,
            remedy="addresses of this chain have version 0 or 1",
        )
