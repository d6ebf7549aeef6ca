"""From a new connection to a peer: Noise, then a Hello in each direction, then the comparison. Knows no sockets and no clock.

initiator: record(Noise 1) ->            <- record(Noise 2)         record(Noise 3), Hello ->
responder:                                                           <- Hello
The responder sends its Hello before it judges the other's, so both ends can name the values of both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.types import Hash
from p2p.errors import HandshakeError, WrongChainError, WrongGenesisError
from p2p.frames import FrameReader, Outbox, RecordReader, pack_record
from p2p.messages import (
    PROTOCOL_VERSION,
    Goodbye,
    Hello,
    Lane,
    PeerId,
    Tell,
    decode_envelope,
    encode_envelope,
)
from p2p.noise import NoiseSession


@dataclass(frozen=True, slots=True)
class Established:
    """A connection whose other end is authenticated and of this chain. `reader` may hold bytes that came after the Hello."""

    peer_id: PeerId
    hello: Hello
    session: NoiseSession
    reader: FrameReader


class Handshake:
    """One end of a handshake. Feed it with `receive`, send what `data_to_send` gives, until `established` is there.

    After an error `data_to_send` may still hold the message from which the other end learns what is wrong.
    """

    def __init__(
        self,
        identity: SigningKey,
        hello: Hello,
        *,
        static_key: bytes,
        initiator: bool,
        expected: PeerId | None = None,
        admit: Callable[[PeerId], None] | None = None,
        version: int = PROTOCOL_VERSION,
    ) -> None:
        """`admit` is asked once the other end is authenticated; a HandshakeError that it raises is said to the other end."""
        self.established: Established | None = None
        self._hello = hello
        self._admit = admit
        self._parted = False
        self._session = NoiseSession(
            identity, initiator=initiator, static_key=static_key, expected=expected, version=version
        )
        self._records = RecordReader(limits.handshake_message_bytes_max)
        self._frames: FrameReader | None = None
        self._out: list[bytes] = []
        if initiator:
            self._out.append(pack_record(self._session.write()))

    @property
    def authenticated(self) -> bool:
        """Whether Noise is through, so that a Goodbye can be said."""
        return self._session.finished

    def data_to_send(self) -> bytes:
        """Bytes for the other end; each is given once."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> None:
        """Takes bytes of the stream, split anywhere. Raises HandshakeError (and its subclasses) or FrameError."""
        assert self.established is None, "the handshake is over"
        self._records.feed(data)
        while self._frames is None:
            if (record := self._records.next_record()) is None:
                return
            self._on_noise(record)
        if (frame := self._frames.next_frame()) is not None:
            self._on_frame(frame[0], frame[1])

    def goodbye(self, code: str, reason: str) -> None:
        """Queues a farewell, once, where Noise is through."""
        if self.authenticated and not self._parted:
            self._parted = True
            self._say(Tell(Goodbye(code, reason[: limits.reason_chars_max])))

    def _on_noise(self, record: bytes) -> None:
        self._session.read(record)
        if not self._session.finished:
            self._out.append(pack_record(self._session.write()))
            self._session.check_version()
        if self._session.finished:
            self._ask_admission()
            self._say(Tell(self._hello))
            self._records.record_bytes_max = limits.noise_message_bytes_max
            self._frames = FrameReader(self._session, self._records, limits.hello_bytes_max)

    def _ask_admission(self) -> None:
        try:
            if self._admit is not None:
                self._admit(self._session.remote)
        except HandshakeError as error:
            self.goodbye(error.code, error.reason)
            raise

    def _say(self, envelope: Tell) -> None:
        outbox = Outbox()
        outbox.push(Lane.CONTROL, encode_envelope(envelope))
        while (fragment := outbox.next_fragment()) is not None:
            self._out.append(pack_record(self._session.encrypt(fragment)))

    def _on_frame(self, lane: Lane, frame: bytes) -> None:
        try:
            envelope = decode_envelope(frame)
        except ProtocolError as error:
            raise HandshakeError("the first frame is no Hello", value=frame[:32]) from error
        message = envelope.message
        if isinstance(message, Goodbye):
            raise HandshakeError(
                "the other end declined", value=f"{message.code}: {message.reason}", code=clean(message.code)
            )
        if not isinstance(message, Hello) or lane is not Lane.CONTROL:
            raise HandshakeError("the first frame is no Hello", value=type(message).__name__)
        compare(self._hello, message)
        assert self._frames is not None
        self._frames.frame_bytes_max = limits.frame_bytes_max
        self.established = Established(self._session.remote, message, self._session, self._frames)


def compare(ours: Hello, theirs: Hello) -> None:
    """Raises WrongChainError or WrongGenesisError, naming both values, where two nodes have nothing to say to one another."""
    if theirs.chain_id != ours.chain_id:
        raise WrongChainError(
            "the other end is on another chain",
            value=f"theirs is {clean(theirs.chain_id)}, ours is {ours.chain_id}",
            remedy="take it off the peers, or start this node with the genesis file of that chain",
        )
    if theirs.genesis_hash != ours.genesis_hash:
        raise WrongGenesisError(
            "the other end has another genesis of this chain",
            value=f"theirs {_short(theirs.genesis_hash)}, ours {_short(ours.genesis_hash)}",
            remedy="compare the genesis files at both ends",
        )


def clean(text: str) -> str:
    """A stranger's text with everything but printable ASCII replaced, for logs."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)


def _short(value: Hash) -> str:
    return value.hex()[:16] + "…"
