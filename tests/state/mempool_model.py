"""The mempool's rules once more, slowly: one list, looked through from end to end for every question. Shares no code with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from omnitensor.protocol.transactions import Transaction


@dataclass(frozen=True)
class Room:
    """How much may wait."""

    transactions: int
    size_bytes: int
    per_sender: int
    gapped: int
    gapped_bytes: int
    gap_blocks: int


@dataclass
class Waiting:
    transaction: Transaction
    size: int
    weight: int
    arrived: int

    @property
    def price(self) -> Fraction:
        return Fraction(self.transaction.tip, self.weight)

    @property
    def offer(self) -> int:
        return self.transaction.max_fee + self.transaction.tip


Account = Callable[[bytes], tuple[int, int]]
"""By address: nonce and balance at the last block."""


class SlowPool:
    """What should wait."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.all: list[Waiting] = []
        self.gap_since: dict[bytes, int] = {}
        self.arrivals = 0

    def of(self, sender: bytes) -> list[Waiting]:
        mine = [one for one in self.all if one.transaction.sender == sender]
        return sorted(mine, key=lambda one: one.transaction.nonce)

    def behind_gap(self, sender: bytes, nonce: int) -> list[Waiting]:
        """Those of a sender that can't follow the account's nonce without one that is missing."""
        for one in self.of(sender):
            if one.transaction.nonce == nonce:
                nonce += 1
        return [one for one in self.of(sender) if one.transaction.nonce > nonce]

    def add(
        self, transaction: Transaction, size: int, weight: int, base_fee: int, height: int, account: Account
    ) -> str:
        """What becomes of an offer: "" when it is taken, else the refusal's code."""
        if any(one.transaction == transaction for one in self.all):
            return "duplicate"
        if not height < transaction.valid_until:
            return "expired"
        if transaction.max_fee < weight * base_fee:
            return "max_fee"
        nonce, balance = account(transaction.sender)
        if transaction.nonce < nonce:
            return "nonce"
        if transaction.nonce >= nonce + self.room.per_sender:
            return "nonce_gap"
        mine = self.of(transaction.sender)
        old = next((one for one in mine if one.transaction.nonce == transaction.nonce), None)
        new = Waiting(transaction, size, weight, self.arrivals + 1)
        if old is not None:
            enough = 10 * new.offer >= 11 * old.offer
            before = old.transaction
            if not enough or transaction.max_fee < before.max_fee or transaction.tip < before.tip:
                return "replacement"
        rest = [one for one in mine if one is not old]
        if sum(one.offer for one in rest) + new.offer > balance:
            return "balance"
        others = [one for one in self.all if one is not old]
        if not self._gap_fits(new, others, account):
            return "nonce_gap"
        kept = self._with_room(new, others)
        if kept is None:
            return "mempool_full"
        self.all, self.arrivals = [*kept, new], self.arrivals + 1
        self._note_gaps(height, account)
        return ""

    def _gap_fits(self, new: Waiting, others: list[Waiting], account: Account) -> bool:
        nonce = account(new.transaction.sender)[0]
        there = {one.transaction.nonce for one in self.of(new.transaction.sender)}
        if set(range(nonce, new.transaction.nonce)) <= there:
            return True
        gapped: list[Waiting] = []
        for sender in {one.transaction.sender for one in self.all}:
            gapped += self.behind_gap(sender, account(sender)[0])
        gapped = [one for one in gapped if one in others]
        in_all = sum(one.size for one in gapped) + new.size
        return len(gapped) < self.room.gapped and in_all <= self.room.gapped_bytes

    def _with_room(self, new: Waiting, others: list[Waiting]) -> list[Waiting] | None:
        """What stays when one more comes; None where it does not pay for its place."""

        def fits(kept: list[Waiting], count: int, size: int) -> bool:
            return len(kept) <= count and sum(one.size for one in kept) + new.size <= size

        if fits(others, self.room.transactions - 1, self.room.size_bytes):
            return others
        kept = list(others)
        for victim in sorted(others, key=lambda one: (one.price, -one.arrived)):
            if fits(kept, self.room.transactions * 9 // 10, self.room.size_bytes * 9 // 10):
                break
            if victim.price >= new.price:
                break
            if victim.transaction.sender == new.transaction.sender:
                continue
            kept = [
                one
                for one in kept
                if one.transaction.sender != victim.transaction.sender
                or one.transaction.nonce < victim.transaction.nonce
            ]
        return kept if fits(kept, self.room.transactions - 1, self.room.size_bytes) else None

    def after_block(self, senders: set[bytes], height: int, account: Account) -> None:
        """What a block at a height, with transactions of these senders, leaves waiting."""
        self.all = [one for one in self.all if one.transaction.valid_until > height]
        self._note_gaps(height, account, keep=True)
        for sender in senders:
            nonce, balance = account(sender)
            spent = 0
            for one in self.of(sender):
                if one.transaction.nonce < nonce:
                    self.all.remove(one)
                    continue
                spent += one.offer
                if spent > balance:
                    self.all.remove(one)
        self._note_gaps(height, account)
        for sender, since in list(self.gap_since.items()):
            if height - since >= self.room.gap_blocks:
                for one in self.behind_gap(sender, account(sender)[0]):
                    self.all.remove(one)
                del self.gap_since[sender]

    def _note_gaps(self, height: int, account: Account, keep: bool = False) -> None:
        senders = {one.transaction.sender for one in self.all}
        gapped = {sender for sender in senders if self.behind_gap(sender, account(sender)[0])}
        if not keep:
            self.gap_since = {s: since for s, since in self.gap_since.items() if s in gapped}
        for sender in gapped:
            self.gap_since.setdefault(sender, height)
