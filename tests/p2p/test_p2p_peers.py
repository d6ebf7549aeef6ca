"""Scores, admission, rates, address book and configuration texts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol import limits
from omnitensor.protocol.errors import StorageError
from p2p.address_book import AddressBook, write_book
from p2p.config import Seed, parse_listen, parse_seed
from p2p.counters import Counters
from p2p.dialer import Backoff
from p2p.errors import HandshakeError, NetworkError
from p2p.messages import PeerAddress, PeerId
from p2p.peers import LOCAL, Admission, Scores, network_group, subnet
from p2p.rates import KindRates, TokenBucket
from tests.p2p.network_kit import key_of

HOUR_MS = 3_600_000


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


def address(number: int, host: str | None = None) -> PeerAddress:
    return PeerAddress(peer(number), host or f"10.{number // 256 % 256}.{number % 256}.1", 9645)


def test_charges_add_up_fade_and_end_in_a_ban() -> None:
    scores = Scores()
    assert not scores.charge(peer(1), 60, 0)
    assert scores.points(peer(1), 0) == 60
    assert scores.points(peer(1), 10 * limits.peer_charge_fade_ms) == 50
    assert not scores.charge(peer(1), 49, 10 * limits.peer_charge_fade_ms)
    assert scores.charge(peer(1), 1, 10 * limits.peer_charge_fade_ms)
    begun = 10 * limits.peer_charge_fade_ms
    assert scores.banned(peer(1), begun + limits.peer_ban_ms - 1)
    assert not scores.banned(peer(1), begun + limits.peer_ban_ms)
    assert scores.points(peer(1), begun + limits.peer_ban_ms) == 0
    assert not scores.banned(peer(2), 0)


def test_books_on_strangers_are_bounded() -> None:
    scores = Scores()
    for number in range(limits.bans_max + 100):
        scores.charge(peer(number), 1, 0)
        scores.ban(peer(number), 0)
    assert len(scores._charges) == len(scores._bans) == limits.bans_max


@pytest.mark.parametrize(
    ("host", "group", "narrow"),
    [
        ("127.0.0.1", LOCAL, LOCAL),
        ("::1", LOCAL, LOCAL),
        ("localhost", LOCAL, LOCAL),
        ("203.0.113.9", "203.0.0.0/16", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.0.0/16", "203.0.113.0/24"),
        ("2001:db8:1:2::7", "2001:db8::/32", "2001:db8:1::/48"),
        ("node7.example.org", "example.org", "example.org"),
    ],
)
def test_groups_of_addresses(host: str, group: str, narrow: str) -> None:
    assert network_group(host) == group
    assert subnet(host) == narrow


def test_places_by_direction_and_subnet() -> None:
    admission = Admission(inbound_max=limits.peers_per_subnet_max + 2)
    for number in range(limits.peers_per_subnet_max):
        admission.check_inbound(f"203.0.113.{number}", reserved=False)
        admission.add_inbound(f"203.0.113.{number}")
    with pytest.raises(HandshakeError, match="one subnet") as caught:
        admission.check_inbound("203.0.113.99", reserved=False)
    assert caught.value.code == "full"
    admission.check_inbound("203.0.113.99", reserved=True)
    for _ in range(2):
        admission.check_inbound("127.0.0.1", reserved=False)
        admission.add_inbound("127.0.0.1")
    with pytest.raises(HandshakeError, match="all places for incoming"):
        admission.check_inbound("198.51.100.1", reserved=False)
    admission.remove_inbound("203.0.113.0")
    admission.check_inbound("198.51.100.1", reserved=False)


def test_handshakes_at_once_are_bounded_by_subnet_and_in_all() -> None:
    admission = Admission(64)
    for number in range(limits.handshakes_per_subnet_max):
        admission.begin_handshake(f"203.0.113.{number}", 0)
    with pytest.raises(HandshakeError, match=r"one subnet.*203\.0\.113\.0/24"):
        admission.begin_handshake("203.0.113.200", 0)
    for _ in range(limits.handshakes_in_flight_max - limits.handshakes_per_subnet_max):
        admission.begin_handshake("127.0.0.1", 0)
    with pytest.raises(HandshakeError, match="too many handshakes at once"):
        admission.begin_handshake("198.51.100.1", 0)
    admission.end_handshake("203.0.113.1")
    admission.begin_handshake("198.51.100.1", 0)


def test_one_subnet_begins_handshakes_at_a_bounded_rate() -> None:
    admission = Admission(64)

    def attempt(host: str, now_ms: int) -> bool:
        try:
            admission.begin_handshake(host, now_ms)
        except HandshakeError:
            return False
        admission.end_handshake(host)
        return True

    rate, burst = limits.handshake_rate
    assert sum(attempt(f"203.0.113.{number}", 0) for number in range(100)) == burst
    assert attempt("198.51.100.1", 0)
    assert sum(attempt("203.0.113.1", 1_000) for _ in range(100)) == rate
    assert all(attempt("127.0.0.1", 0) for _ in range(100))


@given(
    rate=st.integers(1, 50),
    burst=st.integers(1, 50),
    gaps=st.lists(st.integers(-20, 400), min_size=1, max_size=200),
)
@settings(max_examples=100)
def test_a_bucket_allows_no_more_than_burst_and_rate(rate: int, burst: int, gaps: list[int]) -> None:
    bucket, now_ms, latest_ms, taken = TokenBucket(rate, burst, 0), 0, 0, 0
    for gap in gaps:
        now_ms += gap
        latest_ms = max(latest_ms, now_ms)
        taken += bucket.take(now_ms)
        # Time that goes back and forward again counts once more at most; what was allowed stays within the sum.
        advanced = sum(max(0, one) for one in gaps)
        assert taken <= burst + rate * advanced / 1_000 + 1e-9
    assert taken >= min(len(gaps), burst)


def test_kinds_have_rates_of_their_own() -> None:
    rates = KindRates(0)
    pings = sum(rates.allow("Ping", 0) for _ in range(1_000))
    assert pings == limits.message_rates["*"][1]
    assert rates.allow("VoteNotice", 0)
    assert rates.allow("Ping", 1_000)


def test_ids_have_a_rate_of_their_own_over_all_kinds() -> None:
    rates, (per_second, burst) = KindRates(0), limits.message_ids_rate
    per_message = limits.transaction_ids_per_message_max
    kinds = ("Have", "Want", "TransactionAnnounce", "TransactionRequest")
    taken = sum(rates.allow(kinds[number % 4], 0, per_message) for number in range(4 * 400))
    assert taken == burst // per_message
    assert rates.allow("VoteNotice", 0)
    assert not rates.allow("TransactionRequest", 0, per_message)
    later_ms = 1_000 * per_message // per_second + 1
    assert rates.allow("TransactionRequest", later_ms, per_message)


def test_every_rate_names_a_kind_that_there_is() -> None:
    from p2p import messages

    for kind in limits.message_rates:
        assert kind == "*" or hasattr(messages, kind)


def test_the_wait_before_dialling_again_doubles_up_to_a_bound() -> None:
    backoff, now_ms, waits = Backoff(random.Random(1)), 0, []
    for _ in range(12):
        backoff.failed(now_ms)
        waits.append(backoff.next_ms - now_ms)
        now_ms = backoff.next_ms
    for place, wait in enumerate(waits):
        bare = min(limits.redial_ms_min * 2**place, limits.redial_ms_max)
        assert 0.75 * bare - 1 <= wait <= 1.25 * bare
    backoff.succeeded(now_ms)
    assert backoff.next_ms == now_ms + limits.redial_ms_min


def book() -> AddressBook:
    return AddressBook(peer(0), salt=bytes(16))


def test_hearsay_is_bounded_by_source_and_never_local_from_afar() -> None:
    one = book()
    assert one.hear([address(1, "127.0.0.1")], "203.0.113.5", 0) == 0
    assert one.hear([address(1, "127.0.0.1")], "127.0.0.1", 0) == 1
    assert one.hear([address(0)], "203.0.113.5", 0) == 0  # oneself
    for host in ("not an address", "198.51.100.7%a.name", "2001:db8::1%a.name"):
        assert one.hear([address(2, host)], "203.0.113.5", 0) == 0
    many = [address(number) for number in range(10, 2_000)]
    assert one.hear(many, "203.0.113.5", 0) <= limits.addresses_from_peer_per_hour_max
    assert one.hear(many, "203.0.113.6", HOUR_MS - 1) == 0  # the same group of the network
    assert one.hear(many, "198.51.100.1", 0) > 0


def test_one_network_fills_a_few_buckets_only() -> None:
    """Eclipse: an operator with one network and any number of identities must not own the book."""
    one = book()
    for hour in range(40):
        flood = [address(number, f"203.0.{number % 256}.7") for number in range(hour * 250, hour * 250 + 250)]
        one.hear(flood, "203.0.113.5", hour * HOUR_MS)
    assert len(one) <= 4 * limits.addresses_per_bucket_max
    honest = [address(1_000_000 + number, f"{20 + number}.1.1.1") for number in range(40)]
    one.hear(honest, "198.51.100.1", 0)
    rng = random.Random(1)
    chosen = [one.choose((), 0, rng) for _ in range(400)]
    share = sum(choice is not None and choice.host.startswith("203.0.") for choice in chosen) / len(chosen)
    assert share < 0.3


def test_what_answers_is_tried_and_what_fails_is_rested_then_forgotten() -> None:
    one = book()
    one.hear([address(1)], "203.0.113.5", 0)
    entry = one.get(peer(1))
    assert entry is not None
    assert not entry.tried
    one.good(address(1), 1_000)
    entry = one.get(peer(1))
    assert entry is not None
    assert entry.tried
    rng = random.Random(1)
    assert one.choose((), 1_000, rng) == address(1)
    assert one.choose([peer(1)], 1_000, rng) is None
    one.failed(peer(1), 2_000)
    assert one.choose((), 3_000, rng) is None
    assert one.choose((), 2_000 + HOUR_MS, rng) == address(1)
    for _ in range(20):
        one.failed(peer(1), 2_000)
    assert one.get(peer(1)) is None
    one.failed(peer(7), 0)  # unknown: nothing happens


def test_samples_leave_out_what_failed_and_local_addresses_for_others() -> None:
    one = book()
    one.hear([address(number) for number in range(1, 5)], "203.0.113.5", 0)
    one.hear([address(9, "127.0.0.1")], "127.0.0.1", 0)
    one.failed(peer(1), 0)
    rng = random.Random(1)
    assert {found.peer_id for found in one.sample(64, rng, local=False)} == {peer(2), peer(3), peer(4)}
    assert len(one.sample(64, rng, local=True)) == 4
    assert len(one.sample(2, rng, local=True)) == 2


def test_the_book_survives_a_restart(tmp_path: Path) -> None:
    one = book()
    one.hear([address(number) for number in range(1, 50)], "203.0.113.5", 0)
    one.good(address(3), 77)
    path = tmp_path / "addresses.json"
    write_book(path, one.dump())
    again = AddressBook.load(path, peer(0))
    assert sorted(again, key=lambda entry: entry.address.peer_id) == sorted(
        one, key=lambda entry: entry.address.peer_id
    )
    assert again.dump() == AddressBook.load(path, peer(0)).dump()
    assert list(tmp_path.iterdir()) == [path]
    assert len(AddressBook.load(tmp_path / "none.json", peer(0))) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 2, "salt": "", "addresses": []}',
        '{"format": 1, "salt": "xyz", "addresses": []}',
        '{"format": 1, "salt": "00", "addresses": [[1, 2]]}',
        '{"format": 1, "salt": "00", "addresses": [["00", "1.2.3.4", 1, "g", true, 0, 0, 0]]}',
        '{"format": 1, "salt": "00", "addresses": [["%s", "1.2.3.4", 0, "g", true, 0, 0, 0]]}' % ("00" * 32),
        '{"format": 1, "salt": "00", "addresses": [["%s", "1.2.3.4", 1.5, "g", true, 0, 0, 0]]}'
        % ("00" * 32),
        '{"format": 1, "salt": "00", "addresses": [["%s", 7, 1, "g", true, 0, 0, 0]]}' % ("00" * 32),
    ],
)
def test_a_damaged_book_is_a_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "addresses.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StorageError, match="not an address book") as caught:
        AddressBook.load(path, peer(0))
    assert str(path) in str(caught.value) or str(path)[:60] in str(caught.value)
    assert "remove the file" in caught.value.remedy


def test_texts_of_addresses() -> None:
    identity = PeerId(key_of(1).public)
    assert parse_seed("example.org:9645") == Seed("example.org", 9645)
    assert parse_seed("[2001:db8::1]:9645") == Seed("2001:db8::1", 9645)
    assert parse_seed(f"{identity.hex()}@127.0.0.1:1") == Seed("127.0.0.1", 1, identity)
    for seed in (Seed("h", 1), Seed("2001:db8::1", 2), Seed("h", 3, identity)):
        assert parse_seed(str(seed)) == seed
    assert parse_listen("0.0.0.0:0") == ("0.0.0.0", 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        ":1",
        "host:0",
        "host:65536",
        "host:x",
        "2001:db8::1:5",
        "ab@h:1",
        f"{'zz' * 32}@h:1",
        "h:٣",
    ],
)
def test_malformed_addresses_are_named(text: str) -> None:
    with pytest.raises(NetworkError) as caught:
        parse_seed(text)
    assert caught.value.value == text
    assert "host:port" in caught.value.remedy


def test_counters_show_names_and_labels() -> None:
    counters = Counters()
    counters.add("p2p_messages_in", kind="Ping")
    counters.add("p2p_messages_in", kind="Ping")
    counters.add("p2p_bytes_in", 10)
    assert counters.snapshot() == {"p2p_bytes_in": 10, "p2p_messages_in{kind=Ping}": 2}
    assert counters.get("p2p_messages_in", kind="Ping") == 2
