"""Worker sets in the state: what a missed view costs, in which set, and that the set in use never changes."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol.attendance import skipped_views
from omnitensor.protocol.ballots import VoteKind
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.limits import missed_views_per_block_max
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import (
    NANO,
    Address,
    Amount,
    BlsPublicKey,
    BlsSignature,
    Epoch,
    Hash,
    Height,
    TimeMs,
)
from omnitensor.protocol.votes import Attendance
from omnitensor.protocol.workers import WorkerEntry, WorkerSet
from state.genesis import Genesis, GenesisValidator
from state.ledger import worker_sets
from state.ledger.context import BlockContext
from state.ledger.transition import Execution
from state.overlay import Overlay
from state.schema import VALIDATOR_SETS, WORKER_SETS

BLOCKS = 4
STAKES = (5, 1, 9)
PARAMS = Params(epoch_blocks=BLOCKS, evidence_epochs=2, unbonding_blocks=8, validator_stake_min=Amount(NANO))


def address(number: int) -> Address:
    return Address(b"\0" + number.to_bytes(32, "big"))


def key(number: int) -> BlsPublicKey:
    return BlsPublicKey(sha256(b"%d" % number).digest() + bytes(16))


def workers(credit: dict[int, int], tickets: int = 8) -> WorkerSet:
    return WorkerSet(
        tuple(WorkerEntry(address(number), key(number), amount) for number, amount in sorted(credit.items())),
        tickets,
    )


class Chain:
    """A ledger without transactions: blocks say which views were skipped below them, and what beacon they bring."""

    def __init__(self) -> None:
        validators = tuple(
            GenesisValidator(address(n), f"v{n}", Amount(stake * NANO), 0, key(n), BlsSignature(bytes(96)))
            for n, stake in enumerate(STAKES)
        )
        self.view = Overlay(Genesis("workers", TimeMs(0), PARAMS, (), validators).rows)
        self.height = 0

    @property
    def epoch(self) -> Epoch:
        """Of the next block."""
        return epoch_of(Height(self.height + 1), PARAMS)

    def block(self, skipped: range = range(0)) -> list[dict[str, Any]]:
        self.height += 1
        ctx = BlockContext(
            "workers",
            Height(self.height),
            epoch_of(Height(self.height), PARAMS),
            TimeMs(self.height),
            address(0),
            Hash(sha256(b"beacon %d" % self.height).digest()),
            PARAMS,
            1,
            skipped=skipped,
        )
        events = Execution(self.view, ctx).finish().result.events
        return [{"kind": e.kind, **dict(e.fields)} for e in events if e.kind == "worker.missed"]

    def go_to(self, epoch: int) -> None:
        while self.epoch < epoch:
            self.block()

    def row(self, epoch: int) -> WorkerSet | None:
        return self.view.get(WORKER_SETS, epoch)


def drawn(seed: bytes, epoch: int, view: int, credit: dict[int, int]) -> int:
    """From the specification: validators in the order of the table, then other workers, a ticket and a walk."""
    tag = sha256(b"omnitensor/leader/1").digest()
    data = tag + tag
    for part in (seed, epoch.to_bytes(8, "big"), view.to_bytes(8, "big")):
        data += len(part).to_bytes(4, "big") + part
    along = [0, 1, 2, *sorted(number for number in credit if number > 2)]
    ticket = int.from_bytes(sha256(data).digest(), "big") % sum(credit.values())
    for number in along:
        if ticket < credit.get(number, 0):
            return number
        ticket -= credit.get(number, 0)
    raise AssertionError


CREDIT = st.dictionaries(st.integers(0, 7), st.integers(0, 2**60), min_size=1, max_size=6)
SKIPPED = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), min_size=BLOCKS, max_size=BLOCKS)


@settings(max_examples=60, deadline=None)
@given(now=CREDIT, following=CREDIT, tickets=st.integers(6, 9), gaps=SKIPPED)
def test_a_missed_view_leaves_a_quarter_of_what_counts_next(
    now: dict[int, int], following: dict[int, int], tickets: int, gaps: list[tuple[int, int]]
) -> None:
    chain = Chain()
    chain.go_to(2)
    chain.view.put(WORKER_SETS, workers(now, tickets), 2)
    chain.view.put(WORKER_SETS, workers(following), 3)
    seed = chain.view.get(VALIDATOR_SETS, 2)
    assert seed is not None
    left = dict(following)
    for first, count in gaps:
        skipped = range(first, first + count)
        missed: dict[int, int] = {}
        for view in skipped:
            if view % 3 and tickets >= 8 and sum(now.values()):
                worker = drawn(bytes(seed.seed), 2, view, now)
                missed[worker] = missed.get(worker, 0) + 1
        told = chain.block(skipped)
        for worker, times in missed.items():
            for _ in range(times):
                left[worker] = left.get(worker, 0) // 4
        assert {each["worker"]: each["views"] for each in told} == {address(n): k for n, k in missed.items()}
        assert chain.row(2) == workers(now, tickets), "the set in use never changes"
        assert chain.row(3) == workers({number: left[number] for number in following})


def test_what_is_not_a_missed_lead_of_work_costs_nothing() -> None:
    chain = Chain()
    chain.go_to(2)
    only = {5: 1000}
    chain.view.put(WORKER_SETS, workers(only), 2)
    chain.view.put(WORKER_SETS, workers(only), 3)
    assert not chain.block(range(3, 4)), "every third view is led by stake"
    assert not chain.block(range(7, 7))
    assert chain.row(3) == workers(only)
    assert chain.block(range(1, 3)) == [
        {"kind": "worker.missed", "worker": address(5), "epoch": 2, "views": 2}
    ]
    assert chain.row(3) == workers({5: 62})


def test_very_long_gaps_are_looked_at_up_to_a_bound() -> None:
    chain = Chain()
    chain.go_to(2)
    chain.view.put(WORKER_SETS, workers({5: 1}), 2)
    (told,) = chain.block(range(1, 2**62))
    assert told["views"] == sum(1 for view in range(1, missed_views_per_block_max + 1) if view % 3)


def test_sets_are_forgotten_with_the_validators_of_their_epoch() -> None:
    chain = Chain()
    chain.view.put(WORKER_SETS, workers({5: 1}), 2)
    chain.go_to(5)
    assert chain.row(2) is None
    assert chain.view.get(VALIDATOR_SETS, 2) is None


def test_leaders_are_those_of_the_rows() -> None:
    chain = Chain()
    chain.go_to(2)
    worker_sets.fix(chain.view, Epoch(2), workers({1: 7, 5: 30}))
    schedule = worker_sets.leaders_of(chain.view, Epoch(2), Hash(bytes(32)))
    assert schedule is not None
    assert [entry.address for entry in schedule.workers] == [address(5)]
    assert worker_sets.leaders_of(chain.view, Epoch(9), Hash(bytes(32))) is None
    for number, leads in ((0, True), (2, True), (5, True), (6, False)):
        assert worker_sets.may_lead_with(chain.view, Epoch(2), key(number)) == leads
    assert worker_sets.key_of_leader(workers({5: 30}), address(5)) == key(5)
    assert worker_sets.key_of_leader(workers({5: 30}), address(6)) is None
    assert worker_sets.key_of_leader(workers({5: 30}, 7), address(5)) is None, "too little work leads nothing"
    assert worker_sets.key_of_leader(None, address(5)) is None


def test_the_views_skipped_are_what_the_votes_for_the_block_below_say() -> None:
    named = Attendance(VoteKind.NOTARIZE, 9, 5, Hash(bytes(32)), b"", BlsSignature(bytes(96)))
    assert skipped_views(named) == range(6, 9)
    assert skipped_views(None) == range(0)
