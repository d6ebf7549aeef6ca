"""Floods: one peer that sends forgeries or heaps of transactions does not hold up the others, nor the blocks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consensus.stake import effects as fx
from node import verification
from node.questions import PeerQuestions
from node.verification import BatchVerifier
from node.waiting import WaitingTransactions
from omnitensor.protocol import bls, limits
from omnitensor.protocol.types import Hash, View
from p2p.errors import AskError
from state.mempool import Mempool
from tests.node.node_kit import make_folders, node_at, transfer

SECRET = bls.keygen(b"k" * 32)
PUBLIC = bls.sk_to_pk(SECRET)
SIGNATURE = bls.sign(SECRET, b"m" * 32)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


async def test_verification_goes_on_after_a_failure() -> None:
    class Broken(ThreadPoolExecutor):
        failures = 1

        def submit(self, *arguments: Any, **options: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise MemoryError
            return super().submit(*arguments, **options)

    with Broken(1) as threads:
        verifier = BatchVerifier(threads)
        secret = bls.keygen(b"k" * 32)
        public, signature = bls.sk_to_pk(secret), bls.sign(secret, b"m" * 32)
        with pytest.raises(MemoryError):
            await verifier.verify(public, b"m" * 32, signature, 0)
        assert await verifier.verify(public, b"m" * 32, signature, 0)
        assert not await verifier.verify(public, b"n" * 32, signature, 0)
        verdicts = await asyncio.gather(
            *(verifier.verify(public, bytes([number % 2]) * 32, signature, number) for number in range(6)),
            verifier.verify(public, b"m" * 32, signature, 0),
        )
        assert verdicts == [False] * 6 + [True]
        await verifier.stop()


async def test_forgeries_of_one_source_do_not_hold_up_another(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[bls.Item]] = []
    judge = verification.verify_batch

    def counted(items: list[bls.Item]) -> list[bool]:
        batches.append(items)
        return judge(items)

    monkeypatch.setattr(verification, "verify_batch", counted)
    verifier = BatchVerifier(threads)
    forged = [
        asyncio.create_task(verifier.verify(PUBLIC, bytes([number]) * 32, SIGNATURE, "liar"))
        for number in range(200)
    ]
    await asyncio.sleep(0)
    assert await verifier.verify(PUBLIC, b"m" * 32, SIGNATURE, "honest")
    # Another batch may have begun by now.
    (place,) = (n for n, items in enumerate(batches) if (PUBLIC, b"m" * 32, SIGNATURE) in items)
    assert place <= 1, "it waited for one batch at most"
    assert all(len(items) <= limits.votes_per_source_and_batch_max + 1 for items in batches)
    # The liar is banned: its connection ends, and nobody waits for the rest.
    for task in forged:
        task.cancel()
    await asyncio.gather(*forged, return_exceptions=True)
    looked_at = sum(map(len, batches))
    assert await verifier.verify(PUBLIC, b"m" * 32, SIGNATURE, "honest")
    assert sum(map(len, batches)) <= looked_at + 1 + limits.votes_per_source_and_batch_max < 200
    assert not verifier.full
    await verifier.stop()


async def test_a_full_verifier_says_so_and_empties(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "votes_waiting_max", 8)
    verifier = BatchVerifier(threads)
    tasks = [
        asyncio.create_task(verifier.verify(PUBLIC, b"m" * 32, SIGNATURE, number)) for number in range(8)
    ]
    await asyncio.sleep(0)
    full_before = verifier.full
    assert await asyncio.gather(*tasks) == [True] * 8
    assert (full_before, verifier.full) == (True, False)
    await verifier.stop()


class SlowMempool:
    """Takes a while for each transaction, and writes down what was done in which order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def add(self, encoded: bytes) -> None:
        time.sleep(0.001)
        self.done.append("add")

    def select(self, *_: object) -> list[object]:
        self.done.append("select")
        return []


async def test_a_block_is_built_in_the_middle_of_a_flood_of_transactions() -> None:
    slow = SlowMempool()
    pool: Any = slow
    waiting = WaitingTransactions(pool)
    floods = [asyncio.create_task(waiting.add_each([b"x"] * 64)) for _ in range(8)]
    while not slow.done:
        await asyncio.sleep(0.001)
    before = len(slow.done)
    await waiting.select(1, 1, 1, frozenset())
    assert slow.done.index("select") - before <= 3 * limits.transactions_judged_at_once_max
    assert [len(faults) for faults in await asyncio.gather(*floods)] == [64] * 8
    waiting.close()


async def test_the_loop_goes_on_while_thousands_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checking signatures and ranking is not the event loop's work, and between a few of them it has a turn."""
    node = node_at(make_folders(tmp_path, validators=1).homes[0])
    encoded = [transfer("alice", nonce).encoded for nonce in range(limits.mempool_per_sender_max)]
    judged_by: Counter[int] = Counter()
    turns, real = 0, Mempool.add

    def add(mempool: Mempool, one: bytes) -> Any:
        judged_by[threading.get_ident()] += 1
        return real(mempool, one)

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    monkeypatch.setattr(Mempool, "add", add)
    watcher = asyncio.create_task(watch())
    faults = await node.application.waiting.add_each(encoded * 8)
    watcher.cancel()
    assert faults[: len(encoded)] == [None] * len(encoded)
    assert all(fault is not None for fault in faults[len(encoded) :])
    assert judged_by.total() == len(faults)
    assert len(judged_by) == 1
    assert threading.get_ident() not in judged_by, "the event loop's own thread judges none"
    assert turns >= len(faults) // limits.transactions_judged_at_once_max
    await node.stop()


class CountingNetwork:
    """Peers that have nothing; counts what each is asked."""

    def __init__(self, peers: int) -> None:
        self.asked: Counter[bytes] = Counter()
        self._peers = [SimpleNamespace(peer_id=bytes([number]) * 32) for number in range(peers)]

    def peers(self) -> list[SimpleNamespace]:
        return self._peers

    async def ask(self, peer_id: bytes, request: object, timeout_ms: int) -> None:
        self.asked[peer_id] += 1
        raise AskError("not held", value=peer_id, code="not_held")


async def test_what_nobody_has_is_not_asked_for_like_a_flood() -> None:
    """A node that lacks as much as it may, for a minute, stays below the rate at which its peers charge it."""
    network = CountingNetwork(4)
    anything: Any = network
    questions = PeerQuestions(anything, anything, lambda: None)
    periods = 60
    for attempt in range(periods):
        for number in range(limits.candidates_missing_max):
            questions.fetch_candidate(fx.Fetch(Hash(bytes([number]) * 32), View(number + 1), attempt))
            await asyncio.sleep(0)
    await questions.stop()
    a_second, burst = limits.message_rates["CandidateRequest"]
    assert len(network.asked) == 4, "every peer is asked in its turn"
    assert max(network.asked.values()) < burst + periods * a_second // 2
