"""What the network's tests share: a node that only records, sample messages, and hosts on loopback. Tests nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
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
from p2p.host import Host
from p2p.interface import Charge, Head, Judgement, PeerInfo, Verdict
from p2p.messages import Gossip, PeerId, Request, Response, StatusUpdate

CHAIN = "test-chain"
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

    async def start(
        self,
        number: int,
        *seeds: Seed,
        chain: str = CHAIN,
        genesis: Hash = GENESIS,
        port: int = 0,
        config: HostConfig | None = None,
        height: int = 0,
    ) -> Node:
        """A node with the identity of `number`, dialling `seeds`."""
        recorder = Recorder(height)
        config = config or HostConfig(
            listen=("127.0.0.1", port), persistent=seeds, node_name=f"node {number}", exchange=False
        )
        host = Host(key_of(number), chain, genesis, recorder, config)
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
        await asyncio.gather(*(node.host.stop() for node in all_nodes.started))


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits for a condition; fails naming nothing but the time, so give a telling assert after it."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def raises_within(awaitable: Awaitable[object], seconds: float = 5.0) -> BaseException | None:
    """The exception that an awaitable ends with, or None."""
    try:
        async with asyncio.timeout(seconds):
            await awaitable
    except Exception as error:
        return error
    return None
