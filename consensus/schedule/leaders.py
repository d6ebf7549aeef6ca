"""Who leads a view: drawn from the epoch's seed by stake, or by credit for validated work.

Computes; never decides what a leader may do (R2) or whether it did.

Safety never mentions leaders; a schedule that favoured somebody would cost fairness and pace, not agreement.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Final

from omnitensor.protocol import hashing
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import ValidatorTable

STAKE_VIEW_EVERY: Final = 3
"""One view in so many is led by stake whatever the credit: liveness holds with all work hostile or absent."""
TICKETS_MIN: Final = 8
"""With fewer tickets credited there is too little work to draw from, and every view is led by stake."""


@dataclass(frozen=True, slots=True)
class WorkCredit:
    """What validated work counts for an epoch's leads. Frozen before the seed of that epoch was known."""

    tickets: int = 0
    """Tickets that were credited, over all workers."""
    by_index: Mapping[int, int] = field(default_factory=dict)
    """Credit, in whatever unit, by index in the epoch's table; who is not in it has none."""


NO_CREDIT: Final = WorkCredit()
LEADERS_REMEMBERED: Final = 1_024
"""Draws kept: the rules ask for the current view's leader again and again."""


class LeaderSchedule:
    """Leaders of one epoch. Immutable; the same table, seed and credit give the same leaders everywhere.

    The draw of view ``v`` is ``LEADER(seed, epoch, v) mod W``, epoch and view as 8 bytes big-endian, looked up in cumulative
    weights in the order of the table: of stake, or of credit in two views of three where enough work was credited. The hash has
    256 bits and ``W`` at most 64, so the modulo favours nobody by more than 2**-192.
    """

    def __init__(self, table: ValidatorTable, seed: Hash, credit: WorkCredit = NO_CREDIT) -> None:
        assert all(0 <= index < len(table) and amount >= 0 for index, amount in credit.by_index.items())
        self.table: Final = table
        self.seed: Final = seed
        self._epoch: Final = int(table.epoch).to_bytes(8, "big")
        self._by_stake: Final = tuple(accumulate(entry.weight for entry in table.entries))
        self._by_credit: Final = tuple(
            accumulate(credit.by_index.get(index, 0) for index in range(len(table)))
        )
        self._drawn: Final = lru_cache(maxsize=LEADERS_REMEMBERED)(self._draw)
        self._work_leads: Final = credit.tickets >= TICKETS_MIN and self._by_credit[-1] > 0

    def is_led_by_work(self, view: View) -> bool:
        """Whether the lead of a view is drawn by credit."""
        return self._work_leads and view % STAKE_VIEW_EVERY != 0

    def leader(self, view: View) -> int:
        """Index in the epoch's table of the validator that leads ``view``."""
        return self._drawn(view)

    def _draw(self, view: View) -> int:
        cumulative = self._by_credit if self.is_led_by_work(view) else self._by_stake
        drawn = hashing.LEADER(self.seed, self._epoch, int(view).to_bytes(8, "big"))
        return bisect_right(cumulative, int.from_bytes(drawn, "big") % cumulative[-1])
