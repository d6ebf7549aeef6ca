"""What the network's tests share: a node that only records, sample messages, and hosts on loopback. Tests nothing."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256

from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.codec import encode
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.transactions import signed, transaction_id, unsigned
from omnitensor.protocol.types import (
    Amount,
    BlsSignature,
    Epoch,
    Hash,
    Height,
    Signature,
    View,
)
from omnitensor.protocol.votes import Vote, VoteKind
from p2p.config import HostConfig, Seed
from p2p.frames import Outbox, pack_record
from p2p.handshake import Established, Handshake
from p2p.host import Host
from p2p.interface import Charge, Head, Judgement, PeerInfo, Verdict
from p2p.messages import (
    Envelope,
    Goodbye,
    Gossip,
    Hello,
    Lane,
    PeerId,
    Request,
    Response,
    StatusUpdate,
    decode_envelope,
    encode_envelope,
    lane_of,
)

CHAIN = "test-chain"
SECONDS_MAX = 120.0
"""What happens soon by itself may take so long on a busy machine."""
GENESIS = Hash(sha256(b"genesis").digest())


def key_of(number: int) -> SigningKey:
    """The same key for the same number, every time."""
    return SigningKey(sha256(b"test key %d" % number).digest())


def hash_of(number: int) -> Hash:
    return Hash(sha256(b"test hash %d" % number).digest())


def vote_of(number: int) -> Vote:
    """A vote in shape; its signature is for the node to judge, which here does not."""
    return Vote(
        VoteKind.NOTARIZE, Epoch(0), View(number), hash_of(number), number % 7, BlsSignature(bytes(96))
    )


def transaction_of(number: int, key: SigningKey | None = None) -> bytes:
    """Canonical bytes of a signed transfer."""
    key = key or key_of(0)
    bare = unsigned(
        chain_id=CHAIN,
        sender=key.address,
        nonce=number,
        valid_until=Height(100),
        max_fee=Amount(1_000_000),
        tip=Amount(0),
        body=Transfer(key_of(1).address, Amount(1)),
        signer=key.public,
    )
    return encode(signed(bare, Signature(key.sign(bare.id))))


@dataclass
class Recorder:
    """A `Handler` that writes down what it hears and finds everything valid unless told otherwise."""

    height: int = 0
    gossip: list[tuple[PeerId, Gossip]] = field(default_factory=list)
    statuses: list[tuple[PeerId, StatusUpdate]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    ups: list[PeerInfo] = field(default_factory=list)
    downs: list[tuple[PeerId, str]] = field(default_factory=list)
    pool: dict[Hash, bytes] = field(default_factory=dict)
    judge: Callable[[object], Judgement] = lambda message: Verdict.RELAY
    answer: Callable[[Request], Response | Charge | None] = lambda request: None
    gate: asyncio.Event | None = None
    """While it is there and not set, no judgement is given."""

    def head(self) -> Head:
        return Head(Height(self.height), hash_of(self.height), View(self.height))

    def has_transaction(self, transaction_id: Hash) -> bool:
        return transaction_id in self.pool

    def transaction(self, transaction_id: Hash) -> bytes | None:
        return self.pool.get(transaction_id)

    async def on_gossip(self, peer_id: PeerId, message: Gossip) -> Judgement:
        self.gossip.append((peer_id, message))
        if self.gate is not None:
            await self.gate.wait()
        return self.judge(message)

    async def on_transactions(self, peer_id: PeerId, encoded: tuple[bytes, ...]) -> tuple[Judgement, ...]:
        judgements = tuple(self.judge(one) for one in encoded)
        for one, judgement in zip(encoded, judgements, strict=True):
            if judgement is Verdict.RELAY:
                self.pool[transaction_id(one)] = one
        return judgements

    async def on_status(self, peer_id: PeerId, status: StatusUpdate) -> None:
        self.statuses.append((peer_id, status))

    async def on_request(self, peer_id: PeerId, request: Request) -> Response | Charge | None:
        self.requests.append(request)
        return self.answer(request)

    async def on_peer_up(self, peer: PeerInfo) -> None:
        self.ups.append(peer)

    async def on_peer_down(self, peer_id: PeerId, reason: str) -> None:
        self.downs.append((peer_id, reason))


@dataclass
class Node:
    """A host on loopback and its recorder."""

    host: Host
    recorder: Recorder

    @property
    def seed(self) -> Seed:
        return Seed("127.0.0.1", self.host.listen_port, self.host.peer_id)

    @property
    def peer_ids(self) -> list[PeerId]:
        return [peer.peer_id for peer in self.host.peers()]


class Nodes:
    """Starts nodes and stops them all."""

    def __init__(self) -> None:
        self.started: list[Node] = []
        self.raw: list[RawPeer] = []

    async def connect(self, number: int, node: Node, receive_buffer: int | None = None) -> RawPeer:
        """A hand-made peer of a node, once the node counts it."""
        raw = await RawPeer.connect(number, node, receive_buffer)
        self.raw.append(raw)
        await until(lambda: raw.peer_id in node.peer_ids)
        return raw

    async def start(
        self,
        number: int,
        *seeds: Seed,
        chain: str = CHAIN,
        genesis: Hash = GENESIS,
        port: int = 0,
        config: HostConfig | None = None,
        height: int = 0,
        wall: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> Node:
        """A node with the identity of `number`, dialling `seeds`."""
        recorder = Recorder(height)
        config = config or HostConfig(
            listen=("127.0.0.1", port), persistent=seeds, node_name=f"node {number}", exchange=False
        )
        host = Host(key_of(number), chain, genesis, recorder, config, wall=wall)
        await host.start()
        node = Node(host, recorder)
        self.started.append(node)
        return node


@asynccontextmanager
async def nodes() -> AsyncIterator[Nodes]:
    """Nodes that are stopped at the end."""
    all_nodes = Nodes()
    try:
        yield all_nodes
    finally:
        for raw in all_nodes.raw:
            raw.writer.transport.abort()
        await asyncio.gather(*(node.host.stop() for node in all_nodes.started))


async def until(condition: Callable[[], bool], seconds: float = SECONDS_MAX) -> None:
    """Waits for a condition; fails naming nothing but the time, so give a telling assert after it."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class RawPeer:
    """The other end of a host's connection, made by hand: says and hears frames as it likes."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, done: Established
    ) -> None:
        self.peer_id = PeerId(key_of(number).public)
        self.reader = reader
        self.writer = writer
        self.session = done.session
        self.frames = done.reader

    @classmethod
    async def connect(cls, number: int, node: Node, receive_buffer: int | None = None) -> RawPeer:
        """Shakes hands with a node as the identity of `number`."""
        raw = socket.socket()
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", node.host.listen_port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=receive_buffer or 2**16)
        hello = Hello(CHAIN, GENESIS, Height(0), hash_of(0), View(0), 0, "raw")
        shake = Handshake(key_of(number), hello, static_key=bytes([number] * 32), initiator=True)
        try:
            while shake.established is None:
                writer.write(shake.data_to_send())
                data = await reader.read(4_096)
                if not data:
                    raise ConnectionError("the host closed the connection")
                shake.receive(data)
        except BaseException:
            writer.transport.abort()
            raise
        writer.write(shake.data_to_send())
        return cls(number, reader, writer, shake.established)

    def say_fragment(self, fragment: bytes) -> None:
        self.writer.write(pack_record(self.session.encrypt(fragment)))

    def say_frame(self, frame: bytes, lane: Lane) -> None:
        outbox = Outbox()
        assert outbox.push(lane, frame)
        while (fragment := outbox.next_fragment()) is not None:
            self.say_fragment(fragment)

    def say(self, envelope: Envelope) -> None:
        self.say_frame(encode_envelope(envelope), lane_of(envelope.message))

    async def hear(self) -> Envelope | None:
        """The next message; None when the host closed."""
        async with asyncio.timeout(SECONDS_MAX):
            while (item := self.frames.next_frame()) is None:
                data = await self.reader.read(2**16)
                if not data:
                    return None
                self.frames.feed(data)
        return decode_envelope(item[1])

    async def hear_goodbye(self) -> Goodbye | None:
        """The farewell with which the host closed, if it said one."""
        last: Goodbye | None = None
        try:
            while (envelope := await self.hear()) is not None:
                if isinstance(envelope.message, Goodbye):
                    last = envelope.message
        except OSError:
            pass  # a reset after the goodbye
        self.writer.close()
        return last
