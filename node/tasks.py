"""Tasks that nobody waits for: kept from being forgotten half-way, bounded in number, and heard of when they fail."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger("node")


class Tasks:
    """A set of background tasks of one part of the node. A failure is logged and ends that task alone."""

    def __init__(self, name: str, tasks_max: int | None = None) -> None:
        """``tasks_max`` under way at once; None where something else bounds them."""
        self._name = name
        self._tasks_max = tasks_max
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> bool:
        """Starts work; False, and it is never begun, when as much is under way as may be."""
        if self._tasks_max is not None and len(self._tasks) >= self._tasks_max:
            work.close()
            return False
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed", part=self._name, error=str(error), exc_info=error)

    def cancel(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()

    async def stop(self) -> None:
        """Cancels all, and returns when they have ended."""
        self.cancel()
        await asyncio.gather(*tuple(self._tasks), return_exceptions=True)
