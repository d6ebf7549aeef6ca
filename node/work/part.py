"""The part of a node that has to do with work: a validator's judge and an account's worker, as far as keys are named."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from datalayer.store import ContentStore
from node.application import ChainApplication
from node.config import Config
from node.fetching import ContentFetcher
from node.keys import NodeKeys
from node.metrics import Metrics
from node.work.engine import engine_of
from node.work.hand import Hand
from node.work.joining import join
from node.work.judge import Judge
from node.work.task import Done
from node.work.units import Units
from node.work.worker import Worker
from omnitensor.protocol.types import NANO, Amount, Hash

log = structlog.get_logger("work")


class WorkPart:
    """Judge and worker of one node. ``run`` until it is cancelled, then ``close``."""

    def __init__(
        self,
        config: Config,
        keys: NodeKeys,
        application: ChainApplication,
        content: ContentStore,
        disk: ThreadPoolExecutor,
        fetcher: ContentFetcher,
        metrics: Metrics,
        submit: Callable[[bytes], Awaitable[Hash]],
    ) -> None:
        """Raises StorageError, KeyFormatError or EngineError: a key or an engine that is named must be there."""
        chain = application.chain
        self._application: Final = application
        self._keys: Final = keys
        self._metrics: Final = metrics
        self._bond: Final = Amount(config.worker_bond * NANO)
        units = Units(chain.chain_id, chain.genesis_hash, application.reader, content, disk, fetcher)
        self._judge: Judge | None = None
        if config.work_judge_key_file:
            self._judge = Judge(
                config.home / config.work_judge_key_file,
                chain.chain_id,
                units,
                application.reader,
                application.waiting.next_nonce,
                submit,
                lambda: application.epoch.address,
                metrics.judged.labels,
            )
        self._hand: Hand | None = None
        self._worker: Worker | None = None
        if config.worker_key_file:
            self._hand = Hand(
                config.home / config.worker_key_file,
                chain.chain_id,
                application.reader,
                application.waiting.next_nonce,
                submit,
            )
            engine = engine_of(config.worker_engine, config.worker_processes)
            log.info("units are computed here", engine=engine.name, at_once=engine.places)
            self._worker = Worker(
                self._hand, engine, units, application.reader, content, disk, self._computed
            )

    def _computed(self, done: Done) -> None:
        self._metrics.work_units.inc()
        self._metrics.work_macs.inc(done.macs)

    async def run(self) -> None:
        """All that is named; nothing, until it is cancelled, where nothing is."""
        parts: list[Awaitable[object]] = [asyncio.Event().wait()]
        if self._judge is not None:
            parts.append(self._judge.run())
        if self._worker is not None and self._hand is not None:
            parts.append(self._work(self._hand, self._worker))
        await asyncio.gather(*parts)

    async def _work(self, hand: Hand, worker: Worker) -> None:
        await join(hand, self._keys, self._bond, self._application.reader)
        await worker.run()

    def close(self) -> None:
        """Blocks until nothing of it reads any more."""
        if self._judge is not None:
            self._judge.close()
        if self._worker is not None:
            self._worker.close()
