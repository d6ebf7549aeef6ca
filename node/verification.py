"""Verifies BLS signatures off the event loop, in batches: what arrives while one batch is verified makes the next.

Knows signatures and who sent them; nothing of what a vote means.
"""

import asyncio
import os
from collections import deque
from collections.abc import Hashable
from concurrent.futures import Executor
from typing import Final

from omnitensor.protocol import bls, limits

BATCH_MAX: Final = 256

Waiting = tuple[bls.Item, "asyncio.Future[bool]"]


class BatchVerifier:
    """One batch at a time on the executor. A lone signature costs what it costs; of many, far less each.

    Each source has its share of a batch: one that sends forgeries, each of which costs a search, can't hold up the others for
    long, and what it had waiting when it was banned is never looked at.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: dict[Hashable, deque[Waiting]] = {}
        self._count = 0
        self._worker: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether so many wait that the next should be refused."""
        return self._count >= limits.votes_waiting_max

    async def verify(self, public_key: bytes, message: bytes, signature: bytes, source: Hashable) -> bool:
        """Whether the signature is the key's over the message; a wrong one of a batch is found by bisection."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(source, deque()).append(((public_key, message, signature), future))
        self._count += 1
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for queue in self._waiting.values():
            for _, future in queue:
                future.cancel()
        self._waiting.clear()
        self._count = 0

    def _next_batch(self) -> list[Waiting]:
        """A share of each source's, the sources that were served last going last; nobody's who has stopped waiting."""
        batch: list[Waiting] = []
        for source in tuple(self._waiting):
            queue = self._waiting.pop(source)
            share = 0
            while queue and share < limits.votes_per_source_and_batch_max and len(batch) < BATCH_MAX:
                one = queue.popleft()
                self._count -= 1
                if not one[1].done():
                    batch.append(one)
                    share += 1
            if queue:
                self._waiting[source] = queue
        return batch

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._next_batch()
            if not batch:
                continue
            try:
                verdicts = await loop.run_in_executor(
                    self._executor, verify_batch, [item for item, _ in batch]
                )
            except Exception as error:
                # Whoever waits hears of it; the next batch may fare better.
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            except asyncio.CancelledError:
                for _, future in batch:
                    future.cancel()
                raise
            for (_, future), verdict in zip(batch, verdicts, strict=True):
                if not future.done():
                    future.set_result(verdict)


def verify_batch(items: list[bls.Item]) -> list[bool]:
    """One verdict an item. The coefficients are drawn here, after the signatures are known, so that nobody can aim at them."""
    if len(items) == 1:
        return [bls.verify(*items[0])]
    coefficients = bls.coefficients_from(os.urandom(bls.COEFFICIENT_BYTES * len(items)), len(items))
    return bls.verify_many(items, coefficients)
