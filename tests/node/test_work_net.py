"""Work on a net of real nodes: a worker without stake joins, is judged, leads blocks, and runs a job that somebody pays for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest

from consensus.work.programs import Program
from node.service import Node
from node.work.worker import _store
from omnitensor.protocol.bodies import BodyBase, JobPost, Scope, SessionKeyAdd
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.keys import format_api_key, format_secret
from omnitensor.protocol.private_files import write_private
from omnitensor.protocol.rows_work import JobStatus, ReceiptState
from omnitensor.protocol.types import NANO, Address, Amount, Hash, Height
from omnitensor.protocol.work import LayerShape
from state.ledger import worker_sets
from state.ledger.supply import check_everything
from state.schema import JOBS, JOBS_BY_POSTER, RECEIPTS_BY_WORKER, WORK_OUTPUTS, WORK_RECEIPTS, WORKERS
from tests.node.node_kit import (
    PARAMS,
    Folders,
    account_key,
    assert_agreement,
    height_of,
    make_folders,
    running,
    transaction,
    until,
)
from tests.work.samples import model_of, rows_of

EPOCH_BLOCKS = 12
WORK = msgspec.structs.replace(
    PARAMS,
    epoch_blocks=EPOCH_BLOCKS,
    block_interval_ms=250,
    worker_bond_min=Amount(100 * NANO),
    synthetic_units_max=4,
    work_assigned_blocks=4,
)
MODEL = model_of((64, 48, 16), 16)
SLOW = 480.0


def judging(folders: Folders) -> None:
    """Gives every validator's node a key to judge with; it is good once ``allow`` has been ordered."""
    for number, home in enumerate(folders.homes):
        write_private(home / "judge.key", format_api_key(account_key(f"judge{number}")).encode())
        config = home / "config.toml"
        text = config.read_text()
        assert '# judge_key_file = ""' in text
        config.write_text(text.replace('# judge_key_file = ""', 'judge_key_file = "judge.key"'))


async def order(node: Node, sender: str, body: BodyBase) -> Hash:
    """Orders something, and waits until it is final and did what it ordered."""
    nonce = node.application.waiting.next_nonce(account_key(sender).address)
    made = transaction(sender, nonce, body)
    await node._backend.submit(made.encoded)
    await until(f"{body.KIND} is final", lambda: node.application.reader().receipt(made.id))
    placed = node.application.reader().receipt(made.id)
    assert placed is not None
    assert placed.receipt.ok, placed.receipt.reason
    return made.id


async def allow(nodes: list[Node]) -> None:
    for number in range(4):
        key = account_key(f"judge{number}").public
        body = SessionKeyAdd(key, Scope.WORK, Height(10_000), Amount(100 * NANO))
        await order(nodes[0], f"v{number}", body)


def worker_folder(folders: Folders) -> Path:
    home = folders.extra("worker", **{"worker.key_file": "account.key", "worker.engine": "processes"})
    write_private(home / "account.key", format_secret(account_key("alice")).encode())
    return home


def receipts_of(node: Node, worker: Address, state: ReceiptState) -> int:
    reader = node.application.reader()
    found = (
        reader.get(WORK_RECEIPTS, key[:32], int.from_bytes(key[32:], "big"), worker)
        for key, _ in reader.scan(RECEIPTS_BY_WORKER, worker)
    )
    return sum(row is not None and row.state == state for row in found)


@pytest.mark.timeout(3_000)
async def test_a_worker_without_stake_joins_earns_and_leads(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, params=WORK)
    judging(folders)
    home = worker_folder(folders)
    alice = account_key("alice").address
    async with running(folders.homes) as nodes:
        await until("blocks come", lambda: min(map(height_of, nodes)) >= 2)
        await allow(nodes)
        async with running([home], nodes) as workers:
            here = nodes[0].application
            await until("it is registered", lambda: here.reader().get(WORKERS, alice), SLOW)
            await until(
                "its work is found good", lambda: receipts_of(nodes[0], alice, ReceiptState.GOOD) >= 3, SLOW
            )
            await until("its credit is in a set", lambda: leads(nodes[0], alice), SLOW)
            await until("it leads", lambda: led_by(nodes[0], alice) >= 2, SLOW)
            row = here.reader().get(WORKERS, alice)
            assert row is not None
            assert row.pool > 0, "the compute pool was paid"
            assert row.bad == 0
            await with_job(nodes, workers[0])
            assert_agreement([*nodes, *workers])
        check_everything(nodes[0].application.reader())
        reached = height_of(nodes[0])
        await until("the chain goes on without it", lambda: height_of(nodes[0]) >= reached + 4, SLOW)


def leads(node: Node, address: Address) -> bool:
    """Whether an account's credit draws leaders now."""
    reader = node.application.reader()
    schedule = worker_sets.leaders_of(reader, reader.head.header.epoch, node.application.chain.genesis_hash)
    return schedule is not None and any(entry.address == address for entry in schedule.workers)


def led_by(node: Node, address: Address) -> int:
    reader = node.application.reader()
    found = 0
    for height in range(1, reader.head.height + 1):
        block = reader.block(Height(height))
        found += block is not None and block.header.proposer == address
    return found


async def with_job(nodes: list[Node], worker: Node) -> None:
    """Somebody has a model run over rows, and what stands is what the model gives."""
    rows = rows_of(150, 64, seed=3)
    model, data = await stored(nodes[1], MODEL.encoded()), await stored(nodes[1], rows.tobytes())
    shapes = tuple(LayerShape(layer.inputs, layer.outputs) for layer in MODEL.layers)
    deadline = Height(height_of(nodes[0]) + 4_000)
    body = JobPost(
        model,
        MODEL.root,
        data,
        shapes,
        16,
        150,
        64,
        1,
        Amount(NANO),
        Amount(NANO // 100),
        deadline,
        Amount(0),
    )
    bob, before = (
        account_key("bob").address,
        nodes[0].application.reader().account(account_key("bob").address),
    )
    await order(nodes[0], "bob", body)
    reader = nodes[0].application.reader
    [key] = [key for key, _ in reader().scan(JOBS_BY_POSTER, bob)]
    job = Hash(key)

    def status() -> int:
        row = reader().get(JOBS, job)
        assert row is not None
        return row.status

    await until("the job is open", lambda: status() != JobStatus.POSTED, SLOW)
    await until("the job is done", lambda: status() == JobStatus.DONE, SLOW)
    wanted = Program.of(MODEL).run(rows)
    alice = account_key("alice").address
    found = b""
    for unit in range(3):
        shown = reader().get(WORK_OUTPUTS, job, unit, alice)
        assert shown is not None
        found += shown.outputs
    assert np.array_equal(np.frombuffer(found, np.int8).reshape(150, 16), wanted)
    row = reader().get(JOBS, job)
    assert row is not None
    assert (row.paid, row.burned, row.refunded) == (3 * NANO, 3 * (NANO // 100), 0)
    assert before.balance - reader().account(bob).balance >= 3 * NANO + 3 * (NANO // 100)


async def stored(node: Node, data: bytes) -> ContentId:
    """Bytes put into one node's store: the others have to fetch them."""
    return await asyncio.to_thread(_store, node._content, data)
