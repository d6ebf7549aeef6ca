"""Money, fees and the envelope of a transaction, after docs/specification/ledger.md. Part of the model."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tests.model.ground import BPS, SUPPLY, Ground, Kept, Refused, Unpayable, refuse_if

REVIEW, UPLOAD, WORK, REPORT = 1, 2, 4, 8
SCOPES = {
    "submission_commit": UPLOAD,
    "submission_reveal": UPLOAD,
    "seat_accept": REVIEW,
    "seat_decline": REVIEW,
    "report_commit": REVIEW,
    "report_reveal": REVIEW,
    "evidence_submit": REPORT,
    "item_appeal": UPLOAD,
    "reading_key_set": REVIEW,
    "keys_grant": UPLOAD,
    "plain_duplicate": UPLOAD,
    "gold_reveal": UPLOAD,
    "gold_retire": UPLOAD,
    "work_judge": WORK,
    "work_commit": WORK,
    "work_outputs": WORK,
    "work_fraud": WORK,
}


OWN_WEIGHTS = {
    "plain_duplicate": 1_000,
    "validator_register": 15_000,
    "campaign_open": 2_000,
    "evidence_submit": 30_000,
    "delegate": 1_500,
    "undelegate": 2_500,
    "redelegate": 4_000,
    "item_appeal": 1_000,
    "report_contradiction": 2_000,
    "proposal_submit": 3_000,
    "proposal_deposit": 500,
    "proposal_vote": 2_000,
    "proposal_cancel": 1_000,
    "worker_register": 15_000,
    "worker_edit": 15_000,
    "work_commit": 2_000,
    "work_fraud": 2_000,
}


def own_weight(kind: str, body: Any) -> int:
    """Units of work of an order beyond its envelope's and its bytes."""
    if kind == "validator_edit":
        return 0 if body.consensus_key is None else 15_000
    if kind == "job_post":
        return 5_000 + (body.data.size + body.model.size) // 1_024
    if kind == "work_judge":
        return 100 + 300 * (len(body.jobs) + len(body.receipts))
    if kind == "work_outputs":
        return 200 + len(body.outputs) // 2 + (body.content.size // 1_024 if body.content else 0)
    if kind == "competition_open":
        return 2_000 + 100 * len(body.shares_bps)
    if kind == "vault_execute":
        return 200 + own_weight(body.order.KIND, body.order)
    if kind == "keys_grant":
        return 100 + 100 * len(body.grants)
    if kind == "gold_reveal":
        return 200 + 200 * len(body.openings)
    if kind == "gold_retire":
        return 200 + 200 * len(body.spares)
    if kind == "rewards_claim":
        return 100 * len(body.validators)
    if kind == "submission_reveal":
        return 100 + 400 * len(body.items)
    if kind == "multisig_execute":
        return 100 + 400 * len(body.signatures) + own_weight(body.order.KIND, body.order)
    if kind == "report_reveal":
        return 100 + 50 * (len(body.report) // 4)
    return OWN_WEIGHTS.get(kind, 100)


class Money(Ground):
    """Accounts, pots, fees and tips."""

    def open(self) -> None:
        self.balances = self.table()
        self.nonces = self.table()
        self.pots = self.table()
        self.weight = 0
        self.payer, self.taken = b"", 0
        """Whose order is carried out, and what it took from its sender so far."""
        self.tips = 0
        self.fees = 0
        self.base_fee = self.p.base_fee_initial
        for address, amount in self.genesis_accounts.items():
            self.balances[address] = amount
        self.pots["reserve"] = SUPPLY - sum(self.genesis_accounts.values())

    def move(self, source: Any, target: Any, amount: int) -> None:
        """From an account (by address) or a pot (by name) to another."""
        assert amount >= 0
        if isinstance(source, str):
            assert self.pots.get(source, 0) >= amount, (source, amount)
            self.pots.add(source, -amount)
        else:
            refuse_if(self.balances.get(source, 0) < amount, "balance")
            self.taken += amount if source == self.payer else 0
            self.balances.add(source, -amount)
        (self.pots if isinstance(target, str) else self.balances).add(target, amount)

    def judge(self, transaction: Any, size: int) -> str:
        """What becomes of it, a receipt's code; ``size`` is its length in bytes. Raises Unpayable."""
        sender, kind, body = transaction.sender, transaction.body.KIND, transaction.body
        weight = 300 + size + own_weight(kind, body)
        self._payable(transaction, kind, weight)
        if self.weight + weight > self.p.block_weight_max:
            raise Unpayable("block_full")
        fee = weight * self.base_fee
        self.spend_as(sender, transaction.signer, fee + transaction.tip)
        self.weight += weight
        self.balances.add(sender, -fee - transaction.tip)
        self.fees += fee
        self.tips += transaction.tip
        self.nonces.add(sender, 1)
        mark = len(self.log.entries)
        self.payer, self.taken = sender, 0
        self.signer = transaction.signer if kind == "work_commit" else bytes(32)
        try:
            getattr(self, kind)(sender, body)
            self.spend_as(sender, transaction.signer, self.taken)
        except Refused as refusal:
            self.log.back(mark)
            return refusal.code
        except Kept as refusal:
            return refusal.code
        return "ok"

    def _payable(self, transaction: Any, kind: str, weight: int) -> None:
        sender = transaction.sender
        if transaction.version != 1:
            raise Unpayable("version")
        if transaction.chain_id != self.chain_id:
            raise Unpayable("chain_id")
        if sender[0] > 1:
            raise Unpayable("address")
        if transaction.valid_until < self.height:
            raise Unpayable("expired")
        if transaction.valid_until > self.height + self.p.valid_until_blocks_max:
            raise Unpayable("valid_until")
        if transaction.nonce != self.nonces.get(sender, 0):
            raise Unpayable("nonce")
        self.check_signer(sender, transaction.signer, kind)
        if weight * self.base_fee > transaction.max_fee:
            raise Unpayable("max_fee")
        if sender != b"\0" + transaction.signer:
            if transaction.tip > weight * self.base_fee:
                raise Unpayable("session_tip")
            if transaction.max_fee + transaction.tip > self.sessions[transaction.signer][3]:
                raise Unpayable("session_allowance")
        if transaction.max_fee + transaction.tip > self.balances.get(sender, 0):
            raise Unpayable("balance")

    def transfer(self, sender: bytes, body: Any) -> None:
        refuse_if(body.to[0] > 1, "address")
        refuse_if(body.amount == 0, "amount")
        self.move(sender, body.to, body.amount)

    def end_of_transactions(self) -> None:
        """Fees burn and tips go to the proposer."""
        self.pots.add("burned", self.fees)
        self.balances.add(self.proposer, self.tips)

    def next_base_fee(self) -> int:
        """An eighth at most (``base_fee_change_bps``), by how far the block was from its target; one at least where it rises."""
        fee, target = self.base_fee, self.now.block_weight_target
        bound = Fraction(fee * self.now.base_fee_change_bps, BPS)
        wanted = Fraction(abs(self.weight - target), target) * bound
        step = min(int(wanted), int(bound))
        if self.weight > target:
            return int(fee + max(1, step))
        return int(max(self.now.base_fee_min, fee - step))

    def supply(self) -> int:
        """All there is, with what is in flight in this block."""
        return sum(self.balances.values()) + sum(self.pots.values()) + self.fees + self.tips
