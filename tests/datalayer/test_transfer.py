"""Runs fetches against honest, lying, slow and vanishing peers in random orders: right bytes, exact blame, bounded asks."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalayer.transfer import (
    Action,
    Ask,
    Blame,
    Done,
    Fetch,
    HoldsQuery,
    Keep,
    LeavesQuery,
    PieceQuery,
    Slow,
    Stuck,
)
from omnitensor.protocol import limits
from omnitensor.protocol.content import ContentId, content_id_of

MIB = 1024 * 1024
SIZE = 3 * MIB + 300_001
DATA = (hashlib.shake_256(b"transfer").digest(8191) * (SIZE // 8191 + 1))[:SIZE]
CONTENT = content_id_of(DATA)
LEAVES = tuple(hashlib.sha256(b"\0" + DATA[at : at + MIB]).digest() for at in range(0, SIZE, MIB))

BEHAVIOURS = (
    "honest",
    "absent",
    "false_offer",
    "wrong_leaves",
    "wrong_chunk",
    "short_piece",
    "wrong_kind",
    "silent",
    "trickles",
    "gives_up",
)
LIARS = frozenset({"false_offer", "wrong_leaves", "wrong_chunk", "short_piece", "wrong_kind"})


def answer(fetch: Fetch, ask: Ask, behaviour: str, now_ms: int) -> tuple[Action, ...]:
    """What a peer of this behaviour makes of an ask."""
    match behaviour, ask.query:
        case "silent", _:
            return ()
        case "absent", _:
            return fetch.on_absent(ask.number, now_ms)
        case "wrong_kind", _:
            return fetch.on_leaves(ask.number, LEAVES, now_ms) if isinstance(ask.query, HoldsQuery) else ()
        case "false_offer", HoldsQuery():
            return fetch.on_offer(ask.number, ContentId(CONTENT.sha256, SIZE + 1, CONTENT.chunk_root), now_ms)
        case _, HoldsQuery():
            return fetch.on_offer(ask.number, CONTENT, now_ms)
        case "gives_up", _:
            return fetch.on_absent(ask.number, now_ms)
        case "trickles", PieceQuery(offset=offset) if offset:
            return ()
        case "wrong_leaves", LeavesQuery():
            return fetch.on_leaves(ask.number, LEAVES[::-1], now_ms)
        case _, LeavesQuery(count=count):
            assert count == len(LEAVES)
            return fetch.on_leaves(ask.number, LEAVES, now_ms)
        case _, PieceQuery(index=index, offset=offset, size=size):
            at = index * MIB + offset
            data = DATA[at : at + size]
            assert len(data) == size
            if behaviour == "wrong_chunk" and offset == 0:
                data = bytes([data[0] ^ 1]) + data[1:]
            return fetch.on_piece(ask.number, data[:-1] if behaviour == "short_piece" else data, now_ms)
    raise AssertionError(ask)


@dataclass
class Run:
    """A fetch and its peers; answers arrive in an order that the seed decides."""

    peers: dict[bytes, str]
    seed: int
    missing: tuple[tuple[int, int], ...] = ((0, 4),)
    kept: dict[int, bytes] = field(default_factory=dict)
    blamed: set[bytes] = field(default_factory=set)
    slow: set[bytes] = field(default_factory=set)
    outcome: str = ""
    most_open: int = 0

    def go(self, fetch: Fetch, steps: int = 5_000) -> None:
        chance, now_ms = random.Random(self.seed), 0
        asks: list[Ask] = []
        for peer in self.peers:
            self.take(fetch.add_peer(peer, now_ms), asks)
        for _ in range(steps):
            if self.outcome:
                return
            if not asks or chance.random() < 0.1:
                now_ms += chance.choice((1, 50, 2_000, 10_001))
                self.take(fetch.poll(now_ms), asks)
                continue
            ask = asks.pop(chance.randrange(len(asks)))
            if chance.random() < 0.01:
                self.take(fetch.remove_peer(ask.peer, now_ms), asks)
                self.peers.pop(ask.peer, None)
            self.take(answer(fetch, ask, self.peers.get(ask.peer, "silent"), now_ms), asks)
        raise AssertionError("the fetch did not end")

    def take(self, actions: tuple[Action, ...], asks: list[Ask]) -> None:
        for action in actions:
            match action:
                case Ask():
                    asks.append(action)
                case Keep(index=index, data=data):
                    assert index not in self.kept, "a chunk is given out once"
                    self.kept[index] = data
                case Blame(peer=peer):
                    self.blamed.add(peer)
                case Slow(peer=peer):
                    self.slow.add(peer)
                case Done():
                    self.outcome = "done"
                case Stuck():
                    self.outcome = "stuck"
        for peer in self.peers:
            self.most_open = max(self.most_open, sum(ask.peer == peer for ask in asks))


def test_one_honest_peer_suffices() -> None:
    fetch, run = Fetch(CONTENT, ((0, 4),)), Run({b"a": "honest"}, 0)
    run.go(fetch)
    assert run.outcome == "done"
    assert fetch.done
    assert b"".join(run.kept[index] for index in range(4)) == DATA


@pytest.mark.parametrize("behaviour", BEHAVIOURS[1:])
def test_alone_every_fault_ends_the_fetch_and_liars_are_blamed(behaviour: str) -> None:
    fetch, run = Fetch(CONTENT, ((0, 4),)), Run({b"a": behaviour}, 1)
    run.go(fetch)
    assert run.outcome == "stuck"
    assert run.kept == {}
    assert run.blamed == ({b"a"} if behaviour in LIARS else set())


def test_a_new_peer_goes_on_where_it_was_stuck() -> None:
    fetch = Fetch(CONTENT, ((0, 4),))
    first = Run({b"a": "wrong_chunk"}, 2)
    first.go(fetch)
    assert first.outcome == "stuck"
    second = Run({b"b": "honest"}, 2)
    second.go(fetch)
    assert second.outcome == "done"


def test_goes_on_with_what_is_missing() -> None:
    fetch, run = Fetch(CONTENT, ((1, 2), (3, 4)), LEAVES), Run({b"a": "honest"}, 3)
    run.go(fetch)
    assert set(run.kept) == {1, 3}
    assert run.kept[3] == DATA[3 * MIB :]


def test_single_chunk_needs_no_leaves() -> None:
    content = content_id_of(b"small")
    fetch = Fetch(content, ((0, 1),))
    (ask,) = fetch.add_peer(b"a", 0)
    assert isinstance(ask, Ask)
    (piece,) = fetch.on_offer(ask.number, content, 0)
    assert isinstance(piece, Ask)
    assert piece.query == PieceQuery(0, 0, 5)
    assert fetch.on_piece(piece.number, b"small", 0) == (Keep(0, b"small"), Done())
    assert fetch.poll(10**9) == ()


def test_late_and_repeated_answers_change_nothing() -> None:
    fetch = Fetch(CONTENT, ((0, 4),), LEAVES)
    (hold,) = fetch.add_peer(b"a", 0)
    assert isinstance(hold, Ask)
    asks = fetch.on_offer(hold.number, CONTENT, 0)
    assert fetch.on_offer(hold.number, CONTENT, 0) == ()
    again = fetch.poll(20_000)  # all of them late: the peer gets another chance
    assert len(again) == len(asks)
    for ask in asks:
        assert isinstance(ask, Ask)
        assert fetch.on_piece(ask.number, b"late", 20_000) == ()
    assert fetch.peers == (b"a",)


def begun(*peers: bytes) -> tuple[Fetch, list[Ask]]:
    """A fetch that all peers have offered it to at moment 0, and what it asks of them."""
    fetch, asks = Fetch(CONTENT, ((0, 4),), LEAVES), list[Ask]()
    for peer in peers:
        (hold,) = fetch.add_peer(peer, 0)
        assert isinstance(hold, Ask)
        asks += [ask for ask in fetch.on_offer(hold.number, CONTENT, 0) if isinstance(ask, Ask)]
    return fetch, asks


def test_a_peer_that_trickles_is_left_for_another() -> None:
    """A piece every nine seconds is never late, and would keep a fetch of gigabytes busy for days."""
    fetch, asks = begun(b"trickler")
    trickled, kept, slow, now_ms = 0, 0, list[int](), 0
    while not slow and now_ms < 600_000:
        now_ms += 9_000
        ask = asks.pop(0)
        trickled += 1
        for action in answer(fetch, ask, "honest", now_ms):
            asks += [action] if isinstance(action, Ask) else []
            kept += isinstance(action, Keep)
            slow += [now_ms] if isinstance(action, Slow) else []
    assert slow, f"{trickled} pieces in {now_ms} ms, and it is still asked"
    assert slow[0] <= limits.fetch_window_ms + 9_000
    assert fetch.peers == ()
    (hold,) = fetch.add_peer(b"other", now_ms)
    assert isinstance(hold, Ask)
    again = fetch.on_offer(hold.number, CONTENT, now_ms)
    queries = [action.query for action in again if isinstance(action, Ask)]
    assert queries[0] == PieceQuery(kept, 0, 256 * 1024), "the chunk that the trickler had begun"


def test_what_it_gave_quickly_before_is_no_credit() -> None:
    fetch, asks = begun(b"trickler")
    for _ in range(6):
        asks += [each for each in answer(fetch, asks.pop(0), "honest", 10) if isinstance(each, Ask)]
    for now_ms in range(500, 120_000, 500):
        found = fetch.poll(now_ms) if now_ms % 9_000 else answer(fetch, asks.pop(0), "honest", now_ms)
        asks += [action for action in found if isinstance(action, Ask)]
        if Slow(b"trickler") in found:
            break
    assert limits.fetch_window_ms < now_ms <= 2 * limits.fetch_window_ms + 9_000
    assert not fetch.done


def test_an_honest_line_of_little_more_than_the_least_is_enough() -> None:
    """Its pieces come one after the other: the fourth is not late because the first three took their time."""
    fetch, asks = begun(b"modem")
    now_ms, kept = 0, 0
    while not fetch.done:
        ask = asks.pop(0)
        assert isinstance(ask.query, PieceQuery)
        now_ms += ask.query.size * 1_000 // (limits.fetch_peer_bytes_per_second_min + 2_000)
        for action in answer(fetch, ask, "honest", now_ms):
            assert not isinstance(action, Slow | Stuck)
            asks += [action] if isinstance(action, Ask) else []
            kept += isinstance(action, Keep)
    assert kept == 4


def test_who_has_nothing_left_to_give_is_not_slow() -> None:
    """One peer waits for the other's last chunk for as long as that takes."""
    fetch, asks = begun(b"a", b"b")
    of_a = [ask for ask in asks if ask.peer == b"a"]
    of_b = [ask for ask in asks if ask.peer == b"b"]
    while of_b:
        of_b += [a for a in answer(fetch, of_b.pop(0), "honest", 5) if isinstance(a, Ask) and a.peer == b"b"]
    now_ms = 0
    while not fetch.done:
        now_ms += 3_500
        of_a += [a for a in answer(fetch, of_a.pop(0), "honest", now_ms) if isinstance(a, Ask)]
        assert not any(isinstance(action, Slow) for action in fetch.poll(now_ms))
    assert b"b" in fetch.peers


def test_peers_are_bounded() -> None:
    fetch = Fetch(CONTENT, ((0, 4),))
    for number in range(50):
        fetch.add_peer(b"%d" % number, 0)
    assert len(fetch.peers) == 8


@settings(max_examples=60, deadline=None)
@given(
    behaviours=st.lists(st.sampled_from(BEHAVIOURS), min_size=1, max_size=8),
    seed=st.integers(0, 2**32),
    known=st.booleans(),
    missing=st.sets(st.integers(0, 3), min_size=1),
)
def test_random_peers_and_orders(behaviours: list[str], seed: int, known: bool, missing: set[int]) -> None:
    """Only right chunks are kept, only liars are blamed, asks are bounded; an honest peer that stays makes it end well."""
    named = {b"%d" % number: behaviour for number, behaviour in enumerate(behaviours)}
    ranges = tuple((index, index + 1) for index in sorted(missing))
    fetch, run = Fetch(CONTENT, ranges, LEAVES if known else ()), Run(dict(named), seed)
    run.go(fetch)
    assert all(data == DATA[index * MIB : (index + 1) * MIB] for index, data in run.kept.items())
    assert all(named[peer] in LIARS for peer in run.blamed)
    assert not run.blamed & run.slow
    assert run.outcome == ("done" if set(run.kept) == missing else "stuck")
    assert run.most_open <= 4 * 4, "asks of one peer are bounded, those given up included"
    if run.outcome == "stuck":
        assert fetch.peers == ()
