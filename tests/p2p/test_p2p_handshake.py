"""Handshakes end to end without sockets: any split, wrong chains, refusals, garbage."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol.types import Height, View
from p2p.errors import HandshakeError, NetworkError, WrongChainError, WrongGenesisError, WrongVersionError
from p2p.frames import Outbox, pack_record
from p2p.handshake import Handshake
from p2p.messages import Goodbye, Hello, Lane, PeerId, Ping, Tell, decode_envelope, encode_envelope
from tests.p2p.network_kit import CHAIN, GENESIS, hash_of, key_of

HELLO = Hello(CHAIN, GENESIS, Height(7), hash_of(7), View(9), 9645, "alice")


def pair(hello_b: Hello = HELLO, **options_b: object) -> tuple[Handshake, Handshake]:
    alice = Handshake(key_of(1), HELLO, static_key=bytes([1] * 32), initiator=True)
    bob = Handshake(key_of(2), hello_b, static_key=bytes([2] * 32), initiator=False, **options_b)  # type: ignore[arg-type]  # as given
    return alice, bob


def converse(alice: Handshake, bob: Handshake) -> tuple[NetworkError | None, NetworkError | None]:
    """Lets both talk until nothing is left to say; what each ended with."""
    errors: dict[Handshake, NetworkError | None] = {alice: None, bob: None}
    while True:
        moved = False
        for one, other in ((alice, bob), (bob, alice)):
            data = one.data_to_send()
            if data and errors[other] is None and other.established is None:
                moved = True
                try:
                    other.receive(data)
                except NetworkError as error:
                    errors[other] = error
        if not moved:
            return errors[alice], errors[bob]


@given(cuts=st.lists(st.integers(1, 40), max_size=60))
@settings(max_examples=40, deadline=None)
def test_both_ends_agree_whatever_the_split(cuts: list[int]) -> None:
    alice, bob = pair(msgspec.structs.replace(HELLO, node_name="bob"))
    while alice.established is None or bob.established is None:
        for one, other in ((alice, bob), (bob, alice)):
            data = one.data_to_send()
            while data:
                cut = cuts.pop() if cuts else len(data)
                if other.established is None:
                    other.receive(data[:cut])
                data = data[cut:]
    assert alice.established.peer_id == key_of(2).public
    assert bob.established.peer_id == key_of(1).public
    assert alice.established.hello.node_name == "bob"
    assert bob.established.hello == HELLO


def test_what_follows_the_hello_at_once_is_not_lost() -> None:
    alice, bob = pair()
    bob.receive(alice.data_to_send())
    alice.receive(bob.data_to_send())
    outbox = Outbox()
    outbox.push(Lane.CONTROL, encode_envelope(Tell(Ping(5))))
    fragment = outbox.next_fragment()
    assert fragment is not None
    data = alice.data_to_send()
    bob.receive(data + pack_record(alice._session.encrypt(fragment)))
    assert bob.established is not None
    item = bob.established.reader.next_frame()
    assert item is not None
    assert decode_envelope(item[1]) == Tell(Ping(5))


def test_another_chain_is_named_at_both_ends() -> None:
    errors = converse(*pair(msgspec.structs.replace(HELLO, chain_id="elsewhere")))
    assert [type(error) for error in errors] == [WrongChainError, WrongChainError]
    assert "theirs is elsewhere, ours is test-chain" in str(errors[0])
    assert "theirs is test-chain, ours is elsewhere" in str(errors[1])


def test_another_genesis_is_named_at_both_ends() -> None:
    errors = converse(*pair(msgspec.structs.replace(HELLO, genesis_hash=hash_of(3))))
    assert [type(error) for error in errors] == [WrongGenesisError, WrongGenesisError]
    for error in errors:
        assert GENESIS.hex()[:16] in str(error)
        assert hash_of(3).hex()[:16] in str(error)


def test_another_version_is_named_at_both_ends() -> None:
    errors = converse(*pair(version=2))
    assert [type(error) for error in errors] == [WrongVersionError, WrongVersionError]


@pytest.mark.parametrize("refuser", ["initiator", "responder"])
def test_a_refused_peer_learns_why(refuser: str) -> None:
    def refuse(peer_id: PeerId) -> None:
        raise HandshakeError("no place is left", code="full")

    alice, bob = pair(admit=refuse if refuser == "responder" else None)
    if refuser == "initiator":
        alice._admit = refuse
    errors = converse(alice, bob)
    refused = errors[0] if refuser == "responder" else errors[1]
    assert isinstance(refused, HandshakeError)
    assert refused.code == "full"
    assert "no place is left" in str(refused)


class SaysOtherwise(Handshake):
    """An end that says something else than its Hello."""

    frame = b""

    def _say(self, envelope: Tell) -> None:
        outbox = Outbox()
        outbox.push(Lane.CONTROL, self.frame)
        fragment = outbox.next_fragment()
        assert fragment is not None
        self._out.append(pack_record(self._session.encrypt(fragment)))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (encode_envelope(Tell(Ping(1))), "the first frame is no Hello: Ping"),
        (encode_envelope(Tell(Goodbye("x", "y"))), "the other end declined: x: y"),
        (b"garbage", "the first frame is no Hello"),
        (bytes(2_000), "size out of bounds: 2000 bytes"),
    ],
)
def test_a_first_frame_that_is_no_hello_is_refused(frame: bytes, reason: str) -> None:
    alice = SaysOtherwise(key_of(1), HELLO, static_key=bytes([1] * 32), initiator=True)
    alice.frame = frame
    _, bob = pair()
    bob.receive(alice.data_to_send())
    alice.receive(bob.data_to_send())
    with pytest.raises(NetworkError, match=reason):
        bob.receive(alice.data_to_send())
    assert bob.established is None


@given(data=st.binary(max_size=600), role=st.booleans())
@settings(max_examples=80, deadline=None)
def test_garbage_is_a_typed_error_or_waits_for_more(data: bytes, role: bool) -> None:
    one = Handshake(key_of(1), HELLO, static_key=bytes([1] * 32), initiator=role)
    one.data_to_send()
    with suppress(NetworkError):
        one.receive(data)
    assert one.established is None


@given(place=st.integers(0, 1_000), flip=st.integers(1, 255), turn=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_establishes_nothing_at_the_end_that_read_it(place: int, flip: int, turn: int) -> None:
    alice, bob = pair()
    ends = [(alice, bob), (bob, alice)]
    for step in range(4):
        one, other = ends[step % 2]
        data = bytearray(one.data_to_send())
        if step == turn:
            data[place % len(data)] ^= flip
            with suppress(NetworkError):
                other.receive(bytes(data))
            # A changed length makes the end wait for bytes that never come, until its time is over.
            assert other.established is None
            return
        other.receive(bytes(data))
