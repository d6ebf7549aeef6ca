"""Who must be in jail for downtime, from what the blocks say and the rows on disk alone: shares no code with the product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

BPS = 10_000


class JailCheckers:
    """Looks at every boundary once, in order."""

    def __init__(
        self,
        violated: Callable[[str], None],
        validator_at: dict[bytes, int],
        min_bps: int,
        epochs: int,
        jail_blocks: int,
        share_max_bps: int,
    ) -> None:
        self._violated = violated
        self._validator_at = validator_at
        self._min_bps = min_bps
        self._epochs = epochs
        self._jail_blocks = jail_blocks
        self._share_max = Fraction(share_max_bps, BPS)
        self._away: dict[bytes, tuple[int, int]] = {}
        """By address: absent in how many epochs in a row, and the last of them."""
        self._locked: dict[bytes, tuple[int, int]] = {}
        """By address: from which height on it may leave, and what it weighed."""
        self._flagged: set[bytes] = set()
        """Whose row says jailed, at the boundary before."""
        self.times: Counter[bytes] = Counter()
        """How often each was jailed."""

    def boundary(
        self,
        height: int,
        epoch: int,
        voters: list[list[Any]],
        tally: Counter[int],
        rows: dict[bytes, list[Any]],
        by_work: bool,
    ) -> None:
        """``voters``: address, key, weight of the epoch that ends; ``rows``: the register after its last block, by address.

        ``by_work``: two views in three were drawn by work.
        """
        blocks = tally[-1]
        asked = self._min_bps * (blocks // 3) // blocks if by_work and blocks else self._min_bps
        least = Fraction(asked, BPS)
        expected = self._judge(height, epoch, voters, tally, rows, least)
        flagged = {address for address, row in rows.items() if row[7] and not row[9]}
        for address in sorted(flagged - self._flagged - expected):
            self._violated(
                f"validator {self._validator_at[address]} was jailed at height {height}, and should not be"
            )
        for address in sorted(expected - flagged):
            self._violated(
                f"validator {self._validator_at[address]} should be in jail from height {height} on"
            )
        self._flagged = flagged
        self.times.update(expected)

    def _judge(
        self,
        height: int,
        epoch: int,
        voters: list[list[Any]],
        tally: Counter[int],
        rows: dict[bytes, list[Any]],
        least: Fraction,
    ) -> set[bytes]:
        due: list[tuple[int, bytes, int]] = []
        for place, (address, _, weight) in enumerate(voters):
            there = tally[-1] == 0 or Fraction(tally[place], tally[-1]) >= least
            if there or rows[address][9] or address in self._flagged:
                continue
            count, last = self._away.get(address, (0, -2))
            count = count + 1 if last == epoch - 1 else 1
            self._away[address] = (count, epoch)
            if count >= self._epochs:
                due.append((tally[place], address, weight))
        locked = {
            address: weight
            for address, (until, weight) in self._locked.items()
            if until > height and not rows[address][9] and rows[address][7]
        }
        most = self._share_max * (sum(weight for _, _, weight in voters) + sum(locked.values()))
        jailed = set()
        for _, address, weight in sorted(due):
            if sum(locked.values()) + weight <= most:
                locked[address] = weight
                jailed.add(address)
                self._locked[address] = (height + self._jail_blocks, weight)
                del self._away[address]
        return jailed
