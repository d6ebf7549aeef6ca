"""What everybody's balance must be by what receipts and events say alone: whoever follows events, as a wallet does, knows it.

Knows no row and no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from omnitensor.protocol.blocks import Event, Receipt

MONEY_EVENTS = (
    ("season.paid", "to", "amount", 1),
    ("pay.participation", "to", "amount", 1),
    ("competition.opened", "sponsor", "pool", -1),
    ("competition.paid", "to", "amount", 1),
    ("competition.ended", "to", "amount", 1),
    ("appeal.opened", "appellant", "bond", -1),
    ("appeal.closed", "appellant", "amount", 1),
    ("gold.committed", "sponsor", "bond", -1),
    ("gold.returned", "sponsor", "amount", 1),
    ("gold.retired", "sponsor", "amount", 1),
    ("report.leaked", "finder", "reward", 1),
    ("stake.delegated", "account", "amount", -1),
    ("stake.returned", "account", "amount", 1),
    ("reward.claimed", "account", "amount", 1),
    ("vault.granted", "granter", "amount", -1),
    ("vault.granted", "vault", "amount", 1),
    ("vault.withdrawn", "vault", "amount", -1),
    ("vault.withdrawn", "to", "amount", 1),
    ("vault.earned", "vault", "amount", -1),
    ("vault.earned", "to", "amount", 1),
    ("proposal.deposited", "depositor", "amount", -1),
    ("deposit.returned", "depositor", "amount", 1),
    ("treasury.paid", "to", "amount", 1),
    ("transfer", "from", "amount", -1),
    ("transfer", "to", "amount", 1),
    ("campaign.opened", "sponsor", "budget", -1),
    ("campaign.funded", "sponsor", "amount", -1),
    ("refund", "to", "amount", 1),
    ("submission.committed", "contributor", "bond", -1),
    ("submission.expired", "contributor", "bond", 1),
    ("bond.returned", "to", "amount", 1),
    ("pay.contributor", "to", "amount", 1),
    ("pay.reviewer", "to", "amount", 1),
    ("validator.registered", "validator", "stake", -1),
    ("validator.slashed", "reporter", "reward", 1),
    ("worker.convicted", "reporter", "reward", 1),
    ("stake.added", "validator", "amount", -1),
    ("stake.paid", "validator", "amount", 1),
    ("worker.registered", "worker", "bond", -1),
    ("worker.bonded", "worker", "amount", -1),
    ("worker.paid", "worker", "amount", 1),
    ("job.posted", "poster", "escrow", -1),
    ("job.posted", "poster", "place", -1),
    ("job.refunded", "poster", "amount", 1),
    ("work.paid", "worker", "fee", 1),
    ("work.pool", "worker", "amount", 1),
    ("work.judges", "validator", "amount", 1),
    ("work.challenged", "challenger", "bond", -1),
    ("work.unjudged", "challenger", "bond", 1),
    ("work.fraud", "challenger", "bond", 1),
    ("work.fraud", "challenger", "reward", 1),
)
"""Kind, field of the account, field of the amount, and whether the account gets it or gives it."""


class Told:
    """Balances by fees, tips and events."""

    def __init__(self, balances: dict[bytes, int]) -> None:
        self.balances = balances

    def pay(self, account: Any, amount: int) -> None:
        self.balances[account] = self.balances.get(account, 0) + amount

    def transaction(self, sender: bytes, receipt: Receipt, proposer: bytes) -> None:
        self.pay(sender, -receipt.fee - receipt.tip)
        self.pay(proposer, receipt.tip)
        self.events(receipt.events)

    def events(self, events: Iterable[Event]) -> None:
        for event in events:
            fields = dict(event.fields)
            for kind, account, amount, sign in MONEY_EVENTS:
                if event.kind == kind:
                    self.pay(fields[account], sign * int(fields[amount]))
