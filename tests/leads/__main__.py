"""``make leaders``: a real net whose leaders three workers draw; one is killed half-way. Says who led, and what was due.

Four validators, and three workers without stake: one with the whole of its machine, one that computes half of the time, one that
computes an eighth of it. Ends with status 1 where anything does not hold.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.devnet import calls, workers
from deploy.devnet.net import Net, Node, Plan
from deploy.devnet.process import DevnetError
from omnitensor.protocol.types import NANO
from tests.leads.brake import Brake
from tests.leads.fit import SIGNIFICANCE, Fit, fit_of
from tests.leads.record import EpochRecord, credit_of, now, read_epoch

BLOCKS: Final = 60
"""Of an epoch."""
SPEEDS: Final = {"swift": (1.0, 1.0), "steady": (1.0, 2.0), "slow": (0.5, 4.0)}
"""Seconds in which it computes, of every so many."""
KILLED: Final = "swift"
PLAN: Final = Plan(
    chain_id="omnitensor-leaders",
    balances=dict.fromkeys(SPEEDS, workers.WORKER_BALANCE_OMNIT * NANO),
    params={
        "block_interval_ms": 500,  # shorter ones leave a small machine no time to compute anything
        "delta_ms": 1_500,
        "standstill_ms": 1_000,
        "epoch_blocks": BLOCKS,
        "evidence_epochs": 1_000,
        "unbonding_blocks": 1_001 * BLOCKS,
        "work_judge_blocks": 1_000,
        "work_anchor_blocks_max": 240,
        "synthetic_units_max": 16,
    },
    settings=workers.JUDGING,
)
STALL_SECONDS: Final = 300.0
"""An epoch takes less, also with a worker dead and the machine busy; longer is a chain that stands."""
INTERRUPTED: Final = 130

Say = Callable[[str], None]


class Run:
    """A net, its workers, and the records of its epochs so far."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.say: Final = say
        self.net: Final = Net.create(folder, PLAN)
        self.workers: Final[dict[str, Node]] = {}
        self.brakes: Final[dict[str, Brake]] = {}
        self.records: Final[list[EpochRecord]] = []
        self.killed_in: int | None = None

    def start(self) -> None:
        self.net.start()
        self.net.wait_ready()
        for node in self.net.nodes:
            workers.make_judge_key(self.net, node)
        for name in SPEEDS:
            node = self.workers[name] = workers.join_worker(self.net, name)
            # Ports are free until somebody listens there: one after the other.
            calls.until(f"{name} serves", node.is_ready, STALL_SECONDS, on_wait=self._look_after)
            self._brake(name)
        self.say(f"four validators agree on blocks; {', '.join(SPEEDS)} join")

    def _brake(self, name: str) -> None:
        run_s, every_s = SPEEDS[name]
        if name in self.brakes:
            self.brakes.pop(name).let_go()
        if run_s < every_s:
            self.brakes[name] = Brake(self.workers[name].pid, run_s, every_s)

    def _look_after(self) -> None:
        """A worker that ended by itself is started again, as whoever runs one does; a validator that did ends the run."""
        self.net.check()
        for name, node in self.workers.items():
            if node.exit_code is not None and node.exit_code > 0:
                self.say(f"{name} ended with code {node.exit_code}, and is started again: {node.tail(300)}")
                node.start()
                self._brake(name)

    def stop(self) -> None:
        for brake in self.brakes.values():
            brake.let_go()
        for node in (*self.workers.values(), *self.net.nodes):
            node.kill()

    @property
    def node(self) -> Node:
        return self.net.nodes[0]

    @property
    def views(self) -> int:
        """Views of epochs in which credit draws leaders."""
        return sum(len(each.led) + len(each.skipped) for each in self.records if each.work_leads)

    def follow(self, enough: Callable[[], bool]) -> None:
        """Reads epochs as they end. Raises DevnetError where the chain stands or a node ends."""
        while not enough():
            self._look_after()
            epoch = len(self.records)
            calls.until(
                f"epoch {epoch} ends",
                lambda epoch=epoch: now(self.node, BLOCKS) > epoch,  # type: ignore[misc] # of this turn
                STALL_SECONDS,
                on_wait=self._look_after,
            )
            record = read_epoch(self.node, epoch, BLOCKS)
            self.records.append(record)
            shares = ", ".join(
                f"{name} {self.share(record, name):.0%}" for name in SPEEDS if self.share(record, name)
            )
            self.say(
                f"epoch {epoch}: {len(record.led)} views led, {len(record.skipped)} skipped;"
                f" credit: {shares or 'too little, stake leads'}; {self.views} views in all"
            )

    def share(self, record: EpochRecord, name: str) -> float:
        """A worker's share of the credit that draws in an epoch; 0 where stake does."""
        credit = record.credit.get(self.net.address(name), 0)
        return credit / sum(record.credit.values()) if record.work_leads else 0.0

    def kill(self) -> None:
        """``kill -9`` of a worker. Its processes must not be stopped, or they would stay."""
        if KILLED in self.brakes:
            self.brakes[KILLED].let_go()
        self.workers[KILLED].kill()
        self.killed_in = now(self.node, BLOCKS)
        self.say(f"{KILLED} is killed in epoch {self.killed_in}")

    def has_run_out(self) -> bool:
        """Whether no set that is fixed, this epoch's or a later one's, has credit of whoever was killed."""
        address = self.net.address(KILLED)
        coming = [credit_of(self.node, epoch)[0] for epoch in range(len(self.records), len(self.records) + 2)]
        return self.killed_in in range(len(self.records)) and not any(
            credit.get(address) for credit in coming
        )


def judge(run: Run) -> list[str]:
    """What did not hold; says the tables."""
    faults = [fault for record in run.records for fault in record.faults()]
    led = [each for each in run.records if each.work_leads]
    alive = [each for each in led if run.killed_in is None or each.epoch < run.killed_in]
    fits = {
        "turns by credit": fit_of([(each.credit, each.turns_of_work) for each in led]),
        "led by credit, all alive": fit_of([(each.credit, each.led_by_work) for each in alive]),
        "led by stake": fit_of([(each.stakes, each.led_by_stake) for each in run.records]),
    }
    _say_workers(run, led, fits["turns by credit"])
    run.say(f"{'fit':28}{'chi-squared':>12}{'freedom':>9}{'chance':>9}")
    for name, fit in fits.items():
        run.say(f"{name:28}{fit.statistic:12.2f}{fit.freedom:9}{fit.chance:9.4f}")
        if not fit.holds:
            faults.append(f"{name}: a chance of {fit.chance:.2g} is below {SIGNIFICANCE}")
    address = run.net.address(KILLED)
    # It may have been a block ahead of the node that was asked, and have led the first view of the next epoch.
    late = [each for each in led if run.killed_in is not None and each.epoch > run.killed_in + 1]
    if sum(each.led_by_work[address] for each in late):
        faults.append(f"{KILLED} led after it was killed")
    if run.killed_in is not None and not run.has_run_out():
        faults.append(f"{KILLED} has credit that draws leads, long after it was killed")
    return faults


def _say_workers(run: Run, led: Sequence[EpochRecord], turns: Fit) -> None:
    skipped = sum(len(each.skipped) for each in run.records)
    run.say(f"{run.views} views of {len(led)} epochs in which credit draws; of all epochs {skipped} skipped")
    run.say(f"{'worker':10}{'share':>8}{'due':>9}{'turns':>7}{'led':>7}{'missed':>8}")
    work_views = sum(each.turns_of_work.total() for each in led)
    for name in SPEEDS:
        address = run.net.address(name)
        due = turns.due.get(address, 0.0)
        here = sum(each.led_by_work[address] for each in led)
        missed = sum(each.missed[address] for each in led)
        run.say(f"{name:10}{due / max(1, work_views):8.1%}{due:9.1f}{here + missed:7}{here:7}{missed:8}")


def play(views: int, folder: Path, say: Say) -> list[str]:
    """What did not hold; empty where all did. Raises DevnetError where the net does not get on."""
    run = Run(folder / "net", say)
    try:
        run.start()
        run.follow(lambda: run.views >= views // 2)
        run.kill()
        run.follow(lambda: run.views >= views and run.has_run_out())
        return judge(run)
    except KeyboardInterrupt:
        say("interrupted; so far:")
        for fault in judge(run):
            say(fault)
        raise
    finally:
        run.stop()


def main(arguments: Sequence[str]) -> int:
    """0: all held; 1: something did not; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="make leaders", description=__doc__)
    parser.add_argument("--views", type=int, default=2_000)
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _as_interrupt)
    folder = Path(tempfile.mkdtemp(prefix="omnitensor-leaders-"))
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    try:
        faults = play(given.views, folder, say)
    except DevnetError as error:
        faults = [str(error)]
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        return INTERRUPTED
    for fault in faults:
        print(f"VIOLATION: {fault}", file=sys.stderr)
    if faults:
        print(f"kept for looking at: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    say("all held")
    return 0


def _as_interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
