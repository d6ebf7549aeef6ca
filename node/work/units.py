"""Units as everybody can know them: from the chain, and from content that this node has or fetches. Judges nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

import numpy as np

from consensus.work.fingerprint import content_rows, features
from consensus.work.programs import Program
from datalayer.store import ContentStore
from datalayer.upload import ContentError
from node.fetching import ContentFetcher
from node.work.task import FINGERPRINT, SYNTHETIC, Task
from omnitensor.protocol import limits
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.limits import model_bytes_max
from omnitensor.protocol.models import OPERAND_MAX, ModelError, read_model
from omnitensor.protocol.rows_work import Job
from omnitensor.protocol.types import Address, Hash, Height
from omnitensor.protocol.work import (
    SYNTHETIC_ROWS,
    SYNTHETIC_TILE,
    SYNTHETIC_WIDTH,
    JobKind,
    LayerShape,
    synthetic_job,
    unit_bits,
)
from state.ledger import epochs
from state.reader import Reader
from state.schema import BATCHES, ITEMS, JOBS

T = TypeVar("T")

SYNTHETIC_LAYERS: Final = (LayerShape(SYNTHETIC_WIDTH, SYNTHETIC_WIDTH),)
MODELS_KEPT: Final = 4
CHUNK: Final = limits.chunk_bytes


class UnitUnknownError(ProtocolError):
    """Bytes that a unit is made of are nowhere to be had, or a block that it names is not here."""

    code = "unit"


@dataclass(frozen=True, slots=True)
class Moment:
    """What a unit's noise takes from the chain: hash of the anchor block, and the beacon of its epoch."""

    anchor: Hash
    beacon: Hash


class Units:
    """Reads units. Content that is not here is fetched from peers, and kept as any content is."""

    def __init__(
        self,
        chain_id: str,
        genesis_hash: Hash,
        reader: Callable[[], Reader],
        content: ContentStore,
        disk: ThreadPoolExecutor,
        fetcher: ContentFetcher,
    ) -> None:
        self.chain_id: Final = chain_id
        self._genesis_hash = genesis_hash
        self._reader = reader
        self._content = content
        self._disk = disk
        self._fetcher = fetcher
        self._models = lru_cache(maxsize=MODELS_KEPT)(self._read_model)

    async def task(self, job_id: Hash, unit: int, worker: Address, anchor: Height) -> Task:
        """A unit as its worker runs it. Raises UnitUnknownError, ContentError, StorageError."""
        reader = self._reader()
        moment = self.moment(reader, anchor)
        if job_id == synthetic_job(self.chain_id, epoch_of(anchor, reader.params())):
            bits = unit_bits(SYNTHETIC_LAYERS, SYNTHETIC_ROWS, SYNTHETIC_TILE)
            return Task(job_id, unit, worker, moment.anchor, moment.beacon, SYNTHETIC, b"", bits)
        job = reader.get(JOBS, job_id)
        if job is None:
            raise UnitUnknownError("there is no such job", value=job_id)
        rows = await self.rows(reader, job, unit)
        model = await self.model(job)
        bits = unit_bits(job.layers, job.rows_of(unit), job.tile)
        return Task(job_id, unit, worker, moment.anchor, moment.beacon, model, rows, bits)

    def moment(self, reader: Reader, anchor: Height) -> Moment:
        """Raises UnitUnknownError where the block or its epoch is forgotten here."""
        block = reader.block(anchor)
        epoch = epoch_of(anchor, reader.params())
        row = epochs.validator_set(reader, epoch)
        if block is None or (epoch and row is None):
            raise UnitUnknownError("the anchor block is not here", value=anchor)
        return Moment(block.hash, self._genesis_hash if not epoch or row is None else Hash(row.seed))

    # -- models

    async def model(self, job: Job) -> bytes:
        """A job's model as a task has it. Raises UnitUnknownError where it can't be had."""
        if job.kind == JobKind.FINGERPRINT or job.model is None:
            return FINGERPRINT
        await self._have(job.model)
        return await self._on_disk(lambda: self._models(job.model))

    def _read_model(self, content: ContentId) -> bytes:
        if content.size > model_bytes_max:
            raise ModelError("a model is larger than models may be", value=content.size)
        return self._read(content, 0, content.size)

    # -- rows

    async def rows(self, reader: Reader, job: Job, unit: int) -> bytes:
        """The rows of a unit, row by row. Raises UnitUnknownError where they can't be had."""
        width = job.layers[0].inputs
        first = unit * job.unit_rows
        if job.data is not None:
            data = job.data
            await self._have(data)
            return await self._on_disk(lambda: self._read(data, first * width, job.rows_of(unit) * width))
        contents = self._contents(reader, job)[first : first + job.rows_of(unit)]
        for content in contents:
            await self._have(content)
        return await self._on_disk(lambda: self._operands(contents, width))

    def _contents(self, reader: Reader, job: Job) -> list[ContentId]:
        """The items of the batch that one of the chain's own jobs is about."""
        batch = reader.get(BATCHES, job.batch)
        assert batch is not None, "batches are never deleted"
        found = []
        for number in batch.items:
            item = reader.get(ITEMS, number)
            assert item is not None, "items are never deleted"
            found.append(item.content)
        return found

    def _operands(self, contents: list[ContentId], width: int) -> bytes:
        found = []
        for content in contents:
            head = self._read(content, 0, min(content.size, limits.fingerprint_bytes_max))
            found.append(features(head))
        return bytes(content_rows(np.stack(found), width))

    # -- is a job what it says?

    async def check(self, job: Job) -> str:
        """Why a job's bytes are not what it says, or nothing. Reads all of them. Raises UnitUnknownError, ContentError."""
        reader = self._reader()
        if job.model is not None:
            await self._have(job.model)
            fault = await self._on_disk(lambda: self._model_fault(job))
            if fault:
                return fault
        if job.data is None:
            for content in self._contents(reader, job):
                await self._have(content)
            return ""
        await self._have(job.data)
        return await self._on_disk(lambda: self._data_fault(job))

    def _model_fault(self, job: Job) -> str:
        assert job.model is not None
        try:
            program = Program.of(read_model(self._models(job.model)))
        except ProtocolError as error:
            return f"the model is none: {error}"
        shapes = tuple(LayerShape(layer.inputs, layer.outputs) for layer in program.layers)
        if (program.root, shapes, program.tile) != (job.model_root, job.layers, job.tile):
            return "the model's root, layers or tile are others than the job says"
        return ""

    def _data_fault(self, job: Job) -> str:
        assert job.data is not None
        if job.data.size != job.rows * job.layers[0].inputs:
            return "the data have another size than the job's rows"
        for start in range(0, job.data.size, CHUNK):
            part = np.frombuffer(self._read(job.data, start, min(CHUNK, job.data.size - start)), np.int8)
            if int(part.max()) > OPERAND_MAX or int(part.min()) < -OPERAND_MAX:
                return f"a number of the data is beyond {OPERAND_MAX}"
        return ""

    # -- bytes

    async def read(self, content: ContentId) -> bytes:
        """A whole content of a size that the chain allows. Raises UnitUnknownError, ContentError."""
        await self._have(content)
        return await self._on_disk(lambda: self._read(content, 0, content.size))

    async def _have(self, content: ContentId) -> None:
        held = await self._on_disk(lambda: self._content.stat(content.chunk_root))
        if held == content or (held is None and await self._fetcher.fetch(content)):
            return
        raise UnitUnknownError("content of a unit can't be had now", value=content.chunk_root)

    def _read(self, content: ContentId, start: int, size: int) -> bytes:
        parts: list[bytes] = []
        end = start + size
        while start < end:
            part = self._content.read_range(content.chunk_root, start, min(CHUNK, end - start))
            if not part:
                raise ContentError("content is shorter than it says", value=content.chunk_root)
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)
