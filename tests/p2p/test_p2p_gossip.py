"""Gossip without sockets: a hundred nodes in simulation, judgement before relay, requests and their second sources."""

from __future__ import annotations

import random
from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol import limits
from omnitensor.protocol.transactions import transaction_id
from omnitensor.protocol.types import Hash
from p2p.gossip import UNREQUESTED, Gossip, Send, frame_of, gossip_id
from p2p.interface import Charge, Verdict
from p2p.messages import (
    Have,
    Notice,
    PeerId,
    Tell,
    TransactionAnnounce,
    TransactionRequest,
    Transactions,
    VoteNotice,
    Want,
    decode_envelope,
)
from p2p.seen import IdSet, SeenCache, Wanted
from tests.p2p.network_kit import hash_of, key_of, transaction_of, vote_of


def peer(number: int) -> PeerId:
    return PeerId(key_of(number).public)


def message_of(send: Send) -> Notice:
    envelope = decode_envelope(send.frame)
    assert isinstance(envelope, Tell)
    return envelope.message  # type: ignore[return-value]  # gossip says no Hello


class SimulatedNode:
    """A node that finds everything valid, with its gossip and a pool."""

    def __init__(self, number: int) -> None:
        self.id = peer(number)
        self.gossip = Gossip(b"salt %d" % number)
        self.judged: Counter[Hash] = Counter()
        self.pool: dict[Hash, bytes] = {}
        self.received: Counter[str] = Counter()

    def on_message(self, sender: PeerId, frame: bytes, now_ms: int) -> list[Send]:
        message = decode_envelope(frame).message
        self.received[type(message).__name__] += 1
        match message:
            case VoteNotice():
                key = self.gossip.arrived(sender, frame, now_ms)
                if key is None:
                    return []
                self.judged[key] += 1
                return self.gossip.judged(key, Verdict.RELAY, now_ms)
            case Have():
                self.gossip.on_have(sender, message, now_ms)
            case Want():
                return self.gossip.on_want(sender, message)
            case TransactionAnnounce():
                self.gossip.on_announce(sender, message, self.pool.__contains__, now_ms)
            case TransactionRequest():
                return self.gossip.on_transaction_request(sender, message, self.pool.get)
            case Transactions():
                fresh, charge = self.gossip.on_transactions(sender, message)
                assert charge is None
                for key, encoded in fresh:
                    self.judged[key] += 1
                    self.pool[key] = encoded
                    self.gossip.transaction_judged(key, Verdict.RELAY, now_ms)
            case other:
                raise AssertionError(other)
        return []


class Simulation:
    """Nodes with random connections, messages in random order, a tick when all is quiet."""

    def __init__(self, count: int, degree: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.nodes = {node.id: node for node in (SimulatedNode(number) for number in range(count))}
        self.links: set[frozenset[PeerId]] = set()
        ids = list(self.nodes)
        for place, one in enumerate(ids):
            # A ring first, so that the network is connected, then links at random.
            self.connect(one, ids[place - 1])
            for other in self.rng.sample(ids, degree):
                self.connect(one, other)
        self.queue: deque[tuple[PeerId, Send]] = deque()
        self.now_ms = 0
        self.sent = 0

    def connect(self, one: PeerId, other: PeerId) -> None:
        if one != other and frozenset((one, other)) not in self.links:
            self.links.add(frozenset((one, other)))
            self.nodes[one].gossip.peer_up(other, outbound=True)
            self.nodes[other].gossip.peer_up(one, outbound=False)

    def emit(self, sender: PeerId, sends: list[Send]) -> None:
        self.sent += len(sends)
        self.queue.extend((sender, send) for send in sends)

    def run(self, ticks: int = 12) -> None:
        for _ in range(ticks):
            while self.queue:
                self.queue.rotate(-self.rng.randrange(len(self.queue)))
                sender, send = self.queue.popleft()
                receiver = self.nodes[send.peer_id]
                self.emit(receiver.id, receiver.on_message(sender, send.frame, self.now_ms))
            self.now_ms += 25
            for node in self.nodes.values():
                self.emit(node.id, node.gossip.tick(self.now_ms))
        assert not self.queue


def test_a_hundred_nodes_hear_every_vote_once_at_a_bounded_cost() -> None:
    simulation = Simulation(100, 6, seed=1)
    senders = list(simulation.nodes.values())[:10]
    for number, node in enumerate(senders):
        simulation.emit(node.id, node.gossip.publish(VoteNotice(vote_of(number)), simulation.now_ms))
    simulation.run()
    keys = {gossip_id(frame_of(VoteNotice(vote_of(number)))) for number in range(10)}
    for node in simulation.nodes.values():
        heard = set(node.judged) | {key for key in keys if node in senders}
        assert heard >= keys
        assert max(node.judged.values()) == 1
        # Each vote is pushed by a peer at most once: copies are bounded by the number of peers, and in the mean by the mesh.
        assert node.received["VoteNotice"] <= 10 * 40
    copies = sum(node.received["VoteNotice"] for node in simulation.nodes.values())
    assert copies / (100 * 10) <= limits.gossip_mesh_peers_max + 1


def test_transactions_reach_everybody_and_travel_once_to_each() -> None:
    simulation = Simulation(60, 5, seed=2)
    ids = list(simulation.nodes)
    encoded = [transaction_of(number) for number in range(20)]
    for number, one in enumerate(encoded):
        node = simulation.nodes[ids[number]]
        node.pool[transaction_id(one)] = one
        node.gossip.announce([transaction_id(one)])
    simulation.run(ticks=20)
    for node in simulation.nodes.values():
        assert len(node.pool) == 20
        assert all(count == 1 for count in node.judged.values())
        assert node.received["Transactions"] <= 20


def test_nothing_is_passed_on_before_it_is_judged_valid() -> None:
    for judgement, passed, again in (
        (Verdict.RELAY, True, False),
        (Verdict.IGNORE, False, False),
        (Verdict.LATER, False, True),
        (Charge(10, "bad signature"), False, False),
    ):
        gossip = Gossip(b"salt")
        for number in range(3):
            gossip.peer_up(peer(number), outbound=True)
        frame = frame_of(VoteNotice(vote_of(1)))
        key = gossip.arrived(peer(0), frame, 0)
        assert key is not None
        assert gossip.tick(0) == []
        assert gossip.arrived(peer(1), frame, 1) is None  # a copy while it is being judged
        sends = gossip.judged(key, judgement, 2)
        assert {send.peer_id for send in sends} == ({peer(2)} if passed else set())
        assert (gossip.arrived(peer(2), frame, 3) is not None) is again


def test_copies_are_dropped_for_a_while_and_then_travel_again() -> None:
    gossip = Gossip(b"salt")
    gossip.peer_up(peer(0), outbound=True)
    frame = frame_of(VoteNotice(vote_of(1)))
    key = gossip.arrived(peer(0), frame, 0)
    assert key is not None
    gossip.judged(key, Verdict.IGNORE, 0)
    assert gossip.arrived(peer(0), frame, limits.gossip_seen_ms - 1) is None
    assert gossip.duplicates == 1
    assert gossip.arrived(peer(0), frame, limits.gossip_seen_ms) is not None


def test_what_is_published_again_is_pushed_again() -> None:
    gossip = Gossip(b"salt")
    gossip.peer_up(peer(0), outbound=True)
    for _ in range(2):
        assert len(gossip.publish(VoteNotice(vote_of(1)), 0)) == 1


def test_a_peer_outside_the_mesh_is_told_and_asks() -> None:
    gossip = Gossip(b"salt")
    for number in range(20):
        gossip.peer_up(peer(number), outbound=number % 2 == 0)
    assert len(gossip.mesh) == limits.gossip_mesh_peers_max
    assert sum(peer(number) in gossip.mesh for number in range(0, 20, 2)) == limits.gossip_mesh_peers_max // 2
    frame = frame_of(VoteNotice(vote_of(1)))
    key = gossip.arrived(peer(0), frame, 0)
    assert key is not None
    pushed = {send.peer_id for send in gossip.judged(key, Verdict.RELAY, 0)}
    told = {send.peer_id for send in gossip.tick(1) if isinstance(message_of(send), Have)}
    assert pushed == gossip.mesh - {peer(0)}
    assert pushed | told == {peer(number) for number in range(1, 20)}
    assert not pushed & told
    asker = next(iter(told))
    assert [send.frame for send in gossip.on_want(asker, Want((key,)))] == [frame]
    assert gossip.on_want(asker, Want((key,))) == []  # once only
    assert gossip.on_want(next(iter(pushed)), Want((key,))) == []  # it was not offered


def test_a_want_that_is_not_answered_goes_to_the_next_that_has_it() -> None:
    gossip = Gossip(b"salt")
    for number in range(2):
        gossip.peer_up(peer(number), outbound=True)
        gossip.on_have(peer(number), Have((hash_of(1),)), 0)
    asked = [send.peer_id for send in gossip.tick(0)]
    assert asked == [peer(0)]
    assert gossip.tick(limits.want_ms_max - 1) == []
    assert [send.peer_id for send in gossip.tick(limits.want_ms_max)] == [peer(1)]
    assert gossip.pending()
    assert gossip.tick(2 * limits.want_ms_max) == []
    assert not gossip.pending()


def test_an_unrequested_transaction_is_charged_and_not_judged() -> None:
    gossip = Gossip(b"salt")
    gossip.peer_up(peer(0), outbound=True)
    assert gossip.on_transactions(peer(0), Transactions((transaction_of(1),))) == ([], UNREQUESTED)
    assert gossip.on_transactions(peer(0), Transactions((b"x",))) == ([], UNREQUESTED)


def test_an_invalid_copy_does_not_keep_the_true_transaction_away() -> None:
    """The id does not cover the signature: who spoils the signature must not be able to blacklist the id."""
    gossip = Gossip(b"salt")
    for number in range(2):
        gossip.peer_up(peer(number), outbound=True)
    true = transaction_of(1)
    spoiled = true[:-1] + bytes([true[-1] ^ 1])
    key = transaction_id(true)
    assert transaction_id(spoiled) == key
    for sender, encoded, judgement in ((0, spoiled, Charge(20, "bad signature")), (1, true, Verdict.RELAY)):
        gossip.on_announce(peer(sender), TransactionAnnounce((key,)), lambda key: False, 0)
        assert [send.peer_id for send in gossip.tick(0)] == [peer(sender)]
        fresh, charge = gossip.on_transactions(peer(sender), Transactions((encoded,)))
        assert (fresh, charge) == ([(key, encoded)], None)
        gossip.transaction_judged(key, judgement, 0)
    # The spoiler does not know it, for all that is known here: it announced it, so it is not told.
    assert gossip.tick(1) == []


def test_an_ignored_transaction_is_not_asked_for_again_for_a_while() -> None:
    gossip = Gossip(b"salt")
    gossip.peer_up(peer(0), outbound=True)
    gossip.peer_up(peer(1), outbound=True)
    key = transaction_id(transaction_of(1))
    gossip.on_announce(peer(0), TransactionAnnounce((key,)), lambda key: False, 0)
    gossip.tick(0)
    gossip.on_transactions(peer(0), Transactions((transaction_of(1),)))
    gossip.transaction_judged(key, Verdict.IGNORE, 0)
    gossip.on_announce(peer(1), TransactionAnnounce((key,)), lambda key: False, 1)
    assert gossip.tick(1) == []
    gossip.on_announce(peer(1), TransactionAnnounce((key,)), lambda key: False, limits.gossip_seen_ms)
    assert len(gossip.tick(limits.gossip_seen_ms)) == 1


def test_a_transaction_is_given_only_to_whom_it_was_announced_and_once() -> None:
    gossip = Gossip(b"salt")
    gossip.peer_up(peer(0), outbound=True)
    encoded = transaction_of(1)
    key = transaction_id(encoded)
    pool = {key: encoded}
    assert gossip.on_transaction_request(peer(0), TransactionRequest((key,)), pool.get) == []
    gossip.announce([key])
    assert [message_of(send) for send in gossip.tick(0)] == [TransactionAnnounce((key,))]
    sends = gossip.on_transaction_request(peer(0), TransactionRequest((key, key)), pool.get)
    assert [message_of(send) for send in sends] == [Transactions((encoded,))]
    assert gossip.on_transaction_request(peer(0), TransactionRequest((key,)), pool.get) == []


def test_a_peer_that_comes_later_is_told_of_what_still_waits() -> None:
    gossip = Gossip(b"salt")
    pool = {transaction_id(one): one for one in (transaction_of(number) for number in range(5))}
    gossip.announce(pool)
    del pool[transaction_id(transaction_of(2))]
    gossip.peer_up(peer(0), outbound=True)
    gossip.greet(peer(0), pool.__contains__)
    assert [message_of(send) for send in gossip.tick(0)] == [TransactionAnnounce(tuple(pool))]
    gossip.greet(peer(0), pool.__contains__)
    assert gossip.tick(1) == []


def test_many_transactions_are_cut_into_messages_within_their_bounds() -> None:
    gossip = Gossip(b"salt")
    gossip.peer_up(peer(0), outbound=True)
    pool = {transaction_id(one): one for one in (transaction_of(number) for number in range(1_500))}
    gossip.announce(pool)
    announced = [message_of(send) for send in gossip.tick(0)]
    assert [len(message.ids) for message in announced if isinstance(message, TransactionAnnounce)] == [
        1_024,
        476,
    ]
    sends = []
    for message in announced:
        assert isinstance(message, TransactionAnnounce)
        sends += gossip.on_transaction_request(peer(0), TransactionRequest(message.ids), pool.get)
    assert [one for send in sends for one in message_of(send).encoded] == list(pool.values())  # type: ignore[union-attr]  # they are Transactions
    assert all(len(send.frame) <= limits.frame_bytes_max // 3 for send in sends)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["announce", "due", "got", "down"]), st.integers(0, 4), st.integers(0, 6)),
        max_size=60,
    )
)
@settings(max_examples=150)
def test_a_wanted_id_is_asked_of_one_peer_at_a_time_and_its_load_adds_up(
    steps: list[tuple[str, int, int]],
) -> None:
    wanted, now_ms = Wanted(), 0
    asked: dict[Hash, tuple[PeerId, int]] = {}
    for step, who, what in steps:
        one, key = peer(who), hash_of(what)
        if step == "announce":
            wanted.announced(one, key)
        elif step == "got":
            wanted.got(key)
            asked.pop(key, None)
        elif step == "down":
            wanted.peer_down(one)
            asked = {key: (source, until) for key, (source, until) in asked.items() if source != one}
        else:
            now_ms += 700
            for source, keys in wanted.due(now_ms).items():
                for due in keys:
                    assert due not in asked or asked[due][1] <= now_ms
                    asked[due] = (source, now_ms + limits.want_ms_max)
    loads: Counter[PeerId] = Counter()
    for wish in wanted._wishes.values():
        loads.update(wish.sources)
        loads.update([wish.asked] if wish.asked is not None else [])
    assert dict(loads) == {one: len(of) for one, of in wanted._of.items()}
    for _ in range(limits.wanted_sources_max + 2):
        now_ms += limits.want_ms_max
        wanted.due(now_ms)
    assert len(wanted) == 0
    assert wanted._of == {}


def test_memories_are_bounded() -> None:
    ids = IdSet(3)
    seen = SeenCache(count_max=3, ttl_ms=100)
    for number in range(10):
        ids.add(hash_of(number))
        seen.add(hash_of(number), 0)
    assert len(ids) == len(seen) == 3
    assert hash_of(9) in ids
    assert seen.has(hash_of(9), 99)
    assert not seen.has(hash_of(9), 100)
    wanted = Wanted()
    for number in range(limits.wanted_ids_per_peer_max + 10):
        wanted.announced(peer(0), Hash(number.to_bytes(32, "big")))
    assert len(wanted) == limits.wanted_ids_per_peer_max


def test_kept_messages_are_bounded_in_bytes_and_time() -> None:
    gossip = Gossip(b"salt")
    for number in range(200):
        gossip.publish(VoteNotice(vote_of(number)), number)
    assert gossip._kept_bytes == sum(len(frame) for _, frame in gossip._kept.values())
    gossip.tick(limits.gossip_seen_ms + 150)
    assert len(gossip._kept) == 49
    gossip.tick(10 * limits.gossip_seen_ms)
    assert gossip._kept_bytes == 0


def many(first: int, count: int) -> list[Hash]:
    return [Hash(number.to_bytes(32, "big")) for number in range(first, first + count)]


def test_announcing_what_there_is_not_crowds_nobody_out() -> None:
    """Eight strangers fill all room there is; what an honest peer announces is asked for all the same."""
    wanted = Wanted()
    each = limits.wanted_ids_per_peer_max
    for number in range(limits.wanted_ids_max // each):
        for key in many(1 + number * each, each):
            wanted.announced(peer(number), key)
    assert len(wanted) == limits.wanted_ids_max
    honest, own = peer(200), many(2**40, 1_000)
    for key in own:
        wanted.announced(honest, key)
    assert len(wanted) == limits.wanted_ids_max
    assert wanted.due(0)[honest] == own


def test_who_announces_and_does_not_give_is_asked_last() -> None:
    """Strangers that announce everything before others do keep no transaction away for long."""
    wanted, honest, now_ms, late = Wanted(), peer(200), 0, 0
    liars = [peer(number) for number in range(limits.wanted_sources_max)]
    for key in many(1, 50):
        for one in (*liars, honest):
            wanted.announced(one, key)
        for _ in range(len(liars)):
            if key in wanted.due(now_ms).get(honest, ()):
                break
            now_ms += limits.want_ms_max
            late += 1
        wanted.got(key, honest)
    assert late <= 2 * len(liars), "each of them was waited for a few times, and then no more"
    fresh, key = [peer(100 + number) for number in range(limits.wanted_sources_max)], hash_of(10**6)
    for one in (*fresh, honest):
        wanted.announced(one, key)
    assert wanted.due(now_ms) == {honest: [key]}, "who gave before, before who just came"
