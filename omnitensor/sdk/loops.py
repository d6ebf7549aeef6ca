"""A private event loop in a thread, for the blocking half of the SDK. Knows coroutines; nothing of what they do."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


class Closable(Protocol):
    """What holds connections."""

    async def close(self) -> None: ...


A = TypeVar("A", bound=Closable)


class LoopThread:
    """One event loop in one daemon thread, started at first use; `run` blocks the caller and may be interrupted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """What `work` returns or raises. A KeyboardInterrupt in the caller cancels it."""
        assert not self.is_own_thread(), "a blocking call inside the loop would never return"
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
            raise

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` without waiting for it."""
        asyncio.run_coroutine_threadsafe(work, self._running())

    def is_own_thread(self) -> bool:
        """Whether the caller runs inside the loop."""
        return threading.current_thread() is self._thread

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():  # a fork leaves the thread behind
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                self._thread = threading.Thread(
                    target=_run_forever, args=(self._loop,), name="omnitensor-sdk", daemon=True
                )
                self._thread.start()
            return self._loop


def _run_forever(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            loop.run_forever()
            return
        except (
            KeyboardInterrupt,
            SystemExit,
        ):  # raised by a caller's own function, and handed to it by its future
            continue


LOOP = LoopThread()
"""Shared by every blocking object of this process."""


def _close(twin: Closable) -> None:
    if LOOP.is_own_thread():  # collected inside the loop, which can't wait for itself
        LOOP.start(twin.close())
    else:
        LOOP.run(twin.close())


class Blocking(Generic[A]):
    """Base of the blocking twins: holds the async object and runs its methods on the private loop."""

    def __init__(self, async_twin: A) -> None:
        self.asynchronous = async_twin
        self._closing = weakref.finalize(self, _close, async_twin)

    def close(self) -> None:
        """Close connections; the object can't be used afterwards. Happens by itself when a program ends."""
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def blocking(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, P], R]:
    """The blocking twin of an async method: same parameters, same result."""

    def call(self: Blocking[Any], *args: P.args, **kwargs: P.kwargs) -> R:
        return LOOP.run(method(self.asynchronous, *args, **kwargs))

    functools.update_wrapper(call, method)
    return cast(Callable[Concatenate[Any, P], R], call)
