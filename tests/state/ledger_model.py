"""A slow, plain model of the ledger's ground: money, nonces, fees, session keys, validators. Shares no code with the ledger.

It is written from the specification (docs/specification/ledger.md), keeps everything in dicts, and sums everything again
whenever asked. `judge` says what must become of a transaction and does it: a receipt's code, or why it can't stand in the block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from omnitensor.protocol.bodies import (
    SessionKeyAdd,
    SessionKeyRemove,
    StakeAdd,
    StakeWithdraw,
    Transfer,
    ValidatorRegister,
)
from omnitensor.protocol.transactions import Transaction

SUPPLY = 10**18
SCOPE_OF = {"submission_commit": 2, "submission_reveal": 2}


@dataclass(frozen=True)
class Unpayable:
    """The transaction can't stand in the block."""

    code: str


@dataclass
class ModelValidator:
    stake: int
    key: bytes
    waiting: list[tuple[int, int]] = field(default_factory=list)
    """(height of payment, amount)"""


@dataclass
class Model:
    """The world after some transactions. Limits are given, so that tests can make them small."""

    chain_id: str
    balances: dict[bytes, int]
    stake_min: int
    unbonding_blocks: int
    valid_for_max: int
    weight_max: int
    weight_target: int
    session_keys_max: int
    withdrawals_max: int
    paid_a_block_max: int
    good_proofs: dict[bytes, bytes]
    base_fee: int
    height: int = 1
    nonces: dict[bytes, int] = field(default_factory=dict)
    sessions: dict[bytes, tuple[bytes, int, int]] = field(default_factory=dict)
    """Every key that ever was one: its account, scopes and last height."""
    listed: dict[bytes, list[bytes]] = field(default_factory=dict)
    """The keys of an account that were neither removed nor dropped for others."""
    validators: dict[bytes, ModelValidator] = field(default_factory=dict)
    keys_seen: list[bytes] = field(default_factory=list)
    queue: list[tuple[int, bytes, int, int]] = field(default_factory=list)
    withdrawals: int = 0
    burned: int = 0
    weight: int = 0
    tips: int = 0

    def judge(self, transaction: Transaction, size: int) -> str | Unpayable:
        """What becomes of it; ``size`` is its length in bytes. Changes the world accordingly."""
        why_not = self._unpayable(transaction, size)
        if why_not:
            return Unpayable(why_not)
        weight = self._weight(transaction, size)
        if self.weight + weight > self.weight_max:
            return Unpayable("block_full")
        sender = transaction.sender
        self.weight += weight
        self.balances[sender] -= weight * self.base_fee + transaction.tip
        self.burned += weight * self.base_fee
        self.tips += transaction.tip
        self.nonces[sender] = self.nonces.get(sender, 0) + 1
        rule = getattr(self, "_" + transaction.body.KIND)
        return rule(sender, transaction.body) or "ok"

    def _weight(self, transaction: Transaction, size: int) -> int:
        return 300 + size + (15_000 if transaction.body.KIND == "validator_register" else 100)

    def _unpayable(self, transaction: Transaction, size: int) -> str | None:
        sender = transaction.sender
        if transaction.version != 1:
            return "version"
        if transaction.chain_id != self.chain_id:
            return "chain_id"
        if transaction.valid_until < self.height:
            return "expired"
        if transaction.valid_until > self.height + self.valid_for_max:
            return "valid_until"
        if transaction.nonce != self.nonces.get(sender, 0):
            return "nonce"
        if transaction.signer != sender[1:]:
            owner, scopes, until = self.sessions.get(transaction.signer, (b"", 0, 0))
            if owner != sender:
                return "signer"
            if until < self.height:
                return "session_expired"
            if not scopes & SCOPE_OF.get(transaction.body.KIND, 0):
                return "session_scope"
        if self._weight(transaction, size) * self.base_fee > transaction.max_fee:
            return "max_fee"
        if transaction.max_fee + transaction.tip > self.balances.get(sender, 0):
            return "balance"
        return None

    def _transfer(self, sender: bytes, body: Transfer) -> str | None:
        if body.to[0] not in (0, 1):
            return "address"
        if body.amount == 0:
            return "amount"
        if self.balances[sender] < body.amount:
            return "balance"
        self.balances[sender] -= body.amount
        self.balances[body.to] = self.balances.get(body.to, 0) + body.amount
        return None

    def _session_key_add(self, sender: bytes, body: SessionKeyAdd) -> str | None:
        if body.valid_until <= self.height:
            return "session_expired"
        if body.key == sender[1:]:
            return "session_is_account"
        if self.sessions.get(body.key, (sender,))[0] != sender:
            return "session_taken"
        if body.key not in self.listed.get(sender, []):
            living = [k for k in self.listed.get(sender, []) if self.sessions[k][2] >= self.height]
            if len(living) >= self.session_keys_max:
                return "session_limit"
            self.listed[sender] = [*living, body.key]
        self.sessions[body.key] = (sender, body.scopes, body.valid_until)
        return None

    def _session_key_remove(self, sender: bytes, body: SessionKeyRemove) -> str | None:
        if body.key not in self.listed.get(sender, []):
            return "session_unknown"
        self.listed[sender].remove(body.key)
        self.sessions[body.key] = (sender, 0, 0)
        return None

    def _validator_register(self, sender: bytes, body: ValidatorRegister) -> str | None:
        if sender in self.validators:
            return "validator_exists"
        if body.stake < self.stake_min:
            return "stake_min"
        if body.consensus_key in self.keys_seen:
            return "consensus_key_taken"
        if self.good_proofs.get(body.consensus_key) != body.proof_of_possession:
            return "possession"
        if self.balances[sender] < body.stake:
            return "balance"
        self.balances[sender] -= body.stake
        self.validators[sender] = ModelValidator(body.stake, body.consensus_key)
        self.keys_seen.append(body.consensus_key)
        return None

    def _stake_add(self, sender: bytes, body: StakeAdd) -> str | None:
        if sender not in self.validators:
            return "validator_unknown"
        if body.amount == 0:
            return "amount"
        if self.validators[sender].stake + body.amount < self.stake_min:
            return "stake_min"
        if self.balances[sender] < body.amount:
            return "balance"
        self.balances[sender] -= body.amount
        self.validators[sender].stake += body.amount
        return None

    def _stake_withdraw(self, sender: bytes, body: StakeWithdraw) -> str | None:
        if sender not in self.validators:
            return "validator_unknown"
        row = self.validators[sender]
        if body.amount == 0 or body.amount > row.stake:
            return "stake"
        if 0 < row.stake - body.amount < self.stake_min:
            return "stake_min"
        if sum(1 for _, who, _, _ in self.queue if who == sender) >= self.withdrawals_max:
            return "unbonding_limit"
        row.stake -= body.amount
        self.queue.append((self.height + self.unbonding_blocks, sender, self.withdrawals, body.amount))
        self.withdrawals += 1
        return None

    def end_block(self, proposer: bytes) -> None:
        """Tips, payments that are due, and the next height with its base fee."""
        if self.tips:
            self.balances[proposer] = self.balances.get(proposer, 0) + self.tips
        self.queue.sort()
        due = [entry for entry in self.queue if entry[0] <= self.height][: self.paid_a_block_max]
        for entry in due:
            self.queue.remove(entry)
            self.balances[entry[1]] = self.balances.get(entry[1], 0) + entry[3]
        change = self.base_fee * Fraction(self.weight - self.weight_target, self.weight_target) / 8
        change = min(max(change, Fraction(-self.base_fee // 8)), Fraction(self.base_fee // 8))
        if self.weight > self.weight_target:
            self.base_fee += max(1, int(change))
        else:
            self.base_fee = max(1, self.base_fee - int(-change))
        self.height += 1
        self.weight = self.tips = 0

    def pots(self) -> dict[str, int]:
        """What every pot must hold, the money in flight in a block apart."""
        return {
            "accounts": sum(self.balances.values()),
            "stake": sum(row.stake for row in self.validators.values()),
            "unbonding": sum(entry[3] for entry in self.queue),
            "burned": self.burned,
        }

    def rows(self) -> dict[str, Any]:
        """Everything that can be compared, in plain values."""
        return {
            "balances": {address: balance for address, balance in self.balances.items() if balance},
            "nonces": {address: nonce for address, nonce in self.nonces.items() if nonce},
            "stakes": {address: row.stake for address, row in self.validators.items()},
            "queue": sorted(self.queue),
        }
