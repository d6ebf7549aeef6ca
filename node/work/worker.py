"""A worker: takes units that it may, has them computed, commits to what came out, and shows it. Earns by what stands.

Holds nothing that is not on chain or can't be computed again: after a kill it shows the outputs of what it has committed to, and
goes on. What is committed to and never shown costs bond, so that comes first, always, as soon as the ledger takes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import structlog
from msgspec.structs import replace

from consensus.work.verify import rows_root
from datalayer.quota import NODE_OWNER
from datalayer.store import ContentStore
from datalayer.upload import ContentError
from node.work.choosing import Choice, choices, is_open_to
from node.work.engine import Engine
from node.work.hand import Hand, Sent
from node.work.task import SYNTHETIC, Done, Task, program_of, rows_of
from node.work.units import Units, UnitUnknownError
from omnitensor.protocol import limits
from omnitensor.protocol.bodies.work import WorkCommit, WorkOutputs
from omnitensor.protocol.content import ContentId, content_id_of
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.rows_work import ReceiptState
from omnitensor.protocol.rows_work import Worker as WorkerRow
from omnitensor.protocol.types import ZERO_HASH, Address, Hash, Height, Signature
from omnitensor.protocol.work import JobKind, Receipt, Ticket, outputs_root
from state.ledger.work_rows import shown_from
from state.reader import Reader
from state.schema import JOBS, RECEIPTS_BY_WORKER, WORK_RECEIPTS, WORK_UNITS, WORKERS, number

STEP_SECONDS: Final = 0.25
REPORT_SECONDS: Final = 30.0
COMMITS_UNDER_WAY_MAX: Final = 32
"""Receipts that wait for a block: beyond that the chain takes fewer than this worker makes."""
SYNTHETIC_UNDER_WAY_MAX: Final = 2
"""Of synthetic work: an account's orders follow one another, so what waits of it holds up receipts for jobs that come after."""
UNSHOWN_MAX: Final = 32
"""Receipts of jobs whose outputs are not shown: many that waited for others may all have to be shown within a few blocks."""
OUTPUTS_KEPT_BYTES: Final = 64 * 1024 * 1024
"""Outputs that are held until they are shown. With as many no unit of a job is begun; what is forgotten is computed again."""
RETRY_SECONDS: Final = 5.0

log = structlog.get_logger("worker")

UnitPlace = tuple[Hash, int]


@dataclass(frozen=True, slots=True)
class Unshown:
    """A receipt whose outputs were not shown."""

    place: UnitPlace
    anchor: Height
    size: int
    """Bytes of its outputs."""
    allowed: bool
    """Whether the next block would take them."""


@dataclass(slots=True)
class Tally:
    """What this process did."""

    units: int = 0
    macs: int = 0
    seconds: float = 0.0


class Worker:
    """One worker's. ``run`` until it is cancelled."""

    def __init__(
        self,
        hand: Hand,
        engine: Engine,
        units: Units,
        reader: Callable[[], Reader],
        content: ContentStore,
        disk: ThreadPoolExecutor,
        tally: Callable[[Done], None],
    ) -> None:
        """``tally`` is told of every unit that was computed."""
        self._hand = hand
        self._engine = engine
        self._units = units
        self._reader = reader
        self._content = content
        self._disk = disk
        self._tell = tally
        self._running: dict[UnitPlace, asyncio.Task[None]] = {}
        self._synthetic: set[UnitPlace] = set()
        """Units of synthetic work that run or whose receipts wait for a block."""
        self._committing: dict[UnitPlace, Sent] = {}
        self._showing: dict[UnitPlace, Sent] = {}
        self._resting: dict[UnitPlace, float] = {}
        """Units that can't be had now, and until when they are left alone."""
        self._unshown: set[UnitPlace] = set()
        """Units with a receipt on chain whose outputs are not."""
        self._outputs: dict[UnitPlace, bytes] = {}
        self.done = Tally()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="worker")
        self._said = ""

    async def run(self) -> None:
        """Steps a few times a second, and says now and then how it fares."""
        loop = asyncio.get_running_loop()
        report_at = loop.time() + REPORT_SECONDS
        told = (-1, -1, -1)
        try:
            while True:
                await asyncio.sleep(STEP_SECONDS)
                await self.step()
                if loop.time() >= report_at:
                    report_at = loop.time() + REPORT_SECONDS
                    told = self._report(told)
        finally:
            for task in self._running.values():
                task.cancel()

    def close(self) -> None:
        """Ends what computes; blocks until nothing of it reads any more."""
        self._engine.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def step(self) -> None:
        """Shows what is committed to; then begins as many units as there are places for."""
        reader, address = self._reader(), self._hand.address()
        row = None if address is None else reader.get(WORKERS, address)
        fault = self._unable(reader, address, row)
        if fault and fault != self._said:
            log.error("not working", reason=fault)
        self._said = fault
        if address is None or row is None:
            return
        # Also of a worker that takes no more units: it pays for what it withholds.
        await self._show(reader, address)
        if not fault:
            self._begin(reader, address)

    def _unable(self, reader: Reader, address: Address | None, row: WorkerRow | None) -> str:
        """Why this account does no work now; empty where it does."""
        if address is None:
            return "the session key can't sign for a worker"
        if row is None:
            return "the account is no worker; register it: otensor-cli worker register"
        if row.leaves_at:
            return f"the worker leaves; its bond returns at height {row.leaves_at}"
        if row.bond < reader.params().worker_bond_min:
            return "the bond is less than the least; add to it: otensor-cli worker bond"
        return ""

    # -- computing

    def _begin(self, reader: Reader, address: Address) -> None:
        now = asyncio.get_running_loop().time()
        self._committing = {
            place: sent for place, sent in self._committing.items() if self._hand.is_under_way(sent)
        }
        self._resting = {place: until for place, until in self._resting.items() if until > now}
        free = min(self._engine.places - len(self._running), COMMITS_UNDER_WAY_MAX - len(self._committing))
        if free <= 0:
            return
        taken = {*self._running, *self._committing, *self._resting}
        self._synthetic &= {*self._running, *self._committing}
        fill = max(SYNTHETIC_UNDER_WAY_MAX, self._engine.places) - len(self._synthetic)
        of_jobs = min(free, self._room_for_jobs())
        for choice in choices(reader, self._hand.chain_id, address, taken, free, of_jobs, fill):
            place = (choice.job, choice.unit)
            if choice.kind == JobKind.SYNTHETIC:
                self._synthetic.add(place)
            task = asyncio.create_task(self._compute(choice, address), name=f"unit {choice.unit}")
            self._running[place] = task
            task.add_done_callback(partial(self._ended, place))

    def _room_for_jobs(self) -> int:
        """How many more units of jobs may be begun."""
        if self._kept_bytes() >= OUTPUTS_KEPT_BYTES:
            return 0
        return UNSHOWN_MAX - len({*self._unshown, *self._running, *self._committing} - self._synthetic)

    def _ended(self, place: UnitPlace, task: asyncio.Task[None]) -> None:
        self._running.pop(place, None)
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        self._rest(place)
        if isinstance(error, ProtocolError | OSError):
            log.warning("a unit is left for now", unit=place[1], reason=str(error))
        else:
            log.error("a unit failed", unit=place[1], exc_info=error)

    def _rest(self, place: UnitPlace) -> None:
        self._resting[place] = asyncio.get_running_loop().time() + RETRY_SECONDS

    async def _compute(self, choice: Choice, address: Address) -> None:
        """Raises UnitUnknownError, ContentError, StorageError, EngineError."""
        anchor = Height(self._reader().head.height)
        task = await self._units.task(choice.job, choice.unit, address, anchor)
        done = await self._engine.run(task)
        self._tell(done)
        self.done.units += 1
        self.done.macs += done.macs
        self.done.seconds += done.seconds
        root = await self._on_thread(partial(self._root, task, done.outputs, address))
        receipt = Receipt(
            choice.job,
            choice.unit,
            anchor,
            address,
            root,
            tuple(Ticket(*ticket) for ticket in done.tickets),
            Signature(bytes(64)),
        )
        receipt = replace(receipt, signature=self._hand.key.sign(receipt.message(self._hand.chain_id)))
        place = (choice.job, choice.unit)
        if task.model != SYNTHETIC:
            if not is_open_to(self._reader(), choice.job, choice.unit, address):  # others were there first
                self._rest(place)
                return
            self._keep(place, done.outputs)
        sent = await self._hand.send(WorkCommit(receipt))
        if sent is None:
            self._rest(place)
            return
        self._committing[place] = sent

    @staticmethod
    def _root(task: Task, outputs: bytes, address: Address) -> Hash:
        """Zero for synthetic work, whose outputs nobody wants."""
        if task.model == SYNTHETIC:
            return ZERO_HASH
        program = program_of(task.model, task.beacon)
        table = np.frombuffer(outputs, np.int8).reshape(-1, program.outputs)
        return outputs_root(address, rows_root(table))

    def _keep(self, place: UnitPlace, outputs: bytes) -> None:
        while self._outputs and self._kept_bytes() + len(outputs) > OUTPUTS_KEPT_BYTES:
            del self._outputs[next(iter(self._outputs))]
        self._outputs[place] = outputs

    def _kept_bytes(self) -> int:
        return sum(map(len, self._outputs.values()))

    # -- showing

    async def _show(self, reader: Reader, address: Address) -> None:
        """Sends the outputs of every receipt that waits for them, if the ledger takes them now."""
        self._showing = {
            place: sent for place, sent in self._showing.items() if self._hand.is_under_way(sent)
        }
        found = unshown(reader, address)
        self._unshown = {one.place for one in found}
        self._forget()
        for one in found:
            if one.place in self._showing or not (one.allowed or self._is_to_compute(one)):
                continue
            try:
                outputs = self._outputs.get(one.place)
                if outputs is None:
                    outputs = await self._computed_again(one.place, address, one.anchor)
                    self._keep(one.place, outputs)
                sent = await self._hand.send(await self._shown(one.place, outputs)) if one.allowed else None
            except (UnitUnknownError, ContentError, StorageError, OSError) as error:
                log.error("outputs can't be shown now", unit=one.place[1], reason=str(error))
                self._rest(one.place)
                continue
            if sent is not None:
                self._showing[one.place] = sent

    def _forget(self) -> None:
        """Drops outputs that nothing waits for."""
        wanted = {*self._unshown, *self._running, *self._committing, *self._showing}
        self._outputs = {place: held for place, held in self._outputs.items() if place in wanted}

    def _is_to_compute(self, one: Unshown) -> bool:
        """Whether outputs that are shown later are computed now, as after a kill: then there is time for it."""
        lost = one.place not in self._outputs and one.place not in self._resting
        return lost and self._kept_bytes() + one.size <= OUTPUTS_KEPT_BYTES

    async def _computed_again(self, place: UnitPlace, address: Address, anchor: Height) -> bytes:
        """Outputs, without the proof: they are the same whenever they are computed."""
        task = await self._units.task(*place, address, anchor)
        return await self._on_thread(partial(_plain_outputs, task))

    async def _shown(self, place: UnitPlace, outputs: bytes) -> WorkOutputs:
        """In the order itself where they are small; else as content, stored here first, for everybody to fetch."""
        if len(outputs) <= limits.work_outputs_inline_max:
            return WorkOutputs(*place, None, outputs)
        content = await asyncio.get_running_loop().run_in_executor(
            self._disk, partial(_store, self._content, outputs)
        )
        return WorkOutputs(*place, content, b"")

    async def _on_thread(self, work: Callable[[], bytes]) -> Hash:
        return Hash(await asyncio.get_running_loop().run_in_executor(self._threads, work))

    # -- telling

    def _report(self, told: tuple[int, int, int]) -> tuple[int, int, int]:
        """Says how it fares, where something has changed since."""
        reader, address = self._reader(), self._hand.address()
        row = None if address is None else reader.get(WORKERS, address)
        if row is None:
            return told
        now = (self.done.units, row.good, row.fees + row.pool)
        if now != told:
            rate = self.done.macs / self.done.seconds / 1e9 if self.done.seconds else 0.0
            log.info(
                "work",
                units=self.done.units,
                gmacs_per_second=round(rate, 1),
                good=row.good,
                bad=row.bad,
                fees_nano=row.fees,
                pool_nano=row.pool,
                computing=len(self._running),
            )
        return now


def unshown(reader: Reader, worker: Address) -> list[Unshown]:
    """A worker's receipts whose outputs were not shown, by job and unit."""
    found = []
    for key, _ in reader.scan(RECEIPTS_BY_WORKER, worker):
        job_id, place = WORK_UNITS.split(key)
        job, unit = Hash(job_id), number(place)
        row = reader.get(WORK_RECEIPTS, job, unit, worker)
        if row is None or row.state != ReceiptState.COMMITTED:
            continue
        of, counts = reader.get(JOBS, job), reader.get(WORK_UNITS, job, unit)
        assert of is not None and counts is not None, "a receipt without outputs is of a unit of a job"
        size = of.rows_of(unit) * of.layers[-1].outputs
        allowed = shown_from(of, counts) <= reader.head.height + 1
        found.append(Unshown((job, unit), Height(row.receipt.anchor), size, allowed))
    return found


def _plain_outputs(task: Task) -> bytes:
    program = program_of(task.model, task.beacon)
    outputs: bytes = program.run(rows_of(task, program)).tobytes()
    return outputs


def _store(store: ContentStore, data: bytes) -> ContentId:
    """Puts bytes into the node's store, whole. Blocking."""
    content = content_id_of(data)
    begun = store.begin(content, NODE_OWNER)
    if begun.stored:
        return content
    for first, end in begun.missing:
        for index in range(first, end):
            start = index * limits.chunk_bytes
            store.put_chunk(begun.upload_id, index, data[start : start + limits.chunk_bytes])
    store.finish(begun.upload_id)
    return content
