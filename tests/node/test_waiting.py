"""Transactions of clients on their way to the mempool's thread: a few at a time, each with its own outcome."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from node.waiting import WaitingTransactions
from omnitensor.protocol import limits
from omnitensor.protocol.errors import TransactionError


class Pool:
    """Refuses what says so, and breaks where it is told to."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def add(self, encoded: bytes) -> None:
        if encoded.startswith(b"bug"):
            raise ZeroDivisionError
        if encoded.startswith(b"bad"):
            raise TransactionError("refused", value=encoded, code="balance")
        self.taken.append(encoded)


@pytest.fixture
def pool() -> Pool:
    return Pool()


def waiting_on(pool: Any) -> tuple[WaitingTransactions, list[int]]:
    """With the number of turns that the mempool's thread was given."""
    waiting, turns = WaitingTransactions(pool), [0]
    real = waiting._call

    async def counted(work: Any) -> Any:
        turns[0] += 1
        return await real(work)

    waiting._call = counted  # type: ignore[method-assign]
    return waiting, turns


async def test_many_offers_take_few_turns_and_keep_their_order(pool: Pool) -> None:
    waiting, turns = waiting_on(pool)
    orders = [b"%d" % number for number in range(100)]
    await asyncio.gather(*[waiting.add(order) for order in orders])
    assert pool.taken == orders
    assert turns[0] == -(-100 // limits.transactions_judged_at_once_max)
    await waiting.add(b"one more")
    assert pool.taken[-1] == b"one more"
    waiting.close()


async def test_each_hears_of_its_own_alone(pool: Pool) -> None:
    waiting, _ = waiting_on(pool)
    orders = [b"bad %d" % number if number % 3 == 0 else b"good %d" % number for number in range(40)]
    outcomes = await asyncio.gather(*[waiting.add(order) for order in orders], return_exceptions=True)
    for order, outcome in zip(orders, outcomes, strict=True):
        if order.startswith(b"bad"):
            assert isinstance(outcome, TransactionError)
            assert outcome.value == order.hex()
        else:
            assert outcome is None
    assert pool.taken == [order for order in orders if order.startswith(b"good")]
    waiting.close()


async def test_who_gives_up_stops_nobody_else(pool: Pool) -> None:
    waiting, _ = waiting_on(pool)
    tasks = [asyncio.create_task(waiting.add(b"%d" % number)) for number in range(40)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in outcomes[::2])
    assert outcomes[1::2] == [None] * 20
    waiting.close()


async def test_a_bug_is_told_to_all_who_wait_and_the_next_are_served(pool: Pool) -> None:
    waiting, _ = waiting_on(pool)
    orders = [b"good", b"bug", *[b"%d" % number for number in range(30)]]
    outcomes = await asyncio.gather(*[waiting.add(order) for order in orders], return_exceptions=True)
    assert all(isinstance(outcome, ZeroDivisionError) for outcome in outcomes)
    await waiting.add(b"next")
    assert pool.taken[-1] == b"next"
    waiting.close()
