"""Having a model run by the chain's workers: post, wait, check what comes back against the chain, write it down.

Each step is on disk before it is taken: the same command, started again, goes on where it was and never posts or pays twice.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from omnitensor.light import ProofError
from omnitensor.protocol import limits, merkle
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.bodies import JobPost
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.job_places import place_charge
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.models import ModelFile, read_model
from omnitensor.protocol.rows_work import ReceiptState
from omnitensor.protocol.types import Address, Amount, Hash, Height
from omnitensor.protocol.work import LayerShape, outputs_root, proven_macs, unit_macs
from omnitensor.sdk.actor import AsyncActor, async_of, made_in_loop
from omnitensor.sdk.client import Client
from omnitensor.sdk.content import download_file, file_content, upload_file
from omnitensor.sdk.errors import (
    FileError,
    InputError,
    NonceUsedError,
    RefusedError,
    ResponseError,
    WaitTimeout,
)
from omnitensor.sdk.home import Home
from omnitensor.sdk.loops import Blocking, blocking
from omnitensor.sdk.orders import POLL_S, Order, succeeded
from omnitensor.sdk.results import hash_of
from omnitensor.sdk.wallet import Wallet
from omnitensor.sdk.work_reads import JobInfo, OutputsInfo

FEE_UNIT: Final = Amount(1_000_000)
"""nanoOMNIT to each worker of a unit, unless told otherwise."""
UNIT_ROWS: Final = 1_024
DEADLINE_BLOCKS: Final = 3_600
PLACES_AHEAD: Final = 16
"""So many jobs may be posted in between, and a plan's ``place_max`` still pays for a place."""
WAIT_S: Final = 24 * 3_600.0
OUTPUTS_TRIES: Final = 30


class ComputeMoment(msgspec.Struct, frozen=True):
    """Something to show while a job is on its way."""

    stage: str
    text: str
    done: int = 0
    total: int = 0


ComputeWatch = Callable[[ComputeMoment], None]


class Plan(msgspec.Struct, frozen=True):
    """A job that could be posted: what it is, and what it costs."""

    model: Path
    rows_file: Path
    model_root: str
    layers: tuple[LayerShape, ...]
    tile: int
    rows: int
    unit_rows: int
    replicas: int
    fee_unit: int
    burn_unit: int
    deadline_blocks: int
    place: int = 0
    """nanoOMNIT that would burn now for a place among open jobs, whatever becomes of it; nothing while few are open,"""
    place_max: int = 0
    """and that may burn at most, since others post as well."""

    @property
    def units(self) -> int:
        return -(-self.rows // self.unit_rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one replica of everything."""
        return unit_macs(self.layers, self.rows)

    @property
    def escrow(self) -> int:
        """nanoOMNIT that are held for it; what is not spent returns."""
        return self.units * self.replicas * (self.fee_unit + self.burn_unit)


class Work(msgspec.Struct, frozen=True):
    """A job under way, as it lies on disk."""

    genesis_hash: str
    account: str
    order: Order | None = None
    job: str = ""


class Computed(msgspec.Struct, frozen=True):
    """A job whose outputs are here. nanoOMNIT; what is paid, burns and returns waits until nobody can object any more."""

    job: str
    output: Path
    rows: int
    units: int
    paid: int
    burned: int
    refunded: int


def plan(
    model: str | Path,
    rows: str | Path,
    *,
    fee_unit: int = FEE_UNIT,
    burn_unit: int | None = None,
    base_price: int = 0,
    replicas: int = 1,
    unit_rows: int = UNIT_ROWS,
    deadline_blocks: int = DEADLINE_BLOCKS,
) -> Plan:
    """What a model and a file of rows (a signed byte a number) come to. Raises InputError, FileError.

    ``base_price``: nanoOMNIT for 2**30 multiply-accumulates; without ``burn_unit`` so much burns that the work counts in full.
    """
    model, rows = Path(model), Path(rows)
    file = _model(model)
    layers = tuple(LayerShape(layer.inputs, layer.outputs) for layer in file.layers)
    count = _row_count(rows, file.layers[0].inputs)
    unit_rows = min(unit_rows, count)
    if not 1 <= unit_rows <= limits.unit_rows_max:
        raise InputError("a unit has so many rows", value=unit_rows, remedy=f"1 to {limits.unit_rows_max}")
    if -(-count // unit_rows) > limits.job_units_max:
        raise InputError(
            f"more than {limits.job_units_max} units",
            value=count,
            remedy="give larger units with --unit-rows",
        )
    if not 1 <= replicas <= limits.job_replicas_max:
        raise InputError("so many replicas", value=replicas, remedy=f"1 to {limits.job_replicas_max}")
    if burn_unit is None:
        burn_unit = -(-proven_macs(layers, unit_rows, file.tile) * base_price >> 30)
    return Plan(
        model,
        rows,
        file.root.hex(),
        layers,
        file.tile,
        count,
        unit_rows,
        replicas,
        fee_unit,
        burn_unit,
        deadline_blocks,
    )


def _model(path: Path) -> ModelFile:
    try:
        with path.open("rb") as file:
            data = file.read(limits.model_bytes_max + 1)
    except OSError as error:
        raise FileError(
            f"the model can't be read ({error.strerror})", value=path, remedy="check its name"
        ) from error
    try:
        return read_model(data)
    except ProtocolError as error:
        raise InputError(
            f"the file holds no model: {error.reason}",
            value=path,
            remedy="write one with: otensor-cli model export",
        ) from error


def _row_count(path: Path, inputs: int) -> int:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise FileError(
            f"the rows can't be read ({error.strerror})", value=path, remedy="check the name"
        ) from error
    if not size or size % inputs:
        raise InputError(
            f"the model takes rows of {inputs} bytes, and the file is not made of whole ones",
            value=f"{size} bytes",
            remedy="write a signed byte a number, row by row: otensor-cli model run MODEL --rows FILE --rows-to FILE",
        )
    if size > limits.job_data_bytes_max:
        raise InputError(
            "the rows are too many for one job",
            value=f"{size} bytes",
            remedy=f"at most {limits.job_data_bytes_max} bytes: make several jobs of them",
        )
    return size // inputs


class AsyncCompute(AsyncActor):
    """Posts jobs and fetches what comes of them."""

    async def plan(
        self,
        model: str | Path,
        rows: str | Path,
        *,
        fee_unit: int = FEE_UNIT,
        burn_unit: int | None = None,
        replicas: int = 1,
        unit_rows: int = UNIT_ROWS,
        deadline_blocks: int = DEADLINE_BLOCKS,
    ) -> Plan:
        """As the function ``plan``, at the chain's base price, with what a place among the jobs that are open now costs."""
        params, status = await asyncio.gather(self.client.params(), self.client.work_status(1))
        made = await asyncio.to_thread(
            plan,
            model,
            rows,
            fee_unit=fee_unit,
            burn_unit=burn_unit,
            base_price=params.work_base_price,
            replicas=replicas,
            unit_rows=unit_rows,
            deadline_blocks=deadline_blocks,
        )
        taken = status.jobs_open
        return msgspec.structs.replace(
            made,
            place=place_charge(taken, deadline_blocks, params),
            place_max=place_charge(taken + PLACES_AHEAD, deadline_blocks, params),
        )

    async def run(
        self,
        plan: Plan,
        output: str | Path,
        watch: ComputeWatch | None = None,
        *,
        timeout_s: float = WAIT_S,
    ) -> Computed:
        """Post a job, or go on with the same one, and write its outputs when all of them stand.

        Outputs are rows, one after the other, a signed byte a number. Raises FundsError, RefusedError, InputError where the job
        ended without them, TrustError before anything is paid where no block is trusted from which to verify, ProofError where
        what a node serves is not what the chain agreed on, WaitTimeout.
        """
        tell = watch if watch is not None else _silence
        # Before anything is paid: what comes back is believed only under a header that is verified from a block trusted now.
        await self.client.verified_head()
        model, data = await asyncio.gather(
            asyncio.to_thread(file_content, plan.model), asyncio.to_thread(file_content, plan.rows_file)
        )
        path = self.home.work("jobs", await self._place(), _name(plan, model, data) + ".json")
        with self.home.locked(path):
            job = await self._posted(path, plan, model, data, tell)
            found = await self._wait(job, tell, timeout_s)
            await self._fetch(plan, job, found, Path(output), tell)
            path.unlink(missing_ok=True)
        return Computed(job, Path(output), plan.rows, plan.units, *found.cost, found.returns)

    # -- posting

    async def _posted(
        self, path: Path, plan: Plan, model: ContentId, data: ContentId, tell: ComputeWatch
    ) -> str:
        identity, wallet = await self.client.identity(), await self.wallet()
        work = self.home.read(path, Work) or Work(identity.genesis_hash, wallet.text)
        if work.job:
            tell(ComputeMoment("posted", f"going on with job {work.job}"))
            return work.job
        for file, content in ((plan.model, model), (plan.rows_file, data)):
            await self._upload(wallet, identity.chain_id, file, content, tell)
        for _ in range(2):
            if work.order is None:
                work = await self._sign(path, work, plan, model, data)
            assert work.order is not None
            try:
                final = succeeded(await self.client.deliver(work.order))
                break
            except NonceUsedError:  # it never can be included: signing anew pays nothing twice
                work = msgspec.structs.replace(work, order=None)
            except RefusedError:  # final, and without effect: the next attempt signs another
                self.home.write(path, msgspec.structs.replace(work, order=None))
                raise
        else:
            raise NonceUsedError("other transactions keep taking the account's number", value=wallet.text)
        named = [event["job"] for event in final.receipt.events if "job" in event] if final.receipt else []
        if not named:
            raise ResponseError("the node's receipt does not name the job", value=final.id)
        work = msgspec.structs.replace(work, job=str(named[0]))
        self.home.write(path, work)
        tell(ComputeMoment("posted", f"job {work.job}: {format_omnit(plan.escrow)} are held for it"))
        return work.job

    async def _sign(self, path: Path, work: Work, plan: Plan, model: ContentId, data: ContentId) -> Work:
        status, wallet = await self.client.status(), await self.wallet()
        body = JobPost(
            model=model,
            model_root=Hash(bytes.fromhex(plan.model_root)),
            data=data,
            layers=plan.layers,
            tile=plan.tile,
            rows=plan.rows,
            unit_rows=plan.unit_rows,
            replicas=plan.replicas,
            fee_unit=Amount(plan.fee_unit),
            burn_unit=Amount(plan.burn_unit),
            deadline=Height(status.height + plan.deadline_blocks),
            place_max=Amount(plan.place_max),
        )
        work = msgspec.structs.replace(work, order=await self.client.sign(wallet, body))
        self.home.write(path, work)
        return work

    async def _upload(
        self, wallet: Wallet, chain_id: str, file: Path, content: ContentId, tell: ComputeWatch
    ) -> None:
        def progress(done: int, total: int) -> None:
            tell(ComputeMoment("upload", file.name, done, total))

        await upload_file(self.client.transport, wallet, chain_id, file, content, progress)

    # -- waiting

    async def _wait(self, job: str, tell: ComputeWatch, timeout_s: float) -> JobInfo:
        """Until every unit stands. Raises InputError where the job ends before."""
        until = asyncio.get_running_loop().time() + timeout_s
        told, seen = "", 0
        while True:
            found = await self.client.job(job)
            if (await self.client.status()).epoch != seen:  # nodes forget who voted in epochs long over
                seen = (await self.client.verified_head()).header.epoch
            text = _progress(found)
            if text != told:
                tell(ComputeMoment("units", text, found.done, found.units))
                told = text
            if found.done == found.units:  # what is paid for them waits until nobody can object any more
                return found
            if found.is_over:
                raise InputError(
                    f"the job ended as {found.status}, with {found.done} of {found.units} units;"
                    f" {format_omnit(found.refunded)} came back",
                    value=job,
                    remedy="offer a higher fee or a later deadline, and see that the model and the rows are what they say",
                )
            if (left := until - asyncio.get_running_loop().time()) <= 0:
                raise WaitTimeout(
                    f"the job has {found.done} of {found.units} units",
                    value=job,
                    remedy="the same command, started again, goes on with it",
                )
            await self.client.ticker.tick(min(left, POLL_S))

    # -- fetching

    async def _fetch(self, plan: Plan, job: str, found: JobInfo, output: Path, tell: ComputeWatch) -> None:
        """Every unit's outputs, each checked against the root in its receipt, which is proven under a final header."""
        part = output.with_name(output.name + ".part")
        with part.open("wb") as file:
            for unit in range(found.units):
                data = await self._outputs(plan, job, unit, part)
                await asyncio.to_thread(file.write, data)
                tell(ComputeMoment("fetched", f"unit {unit}", unit + 1, found.units))
            await asyncio.to_thread(os.fsync, file.fileno())
        await asyncio.to_thread(os.replace, part, output)

    async def _outputs(self, plan: Plan, job: str, unit: int, beside: Path) -> bytes:
        shown = await self.client.job_outputs(job, unit)
        worker = parse_address(shown.worker)
        receipt = await self.client.proven_work_receipt(hash_of(job), unit, worker)
        if receipt.value.state != ReceiptState.GOOD:
            raise ProofError("the node shows outputs that do not stand", value=unit)
        data = await self._bytes(shown, beside)
        rows = min(plan.unit_rows, plan.rows - unit * plan.unit_rows)
        if len(data) != rows * plan.layers[-1].outputs:
            raise ProofError("the node serves outputs of another size", value=len(data))
        width = plan.layers[-1].outputs
        if _root(worker, data, width) != receipt.value.receipt.outputs_root:
            raise ProofError("the node serves other outputs than the chain agreed on", value=unit)
        return data

    async def _bytes(self, shown: OutputsInfo, beside: Path) -> bytes:
        if shown.outputs is not None:
            return bytes.fromhex(shown.outputs)
        if shown.content is None:
            raise ResponseError("the node names no outputs", value=shown.unit)
        content = shown.content.content_id()
        target = beside.with_name(f"{beside.name}.{shown.unit}")
        try:
            await download_file(self.client.transport, content, target, attempts=OUTPUTS_TRIES)
            return await asyncio.to_thread(target.read_bytes)
        finally:
            target.unlink(missing_ok=True)


def _root(worker: Address, data: bytes, width: int) -> Hash:
    rows = merkle.root_of(data[at : at + width] for at in range(0, len(data), width))
    return outputs_root(worker, rows)


def _progress(found: JobInfo) -> str:
    if found.status == "posted":
        return (
            "waits for an epoch: its model is new"
            if found.available
            else "waits for validators to have its bytes"
        )
    return f"{found.status}, {found.done} of {found.units} units stand, {found.under_way} receipts under way"


def _name(plan: Plan, model: ContentId, data: ContentId) -> str:
    """Of a job under way: the same model, rows and terms are the same job."""
    terms = f"{plan.unit_rows}:{plan.replicas}:{plan.fee_unit}:{plan.burn_unit}"
    digest = sha256(model.chunk_root + data.chunk_root + terms.encode())
    return digest.hexdigest()[:32]


def _silence(_: ComputeMoment) -> None:
    pass


class Compute(Blocking[AsyncCompute]):
    """The blocking twin of AsyncCompute."""

    def __init__(
        self,
        wallet: Wallet,
        *,
        endpoint: str | None = None,
        client: Client | None = None,
        home: Home | str | Path | None = None,
    ) -> None:
        super().__init__(
            made_in_loop(lambda: AsyncCompute(wallet, endpoint=endpoint, client=async_of(client), home=home))
        )

    plan = blocking(AsyncCompute.plan)
    run = blocking(AsyncCompute.run)
