"""A reviewer's seats: fetching a batch, committing a report, revealing it, each step on disk before it is taken.

A seat's report is on this disk from before it is sent until it is revealed; and on chain, sealed, so that another device
with the same key can reveal it. Nothing is committed twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from pathlib import Path
from typing import Final, Literal

import msgspec

from omnitensor.protocol.bodies import DuplicateOf, ReportCommit, ReportReveal, SeatDecline
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.reviews import REPORT_ITEM_BYTES, Flag, decode_report, report_commitment
from omnitensor.protocol.types import BatchId, ItemId
from omnitensor.sdk import results
from omnitensor.sdk.actor import AsyncActor
from omnitensor.sdk.batches import DataBatch, DataItem, ValidationResults
from omnitensor.sdk.content import download_file
from omnitensor.sdk.errors import (
    ConnectionFailed,
    InputError,
    NonceUsedError,
    NotFoundError,
    RefusedError,
    ResponseError,
    RpcError,
    WaitTimeout,
)
from omnitensor.sdk.fingerprints import fingerprint_of, near_duplicates
from omnitensor.sdk.orders import POLL_S, Order
from omnitensor.sdk.private_seats import Opened, PrivateSeat
from omnitensor.sdk.results import Assignment, hash_of

LOG: Final = logging.getLogger("omnitensor.sdk")
DOWNLOAD_ATTEMPTS: Final = 4
PARALLEL_DOWNLOADS: Final = 4
SIMILAR_CALLS_MAX: Final = 16
"""A node that has fingerprints to compute does so in several answers."""


class SeatWork(msgspec.Struct, frozen=True):
    """A report on its way, as it lies on disk."""

    batch: int
    round: int
    campaign: int
    report: str
    salt: str
    commit: Order | None = None
    committed: bool = False
    reveal: Order | None = None
    duplicates: tuple[DuplicateOf, ...] = ()
    """What items flagged as duplicates repeat; shown with the reveal."""


class Submitted(msgspec.Struct, frozen=True):
    """A report that is on chain. `state` is committed or revealed."""

    batch: int
    round: int
    campaign: int
    state: Literal["committed", "revealed"]
    commit_tx: str = ""
    reveal_tx: str = ""
    height: int = 0


class AsyncSeats(AsyncActor):
    """Works on the seats of one validator."""

    async def assignments(self, *, open_only: bool = True) -> list[Assignment]:
        """This validator's seats."""
        return await self.client.assignments((await self.wallet()).address, open_only=open_only)

    async def fetch(self, seat: Assignment) -> DataBatch:
        """The batch of a seat with the bytes of its items, verified; what is on disk already is not fetched again.

        Of a private campaign the plain files, for this user alone. Raises CampaignStateError while their keys may still come.
        """
        batch, campaign = await asyncio.gather(
            self.client.batch(seat.batch, seat.round), self.client.campaign(seat.campaign)
        )
        folder = self._file(await self._place(), seat.batch, seat.round).with_suffix("")
        self.home.ensure(folder)
        wallet = await self.wallet()
        private = await PrivateSeat.of(self.client, wallet, seat, campaign)
        gate = asyncio.Semaphore(PARALLEL_DOWNLOADS)

        async def one(position: int, item: results.BatchItem) -> DataItem:
            async with gate:
                found = await self._opened(item, folder, private)
            names = [category.name for category in campaign.spec.categories]
            return DataItem(
                position,
                item.item,
                item.media_type,
                item.content,
                item.contributor,
                item.tier,
                names[item.category] if item.category < len(names) else str(item.category),
                campaign.spec.instructions,
                found.path,
                plain_sha256=found.sha256,
                plain_size=found.size,
                fault=found.fault,
            )

        items = await asyncio.gather(*(one(place, item) for place, item in enumerate(batch.items)))
        near = await (self._near(seat.batch, seat.round) if private is None else self._near_within(items))
        items = [msgspec.structs.replace(item, near=near.get(item.item)) for item in items]
        return DataBatch(
            seat.batch,
            seat.round,
            seat.campaign,
            campaign.spec.title,
            campaign.spec.instructions,
            campaign.spec,
            items,
            folder,
            seat.commit_until,
            seat.reveal_until or 0,
            seat.fee,
        )

    async def commit(self, found: ValidationResults) -> Submitted:
        """Bind this validator to a report that nobody can read yet. Doing it again with the same scores changes nothing.

        Raises InputError when other scores were committed before, RefusedError when the seat takes no report any more.
        """
        report = found.report()
        wallet, chain_id, place = await self.wallet(), await self.client.chain_id(), await self._place()
        path = self._file(place, found.batch, found.round)
        with self.home.locked(path):
            work = self.home.read(path, SeatWork)
            if work is not None and work.commit is not None and bytes.fromhex(work.report) != report:
                if work.committed or not await self._withdrawn(work.commit):
                    raise InputError(
                        "other scores were committed for this batch already, and stand",
                        value=f"batch {found.batch}, round {found.round}",
                        remedy="wait for the reveal: review_loop() or finish() does it",
                    )
                work = None
            if work is None:
                salt = wallet.report_salt(chain_id, found.batch, found.round, report)
                work = SeatWork(
                    found.batch,
                    found.round,
                    found.campaign,
                    report.hex(),
                    salt.hex(),
                    duplicates=found.references(),
                )
                self.home.write(path, work)
            work = await self._commit(path, work)
        assert work.commit is not None
        return Submitted(work.batch, work.round, work.campaign, "committed", work.commit.id)

    async def decline(self, batch: int, round_: int) -> str:
        """Give a seat back at no cost, in the first blocks after the draw; the transaction's id. Raises RefusedError."""
        order = SeatDecline(BatchId(batch), round_)
        return (await self.client.execute(await self.wallet(), order)).id

    async def reveal(self, batch: int, round_: int) -> Submitted:
        """Open a committed report, from this disk or from the sealed copy on chain. Raises NotFoundError or RefusedError."""
        path = self._file(await self._place(), batch, round_)
        with self.home.locked(path):
            work = self.home.read(path, SeatWork) or await self._unsealed(batch, round_)
            if not work.committed and work.commit is not None:
                work = await self._commit(path, work)
            try:
                final = await self._reveal(path, work)
            except RefusedError:
                seat = await self.seat(batch, round_)
                if seat.state != "revealed":  # otherwise another device with this key was quicker
                    raise
                self._forget(path)
                return Submitted(batch, round_, seat.campaign, "revealed")
            self._forget(path)
        return Submitted(
            batch,
            round_,
            work.campaign,
            "revealed",
            work.commit.id if work.commit is not None else "",
            final.id,
            final.height or 0,
        )

    async def finish(self) -> list[Submitted]:
        """Reveal every committed report whose window is open, and see commits through that were interrupted."""
        return (await self._finish())[0]

    async def reveal_when_open(self, batch: int, round_: int, *, timeout_s: float | None = None) -> Submitted:
        """Wait for the reveal window of a committed report, and reveal. Raises WaitTimeout or RefusedError."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            seat = await self.seat(batch, round_)
            if seat.state == "revealed":
                return Submitted(batch, round_, seat.campaign, "revealed")
            if seat.state == "committed" and seat.phase == "reveal":
                return await self.reveal(batch, round_)
            if seat.state != "committed" or seat.phase == "done":
                raise RefusedError(
                    f"the report can't be revealed any more: the seat is {seat.state}, the batch {seat.phase}",
                    value=f"batch {batch}, round {round_}",
                    remedy="keep the program running until the reveal window",
                )
            await self._pause(until, f"the reveal window of batch {batch} has not opened")

    async def seat(self, batch: int, round_: int) -> Assignment:
        """This validator's seat in a batch. Raises NotFoundError."""
        for open_only in (True, False):
            for seat in await self.assignments(open_only=open_only):
                if (seat.batch, seat.round) == (batch, round_):
                    return seat
        raise NotFoundError(
            "this validator has no seat in that batch",
            value=f"batch {batch}, round {round_}",
            remedy="list the seats with: otensor-cli review list",
        )

    # -- inside

    async def _finish(self) -> tuple[list[Submitted], list[Assignment]]:
        """What `finish` did, and the open seats as they are afterwards."""
        done: list[Submitted] = []
        there = (
            await self._folders()
        )  # before the seats are asked for: whatever is fetched meanwhile is not among them
        seats = await self.assignments()
        acted = False
        for seat in seats:
            if seat.takes_report:
                acted |= await self._go_on(seat)
            elif seat.state == "committed" and seat.phase == "reveal":
                done.append(await self.reveal(seat.batch, seat.round))
        if acted or done:
            seats = await self.assignments()
        await self._sweep({(seat.batch, seat.round) for seat in seats}, there)
        return done, seats

    async def _commit(self, path: Path, work: SeatWork) -> SeatWork:
        """See the commit through: the one on disk, or one signed now and put there before it is sent."""
        if work.committed:
            return work
        try:
            return await self._send_commit(path, work)
        except RefusedError:  # final, and without effect
            self._forget(path)
            raise

    async def _send_commit(self, path: Path, work: SeatWork) -> SeatWork:
        if work.commit is not None:
            with contextlib.suppress(NonceUsedError):  # it can never be included, so another may be signed
                await self.client.deliver(work.commit)
                return self._keep(path, work, committed=True)
        wallet, chain_id = await self.wallet(), await self.client.chain_id()
        report, salt = bytes.fromhex(work.report), hash_of(work.salt)
        commitment = report_commitment(
            chain_id, BatchId(work.batch), work.round, wallet.address, salt, report
        )
        sealed = wallet.seal_report(chain_id, work.batch, work.round, report)
        body = ReportCommit(BatchId(work.batch), work.round, commitment, sealed)
        signed = work

        def journal(order: Order) -> None:
            nonlocal signed
            signed = self._keep(path, work, commit=order)

        await self.client.execute(wallet, body, journal=journal)
        return self._keep(path, signed, committed=True)

    async def _reveal(self, path: Path, work: SeatWork) -> results.TransactionResult:
        """Reveal with references of duplicates; where the chain takes those for wrong, without them: the scores count still."""
        try:
            return await self._send_reveal(path, work)
        except RefusedError as error:
            if error.code != "duplicate_reference" or not work.duplicates:
                raise
            LOG.warning("the references of duplicates in batch %d are refused: %s", work.batch, error)
        return await self._send_reveal(path, self._keep(path, work, duplicates=(), reveal=None))

    async def _send_reveal(self, path: Path, work: SeatWork) -> results.TransactionResult:
        if work.reveal is not None:
            with contextlib.suppress(NonceUsedError):
                return await self.client.deliver(work.reveal)

        def journal(order: Order) -> None:
            self._keep(path, work, reveal=order)

        body = ReportReveal(
            BatchId(work.batch), work.round, hash_of(work.salt), bytes.fromhex(work.report), work.duplicates
        )
        return await self.client.execute(await self.wallet(), body, journal=journal)

    async def _near(self, batch: int, round_: int) -> dict[int, results.Nearest]:
        """Which earlier item each item nearly repeats. Empty from a node that can't tell: review goes on without."""
        try:
            for _ in range(SIMILAR_CALLS_MAX):
                found = await self.client.similar(batch, round_)
                if not found.unfinished:
                    break
        except (ConnectionFailed, NotFoundError, ResponseError, RpcError) as error:
            LOG.info("near duplicates of batch %d are not looked for: %s", batch, error)
            return {}
        return {item.item: item.nearest for item in found.items if item.nearest is not None}

    async def _near_within(self, items: list[DataItem]) -> dict[int, results.Nearest]:
        """Which earlier item of their batch private items nearly repeat: no node can tell, and of others nobody here reads."""
        bits_max = (await self.client.params()).near_duplicate_bits

        def look() -> dict[int, results.Nearest]:
            prints = []
            for item in sorted(items, key=lambda each: each.item):
                made = fingerprint_of(item.path) if item.path is not None else None
                if made is not None:
                    prints.append((item.item, made))
            near = near_duplicates(prints, bits_max)
            return {each.item: results.Nearest(each.of, each.distance) for each in near}

        return await asyncio.to_thread(look)

    async def _unsealed(self, batch: int, round_: int) -> SeatWork:
        """The report of a seat from the chain's sealed copy, checked against its commitment."""
        wallet, chain_id = await self.wallet(), await self.client.chain_id()
        found = await self.client.sealed(batch, round_, wallet.address)
        report = wallet.open_report(chain_id, batch, round_, bytes.fromhex(found.sealed))
        salt = wallet.report_salt(chain_id, batch, round_, report)
        commitment = report_commitment(chain_id, BatchId(batch), round_, wallet.address, salt, report)
        if commitment != hash_of(found.commitment):
            raise ResponseError("the sealed report is not the committed one", value=found.commitment)
        seat = await self.seat(batch, round_)
        return SeatWork(
            batch,
            round_,
            seat.campaign,
            report.hex(),
            salt.hex(),
            committed=True,
            duplicates=await self._references(batch, round_, report),
        )

    async def _references(self, batch: int, round_: int, report: bytes) -> tuple[DuplicateOf, ...]:
        """What the items flagged in a report repeat, found anew: the sealed copy holds scores and flags alone."""
        if not any(flags & Flag.DUPLICATE for flags in report[3::REPORT_ITEM_BYTES]):
            return ()
        near = await self._near(batch, round_)
        items = (await self.client.batch(batch, round_)).items
        scores = decode_report(report, len(items))
        return tuple(
            DuplicateOf(place, ItemId(near[item.item].item))
            for place, (item, score) in enumerate(zip(items, scores, strict=True))
            if score.flags & Flag.DUPLICATE and item.item in near
        )

    async def _withdrawn(self, order: Order) -> bool:
        """Whether a saved commit never took effect and never can."""
        try:
            await self.client.deliver(order)
        except (NonceUsedError, RefusedError):
            return True
        return False

    async def _go_on(self, seat: Assignment) -> bool:
        """Send an interrupted commit of an open seat; whether there was one."""
        path = self._file(await self._place(), seat.batch, seat.round)
        work = self.home.read(path, SeatWork)
        if work is not None and work.commit is not None and not work.committed:
            with self.home.locked(path), contextlib.suppress(RefusedError):
                await self._commit(path, work)
            return True
        return False

    async def _folders(self) -> list[Path]:
        """Folders of batches that were fetched, with their files, which may be private ones in plain."""
        folder = self.home.folder / "work" / "reviews" / await self._place()
        return await asyncio.to_thread(lambda: [path for path in folder.glob("*-*") if path.is_dir()])

    async def _sweep(self, open_seats: set[tuple[int, int]], folders: list[Path]) -> None:
        """Drop what lies on disk of seats that are over, of those that never reported too."""
        kept = {f"{batch}-{round_}" for batch, round_ in open_seats}
        for path in folders:
            if path.name not in kept:
                await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        folder = self.home.folder / "work" / "reviews" / await self._place()
        for path in list(folder.glob("*.json")) if folder.is_dir() else ():
            work = self.home.read(path, SeatWork)
            if work is not None and (work.batch, work.round) not in open_seats:
                self._forget(path)

    async def _opened(self, item: results.BatchItem, folder: Path, private: PrivateSeat | None) -> Opened:
        if private is None:
            return Opened(await self._bytes_of(item, folder))
        target = folder / f"{item.item}-{item.content.chunk_root[:16]}.plain"
        return await private.open(item, target, lambda each: self._bytes_of(each, folder))

    async def _bytes_of(self, item: results.BatchItem, folder: Path) -> Path | None:
        path = folder / f"{item.item}-{item.content.chunk_root[:16]}"
        if path.exists():
            return path
        try:
            await download_file(
                self.client.transport, item.content.content_id(), path, attempts=DOWNLOAD_ATTEMPTS
            )
        except (ConnectionFailed, NotFoundError, ResponseError) as error:
            LOG.warning("item %d can't be had: %s", item.item, error)
            return None
        except OSError as error:
            raise StorageError(
                f"an item can't be written ({error.strerror})", value=path, remedy="make room on this disk"
            ) from error
        return path

    async def _pause(self, until: float | None, reason: str) -> None:
        if until is not None and time.monotonic() >= until:
            raise WaitTimeout(reason, value=self.client.endpoint, remedy="ask again later; nothing is lost")
        left = POLL_S if until is None else min(POLL_S, max(0.05, until - time.monotonic()))
        await self.client.ticker.tick(left)

    def _file(self, place: str, batch: int, round_: int) -> Path:
        return self.home.work("reviews", place, f"{batch}-{round_}.json")

    def _keep(self, path: Path, work: SeatWork, **changes: object) -> SeatWork:
        work = msgspec.structs.replace(work, **changes)
        self.home.write(path, work)
        return work

    def _forget(self, path: Path) -> None:
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        path.unlink(missing_ok=True)
        path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
