"""What a node can be asked about work on models: workers, jobs, units, outputs, typed. Reads only."""

from __future__ import annotations

from typing import Any

import msgspec

from omnitensor.protocol.codec import decode
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.rows_work import WorkReceipt, work_receipt_key
from omnitensor.protocol.types import Address, Hash
from omnitensor.sdk.errors import NotFoundError
from omnitensor.sdk.proven import Proven, ProvenReads
from omnitensor.sdk.reads import PAGE_ITEMS, PAGES_MAX, address_text
from omnitensor.sdk.results import Cursor, Result, hash_given
from omnitensor.sdk.results_data import ContentInfo


class WorkEpochInfo(Result, frozen=True):
    """An epoch's work, in multiply-accumulates; ``pool`` in nanoOMNIT."""

    epoch: int
    receipts: int
    macs: int
    credit: int
    useful: int
    useful_bps: int
    pool: int


class WorkSumsInfo(Result, frozen=True):
    """Work of all epochs whose sums the chain still has, in multiply-accumulates."""

    epochs: int
    receipts: int
    macs: int
    credit: int
    useful: int
    useful_bps: float


class WorkStatusInfo(Result, frozen=True):
    """How much work the chain counts, and whether it draws leaders now."""

    epoch: int
    workers: int
    leads_by_work: bool
    tickets: int
    leaders: int
    jobs_open: int
    jobs_open_max: int
    place_price: int
    epochs: list[WorkEpochInfo]
    sums: WorkSumsInfo


class WorkerInfo(Result, frozen=True):
    """A worker; amounts in nanoOMNIT, credit in multiply-accumulates."""

    worker: str
    bond: int
    works: bool
    consensus_key: str
    registered_at: int
    held: int
    good: int
    bad: int
    fees: int
    pool: int
    slashed: int
    credit: int
    tickets: int
    leads: int
    leads_next: int
    leaves_at: int | None = None


class WorkerPage(Result, frozen=True):
    workers: list[WorkerInfo]
    next: Cursor = None


class LayerInfo(Result, frozen=True):
    inputs: int
    outputs: int


class JobInfo(Result, frozen=True):
    """A model to be run over rows; amounts in nanoOMNIT."""

    job: str
    kind: str
    status: str
    model_root: str
    layers: list[LayerInfo]
    tile: int
    rows: int
    unit_rows: int
    units: int
    bits: int
    replicas: int
    fee_unit: int
    burn_unit: int
    available: bool
    posted_at: int
    deadline: int
    escrow: int
    under_way: int
    done: int
    paid: int
    burned: int
    refunded: int
    poster: str | None = None
    batch: int | None = None
    model: ContentInfo | None = None
    data: ContentInfo | None = None
    opened_at: int | None = None
    ended_at: int | None = None

    @property
    def cost(self) -> tuple[int, int]:
        """What is paid and what burns for receipts that stand, nanoOMNIT: also what waits until nobody can object any more.

        Right for a job whose units all stand; of another one some receipts under way may yet be found bad.
        """
        return (
            self.paid + self.under_way * self.fee_unit,
            self.burned + self.under_way * self.burn_unit,
        )

    @property
    def returns(self) -> int:
        """nanoOMNIT that came back, with what nothing under way needs: of replicas that did not come. Right likewise."""
        return self.refunded + self.escrow - self.under_way * (self.fee_unit + self.burn_unit)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.ended_at is not None


class JobPage(Result, frozen=True):
    jobs: list[JobInfo]
    next: Cursor = None


class ReceiptInfo(Result, frozen=True):
    """A worker's claim to have run a unit, and what became of it."""

    job: str
    unit: int
    worker: str
    kind: str
    state: str
    outputs_root: str
    committed_at: int
    macs: int
    credit: int
    settled_at: int | None = None


class UnitInfo(Result, frozen=True):
    unit: int
    rows: int
    receipts: list[ReceiptInfo] = msgspec.field(default_factory=list)


class UnitPage(Result, frozen=True):
    units: list[UnitInfo]
    next: Cursor = None


class OutputsInfo(Result, frozen=True):
    """The outputs of a unit that stand: as content, or as they are (hexadecimal)."""

    unit: int
    worker: str
    outputs_root: str
    settled_at: int
    content: ContentInfo | None = None
    outputs: str | None = None


class WorkReads(ProvenReads):
    """The part of a client that asks about work."""

    async def work_status(self, epochs: int = 4) -> WorkStatusInfo:
        """Work of the epochs up to this one, the newest first."""
        return await self._ask(WorkStatusInfo, "work.status", epochs=epochs)

    async def worker(self, address: Address | str) -> WorkerInfo:
        """A worker. Raises NotFoundError."""
        return await self._ask(WorkerInfo, "work.worker", worker=address_text(address))

    async def workers(self) -> list[WorkerInfo]:
        """All workers, by address."""
        found: list[WorkerInfo] = []
        cursor: Cursor = None
        for _ in range(PAGES_MAX):
            page = await self._ask(WorkerPage, "work.workers", cursor=cursor, limit=PAGE_ITEMS)
            found += page.workers
            cursor = page.next
            if cursor is None:
                break
        return found

    async def job(self, job: str) -> JobInfo:
        """A job. Raises NotFoundError."""
        return await self._ask(JobInfo, "jobs.get", job=hash_given(job))

    async def jobs(
        self, *, status: str | None = None, poster: Address | str | None = None, limit: int = 1_000
    ) -> list[JobInfo]:
        """Jobs of a status (open ones by default), or of a poster."""
        filters: dict[str, Any] = {"status": status}
        if poster is not None:
            filters["poster"] = address_text(poster)
        found: list[JobInfo] = []
        cursor: Cursor = None
        for _ in range(PAGES_MAX):
            page = await self._ask(JobPage, "jobs.list", cursor=cursor, limit=PAGE_ITEMS, **filters)
            found += page.jobs
            cursor = page.next
            if cursor is None or len(found) >= limit:
                break
        return found[:limit]

    async def job_units(self, job: str) -> list[UnitInfo]:
        """A job's units in order, with their receipts as long as the state has them."""
        found: list[UnitInfo] = []
        cursor: Cursor = None
        for _ in range(PAGES_MAX):
            page = await self._ask(
                UnitPage, "jobs.units", job=hash_given(job), cursor=cursor, limit=PAGE_ITEMS
            )
            found += page.units
            cursor = page.next
            if cursor is None:
                break
        return found

    async def job_outputs(self, job: str, unit: int) -> OutputsInfo:
        """The outputs of a unit that stand. Raises NotFoundError where none does yet."""
        return await self._ask(OutputsInfo, "jobs.outputs", job=hash_given(job), unit=unit)

    async def proven_work_receipt(self, job: Hash, unit: int, worker: Address) -> Proven[WorkReceipt]:
        """A receipt as the ledger holds it, under a final header. Raises NotFoundError where its absence is proven."""
        row = await self.proven_row(work_receipt_key(job, unit, worker))
        if row.value is None:
            raise NotFoundError(f"the chain has no such receipt at height {row.height}", value=unit)
        try:
            return Proven(decode(WorkReceipt, row.value), row.header)
        except CodecError as error:
            raise NotFoundError("what was proven is no receipt of this version", value=unit) from error
