"""What waits of one sender: by nonce, with what of it could follow one another in blocks and what is behind a gap.

Knows numbers of one account; no rules of the chain and no limits. The mempool has it.
"""

from collections.abc import Container, Iterator

from omnitensor.protocol.types import PublicKey
from state.ledger.prepared import Prepared


class SenderQueue:
    """Waiting transactions of one sender, and its account's nonce and balance at the last committed block."""

    __slots__ = ("balance", "by_nonce", "gapped_bytes", "gapped_count", "nonce", "offered")

    def __init__(self, nonce: int, balance: int) -> None:
        self.nonce = nonce
        self.balance = balance
        self.by_nonce: dict[int, Prepared] = {}
        self.offered = 0
        """nanoOMNIT that all of them together may take from the account as fees and tips."""
        self.gapped_count = 0
        """How many are behind a gap: a nonce before theirs, at or above the account's, is missing."""
        self.gapped_bytes = 0

    def next_nonce(self) -> int:
        """The first nonce from the account's on that none of them has."""
        nonce = self.nonce
        while nonce in self.by_nonce:
            nonce += 1
        return nonce

    def put(self, prepared: Prepared) -> None:
        """Takes one in; none of its nonce may be there."""
        self.by_nonce[prepared.transaction.nonce] = prepared
        self.offered += offer_of(prepared)
        self._count_gapped()

    def drop(self, prepared: Prepared) -> None:
        """Lets go of one that is there."""
        del self.by_nonce[prepared.transaction.nonce]
        self.offered -= offer_of(prepared)
        self._count_gapped()

    def moved_to(self, nonce: int, balance: int) -> None:
        """Takes the account as it is now."""
        self.nonce, self.balance = nonce, balance
        self._count_gapped()

    def sorted(self) -> tuple[Prepared, ...]:
        """All of them by nonce."""
        return tuple([self.by_nonce[nonce] for nonce in sorted(self.by_nonce)])

    def from_nonce(self, nonce: int) -> tuple[Prepared, ...]:
        """Those of a nonce and above, by nonce."""
        return tuple([self.by_nonce[each] for each in sorted(self.by_nonce) if each >= nonce])

    def signed_by(self, signer: PublicKey) -> tuple[Prepared, ...]:
        """Those that one key signed."""
        return tuple([each for each in self.by_nonce.values() if each.transaction.signer == signer])

    def in_order(self, exclude: Container[bytes]) -> Iterator[Prepared]:
        """What may follow one another in blocks, from the account's nonce up to the first gap, but for what is excluded."""
        nonce = self.nonce
        while (prepared := self.by_nonce.get(nonce)) is not None:
            if prepared.id not in exclude:
                yield prepared
            nonce += 1

    def _count_gapped(self) -> None:
        first = self.next_nonce()
        if first - self.nonce == len(self.by_nonce):
            self.gapped_count = self.gapped_bytes = 0
            return
        behind = [each for nonce, each in self.by_nonce.items() if nonce > first]
        self.gapped_count, self.gapped_bytes = len(behind), sum(len(each.encoded) for each in behind)


def offer_of(prepared: Prepared) -> int:
    """The most that a transaction may take from its sender's account as fee and tip, nanoOMNIT."""
    return prepared.transaction.max_fee + prepared.transaction.tip
