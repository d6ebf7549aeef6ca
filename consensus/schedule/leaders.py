"""Who leads a view: drawn by stake from the epoch's seed. Computes; never decides what a leader may do (R2) or whether it did.

Safety never mentions leaders; a schedule that favoured somebody would cost fairness and pace, not agreement.
"""

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from typing import Final

from omnitensor.protocol import hashing
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import ValidatorTable

LEADERS_REMEMBERED: Final = 1_024
"""Draws kept: the rules ask for the current view's leader again and again."""


class LeaderSchedule:
    """Leaders of one epoch. Immutable; the same table and seed give the same leaders everywhere.

    The draw of view ``v`` is ``LEADER(seed, epoch, v) mod W``, epoch and view as 8 bytes big-endian, looked up in the cumulative
    weights of the address-sorted table. The hash has 256 bits and ``W`` at most 64, so the modulo favours nobody by more than
    2**-192. Every view is drawn by stake; views led by work credit will be told apart in ``leader`` by the view's number.
    """

    def __init__(self, table: ValidatorTable, seed: Hash) -> None:
        self.table: Final = table
        self.seed: Final = seed
        self._epoch: Final = int(table.epoch).to_bytes(8, "big")
        self._cumulative: Final = tuple(accumulate(entry.weight for entry in table.entries))
        self._drawn: Final = lru_cache(maxsize=LEADERS_REMEMBERED)(self._by_stake)

    def leader(self, view: View) -> int:
        """Index in the epoch's table of the validator that leads ``view``."""
        return self._drawn(view)

    def _by_stake(self, view: View) -> int:
        drawn = hashing.LEADER(self.seed, self._epoch, int(view).to_bytes(8, "big"))
        return bisect_right(self._cumulative, int.from_bytes(drawn, "big") % self._cumulative[-1])
