"""From judged work to the leaders that it draws: credited, frozen two boundaries ahead, charged for missed views."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omnitensor.protocol.bodies import WorkerLeave
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.types import Address, Epoch, Hash, Height, View
from state.ledger import work_credit, worker_sets
from state.ledger.context import BlockContext
from tests.ledger.work_world import WorkWorld
from tests.ledger.world import address_of

MACS = {"wo0": 10_000, "wo1": 20_000, "wo2": 70_000}
SEED = Hash(bytes(32))


class Leading(WorkWorld):
    """``skipped`` are the views that the next block shows to be skipped."""

    skipped = range(0)

    def context(self, height: int) -> BlockContext:
        return replace(super().context(height), skipped=self.skipped)

    @property
    def epoch(self) -> int:
        """Of the next block."""
        return epoch_of(Height(self.height + 1), self.params)

    def go_to(self, epoch: int) -> None:
        while self.epoch < epoch:
            self.block()

    def work(self, macs: dict[str, int] = MACS) -> None:
        """Two units of synthetic work each, found good."""
        if self.height and epoch_of(Height(self.height), self.params) < self.epoch:
            self.block()  # what is anchored at the boundary is work of the epoch before
        for unit in range(2):
            for worker, amount in macs.items():
                job, told = self.synthetic(worker, unit)
                assert told.ok, told
                self.judge(worker, job, unit, (True, amount))

    def credit(self, epoch: int) -> dict[Address, int]:
        row = worker_sets.worker_set(self.view, Epoch(epoch))
        return {} if row is None else {entry.address: entry.credit for entry in row.entries}


def worked(**more: Any) -> Leading:
    world = Leading(**more)
    world.register_all()
    assert world.epoch == 0
    world.work()
    assert world.epoch == 0, "all of it in one epoch"
    return world


def test_judged_work_draws_the_leaders_of_the_epoch_after_the_next() -> None:
    world = worked()
    assert world.credit(2) == {}
    world.go_to(1)
    frozen = world.credit(2)
    assert set(frozen) == {address_of(name) for name in MACS}
    total = sum(frozen.values())
    for name, macs in MACS.items():
        assert abs(frozen[address_of(name)] / total - macs / 100_000) < 0.001
    assert world.credit(1) == {}, "the seed of the next epoch is known too soon for work to draw it"
    world.go_to(2)
    assert world.credit(2) == frozen
    leaders = worker_sets.leaders_of(world.view, Epoch(2), SEED)
    assert leaders is not None
    assert [entry.address for entry in leaders.workers] == sorted(address_of(name) for name in MACS)
    led = {leaders.address(leaders.leader(View(view))) for view in range(1, 200) if view % 3}
    assert led == {address_of(name) for name in MACS}
    world.go_to(3)
    assert world.credit(3) == {}, "in epoch 1 nobody worked, and stake leads"


def test_who_misses_its_view_loses_credit_in_the_running_epoch_and_the_next_set() -> None:
    world = worked()
    world.go_to(1)
    world.work({"wo0": 10_000, "wo1": 10_000, "wo2": 10_000})
    world.go_to(2)
    now, following = world.credit(2), world.credit(3)
    assert now
    assert following
    world.work({"wo2": 40_000})
    leaders = worker_sets.leaders_of(world.view, Epoch(2), Hash(bytes(32)))
    assert leaders is not None
    view = next(
        v for v in range(1, 99) if v % 3 and leaders.address(leaders.leader(View(v))) == address_of("wo2")
    )
    running = work_credit.credit_of(world.view, Epoch(2), address_of("wo2")).credit
    world.skipped = range(view, view + 1)
    world.block()
    world.skipped = range(0)
    assert world.said("worker.missed")[-1] == {"worker": address_of("wo2"), "epoch": 2, "views": 1}
    assert world.credit(2) == now, "the set in use never changes"
    assert world.credit(3) == {**following, address_of("wo2"): following[address_of("wo2")] // 4}
    assert work_credit.credit_of(world.view, Epoch(2), address_of("wo2")).credit == running // 4


def test_fewer_than_eight_tickets_lead_nothing() -> None:
    world = Leading()
    world.register_all()
    for worker in ("wo0", "wo1", "wo2"):
        job, _ = world.synthetic(worker)
        world.judge(worker, job, 0, (True, 1_000))
    world.go_to(2)
    row = worker_sets.worker_set(world.view, Epoch(2))
    assert row is not None
    assert row.tickets == 6
    leaders = worker_sets.leaders_of(world.view, Epoch(2), SEED)
    assert leaders is not None
    assert len(leaders) == len(leaders.table)


def test_a_worker_that_leaves_is_in_no_set_that_is_fixed_from_then_on() -> None:
    world = worked()
    assert world.do("wo1", WorkerLeave()).ok
    world.go_to(1)
    assert set(world.credit(2)) == {address_of("wo0"), address_of("wo2")}
