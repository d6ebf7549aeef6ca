"""What missed views take from the running credit, against an oracle that draws and divides for itself.

Work is credited between blocks; headers show gaps, long ones too. Sums of the epoch, which pay nobody, are never cut.
"""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol.types import Epoch, Hash, Height, TimeMs
from state.ledger import work_credit
from state.ledger.context import BlockContext
from state.ledger.work_credit import Counted
from state.records_work import Worker
from state.schema import VALIDATOR_SETS, WORK_CREDIT, WORK_EPOCHS, WORKER_SETS, WORKERS
from tests.ledger.test_worker_sets import BLOCKS, CREDIT, PARAMS, Chain, address, drawn, key, workers

BOND = PARAMS.worker_bond_min
NUMBERS = st.integers(0, 7)
"""0 to 2 are validators, which work too; the others are workers alone."""
WORK = st.lists(st.tuples(NUMBERS, st.integers(0, 2**50)), max_size=5)
GAP = st.tuples(st.integers(1, 60), st.one_of(st.integers(0, 12), st.just(40)))


class Working(Chain):
    """The chain in epoch 2, whose leads are drawn by a set that is given; eight workers have their bonds."""

    def __init__(self, now: dict[int, int], tickets: int) -> None:
        super().__init__()
        for number in range(8):
            row = Worker(BOND, key(number), Height(0), Height(0), 0, 0, 0, 0, 0, 0)
            self.view.put(WORKERS, row, address(number))
        self.go_to(2)
        self.view.put(WORKER_SETS, workers(now, tickets), 2)

    def credit(self, number: int, macs: int) -> None:
        """As when a receipt is found good, of which three quarters count."""
        beacon, time = Hash(bytes(32)), TimeMs(self.height)
        ctx = BlockContext("workers", Height(self.height), Epoch(2), time, address(0), beacon, PARAMS, 1)
        work_credit.add(self.view, ctx, address(number), 2, macs, Counted(macs * 3 // 4, macs // 2))

    def running(self) -> dict[int, int]:
        return {n: work_credit.credit_of(self.view, Epoch(2), address(n)).credit for n in range(8)}


def missed_in(chain: Chain, now: dict[int, int], tickets: int, skipped: range) -> list[int]:
    """Who was drawn by credit for views that were skipped, from the specification."""
    row = chain.view.get(VALIDATOR_SETS, 2)
    assert row is not None
    if tickets < 8 or not sum(now.values()):
        return []
    return [drawn(bytes(row.seed), 2, view, now) for view in skipped if view % 3]


@settings(max_examples=150, deadline=None)
@given(
    now=CREDIT,
    tickets=st.integers(6, 10),
    history=st.lists(st.tuples(WORK, GAP), min_size=BLOCKS, max_size=BLOCKS),
)
def test_each_missed_view_takes_three_quarters_of_what_was_credited_before_it(
    now: dict[int, int], tickets: int, history: list[tuple[list[tuple[int, int]], tuple[int, int]]]
) -> None:
    chain = Working(now, tickets)
    left, macs = dict.fromkeys(range(8), 0), dict.fromkeys(range(8), 0)
    for place, (work, (first, count)) in enumerate(history):
        for number, amount in work:
            chain.credit(number, amount)
            left[number] += amount * 3 // 4
            macs[number] += amount
        skipped = range(first, first + count)
        for worker in missed_in(chain, now, tickets, skipped):
            left[worker] = int(Fraction(left[worker], 4))
        chain.block(skipped)
        if place < BLOCKS - 1:
            assert chain.running() == left
    assert chain.epoch == 3, "the last of these blocks was the boundary"
    rows = {n: chain.view.get(WORK_CREDIT, 2, address(n)) for n in range(8)}
    assert {n: row.macs for n, row in rows.items() if row} == {n: m for n, m in macs.items() if rows[n]}
    sums = chain.view.get(WORK_EPOCHS, 2)
    worked = [amount for work, _ in history for _, amount in work]
    assert (sums.macs if sums else 0) == sum(worked), "what work was done is never cut"
    assert (sums.credit if sums else 0) == sum(amount * 3 // 4 for amount in worked)
    frozen = chain.row(4)
    assert {entry.address: entry.credit for entry in (frozen.entries if frozen else ())} == {
        address(number): credit for number, credit in left.items() if credit
    }, "a view that the boundary shows to be missed is cut before the set is frozen"


def test_a_worker_that_leads_nothing_loses_everything_in_the_end_and_who_was_not_drawn_nothing() -> None:
    chain = Working({5: 1_000}, 8)
    chain.credit(5, 4**10)
    chain.credit(6, 4**10)
    chain.block(range(1, 3))
    assert (chain.running()[5], chain.running()[6]) == (3 * 4**9 // 16, 3 * 4**9)
    chain.block(range(1, 40))
    assert (chain.running()[5], chain.running()[6]) == (0, 3 * 4**9)
