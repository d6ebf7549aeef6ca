"""Wakes whoever waits when the chain has moved: by subscription, and by the clock where there is none.

Knows that blocks come; reads none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from omnitensor.protocol.errors import ProtocolError
from omnitensor.sdk.errors import ClosedError
from omnitensor.sdk.transport import Transport

REOPEN_DELAY_S: Final = 5.0


class Ticker:
    """`tick` returns at the next final block, or after a time. One connection however many wait."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def tick(self, timeout_s: float) -> None:
        """Wait for a final block, at most `timeout_s`."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen(), name="omnitensor-blocks")
        moved = self._moved
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await moved.wait()

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _listen(self) -> None:
        while True:
            # Waiters go on by the clock alone while there is no subscription.
            try:
                async with self._transport.subscribe("blocks") as events:
                    async for _ in events:
                        self._moved.set()
                        self._moved = asyncio.Event()
            except ClosedError:
                return
            except ProtocolError:
                pass
            await asyncio.sleep(REOPEN_DELAY_S)
