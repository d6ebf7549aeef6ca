"""Who leads a view: drawn from the epoch's seed by stake, or by credit for validated work.

Computes; never decides what a leader may do (R2) or whether it did.

Safety never mentions leaders; a schedule that favoured somebody would cost fairness and pace, not agreement.
"""

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from typing import Final

from omnitensor.protocol import hashing
from omnitensor.protocol.types import Address, BlsPublicKey, Hash, View
from omnitensor.protocol.votes import ValidatorTable
from omnitensor.protocol.workers import WorkerEntry, WorkerSet

STAKE_VIEW_EVERY: Final = 3
"""One view in so many is led by stake whatever the credit: liveness holds with all work hostile or absent."""
TICKETS_MIN: Final = 8
"""With fewer tickets credited there is too little work to draw from, and every view is led by stake."""
LEADERS_REMEMBERED: Final = 1_024
"""Draws kept: the rules ask for the current view's leader again and again."""


def work_leads(workers: WorkerSet | None) -> bool:
    """Whether enough work was credited to draw leaders from."""
    return (
        workers is not None
        and workers.tickets >= TICKETS_MIN
        and any(entry.credit for entry in workers.entries)
    )


class LeaderSchedule:
    """Leaders of one epoch. Immutable; the same table, seed and workers give the same leaders everywhere.

    A leader is named by an index: those below ``len(table)`` are the epoch's validators, those from there on the workers that
    are none, in the order of their addresses. A validator that works leads under its own index and key. Where too little work was
    credited there is nobody but the validators.

    The draw of view ``v`` is ``LEADER(seed, epoch, v) mod W``, epoch and view as 8 bytes big-endian, looked up in cumulative
    weights in the order of the indexes: of stake, or of credit in two views of three where enough work was credited. The hash has
    256 bits and ``W`` at most 71, so the modulo favours nobody by more than 2**-185.
    """

    def __init__(self, table: ValidatorTable, seed: Hash, workers: WorkerSet | None = None) -> None:
        """``workers`` None: no work was credited."""
        self.table: Final = table
        self.seed: Final = seed
        self._work_leads: Final = work_leads(workers)
        entries = workers.entries if workers is not None and self._work_leads else ()
        self.workers: Final[tuple[WorkerEntry, ...]] = tuple(
            entry for entry in entries if table.index_of(entry.address) is None
        )
        """Leaders that do not vote, from index ``len(table)`` on."""
        credit = [0] * (len(table) + len(self.workers))
        self._place = {entry.address: len(table) + place for place, entry in enumerate(self.workers)}
        for entry in entries:
            index = self.index_of(entry.address)
            assert index is not None
            credit[index] = entry.credit
        self._epoch: Final = int(table.epoch).to_bytes(8, "big")
        self._by_stake: Final = tuple(accumulate(entry.weight for entry in table.entries))
        self._by_credit: Final = tuple(accumulate(credit))
        self._drawn: Final = lru_cache(maxsize=LEADERS_REMEMBERED)(self._draw)

    def __len__(self) -> int:
        """How many may lead."""
        return len(self.table) + len(self.workers)

    def is_led_by_work(self, view: View) -> bool:
        """Whether the lead of a view is drawn by credit."""
        return self._work_leads and view % STAKE_VIEW_EVERY != 0

    def leader(self, view: View) -> int:
        """Index of whoever leads ``view``."""
        return self._drawn(view)

    def address(self, index: int) -> Address:
        """The account of a leader."""
        votes = index < len(self.table)
        return self.table.entries[index].address if votes else self.workers[index - len(self.table)].address

    def key(self, index: int) -> BlsPublicKey:
        """What a leader signs its proposals and beacons with."""
        votes = index < len(self.table)
        return self.table.key(index) if votes else self.workers[index - len(self.table)].consensus_key

    @property
    def worker_keys(self) -> tuple[BlsPublicKey, ...]:
        """What the leaders that do not vote sign with, in the order of their indexes."""
        return tuple(entry.consensus_key for entry in self.workers)

    def index_of(self, address: Address) -> int | None:
        """The index of an account that may lead; None where it may not."""
        voter = self.table.index_of(address)
        return self._place.get(address) if voter is None else voter

    def index_of_key(self, key: BlsPublicKey) -> int | None:
        """The index of whoever leads with a key; None where nobody does."""
        return next((index for index in range(len(self)) if self.key(index) == key), None)

    def _draw(self, view: View) -> int:
        cumulative = self._by_credit if self.is_led_by_work(view) else self._by_stake
        drawn = hashing.LEADER(self.seed, self._epoch, int(view).to_bytes(8, "big"))
        return bisect_right(cumulative, int.from_bytes(drawn, "big") % cumulative[-1])
