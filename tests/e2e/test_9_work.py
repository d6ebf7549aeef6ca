"""A worker as a process among real validators: it joins, is killed with -9, comes back; somebody has a model run meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.work.programs import Program
from deploy.devnet import calls, cast, process, workers
from deploy.devnet.net import Net, Node, Plan
from deploy.devnet.people import Person
from omnitensor.protocol.types import NANO
from tests.leads.record import WORK_TICKETS_MIN, EpochRecord, credit_of, now, read_epoch
from tests.work.samples import model_of, rows_of

pytestmark = pytest.mark.xdist_group("e2e-work")

BLOCKS = 16
"""Of an epoch."""
PLAN = Plan(
    chain_id="omnitensor-work",
    balances={"worker": 2_000 * NANO, "second": 2_000 * NANO, "sponsor": 1_000 * NANO, "pauper": 1},
    params={
        "epoch_blocks": BLOCKS,
        "evidence_epochs": 1_000,  # a person who comes late still verifies from genesis
        "unbonding_blocks": 20_000,
        "block_interval_ms": 300,
        "work_assigned_blocks": 8,
        # No job here has two replicas, so nothing waits for these: a worker that is killed has its time on any machine.
        "work_outputs_blocks": 4_000,
        "work_judge_blocks": 2_000,
        "work_anchor_blocks_max": 240,
        "synthetic_units_max": 4,
    },
    settings=workers.JUDGING,
)
MODEL = model_of((64, 96, 8), 16)
ROWS = rows_of(600, 64, seed=5)
SECONDS = 480.0


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with Net.create(tmp_path_factory.mktemp("work") / "net", PLAN) as net:
        net.start()
        net.wait_ready()
        for node in net.nodes:
            workers.make_judge_key(net, node)
        yield net


@pytest.fixture(scope="module")
def worker(net: Net) -> Iterator[Node]:
    node = workers.join_worker(net, "worker")
    try:
        calls.until("a receipt of the worker is good", lambda: shown(net)["good"] > 0, SECONDS)
        yield node
    finally:
        node.kill()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "model.mlp").write_bytes(MODEL.encoded())
    (folder / "rows.bin").write_bytes(ROWS.tobytes())
    (folder / "cut.mlp").write_bytes(MODEL.encoded()[:-9])
    (folder / "cut.bin").write_bytes(ROWS.tobytes()[:-9])
    return folder


@pytest.fixture(scope="module")
def sponsor(net: Net) -> Person:
    return cast.log_in(net, "sponsor", net.nodes[0])


def shown(net: Net) -> dict[str, Any]:
    """The worker as the chain has it; one that is not registered has nothing good."""
    try:
        found: dict[str, Any] = net.nodes[0].call("work.worker", worker=net.address("worker"))
    except calls.CallError:
        return {"good": 0}
    return found


def jobs_of(net: Net) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = net.nodes[0].call("jobs.list", poster=net.address("sponsor"))["jobs"]
    return found


def command(files: Path, output: Path, **changes: str) -> list[str]:
    given = {
        "model": str(files / "model.mlp"),
        "input": str(files / "rows.bin"),
        "output": str(output),
    } | changes
    flags = [part for name, value in given.items() for part in (f"--{name}", value)]
    return ["compute", "run", *flags, "--unit-rows", "64", "--yes", "--json"]


@pytest.mark.timeout(2_000)
def test_a_job_outlives_the_death_of_its_worker_and_of_who_waits_for_it(
    net: Net, worker: Node, sponsor: Person, files: Path, tmp_path: Path
) -> None:
    output = tmp_path / "outputs.bin"
    waiting = subprocess.Popen(
        process.command(process.CLI, *command(files, output)),
        env=process.environment(sponsor.variables),
        cwd=process.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    calls.until("the job is posted", lambda: len(jobs_of(net)) == 1, SECONDS)
    waiting.kill()
    waiting.wait()
    calls.until("its first units stand or are under way", lambda: begun(net), SECONDS)
    worker.signal(signal.SIGKILL)
    worker.wait()
    reached = net.nodes[0].height()
    calls.until("the chain goes on without it", lambda: net.nodes[0].height() >= reached + 5, SECONDS)
    worker.start()
    done = sponsor.try_cli(*command(files, output), timeout_s=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(jobs_of(net)) == 1, "one job, not two"
    told = json.loads(done.stdout)
    assert (told["rows"], told["units"], told["paid"], told["refunded"]) == (600, 10, "0.01", "0")
    outputs = np.frombuffer(output.read_bytes(), np.int8).reshape(600, 8)
    assert np.array_equal(outputs, Program.of(MODEL).run(ROWS))
    assert list(tmp_path.iterdir()) == [output]
    assert shown(net)["bad"] == 0
    calls.until(
        "nobody can object any more", lambda: [job["status"] for job in jobs_of(net)] == ["done"], SECONDS
    )
    assert int(shown(net)["fees"]) == 10 * NANO // 1_000


def begun(net: Net) -> bool:
    [job] = jobs_of(net)
    return int(job["done"]) + int(job["under_way"]) > 0


@pytest.mark.timeout(1_200)
def test_it_leads_blocks_by_its_work(net: Net, worker: Node, sponsor: Person) -> None:
    address = net.address("worker")

    def leads() -> bool:
        blocks = net.nodes[0].call("chain.blocks", limit=100)["blocks"]
        return sum(block["proposer"] == address for block in blocks) >= 3

    calls.until("the worker has led three of the last hundred blocks", leads, SECONDS)
    status = sponsor.json("compute", "status")
    assert status["workers"] == 1
    assert any(epoch["useful_bps"] > 0 for epoch in net.nodes[0].call("work.status", epochs=64)["epochs"])
    assert "omnitensor_work_judged_total" in net.nodes[1].metrics()
    assert "omnitensor_work_useful_bps" in net.nodes[1].metrics()
    worker_shown = sponsor.json("worker", "show", "--wallet", address)
    assert worker_shown["works"] is True
    assert sponsor.json("worker", "list")["workers"][0]["worker"] == address


@pytest.mark.timeout(3_600)
def test_every_view_is_led_by_whom_credit_draws_and_who_is_killed_misses_its_own(
    net: Net, worker: Node
) -> None:
    """Exactly, view by view, from headers and the frozen credit: no share of chance in it. ``make leaders`` adds that."""
    first, address, node = net.address("worker"), net.address("second"), net.nodes[0]
    second = workers.join_worker(net, "second")
    try:
        begun = calls.until("both draw leads", lambda: epoch_drawn_by(node, {first, address}), SECONDS)
        calls.until("both have led a whole epoch", lambda: now(node, BLOCKS) > begun, SECONDS)
        assert read_epoch(node, begun, BLOCKS).faults() == []
    finally:
        second.kill()
    killed = now(node, BLOCKS)
    over = calls.until("its credit has run out", lambda: epoch_drawn_by(node, {first}), SECONDS)
    calls.until("the chain goes on without it", lambda: now(node, BLOCKS) > over, SECONDS)
    records = [read_epoch(node, epoch, BLOCKS) for epoch in range(killed, over + 1)]
    assert [fault for record in records for fault in record.faults()] == []
    # A node that was a block ahead of the one asked may still have led the first view of the epoch after.
    late = records[2:]
    assert turns_after(late, address) == sum(record.missed[address] for record in late)
    assert set(records[-1].turns_of_work) <= {first}


def epoch_drawn_by(node: Node, names: set[str]) -> int:
    """The epoch under way, where credit of just these draws its leaders; else 0."""
    epoch = now(node, BLOCKS)
    credit, tickets = credit_of(node, epoch)
    drawn_by = {name for name, amount in credit.items() if amount}
    return epoch if drawn_by == names and tickets >= WORK_TICKETS_MIN else 0


def turns_after(records: list[EpochRecord], address: str) -> int:
    """Views that a worker was drawn for, by the draw alone."""
    views = [(record, view) for record in records for view in (*record.led, *record.skipped)]
    return sum(record.by_work(view) and record.due(view) == address for record, view in views)


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"model": "cut.mlp"}, 2, "holds no model"),
        ({"model": "nothing.mlp"}, 2, "can't be read"),
        ({"model": "rows.bin"}, 2, "holds no model"),
        ({"input": "cut.bin"}, 2, "rows of 64 bytes"),
        ({"input": "nothing.bin"}, 2, "can't be read"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_paid(
    net: Net, sponsor: Person, files: Path, tmp_path: Path, changes: dict[str, str], code: int, says: str
) -> None:
    before = len(jobs_of(net))
    given = {name: str(files / value) for name, value in changes.items()}
    done = sponsor.try_cli(*command(files, tmp_path / "out.bin", **given))
    assert done.returncode == code, done.stdout + done.stderr
    reason = json.loads(done.stdout)["error"]
    assert says in f"{reason['reason']} {reason['remedy']}", reason
    assert len(jobs_of(net)) == before
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_made_to_pay_unasked_or_beyond_their_means(net: Net, files: Path, tmp_path: Path) -> None:
    pauper = cast.log_in(net, "pauper", net.nodes[0])
    unasked = [part for part in command(files, tmp_path / "out.bin") if part != "--yes"]
    done = pauper.try_cli(*unasked)
    assert done.returncode == 2
    assert "--yes" in json.loads(done.stdout)["error"]["remedy"]
    done = pauper.try_cli(*command(files, tmp_path / "out.bin"))
    assert done.returncode == 1
    assert "the account has" in json.loads(done.stdout)["error"]["reason"]
    done = pauper.try_cli("worker", "show")
    assert (done.returncode, "worker" in done.stderr) == (1, True)
    done = pauper.try_cli("job", "show", "zz")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_worker_without_a_key_or_with_a_wrong_engine_says_so(net: Net, tmp_path: Path) -> None:
    home = tmp_path / "node"
    made = process.run(
        process.NODE, "init", "--home", str(home), "--genesis", str(net.folder / "genesis.json")
    )
    assert made.returncode == 0
    done = process.run(process.NODE, "worker", "--home", str(home))
    assert (done.returncode, "--worker-key-file" in done.stderr) == (2, True)
    key = str(net.key_file("worker"))
    done = process.run(
        process.NODE, "worker", "--home", str(home), "--worker-key-file", key, "--worker-engine", "abacus"
    )
    assert done.returncode == 1
    assert "must be auto, processes, gpu or dask" in done.stderr.splitlines()[-1]
