"""What the node's tests share: folders of real nodes with one genesis, nodes in this process, and strangers on real sockets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from node import config as configuration
from node import keys as node_keys
from node.driver import now_ms
from node.service import Node
from node.setup import make_folder
from omnitensor.protocol.bodies import BodyBase, Transfer
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.params import Params
from omnitensor.protocol.transactions import signed, unsigned
from omnitensor.protocol.types import NANO, Amount, Hash, Height, TimeMs, View
from p2p.config import HostConfig, Seed
from p2p.host import Host
from p2p.interface import Charge, Head, Judgement, PeerInfo, Verdict
from p2p.messages import Gossip, PeerId, Request, Response, StatusUpdate
from state.genesis import Genesis, GenesisAccount, GenesisValidator
from state.ledger.prepared import Prepared, prepare

CHAIN_ID = "node-test"
PARAMS = Params(block_interval_ms=100, delta_ms=400, standstill_ms=1_000)
"""Fast blocks, and timers that a busy machine does not run out."""
STAKE = 100_000 * NANO
WAIT_SECONDS_MAX = 240.0
ANY_PORT = {"rpc.listen": "127.0.0.1:0", "p2p.listen": "127.0.0.1:0"}


def account_key(name: str) -> SigningKey:
    """The account that a name gives, the same every time."""
    return SigningKey(sha256(f"node test account {name}".encode()).digest())


@dataclass
class Folders:
    """Nodes on disk: ``homes[i]`` is validator i's folder; ``extra`` makes one that only follows."""

    root: Path
    genesis: Genesis
    homes: list[Path]

    @property
    def genesis_file(self) -> Path:
        return self.root / "genesis.json"

    def keys(self, number: int) -> node_keys.NodeKeys:
        return node_keys.load(self.homes[number] / "keys")

    def extra(self, name: str, **settings: object) -> Path:
        """A folder of a node that is no validator."""
        home = self.root / name
        make_folder(home, self.genesis_file, ANY_PORT | settings)
        return home


def make_folders(root: Path, validators: int = 4, params: Params = PARAMS) -> Folders:
    """Keys, genesis and folders, made as an operator makes them."""
    root.mkdir(parents=True, exist_ok=True)
    homes = [root / f"v{number}" for number in range(validators)]
    rows = []
    for number, home in enumerate(homes):
        home.mkdir()
        public = node_keys.create(home / "keys").public()
        rows.append(
            GenesisValidator(
                account_key(f"v{number}").address,
                f"v{number}",
                Amount(STAKE),
                0,
                public.consensus,
                public.proof_of_possession,
            )
        )
    names = ("alice", "bob", *(f"v{number}" for number in range(validators)))
    accounts = tuple(GenesisAccount(account_key(name).address, Amount(1_000 * NANO)) for name in names)
    now_ms = TimeMs(time.time_ns() // 1_000_000)
    genesis = Genesis(CHAIN_ID, now_ms, params, accounts, tuple(rows)).checked()
    (root / "genesis.json").write_text(genesis.to_json(), encoding="utf-8")
    for home in homes:
        make_folder(home, root / "genesis.json", ANY_PORT)
    return Folders(root, genesis, homes)


def node_at(home: Path, peers: Sequence[Node] = (), **settings: object) -> Node:
    """A node on a folder, not started; it will dial ``peers``. Settings by their attribute's name, dots as ``__``."""
    flags = {name.replace("__", "."): value for name, value in settings.items()}
    flags["p2p.bootstrap"] = tuple(f"127.0.0.1:{peer.network.listen_port}" for peer in peers)
    return Node(configuration.load(home, configuration.Sources(flags=flags, environment={})))


@asynccontextmanager
async def running(homes: Sequence[Path], peers: Sequence[Node] = ()) -> AsyncIterator[list[Node]]:
    """Nodes in this process, each dialling those before it."""
    nodes: list[Node] = []
    try:
        for home in homes:
            node = node_at(home, [*peers, *nodes])
            nodes.append(node)
            await node.start()
        yield nodes
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


async def until(what: str, condition: Callable[[], object], seconds: float = WAIT_SECONDS_MAX) -> None:
    """Waits for a condition; fails the test, saying which, when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.02)


def height_of(node: Node) -> int:
    return node.application.reader().head.height


def assert_agreement(nodes: Sequence[Node]) -> None:
    """No two nodes have different final blocks at one height."""
    readers = [node.application.reader() for node in nodes]
    for height in range(min(reader.head.height for reader in readers) + 1):
        blocks = {reader.encoded_block(Height(height)) for reader in readers}
        assert len(blocks) == 1, f"two final blocks at height {height}"


def transfer(
    sender: str,
    nonce: int,
    *,
    to: str = "bob",
    amount: int = 7,
    valid_until: int = 10_000,
    max_fee: int = NANO,
    tip: int = 0,
) -> Prepared:
    body = Transfer(account_key(to).address, Amount(amount))
    return transaction(sender, nonce, body, valid_until=valid_until, max_fee=max_fee, tip=tip)


def transaction(
    sender: str,
    nonce: int,
    body: BodyBase,
    *,
    valid_until: int = 10_000,
    max_fee: int = NANO,
    tip: int = 0,
    chain_id: str = CHAIN_ID,
) -> Prepared:
    """A signed transaction of a named account."""
    key = account_key(sender)
    plain = unsigned(
        chain_id=chain_id,
        sender=key.address,
        nonce=nonce,
        valid_until=Height(valid_until),
        max_fee=Amount(max_fee),
        tip=Amount(tip),
        body=body,  # type: ignore[arg-type]  # every body is one of the union
        signer=key.public,
    )
    return prepare(signed(plain, key.sign(plain.id)))


Answered = Response | Charge | None
Answer = Callable[[PeerId, Request], Answered | Awaitable[Answered]]


@dataclass
class Stranger:
    """A peer on a real socket that says what a test wants it to say; it records what it hears."""

    genesis: Genesis
    height: int = 0
    answers: Mapping[type, Answer] = field(default_factory=dict)
    identity: SigningKey = field(default_factory=SigningKey.generate)
    wall: Callable[[], int] = now_ms
    heard: list[Gossip] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    ups: list[PeerId] = field(default_factory=list)
    downs: list[tuple[PeerId, str]] = field(default_factory=list)
    statuses: dict[PeerId, StatusUpdate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._host: Host | None = None

    @property
    def host(self) -> Host:
        assert self._host is not None, "start it first"
        return self._host

    async def start(self, *nodes: Node) -> Stranger:
        seeds = tuple(
            Seed("127.0.0.1", node.network.listen_port, PeerId(node.keys.identity.public)) for node in nodes
        )
        self._host = Host(
            self.identity,
            self.genesis.chain_id,
            self.genesis.hash,
            self,
            HostConfig(listen=("127.0.0.1", 0), persistent=seeds, exchange=False, node_name="stranger"),
            wall=self.wall,
        )
        await self._host.start()
        await until("the stranger was connected", lambda: len(set(self.ups)) >= len(nodes))
        return self

    async def stop(self) -> None:
        if self._host is not None:
            await self._host.stop()

    # -- what a host asks of a node

    def head(self) -> Head:
        return Head(Height(self.height), self.genesis.hash, View(0))

    def has_transaction(self, transaction_id: Hash) -> bool:
        return False

    def transaction(self, transaction_id: Hash) -> bytes | None:
        return None

    async def on_gossip(self, peer_id: PeerId, message: Gossip) -> Judgement:
        self.heard.append(message)
        return Verdict.IGNORE

    async def on_transactions(self, peer_id: PeerId, encoded: tuple[bytes, ...]) -> tuple[Judgement, ...]:
        return tuple(Verdict.IGNORE for _ in encoded)

    async def on_status(self, peer_id: PeerId, status: StatusUpdate) -> None:
        self.statuses[peer_id] = status

    async def on_request(self, peer_id: PeerId, request: Request) -> Response | Charge | None:
        self.asked.append(request)
        answer = self.answers.get(type(request))
        found = None if answer is None else answer(peer_id, request)
        return await found if isinstance(found, Awaitable) else found

    async def on_peer_up(self, peer: PeerInfo) -> None:
        self.ups.append(peer.peer_id)

    async def on_peer_down(self, peer_id: PeerId, reason: str) -> None:
        self.downs.append((peer_id, reason))


@asynccontextmanager
async def stranger(
    genesis: Genesis, *nodes: Node, height: int = 0, answers: Mapping[type, Answer] | None = None
) -> AsyncIterator[Stranger]:
    made = Stranger(genesis, height, answers or {})
    try:
        yield await made.start(*nodes)
    finally:
        await made.stop()


def is_peer(node: Node, who: Stranger) -> bool:
    return any(bytes(peer.peer_id) == bytes(who.identity.public) for peer in node.network.peers())


def log_lines(text: str) -> list[dict[str, object]]:
    """The JSON lines of a node's log."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
