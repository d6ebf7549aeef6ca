"""Judges work for the validator that this node votes for: looks at what waits for judgement, and says what it found in orders.

Votes with a session key of the scope work. What was said and not taken up is said again; what can't be looked at yet (bytes that
nobody has) is left until it can be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from datalayer.upload import ContentError
from node.session_orders import VALID_FOR_BLOCKS, SessionOrders, load_key
from node.work.units import Units, UnitUnknownError
from node.work.verdict import Case, Verdict, judge
from omnitensor.protocol import limits
from omnitensor.protocol.bodies import Scope
from omnitensor.protocol.bodies.work import JobVote, ReceiptVote, WorkJudge
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.rows_work import JobStatus, ReceiptState, WorkReceipt
from omnitensor.protocol.types import Address, Hash
from omnitensor.protocol.work import JobKind
from state.reader import Reader
from state.schema import (
    ATTESTS,
    CHALLENGES,
    FINDINGS,
    JOBS,
    JOBS_BY_STATUS,
    RECEIPTS_BY_STATE,
    WORK_OUTPUTS,
    WORK_RECEIPTS,
    number,
)

LOOK_SECONDS: Final = 0.5
LOOKED_AT_MAX: Final = 512
"""Receipts, and jobs, that are looked at in one turn."""
REMEMBERED_MAX: Final = 4_096
RETRY_BLOCKS: Final = 8
"""What could not be looked at is tried again after so many blocks."""
ABSENT_BLOCKS: Final = 120
"""A job whose bytes could not be had for so long is one whose bytes are not to be had."""

log = structlog.get_logger("judge")

K = TypeVar("K")
V = TypeVar("V")

Place = tuple[Hash, int, Address]
"""Job, unit, worker."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An order on its way, and the height at which it is given up."""

    id: Hash
    until: int


class Judge:
    """One validator's. ``run`` until it is cancelled."""

    def __init__(
        self,
        key_file: Path,
        chain_id: str,
        units: Units,
        reader: Callable[[], Reader],
        next_nonce: Callable[[Address], int],
        submit: Callable[[bytes], Awaitable[Hash]],
        voter: Callable[[], Address | None],
        count: Callable[[str], Any],
    ) -> None:
        """``key_file`` may come later: it is read when it is there.

        ``voter`` is the account that this node votes for now, None when it votes for none; ``count`` gives a verdict's counter.
        """
        self._key_file = key_file
        self._chain_id = chain_id
        self._orders: SessionOrders | None = None
        self._units = units
        self._reader = reader
        self._next_nonce = next_nonce
        self._submit = submit
        self._voter = voter
        self._count = count
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._found: dict[tuple[Place, int, bool], Verdict] = {}
        """By place, height at which the outputs were shown, and whether it was challenged."""
        self._checked: dict[Hash, str] = {}
        """Jobs whose bytes were looked at: why they are not what they say, or nothing."""
        self._later: dict[Hash | Place, int] = {}
        """What could not be looked at, and the height at which it is tried again."""
        self._absent_since: dict[Hash, int] = {}
        self._sent: Sent | None = None
        self._warned = False
        self._failed = ""

    async def run(self) -> None:
        """Looks whenever there is a new head."""
        seen = -1
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            height = self._reader().head.height
            if height == seen:
                continue
            seen = height
            try:
                await self.step()
            except (ProtocolError, OSError) as error:
                if str(error) != self._failed:
                    log.error("work can't be judged now", error=str(error))
                self._failed = str(error)

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def step(self) -> None:
        """Looks at what waits, and sends one order about it; not while the last one is on its way."""
        reader = self._reader()
        voter = self._voter()
        if voter is None or self._on_its_way(reader):
            return
        waiting_jobs, waiting = self._jobs(reader, voter), self._receipts(reader, voter)
        if not waiting_jobs and not waiting:
            return
        orders = self._orders or self._load()
        if orders is None or orders.owner(reader) != voter:
            self._warn(reader, orders)
            return
        jobs = [vote for job in waiting_jobs if (vote := await self._job_vote(reader, job)) is not None]
        votes: list[ReceiptVote] = []
        for place, row in waiting:
            found = await self._receipt_vote(reader, place, row)
            if found is not None and not self._has_voted(reader, place, found, voter):
                votes.append(found)
            if len(votes) == limits.judged_per_order_max:
                break
        if jobs or votes:
            await self._send(
                orders, voter, WorkJudge(tuple(jobs[: limits.judged_per_order_max]), tuple(votes))
            )

    def _load(self) -> SessionOrders | None:
        """The key, as soon as it is there. Raises KeyFormatError or StorageError where the file holds none, or is not private."""
        if not self._key_file.exists():
            return None
        self._orders = SessionOrders(
            load_key(self._key_file), self._chain_id, Scope.WORK, "judgements of work"
        )
        return self._orders

    def _warn(self, reader: Reader, orders: SessionOrders | None) -> None:
        """Says once why this validator does not judge the work that waits."""
        if self._warned or (orders is not None and orders.owner(reader) is None):
            return  # the latter has been said
        self._warned = True
        reason = (
            "its key file is not there" if orders is None else "the key is not of the account it votes for"
        )
        log.error(
            "this validator does not judge work",
            reason=reason,
            file=str(self._key_file),
            remedy="otensor-cli api-key create --scope work, with the validator's account",
        )

    # -- what waits

    def _jobs(self, reader: Reader, voter: Address) -> list[Hash]:
        found = []
        for looked, (key, _) in enumerate(reader.scan(JOBS_BY_STATUS, JobStatus.POSTED)):
            if looked == LOOKED_AT_MAX:
                break
            job = Hash(key)
            attests = reader.get(ATTESTS, job)
            said = {vote.validator: vote.available for vote in attests.votes} if attests else {}
            if voter not in said and self._is_due(reader, job):
                found.append(job)
        return found

    def _receipts(self, reader: Reader, voter: Address) -> list[tuple[Place, WorkReceipt]]:
        found: list[tuple[Place, WorkReceipt]] = []
        for state in (ReceiptState.SHOWN, ReceiptState.CHALLENGED):
            for looked, (key, _) in enumerate(reader.scan(RECEIPTS_BY_STATE, state)):
                if looked == LOOKED_AT_MAX:
                    break
                job, unit, worker = WORK_RECEIPTS.split(key)
                place = (Hash(job), number(unit), Address(worker))
                row = reader.get(WORK_RECEIPTS, *place)
                if row is not None and worker != voter and self._is_due(reader, place):
                    found.append((place, row))
        return found

    def _is_due(self, reader: Reader, what: Hash | Place) -> bool:
        return self._later.get(what, 0) <= reader.head.height

    def _on_its_way(self, reader: Reader) -> bool:
        sent = self._sent
        if sent is None:
            return False
        placed = reader.receipt(sent.id)
        if placed is None and reader.head.height <= sent.until:
            return True
        if placed is not None and not placed.receipt.ok:
            log.info("judgements were refused", code=placed.receipt.code, reason=placed.receipt.reason)
        self._sent = None
        return False

    def _has_voted(self, reader: Reader, place: Place, vote: ReceiptVote, voter: Address) -> bool:
        findings = reader.get(FINDINGS, *place)
        return findings is not None and any(
            (one.validator, one.good, one.macs) == (voter, vote.good, vote.macs) for one in findings.votes
        )

    # -- looking

    async def _job_vote(self, reader: Reader, job_id: Hash) -> JobVote | None:
        """None where its bytes can't be had yet."""
        fault = self._checked.get(job_id)
        if fault is None:
            job = reader.get(JOBS, job_id)
            assert job is not None, "the index names jobs that there are"
            try:
                fault = await self._units.check(job)
            except (UnitUnknownError, ContentError):
                since = self._absent_since.setdefault(job_id, reader.head.height)
                self._put_off(reader, job_id)
                absent = reader.head.height >= since + ABSENT_BLOCKS
                return JobVote(job_id, False) if absent else None
            self._remember(self._checked, job_id, fault)
            if fault:
                log.warning("a job is not what it says", job=job_id.hex(), reason=fault)
        return JobVote(job_id, not fault)

    async def _receipt_vote(self, reader: Reader, place: Place, row: WorkReceipt) -> ReceiptVote | None:
        """None where what it depends on is not here yet."""
        challenged = row.state == ReceiptState.CHALLENGED
        key = (place, int(row.shown_at), challenged)
        verdict = self._found.get(key)
        if verdict is None:
            try:
                case = await self._case(reader, place, row)
            except (UnitUnknownError, ContentError) as error:
                log.info("a receipt can't be judged yet", unit=place[1], reason=str(error))
                self._put_off(reader, place)
                return None
            verdict = await asyncio.get_running_loop().run_in_executor(self._threads, partial(judge, case))
            self._remember(self._found, key, verdict)
            self._count("good" if verdict.good else "bad").inc()
            if not verdict.good:
                log.warning(
                    "a receipt is bad", job=place[0].hex(), unit=place[1], worker=place[2].hex(),
                    reason=verdict.reason,
                )  # fmt: skip
        return ReceiptVote(place[0], place[1], place[2], verdict.good, verdict.macs)

    async def _case(self, reader: Reader, place: Place, row: WorkReceipt) -> Case:
        """Everything that the verdict depends on. Raises UnitUnknownError, ContentError."""
        task = await self._units.task(*place, row.receipt.anchor)
        shown_in = reader.block(row.shown_at)
        if shown_in is None:
            raise UnitUnknownError("the block that fixed the outputs is not here", value=row.shown_at)
        outputs: bytes | None = None
        if row.kind != JobKind.SYNTHETIC:
            shown = reader.get(WORK_OUTPUTS, *place)
            if shown is None:
                raise UnitUnknownError("the outputs are not shown", value=place[1])
            outputs = shown.outputs if shown.content is None else await self._units.read(shown.content)
        challenge = reader.get(CHALLENGES, *place)
        proof = None if challenge is None else challenge.proof
        return Case(task, row.receipt, outputs, Hash(shown_in.header.beacon), proof)

    def _put_off(self, reader: Reader, what: Hash | Place) -> None:
        self._remember(self._later, what, reader.head.height + RETRY_BLOCKS)

    @staticmethod
    def _remember(kept: dict[K, V], key: K, value: V) -> None:
        """Keeps the newest only: what is forgotten is looked at again."""
        while len(kept) >= REMEMBERED_MAX:
            del kept[next(iter(kept))]
        kept[key] = value

    # -- saying

    async def _send(self, orders: SessionOrders, owner: Address, body: WorkJudge) -> None:
        reader = self._reader()
        try:
            encoded = orders.sign(owner, body, self._next_nonce(owner), reader)
            sent = await self._submit(encoded)
        except ProtocolError as error:
            log.warning("judgements can't be submitted now", code=error.code, reason=str(error))
            return
        self._sent = Sent(sent, reader.head.height + VALID_FOR_BLOCKS)
        log.info(
            "judged",
            jobs=len(body.jobs),
            good=sum(vote.good for vote in body.receipts),
            bad=sum(not vote.good for vote in body.receipts),
            transaction=sent.hex(),
        )
