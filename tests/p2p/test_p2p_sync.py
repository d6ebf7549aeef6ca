"""Block sync without sockets: honest and lying peers in simulation; it always ends, and at the height of the honest."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol import limits
from p2p.messages import BlocksResponse, PeerId
from p2p.sync import DropPeer, Fetch, Sync
from tests.p2p.network_kit import hash_of, key_of
from tests.p2p.network_samples import proof_of

KINDS = ("honest", "short", "silent", "empty", "false", "boaster", "shrinker", "slow", "pruner", "hider")
PRUNED_BELOW = 60


def peer(number: int) -> PeerId:
    return PeerId(key_of(number).public)


def answer(start: int, count: int, *, true: bool = True) -> BlocksResponse:
    """Blocks that name their height; a false one names nothing."""
    blocks = tuple(b"block %d" % height if true else b"false" for height in range(start, start + count))
    return BlocksResponse(blocks, (), proof_of(hash_of(start)))


def is_true(response: BlocksResponse, start: int) -> bool:
    return all(block == b"block %d" % (start + place) for place, block in enumerate(response.blocks))


class Model:
    """A node that syncs, its peers, and a clock; answers come in random order."""

    def __init__(self, kinds: list[str], height: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now_ms = 0
        self.height = 0
        self.sync = Sync(0, 0, range_blocks=16)
        self.kinds = {peer(number): kind for number, kind in enumerate(kinds)}
        self.truth = height
        self.open: list[tuple[int, Fetch]] = []
        self.dropped: dict[PeerId, str] = {}
        self.fetched = 0
        for one, kind in self.kinds.items():
            claim = height + 10_000 if kind in ("boaster", "hider") else height
            self.sync.peer_status(one, claim)

    def step(self) -> None:
        for action in self.sync.next(self.now_ms):
            if isinstance(action, DropPeer):
                assert self.kinds[action.peer_id] not in ("honest", "short", "pruner"), action.reason
                self.dropped[action.peer_id] = action.reason
                self.sync.peer_gone(action.peer_id)
                self.kinds.pop(action.peer_id)
            else:
                assert action.peer_id in self.kinds
                self.fetched += 1
                delay_ms = limits.sync_range_ms_max * 2 if self.kinds[action.peer_id] == "slow" else 0
                self.open.append((self.now_ms + delay_ms + self.rng.randrange(500), action))
        self.now_ms += 250
        due = [item for item in self.open if item[0] <= self.now_ms]
        self.rng.shuffle(due)
        for item in due:
            self.open.remove(item)
            self.reply(item[1])
        self.apply()
        assert len(self.sync._slots) <= limits.sync_window_ranges_max + 8 * 16

    def reply(self, fetch: Fetch) -> None:
        kind = self.kinds.get(fetch.peer_id)
        start, count = int(fetch.request.from_height), fetch.request.count
        held = max(0, min(count, self.truth - start + 1))
        if kind in ("honest", "boaster", "slow") and held:
            self.sync.received(fetch.ticket, answer(start, held))
        elif kind == "hider":
            self.sync.pruned(fetch.ticket, start + self.rng.choice([-5, 1, 500, 10**12]))
        elif kind == "pruner" and start < PRUNED_BELOW <= self.truth:
            self.sync.pruned(fetch.ticket, PRUNED_BELOW)
        elif kind == "pruner" and held:
            self.sync.received(fetch.ticket, answer(start, held))
        elif kind == "short" and held:
            self.sync.received(fetch.ticket, answer(start, 1))
        elif kind == "false":
            self.sync.received(fetch.ticket, answer(start, count, true=False))
        elif kind == "shrinker":
            self.sync.peer_status(fetch.peer_id, start - 1)
        elif kind == "silent":
            pass
        else:
            self.sync.failed(fetch.ticket, "not held")

    def apply(self) -> None:
        while (ready := self.sync.ready()) is not None:
            assert ready.from_height <= self.height + 1
            if not is_true(ready.response, ready.from_height):
                self.sync.invalid(ready.ticket, "not final")
                continue
            self.height = ready.from_height + len(ready.response.blocks) - 1
            self.sync.applied(self.height, self.now_ms)


@given(
    kinds=st.lists(st.sampled_from(KINDS), max_size=6),
    height=st.integers(1, 400),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=120, deadline=None)
def test_with_one_honest_peer_it_ends_at_the_true_height(kinds: list[str], height: int, seed: int) -> None:
    model = Model(["honest", *kinds], height, seed)
    for _ in range(4_000):
        model.step()
        if model.height == height and not model.sync.syncing:
            break
    assert model.height == height
    assert not model.sync.syncing
    assert model.sync.progress().remaining_ms == 0
    assert model.sync._slots == []
    assert {source.asked for source in model.sync._sources.values()} <= {0}
    for one, kind in enumerate(["honest", *kinds]):
        if kind in ("honest", "short", "pruner"):
            assert peer(one) not in model.dropped


@given(
    kinds=st.lists(
        st.sampled_from(["silent", "empty", "false", "boaster", "shrinker", "hider"]), min_size=1, max_size=5
    )
)
@settings(max_examples=40, deadline=None)
def test_among_liars_alone_it_ends_too(kinds: list[str]) -> None:
    model = Model(kinds, 0, 1)
    for one in list(model.kinds):
        model.sync.peer_status(one, 20_000)
    for _ in range(2_000):
        model.step()
    assert not model.sync.syncing
    assert model.height == 0
    assert model.fetched < 200


def test_a_height_taken_back_drops_the_peer_and_ends_the_sync() -> None:
    sync = Sync(0, 0)
    sync.peer_status(peer(1), 1_000)
    assert any(isinstance(action, Fetch) for action in sync.next(0))
    assert sync.syncing
    sync.peer_status(peer(1), 10)
    actions = sync.next(1)
    assert actions == [DropPeer(peer(1), "reported height 1000, then 10")]
    assert not sync.syncing
    sync.peer_status(peer(1), 5_000)  # it is not believed again while it is connected
    assert sync.next(100_000) == []
    assert sync.target == 0


def test_ranges_are_asked_in_parallel_of_several_peers_within_the_window() -> None:
    sync = Sync(0, 0, range_blocks=10)
    for number in range(3):
        sync.peer_status(peer(number), 1_000)
    fetches = [action for action in sync.next(0) if isinstance(action, Fetch)]
    assert len(fetches) == 3 * limits.sync_ranges_per_peer_max
    assert [int(fetch.request.from_height) for fetch in fetches] == [1, 11, 21, 31, 41, 51]
    assert {fetch.peer_id for fetch in fetches} == {peer(0), peer(1), peer(2)}
    for fetch in fetches:
        sync.received(fetch.ticket, answer(int(fetch.request.from_height), 10))
    assert len(sync.next(0)) == limits.sync_window_ranges_max - 6
    assert sync.next(0) == []  # the window is full until something is applied


def test_a_range_that_times_out_is_asked_of_another() -> None:
    sync = Sync(0, 0, range_blocks=10)
    sync.peer_status(peer(0), 10)
    first = sync.next(0)
    assert len(first) == 1
    assert isinstance(first[0], Fetch)
    assert sync.next(limits.sync_range_ms_max - 1) == []
    sync.peer_status(peer(1), 10)
    second = sync.next(limits.sync_range_ms_max)
    assert len(second) == 1
    assert isinstance(second[0], Fetch)
    assert second[0].peer_id != first[0].peer_id
    sync.received(first[0].ticket, answer(1, 10))  # too late: ignored
    assert sync.ready() is None
    sync.received(second[0].ticket, answer(1, 10))
    ready = sync.ready()
    assert ready is not None
    assert ready.peer_id == second[0].peer_id


def held_up() -> tuple[Sync, Fetch, Fetch]:
    """A sync of three ranges whose first peer says nothing, and the two fetches of the first range."""
    sync = Sync(0, 0, range_blocks=10)
    sync.peer_status(peer(0), 10)
    (silent,) = [action for action in sync.next(0) if isinstance(action, Fetch)]
    sync.peer_status(peer(1), 30)
    others = [action for action in sync.next(1) if isinstance(action, Fetch)]
    assert [int(fetch.request.from_height) for fetch in others] == [11, 21]
    for fetch in others:
        sync.received(fetch.ticket, answer(int(fetch.request.from_height), 10))
    assert sync.next(limits.sync_held_up_ms_min - 1) == []
    assert sync.ready() is None
    (spare,) = [action for action in sync.next(limits.sync_held_up_ms_min) if isinstance(action, Fetch)]
    assert (spare.peer_id, spare.request) == (peer(1), silent.request)
    assert sync.next(limits.sync_held_up_ms_min) == []
    return sync, silent, spare


@pytest.mark.parametrize("first_is_faster", [True, False])
def test_the_range_that_all_wait_for_is_asked_of_a_second_peer_before_the_first_is_given_up(
    first_is_faster: bool,
) -> None:
    sync, silent, spare = held_up()
    faster, slower = (silent, spare) if first_is_faster else (spare, silent)
    sync.received(faster.ticket, answer(1, 10))
    ready = sync.ready()
    assert ready is not None
    assert ready.peer_id == faster.peer_id
    sync.received(slower.ticket, answer(1, 10, true=False))  # the other's answer is not news
    assert sync.ready() == ready
    while (ready := sync.ready()) is not None:
        sync.applied(ready.from_height + len(ready.response.blocks) - 1, 3_000)
    assert sync.next(limits.sync_range_ms_max * 2) == [], "who was only slower owes nothing"
    assert sync.progress().height == 30
    assert {source.asked for source in sync._sources.values()} == {0}


def test_both_of_a_held_up_range_may_fail() -> None:
    sync, silent, spare = held_up()
    sync.failed(spare.ticket, "not held")
    sync.peer_gone(silent.peer_id)
    (again,) = [action for action in sync.next(2_001) if isinstance(action, Fetch)]
    assert again.request.from_height == 1
    sync.received(again.ticket, answer(1, 10))
    ready = sync.ready()
    assert ready is not None
    sync.invalid(ready.ticket, "not final")
    assert sync.ready() is None
    assert sync.next(2_002) == [DropPeer(peer(1), "not final")]


def test_one_block_behind_is_left_to_consensus_for_a_while() -> None:
    sync = Sync(10, 0)
    sync.peer_status(peer(0), 11)
    assert sync.next(0) == []
    assert sync.next(limits.sync_behind_ms_min - 1) == []
    assert len(sync.next(limits.sync_behind_ms_min)) == 1


def test_blocks_that_came_by_consensus_are_not_fetched_or_waited_for() -> None:
    sync = Sync(0, 0, range_blocks=10)
    sync.peer_status(peer(0), 20)
    fetches = sync.next(0)
    assert len(fetches) == 2
    sync.applied(15, 1)
    assert isinstance(fetches[1], Fetch)
    sync.received(fetches[1].ticket, answer(11, 10))
    ready = sync.ready()
    assert ready is not None
    assert ready.from_height == 11
    sync.applied(20, 2)
    assert sync.ready() is None
    assert sync.next(3) == []
    assert not sync.syncing


def test_an_answer_that_ends_at_the_height_reached_meanwhile_is_not_applied_for_ever() -> None:
    """Consensus brought the first block while two were asked for, and the answer holds that one alone: the next is due."""
    sync = Sync(0, 0, range_blocks=2)
    sync.peer_status(peer(0), 2)
    (fetch,) = [action for action in sync.next(0) if isinstance(action, Fetch)]
    assert (fetch.request.from_height, fetch.request.count) == (1, 2)
    sync.applied(1, 100)
    sync.received(fetch.ticket, answer(1, 1))
    assert sync.ready() is None, "nothing of it is news"
    (rest,) = [action for action in sync.next(200) if isinstance(action, Fetch)]
    assert (rest.request.from_height, rest.request.count) == (2, 1)
    sync.received(rest.ticket, answer(2, 1))
    ready = sync.ready()
    assert ready is not None
    assert ready.from_height == 2


def test_after_a_boaster_is_gone_the_next_blocks_are_fetched_without_a_hole() -> None:
    sync = Sync(0, 0, range_blocks=10)
    sync.peer_status(peer(0), 10_000)
    sync.peer_status(peer(1), 15)
    fetches = [action for action in sync.next(0) if isinstance(action, Fetch)]
    sync.peer_gone(peer(0))
    for now_ms in (1, 2, 3):
        for fetch in fetches:
            if fetch.peer_id == peer(1):
                start, count = int(fetch.request.from_height), fetch.request.count
                assert start + count - 1 <= 15
                sync.received(fetch.ticket, answer(start, count))
        while (ready := sync.ready()) is not None:
            sync.applied(ready.from_height + len(ready.response.blocks) - 1, now_ms)
        fetches = [action for action in sync.next(now_ms) if isinstance(action, Fetch)]
    assert sync.progress().height == 15
    assert not sync.syncing
    sync.peer_status(peer(1), 40)
    asked = [action.request for action in sync.next(4) if isinstance(action, Fetch)]
    assert [(int(request.from_height), request.count) for request in asked] == [(16, 10), (26, 10)]


def test_progress_tells_target_pace_and_remaining_time() -> None:
    sync = Sync(0, 0)
    sync.peer_status(peer(0), 1_000)
    sync.next(0)
    assert sync.progress().remaining_ms is None
    sync.applied(100, 2_000)
    progress = sync.progress()
    assert (progress.height, progress.target, progress.syncing) == (100, 1_000, True)
    assert progress.blocks_per_second == pytest.approx(50)
    assert progress.remaining_ms == 18_000


def test_more_blocks_than_asked_for_are_a_fault() -> None:
    sync = Sync(0, 0, range_blocks=10)
    sync.peer_status(peer(0), 10)
    for _ in range(limits.sync_faults_max):
        (fetch,) = sync.next(0)
        assert isinstance(fetch, Fetch)
        sync.received(fetch.ticket, answer(1, 11))
        assert sync.ready() is None
    (drop,) = sync.next(0)
    assert isinstance(drop, DropPeer)
    assert "sent 11 blocks where 10 were asked for" in drop.reason


def test_blocks_that_a_peer_has_pruned_are_asked_of_one_that_has_them() -> None:
    model = Model(["pruner", "pruner", "honest"], 200, 3)
    for _ in range(400):
        model.step()
    assert model.height == 200
    assert not model.dropped


def test_where_every_peer_has_pruned_what_comes_next_the_sync_ends_and_says_so() -> None:
    model = Model(["pruner", "pruner"], 200, 3)
    for _ in range(200):
        model.step()
    assert (model.height, model.sync.unheld, model.sync.syncing) == (0, 1, False)
    assert not model.dropped, "nobody is at fault"
    assert model.fetched < 10, "and is not asked again and again"
    model.sync.applied(PRUNED_BELOW - 1, model.now_ms)  # by a snapshot, say
    model.height = PRUNED_BELOW - 1
    for _ in range(200):
        model.step()
    assert (model.height, model.sync.unheld) == (200, None)
