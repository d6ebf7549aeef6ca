"""Evidence that this node holds, verified and bounded, until it is on chain or too old. Lives on the event loop.

Takes what consensus finds here and what peers pass on; slashes nobody and submits nothing (``reporting`` does).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from consensus.schedule.leaders import LeaderSchedule
from omnitensor.protocol import bls, limits
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.conviction import convicted
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.private_files import read_private, write_private
from omnitensor.protocol.types import Address, Epoch, Hash
from state.ledger.evidence import leaders_of, open_culprits
from state.reader import Reader

log = structlog.get_logger("evidence")


Accused = tuple[Address, Epoch | None]
"""An account, and the epoch in which it led as a worker, each of which counts for itself; None: as a voter, convicted once."""


class HeldEvidence:
    """One piece of evidence for each validator, and for each worker and epoch, that is not convicted by another: so nobody can
    fill it but with real faults.

    Workers, of whom there are more and whose faults are cheap, have a part of the room.
    """

    def __init__(self, reader: Callable[[], Reader]) -> None:
        self._reader = reader
        self._held: Final[dict[Hash, tuple[Evidence, frozenset[Accused]]]] = {}

    def all(self) -> tuple[Evidence, ...]:
        """What waits to be on chain, the oldest first."""
        return tuple(evidence for evidence, _ in self._held.values())

    def wanted(self, evidence: Evidence) -> LeaderSchedule | None:
        """Who voted and led in the epoch of evidence; None where that is forgotten, or it says nothing new. Verifies nothing."""
        if evidence.id in self._held or len(self._held) >= limits.evidence_pool_max:
            return None
        reader = self._reader()
        leaders = leaders_of(reader, evidence)
        if leaders is None:
            return None
        accused = {each for _, culprits in self._held.values() for each in culprits}
        news = _accused(reader, evidence, leaders) - accused
        workers = sum(led is not None for _, led in accused)
        room = workers < limits.evidence_of_workers_max or any(led is None for _, led in news)
        return leaders if news and room else None

    def put(self, evidence: Evidence, leaders: LeaderSchedule) -> frozenset[Address]:
        """Holds evidence that is wanted and was verified; whom it convicts."""
        accused = _accused(self._reader(), evidence, leaders)
        self._held[evidence.id] = (evidence, accused)
        return frozenset(address for address, _ in accused)

    def forget_settled(self) -> bool:
        """Drops what is on chain by now, and what is older than the evidence window; whether there was any."""
        reader = self._reader()
        settled = [key for key, (evidence, _) in self._held.items() if not _open(reader, evidence)]
        for key in settled:
            del self._held[key]
        return bool(settled)


class EvidencePool:
    """``HeldEvidence``, kept in a file, with signatures verified on threads."""

    def __init__(
        self, path: Path, chain_id: str, reader: Callable[[], Reader], crypto: Executor, disk: Executor
    ) -> None:
        """``path``: the file that keeps the pool across restarts."""
        self._path = path
        self._chain_id = chain_id
        self._crypto = crypto
        self._disk = disk
        self._held: Final = HeldEvidence(reader)
        self._saving = asyncio.Lock()

    def held(self) -> tuple[Evidence, ...]:
        """What waits to be on chain, the oldest first."""
        return self._held.all()

    async def take(self, evidence: Evidence) -> bool:
        """Whether it is new and convicts somebody whom nothing else does: then it is held. Raises EvidenceError when forged."""
        leaders = self._held.wanted(evidence)
        if leaders is None:
            return False
        work = partial(convicted, evidence, self._chain_id, leaders.table, bls.SCHEME, leaders.worker_keys)
        await asyncio.get_running_loop().run_in_executor(self._crypto, work)
        if self._held.wanted(evidence) is None:  # another piece may have come meanwhile
            return False
        culprits = self._held.put(evidence, leaders)
        log.error(
            "a validator or worker contradicts itself",
            fault=evidence.fault.label,
            epoch=evidence.epoch,
            view=evidence.view,
            culprits=[address.hex() for address in sorted(culprits)],
        )
        await self._save()
        return True

    async def forget_settled(self) -> None:
        """Drops what is on chain by now, and what is older than the evidence window."""
        if self._held.forget_settled():
            await self._save()

    async def load(self) -> None:
        """Takes in what was held before the last stop. A damaged file is set aside: evidence comes again from peers."""
        try:
            if not self._path.exists():
                return
            data = read_private(self._path, limits.evidence_file_bytes_max)
            kept: tuple[Evidence, ...] = decode(tuple[Evidence, ...], data)
        except ProtocolError as error:
            log.warning("the evidence kept from before can't be read", reason=str(error))
            return
        for evidence in kept[: limits.evidence_pool_max]:
            try:
                await self.take(evidence)
            except ProtocolError as error:
                log.warning("evidence kept from before does not convict", reason=str(error))

    async def _save(self) -> None:
        async with self._saving:
            data = encode(self.held())
            work = partial(write_private, self._path, data, replace=True)
            try:
                await asyncio.get_running_loop().run_in_executor(self._disk, work)
            except ProtocolError as error:
                log.error("evidence can't be kept", reason=str(error))


def _accused(reader: Reader, evidence: Evidence, leaders: LeaderSchedule) -> frozenset[Accused]:
    """Whom evidence would convict, and as what: an account may be both, in epochs of their own."""
    table, led = leaders.table, evidence.epoch
    found = open_culprits(reader, evidence, leaders)
    return frozenset((address, led if table.index_of(address) is None else None) for address in found)


def _open(reader: Reader, evidence: Evidence) -> bool:
    """Whether evidence would still convict somebody on chain."""
    leaders = leaders_of(reader, evidence)
    return leaders is not None and bool(open_culprits(reader, evidence, leaders))
