"""Verifies BLS signatures off the event loop, in batches: what arrives while one batch is verified makes the next.

Knows signatures; nothing of what a vote means.
"""

import asyncio
import os
from concurrent.futures import Executor
from typing import Final

from omnitensor.protocol import bls, limits

BATCH_MAX: Final = 256


class BatchVerifier:
    """One batch at a time on the executor. A lone signature costs what it costs; of many, far less each."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: list[tuple[bls.Item, asyncio.Future[bool]]] = []
        self._worker: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether so many wait that the next should be refused."""
        return len(self._waiting) >= limits.votes_waiting_max

    async def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the signature is the key's over the message; a wrong one of a batch is found by bisection."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(((public_key, message, signature), future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
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
