"""Noise_XX_25519_ChaChaPoly_SHA256 between two identities. Bytes in, bytes out; knows no sockets and no chain.

The Noise library does handshake and transport. What is added: an Ed25519 identity signs the X25519 static key, and both ends
say their version, the initiator already in the clear first message, so that another version is recognised and not merely
undecryptable. Payloads: `version` (2 bytes, big-endian) in message 1; `version || identity (32) || signature (64)` in 2 and 3.
"""

from __future__ import annotations

import os
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from noise.connection import Keypair, NoiseConnection
from noise.exceptions import NoiseHandshakeError, NoiseInvalidMessage, NoiseValueError

from omnitensor.protocol import hashing
from omnitensor.protocol.keys import SigningKey, verify
from omnitensor.protocol.limits import noise_message_bytes_max
from p2p.errors import FrameError, HandshakeError, IdentityError, SelfConnectionError, WrongVersionError
from p2p.messages import PROTOCOL_VERSION, PeerId

PROTOCOL_NAME: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"
PROLOGUE: Final = b"omnitensor/p2p"
TAG_BYTES: Final = 16
PLAINTEXT_BYTES_MAX: Final = noise_message_bytes_max - TAG_BYTES
STATIC_KEY_BYTES: Final = 32

_VERSION_BYTES: Final = 2
_PROOF_BYTES: Final = _VERSION_BYTES + 32 + 64
# What the library raises on bytes that a stranger made up: bad tags, short keys, points of low order.
_REFUSALS: Final = (InvalidTag, NoiseHandshakeError, NoiseInvalidMessage, NoiseValueError, ValueError)


def generate_static_key() -> bytes:
    """A new X25519 secret, 32 bytes. A node makes one when it starts; peers know it by its identity."""
    return os.urandom(STATIC_KEY_BYTES)


def identity_message(static_public: bytes) -> bytes:
    """The 32 bytes that an identity signs to vouch for a static key."""
    return hashing.PEER(b"static key", static_public)


class NoiseSession:
    """One end of a connection: three handshake messages, then a cipher for each direction.

    The initiator calls `write, read, write`, the responder `read, write, read`. Then `finished` is true, `remote` is the
    authenticated identity of the other end, and `encrypt` and `decrypt` work, in order and without loss.
    """

    def __init__(
        self,
        identity: SigningKey,
        *,
        initiator: bool,
        static_key: bytes,
        expected: PeerId | None = None,
        version: int = PROTOCOL_VERSION,
        ephemeral_key: bytes | None = None,
    ) -> None:
        """`expected` is the identity that was dialled, if known. `ephemeral_key` is for test vectors alone."""
        self._identity = identity
        self._expected = expected
        self._version = version
        self._noise: Any = NoiseConnection.from_name(PROTOCOL_NAME)
        self._noise.set_prologue(PROLOGUE)
        (self._noise.set_as_initiator if initiator else self._noise.set_as_responder)()
        self._noise.set_keypair_from_private_bytes(Keypair.STATIC, static_key)
        if ephemeral_key is not None:
            self._noise.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral_key)
        self._noise.start_handshake()
        # The library forgets this object when it finishes; the remote static key is in it alone.
        self._state: Any = self._noise.noise_protocol.handshake_state
        self._messages = 0
        self._remote: PeerId | None = None
        self._remote_version = version

    @property
    def finished(self) -> bool:
        """Whether both ends are authenticated and ciphers are ready."""
        return bool(self._noise.handshake_finished)

    @property
    def remote(self) -> PeerId:
        """Identity of the other end; only after it was read."""
        assert self._remote is not None, "the identity of the other end is not known yet"
        return self._remote

    def write(self) -> bytes:
        """The next handshake message. Raises HandshakeError where the other end's key admits no shared secret."""
        self._messages += 1
        payload = self._version.to_bytes(_VERSION_BYTES, "big")
        if self._messages > 1:
            payload += self._identity.public + self._identity.sign(
                identity_message(self._state.s.public_bytes)
            )
        try:
            return bytes(self._noise.write_message(payload))
        except _REFUSALS as error:
            raise HandshakeError("the other end's key is a point of low order", value=str(error)) from error

    def read(self, message: bytes) -> None:
        """Takes the other end's next handshake message.

        Raises HandshakeError where it is none, IdentityError for an unproven or unexpected identity, SelfConnectionError for
        one's own, WrongVersionError for another version (in message 1: call `check_version` after answering).
        """
        self._messages += 1
        try:
            payload = bytes(self._noise.read_message(message))
        except _REFUSALS as error:
            raise HandshakeError(
                f"Noise handshake message {self._messages} can't be read: {type(error).__name__}",
                value=message[:32],
                remedy=f"both ends must speak {PROTOCOL_NAME.decode()} with the prologue {PROLOGUE.decode()}",
            ) from error
        if len(payload) < _VERSION_BYTES:
            raise HandshakeError("a handshake message says no version", value=payload)
        self._remote_version = int.from_bytes(payload[:_VERSION_BYTES], "big")
        if self._messages > 1:
            self.check_version()
            self._read_identity(payload)

    def check_version(self) -> None:
        """Raises WrongVersionError when the other end speaks another version, naming both."""
        if self._remote_version != self._version:
            raise WrongVersionError(
                "the other end speaks another version of the network protocol",
                value=f"theirs is {self._remote_version}, ours is {self._version}",
                remedy="run the same release at both ends",
            )

    def _read_identity(self, payload: bytes) -> None:
        if len(payload) != _PROOF_BYTES:
            raise HandshakeError(f"an identity proof has {_PROOF_BYTES} bytes", value=f"{len(payload)} bytes")
        identity, signature = payload[_VERSION_BYTES : _VERSION_BYTES + 32], payload[_VERSION_BYTES + 32 :]
        if not verify(identity, identity_message(self._state.rs.public_bytes), signature):
            raise IdentityError("the identity did not sign the connection's static key", value=identity)
        if self._expected is not None and identity != self._expected:
            raise IdentityError(
                "another identity answers at this address",
                value=f"{identity.hex()}, expected {self._expected.hex()}",
                remedy="correct the peer id of the address in the configuration",
            )
        if identity == self._identity.public:
            raise SelfConnectionError(
                "the other end has this node's own identity",
                value=identity,
                remedy="take this node's own address off its peers; never run two nodes with one identity key",
            )
        self._remote = PeerId(identity)

    def encrypt(self, plaintext: bytes) -> bytes:
        """The next Noise message; 16 bytes longer than `plaintext`, which has at most PLAINTEXT_BYTES_MAX."""
        assert len(plaintext) <= PLAINTEXT_BYTES_MAX
        return bytes(self._noise.encrypt(plaintext))

    def decrypt(self, message: bytes) -> bytes:
        """What the other end encrypted. Raises FrameError for anything it did not send, or out of order."""
        try:
            return bytes(self._noise.decrypt(message))
        except _REFUSALS as error:
            raise FrameError("a Noise message can't be decrypted", value=message[:32]) from error
