"""A worker shows what it has committed to as soon as the ledger takes it: never too early, never too late, also after a kill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from consensus.work.programs import Program
from node.work.choosing import choices
from node.work.engine import on_processors
from node.work.hand import Hand
from node.work.units import Units
from node.work.worker import Worker, _store
from omnitensor.protocol import bls
from omnitensor.protocol.bodies import (
    JobPost,
    JobVote,
    Transfer,
    WorkCommit,
    WorkerLeave,
    WorkerRegister,
    WorkJudge,
)
from omnitensor.protocol.keys import SigningKey, format_secret
from omnitensor.protocol.params import Params
from omnitensor.protocol.private_files import write_private
from omnitensor.protocol.rows_work import ReceiptState
from omnitensor.protocol.types import NANO, Amount, Hash, Height, Signature
from omnitensor.protocol.work import LayerShape, Receipt, Ticket
from state.records_work import WorkReceipt
from state.schema import WORK_OUTPUTS, WORK_RECEIPTS, WORK_UNITS
from tests.rpc.world import TestBackend
from tests.state.chain_fixtures import CHAIN_ID, consensus_secret, key, make_genesis
from tests.work.samples import model_of, rows_of

PARAMS = Params(
    epoch_blocks=8,
    worker_bond_min=Amount(10 * NANO),
    work_assigned_blocks=4,
    work_outputs_blocks=5,
    synthetic_units_max=0,
)
MODEL = model_of((16, 8), 16)
ROWS = rows_of(40, 16, seed=1)
MINE, OTHER, THIRD = key("a1"), key("a2"), key("a3")


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[TestBackend]:
    made = TestBackend(tmp_path / "node", make_genesis(params=PARAMS))
    fees = [(key("a0"), Transfer(key(f"v{number}").address, Amount(10 * NANO))) for number in range(4)]
    made.commit(*fees, *((who, registration(who, name)) for who, name in ((MINE, "mine"), (OTHER, "other"))))
    yield made
    made.close()


def registration(who: SigningKey, name: str) -> WorkerRegister:
    secret = consensus_secret(name)
    return WorkerRegister(Amount(10 * NANO), bls.sk_to_pk(secret), bls.pop_prove(secret))


def opened(backend: TestBackend) -> Hash:
    """A job of one unit that asks for two replicas."""
    body = JobPost(
        model=_store(backend.content, MODEL.encoded()),
        model_root=MODEL.root,
        data=_store(backend.content, ROWS.tobytes()),
        layers=tuple(LayerShape(layer.inputs, layer.outputs) for layer in MODEL.layers),
        tile=16,
        rows=40,
        unit_rows=40,
        replicas=2,
        fee_unit=Amount(NANO),
        burn_unit=Amount(0),
        deadline=Height(backend.chain.head.height + 80),
        place_max=Amount(0),
    )
    done = backend.commit((key("a0"), body))
    [job] = [dict(event.fields)["job"] for event in done.result.receipts[0].events]
    assert isinstance(job, bytes)
    vote = WorkJudge((JobVote(Hash(job), True),), ())
    backend.commit(*((key(f"v{number}"), vote) for number in range(4)))
    while not opening(backend, Hash(job)):
        backend.commit()
    return Hash(job)


def opening(backend: TestBackend, job: Hash) -> bool:
    return bool(choices(backend.reader(), CHAIN_ID, MINE.address, (), 1, 1, 0))


@asynccontextmanager
async def working(backend: TestBackend, folder: Path) -> AsyncIterator[Worker]:
    """A worker of its own process' memory; what it leaves behind is what a kill leaves."""
    path = folder / "worker.key"
    path.unlink(missing_ok=True)
    write_private(path, format_secret(MINE).encode())
    fetcher: Any = None  # all content is here: nobody is asked for any
    with ThreadPoolExecutor(1) as disk:
        chain = backend.chain
        units = Units(chain.chain_id, chain.genesis_hash, backend.reader, backend.content, disk, fetcher)
        hand = Hand(path, chain.chain_id, backend.reader, backend.next_nonce, backend.submit)
        made = Worker(hand, on_processors(1), units, backend.reader, backend.content, disk, lambda _: None)
        try:
            yield made
        finally:
            made.close()


async def stepped(worker: Worker) -> None:
    """One step, and the end of what it began to compute."""
    await worker.step()
    while worker._running:
        await asyncio.sleep(0.02)


async def committed(backend: TestBackend, worker: Worker, job: Hash) -> WorkReceipt:
    """The worker's receipt, as soon as it is on chain."""
    while (row := mine(backend, job)) is None:
        await stepped(worker)
        advance(backend)
    assert row.state == ReceiptState.COMMITTED
    return row


def mine(backend: TestBackend, job: Hash) -> WorkReceipt | None:
    return backend.reader().get(WORK_RECEIPTS, job, 0, MINE.address)


def advance(backend: TestBackend) -> int:
    """A block of what waits; how many orders it has. None of them is refused."""
    told = backend.commit().result.receipts
    assert all(each.ok for each in told), told
    return len(told)


def hold_of(backend: TestBackend, job: Hash) -> int:
    row = backend.reader().get(WORK_UNITS, job, 0)
    assert row is not None
    return row.hold


def is_right(backend: TestBackend, job: Hash) -> bool:
    shown = backend.reader().get(WORK_OUTPUTS, job, 0, MINE.address)
    assert shown is not None
    return shown.outputs == Program.of(MODEL).run(ROWS).tobytes()


@pytest.mark.parametrize("killed", [False, True])
async def test_it_waits_for_others_and_shows_in_the_first_block_that_takes_it(
    backend: TestBackend, tmp_path: Path, killed: bool
) -> None:
    """It orders nothing meanwhile. What another process of it shows after a kill was computed while it waited."""
    job = opened(backend)
    async with working(backend, tmp_path) as worker:
        await committed(backend, worker, job)
        hold = hold_of(backend, job)
        if not killed:
            await waits_and_shows(backend, worker, job, hold)
    if killed:
        async with working(backend, tmp_path) as worker:
            await stepped(worker)
            assert worker._outputs, "computed before it is asked for"
            await waits_and_shows(backend, worker, job, hold)


async def waits_and_shows(backend: TestBackend, worker: Worker, job: Hash, hold: int) -> None:
    while backend.chain.head.height + 1 < hold:
        for _ in range(3):
            await stepped(worker)
        assert advance(backend) == 0
    await stepped(worker)
    assert advance(backend) == 1
    row = mine(backend, job)
    assert row is not None
    assert (row.state, row.shown_at) == (ReceiptState.SHOWN, hold)
    assert is_right(backend, job)
    await stepped(worker)
    assert advance(backend) == 0
    assert not worker._outputs
    backend.commit((key("a0"), Transfer(THIRD.address, Amount(NANO))))
    found = choices(backend.reader(), CHAIN_ID, OTHER.address, (), 9, 9, 0)
    assert found == [], "nobody else takes the unit any more"


async def test_it_shows_at_once_when_the_unit_has_all_its_receipts(
    backend: TestBackend, tmp_path: Path
) -> None:
    job = opened(backend)
    async with working(backend, tmp_path) as worker:
        await committed(backend, worker, job)
        await stepped(worker)
        assert advance(backend) == 0
        backend.commit((OTHER, WorkCommit(another(backend, job))))
        assert backend.chain.head.height + 1 < hold_of(backend, job)
        await stepped(worker)
        assert advance(backend) == 1
        row = mine(backend, job)
        assert row is not None
        assert row.state == ReceiptState.SHOWN


def another(backend: TestBackend, job: Hash) -> Receipt:
    anchor = Height(backend.chain.head.height)
    made = Receipt(
        job, 0, anchor, OTHER.address, Hash(b"\1" * 32), (Ticket(0, 0, 0, 0),), Signature(bytes(64))
    )
    return replace(made, signature=OTHER.sign(made.message(CHAIN_ID)))


async def test_who_leaves_shows_what_it_owes(backend: TestBackend, tmp_path: Path) -> None:
    job = opened(backend)
    async with working(backend, tmp_path) as worker:
        await committed(backend, worker, job)
        backend.commit((MINE, WorkerLeave()))
        while (row := mine(backend, job)) is not None and row.state == ReceiptState.COMMITTED:
            await stepped(worker)
            advance(backend)
        assert row is not None
        assert row.state == ReceiptState.SHOWN


async def test_what_others_took_meanwhile_is_not_committed_to(backend: TestBackend, tmp_path: Path) -> None:
    """A unit that was shown, or is full, when its computation ends costs no fee for a receipt that is refused."""
    job = opened(backend)
    for _ in range(PARAMS.work_assigned_blocks):
        backend.commit()
    async with working(backend, tmp_path) as worker:
        await worker.step()
        assert worker._running
        third = registration(THIRD, "third")
        backend.commit((THIRD, third))
        for who in (OTHER, THIRD):
            anchor = Height(backend.chain.head.height)
            made = replace(another(backend, job), worker=who.address, anchor=anchor)
            backend.commit((who, WorkCommit(replace(made, signature=who.sign(made.message(CHAIN_ID))))))
        while worker._running:
            await asyncio.sleep(0.02)
        assert advance(backend) == 0
        assert mine(backend, job) is None
