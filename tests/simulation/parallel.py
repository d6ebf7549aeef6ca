"""Much of the same work in processes side by side, results in order; SIGINT and SIGTERM end it after the result at hand."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")
AHEAD = 8
"""Pieces of work that are given out before their turn, for each process."""


class Interrupt:
    """Whether the work is to end. Catches the signals also where a shell's background has made Python ignore them."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def in_parallel(
    work: Callable[[int], Result], numbers: Iterable[int], jobs: int, interrupt: Interrupt
) -> Iterator[Result]:
    """The results of ``work`` for each number, in their order, until all are there or an interrupt asks to end."""
    left = iter(numbers)
    if jobs == 1:
        for number in left:
            if interrupt.asked:
                return
            yield work(number)
        return
    with ProcessPoolExecutor(jobs, initializer=_leave_interrupts_to_the_parent) as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(work, n) for n in islice(left, AHEAD * jobs))
        while waiting and not interrupt.asked:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, n) for n in islice(left, 1))
        pool.shutdown(wait=False, cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
