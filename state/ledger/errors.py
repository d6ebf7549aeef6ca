"""Refusals of the ledger, each with a stable code, a reason, the offending value and the remedy.

Raised by rules; ``transition`` makes receipts of them.
"""

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.errors import TransactionError


class Rejected(TransactionError):
    """A rule refuses the transaction's order: nothing changes but fee and nonce, and the receipt carries code and reason."""

    def __init__(self, code: str, reason: str, value: object = None, remedy: str = "") -> None:
        super().__init__(reason, value=value, remedy=remedy, code=code)


class OrderRefused(Rejected):
    """A multisignature account's order was refused: its handler has taken back all but the sequence number, which is used up."""

    def __init__(self, refusal: Rejected, events: tuple[Event, ...]) -> None:
        super().__init__(refusal.code, refusal.reason, value=refusal.value or None, remedy=refusal.remedy)
        self.events = events


class Unpayable(TransactionError):
    """The transaction can't stand in this block at all (nonce, expiry, fee, balance, signer): a block holding it is invalid."""

    def __init__(self, code: str, reason: str, value: object = None, remedy: str = "") -> None:
        super().__init__(reason, value=value, remedy=remedy, code=code)
