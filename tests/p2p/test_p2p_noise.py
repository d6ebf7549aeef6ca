"""Noise XX against an implementation written from the specification's text here, and against mutated messages."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol.keys import SigningKey, verify
from p2p.errors import (
    FrameError,
    HandshakeError,
    IdentityError,
    NetworkError,
    SelfConnectionError,
    WrongVersionError,
)
from p2p.messages import PROTOCOL_VERSION, PeerId
from p2p.noise import PLAINTEXT_BYTES_MAX, NoiseSession, identity_message
from tests.p2p.network_kit import key_of

ALICE, BOB = key_of(1), key_of(2)
STATIC_A, STATIC_B = sha256(b"static a").digest(), sha256(b"static b").digest()
EPHEMERAL_A, EPHEMERAL_B = sha256(b"ephemeral a").digest(), sha256(b"ephemeral b").digest()

pytestmark = pytest.mark.filterwarnings("ignore:One of ephemeral keypairs")


class SpecificationXX:
    """Noise_XX_25519_ChaChaPoly_SHA256, straight from revision 34 of the specification, sections 5 and 7.5."""

    def __init__(self, initiator: bool, static: bytes, ephemeral: bytes, prologue: bytes) -> None:
        name = b"Noise_XX_25519_ChaChaPoly_SHA256"
        self.initiator = initiator
        self.h = self.ck = name if len(name) == 32 else sha256(name).digest()
        self.k: bytes | None = None
        self.n = 0
        self.s, self.e = (X25519PrivateKey.from_private_bytes(key) for key in (static, ephemeral))
        self.re = self.rs = b""
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.h = sha256(self.h + data).digest()

    def hkdf(self, material: bytes) -> tuple[bytes, bytes]:
        temp = hmac.new(self.ck, material, sha256).digest()
        one = hmac.new(temp, b"\x01", sha256).digest()
        return one, hmac.new(temp, one + b"\x02", sha256).digest()

    def dh(self, private: X25519PrivateKey, public: bytes) -> None:
        self.ck, self.k = self.hkdf(private.exchange(X25519PublicKey.from_public_bytes(public)))
        self.n = 0

    def nonce(self) -> bytes:
        self.n += 1
        return bytes(4) + (self.n - 1).to_bytes(8, "little")

    def seal(self, data: bytes) -> bytes:
        sealed = data if self.k is None else ChaCha20Poly1305(self.k).encrypt(self.nonce(), data, self.h)
        self.mix_hash(sealed)
        return sealed

    def unseal(self, data: bytes) -> bytes:
        opened = data if self.k is None else ChaCha20Poly1305(self.k).decrypt(self.nonce(), data, self.h)
        self.mix_hash(data)
        return opened

    def write_1(self, payload: bytes) -> bytes:
        public = self.e.public_key().public_bytes_raw()
        self.mix_hash(public)
        return public + self.seal(payload)

    def read_1(self, message: bytes) -> bytes:
        self.re = message[:32]
        self.mix_hash(self.re)
        return self.unseal(message[32:])

    def write_2(self, payload: bytes) -> bytes:
        public = self.e.public_key().public_bytes_raw()
        self.mix_hash(public)
        self.dh(self.e, self.re)
        static = self.seal(self.s.public_key().public_bytes_raw())
        self.dh(self.s, self.re)
        return public + static + self.seal(payload)

    def read_2(self, message: bytes) -> bytes:
        self.re = message[:32]
        self.mix_hash(self.re)
        self.dh(self.e, self.re)
        self.rs = self.unseal(message[32:80])
        self.dh(self.e, self.rs)
        return self.unseal(message[80:])

    def write_3(self, payload: bytes) -> bytes:
        static = self.seal(self.s.public_key().public_bytes_raw())
        self.dh(self.s, self.re)
        return static + self.seal(payload)

    def read_3(self, message: bytes) -> bytes:
        self.rs = self.unseal(message[:48])
        self.dh(self.e, self.rs)
        return self.unseal(message[48:])

    def split(self) -> tuple[ChaCha20Poly1305, ChaCha20Poly1305]:
        to_responder, to_initiator = self.hkdf(b"")
        return ChaCha20Poly1305(to_responder), ChaCha20Poly1305(to_initiator)


def nonce(number: int) -> bytes:
    return bytes(4) + number.to_bytes(8, "little")


def session(initiator: bool, **options: object) -> NoiseSession:
    identity, static = (ALICE, STATIC_A) if initiator else (BOB, STATIC_B)
    return NoiseSession(identity, initiator=initiator, static_key=static, **options)  # type: ignore[arg-type]  # as given


def shake(alice: NoiseSession, bob: NoiseSession) -> None:
    bob.read(alice.write())
    alice.read(bob.write())
    bob.read(alice.write())


def proof(key: SigningKey, static: bytes, version: int = PROTOCOL_VERSION) -> bytes:
    """The payload of messages 2 and 3, as the specification of the network has it."""
    public = X25519PrivateKey.from_private_bytes(static).public_key().public_bytes_raw()
    return version.to_bytes(2, "big") + key.public + key.sign(identity_message(public))


def test_initiator_agrees_with_the_specification_to_the_byte() -> None:
    ours = session(True, ephemeral_key=EPHEMERAL_A)
    theirs = SpecificationXX(False, STATIC_B, EPHEMERAL_B, b"omnitensor/p2p")
    mirror = SpecificationXX(True, STATIC_A, EPHEMERAL_A, b"omnitensor/p2p")
    first = ours.write()
    assert first == mirror.write_1(b"\x00\x01")
    assert theirs.read_1(first) == b"\x00\x01"
    second = theirs.write_2(proof(BOB, STATIC_B))
    mirror.read_2(second)
    ours.read(second)
    assert ours.remote == BOB.public
    third = ours.write()
    assert third == mirror.write_3(proof(ALICE, STATIC_A))
    payload = theirs.read_3(third)
    assert payload[2:34] == ALICE.public
    assert verify(ALICE.public, identity_message(theirs.rs), payload[34:])
    assert ours.finished
    sending, receiving = theirs.split()
    for number in range(3):
        assert sending.decrypt(nonce(number), ours.encrypt(b"x%d" % number), None) == b"x%d" % number
        assert ours.decrypt(receiving.encrypt(nonce(number), b"y%d" % number, None)) == b"y%d" % number


def test_responder_agrees_with_the_specification_to_the_byte() -> None:
    ours = session(False, ephemeral_key=EPHEMERAL_B)
    theirs = SpecificationXX(True, STATIC_A, EPHEMERAL_A, b"omnitensor/p2p")
    mirror = SpecificationXX(False, STATIC_B, EPHEMERAL_B, b"omnitensor/p2p")
    first = theirs.write_1(b"\x00\x01")
    mirror.read_1(first)
    ours.read(first)
    second = ours.write()
    assert second == mirror.write_2(proof(BOB, STATIC_B))
    assert theirs.read_2(second)[2:34] == BOB.public
    ours.read(theirs.write_3(proof(ALICE, STATIC_A)))
    assert ours.finished
    assert ours.remote == ALICE.public
    sending, receiving = theirs.split()
    assert ours.decrypt(sending.encrypt(nonce(0), b"hello", None)) == b"hello"
    assert receiving.decrypt(nonce(0), ours.encrypt(b"there"), None) == b"there"


@given(number=st.integers(1, 3), place=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_mutated_handshake_never_finishes(number: int, place: int, flip: int) -> None:
    alice, bob = session(True), session(False)

    def spoil(at: int, message: bytes) -> bytes:
        if at != number:
            return message
        spoiled = bytearray(message)
        spoiled[place % len(message)] ^= flip
        return bytes(spoiled)

    with pytest.raises(NetworkError):
        bob.read(spoil(1, alice.write()))
        reply = bob.write()
        bob.check_version()
        alice.read(spoil(2, reply))
        bob.read(spoil(3, alice.write()))
    assert not bob.finished


@given(data=st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_garbage_for_a_handshake_message_is_a_typed_error(data: bytes) -> None:
    alice, bob = session(True), session(False)
    alice.write()
    with pytest.raises(HandshakeError):
        alice.read(data)
    with pytest.raises(HandshakeError):
        bob.read(data)  # at best a key and a version, which the third message then betrays
        bob.write()
        bob.check_version()
        bob.read(data)


def test_a_point_of_low_order_is_refused() -> None:
    bob = session(False)
    bob.read(bytes(32) + b"\x00\x01")
    with pytest.raises(HandshakeError, match="low order"):
        bob.write()


def test_an_identity_that_did_not_sign_the_static_key_is_refused() -> None:
    bob = session(False)
    mallory = SpecificationXX(True, STATIC_A, EPHEMERAL_A, b"omnitensor/p2p")
    bob.read(mallory.write_1(b"\x00\x01"))
    mallory.read_2(bob.write())
    with pytest.raises(IdentityError) as caught:
        bob.read(mallory.write_3(proof(ALICE, STATIC_B)))
    assert ALICE.public.hex() in str(caught.value)


def test_another_identity_than_the_dialled_one_is_named() -> None:
    alice = session(True, expected=PeerId(key_of(9).public))
    bob = session(False)
    bob.read(alice.write())
    with pytest.raises(IdentityError) as caught:
        alice.read(bob.write())
    assert BOB.public.hex()[:32] in str(caught.value)


def test_a_connection_to_oneself_is_refused() -> None:
    alice = session(True)
    again = NoiseSession(ALICE, initiator=False, static_key=STATIC_B)
    again.read(alice.write())
    with pytest.raises(SelfConnectionError):
        alice.read(again.write())


def test_another_version_is_named_at_both_ends() -> None:
    alice, bob = session(True, version=7), session(False)
    bob.read(alice.write())
    reply = bob.write()
    with pytest.raises(WrongVersionError, match="theirs is 7, ours is 1"):
        bob.check_version()
    with pytest.raises(WrongVersionError, match="theirs is 1, ours is 7"):
        alice.read(reply)


def test_transport_refuses_what_was_changed_repeated_or_left_out() -> None:
    alice, bob = session(True), session(False)
    shake(alice, bob)
    messages = [alice.encrypt(b"%d" % number) for number in range(3)]
    with pytest.raises(FrameError):
        bob.decrypt(messages[1])
    assert bob.decrypt(messages[0]) == b"0"
    with pytest.raises(FrameError):
        bob.decrypt(messages[0])
    with pytest.raises(FrameError):
        bob.decrypt(messages[1][:-1] + bytes([messages[1][-1] ^ 1]))
    assert bob.decrypt(messages[1]) == b"1"
    with pytest.raises(FrameError):
        bob.decrypt(b"")


def test_the_largest_message_fits_noise() -> None:
    alice, bob = session(True), session(False)
    shake(alice, bob)
    sealed = alice.encrypt(bytes(PLAINTEXT_BYTES_MAX))
    assert len(sealed) == 65_535
    assert bob.decrypt(sealed) == bytes(PLAINTEXT_BYTES_MAX)
