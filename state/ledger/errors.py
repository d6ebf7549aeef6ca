"""Refusals of the ledger, each with a stable code, a reason, the offending value and the remedy.

Raised by rules; ``transition`` makes receipts of them.
"""

from omnitensor.protocol.errors import TransactionError


class Rejected(TransactionError):
    """A rule refuses the transaction's order: nothing changes but fee and nonce, and the receipt carries code and reason."""

    def __init__(self, code: str, reason: str, value: object = None, remedy: str = "") -> None:
        super().__init__(reason, value=value, remedy=remedy, code=code)


class Unpayable(TransactionError):
    """The transaction can't stand in this block at all (nonce, expiry, fee, balance, signer): a block holding it is invalid."""

    def __init__(self, code: str, reason: str, value: object = None, remedy: str = "") -> None:
        super().__init__(reason, value=value, remedy=remedy, code=code)
