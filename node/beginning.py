"""What JSON-RPC shows while a node begins with a snapshot: genesis, and how far the snapshot is (``rpc.backend.Backend``).

So a node that fetches for an hour answers as one that syncs from the first block does: it is at height 0, and not ready.
"""

import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from datalayer.store import ContentStore
from node.config import Config
from node.fingerprints import Fingerprints
from node.listening import ListenError, rpc_config
from node.media_facts import MediaFacts
from node.metrics import Metrics, ProcessNumbers
from node.version import version
from omnitensor.protocol.errors import TransactionError
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.limits import MIB
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import Address, Hash, Height, TimeMs
from p2p.interface import Network
from rpc.backend import NodeStatus, PeerStatus
from rpc.feed import BlockFeed
from rpc.server import RpcServer
from state.chain import Chain
from state.genesis import Genesis
from state.reader import Reader

FOLDER: Final = "beginning"
"""A chain of genesis alone, below the node's own folder, gone when the true one is there."""


@dataclass(slots=True)
class Stage:
    """How far the beginning is: for people, and the height that it leads to, 0 where that is not known yet."""

    said: str = "asking peers for a snapshot"
    height: int = 0


class BeginningBackend:
    """Everything is called on the event loop's thread, but for what the server reads in its own."""

    def __init__(
        self, config: Config, chain: Chain, content: ContentStore, network: Network, stage: Stage
    ) -> None:
        self._config = config
        self._chain = chain
        self._content = content
        self._network = network
        self._stage = stage
        self._fingerprints = Fingerprints(content)
        self._facts = MediaFacts(content)
        self._feed = BlockFeed()
        self._started_ms = TimeMs(time.time_ns() // 1_000_000)
        self.metrics_of = Metrics()
        self.metrics_of.registry.register(ProcessNumbers())
        self.metrics_of.syncing.set(1)

    @property
    def genesis_hash(self) -> Hash:
        return self._chain.genesis_hash

    @property
    def content(self) -> ContentStore:
        return self._content

    @property
    def fingerprints(self) -> Fingerprints:
        return self._fingerprints

    @property
    def facts(self) -> MediaFacts:
        return self._facts

    @property
    def feed(self) -> BlockFeed:
        """In which nothing is published yet."""
        return self._feed

    def reader(self) -> Reader:
        return self._chain.reader()

    async def submit(self, encoded: bytes) -> Hash:
        """Takes nothing: who signed it, and whether it can be paid for, is not known here yet."""
        raise TransactionError(
            "the node takes no transactions yet",
            value=self._reason,
            remedy="send it to another node, or when this one is ready",
            code="beginning",
        )

    def pending(self, transaction_id: Hash) -> Transaction | None:
        return None

    def next_nonce(self, address: Address) -> int:
        return self.reader().account(address).nonce

    def evidence(self) -> tuple[Evidence, ...]:
        return ()

    async def fetch(self, chunk_root: Hash) -> bool:
        return False

    def settle(self, account: Address) -> int:
        return 0

    def fetched_bytes(self, chunk_root: Hash) -> int:
        return 0

    def status(self) -> NodeStatus:
        return NodeStatus(
            version=version(),
            name=self._config.node_name,
            peer_id=self._network.peer_id.hex(),
            validator=None,
            syncing=True,
            sync_target=Height(self._stage.height),
            view=0,
            started_ms=self._started_ms,
            p2p_listen=f"{self._config.p2p_listen.host}:{self._network.listen_port}",
            ready=False,
            not_ready_reason=self._reason,
        )

    def peers(self) -> Sequence[PeerStatus]:
        return peers_shown(self._network)

    def metrics(self) -> bytes:
        self.metrics_of.peers.set(len(self._network.peers()))
        return self.metrics_of.text()

    @property
    def _reason(self) -> str:
        return f"beginning with a snapshot: {self._stage.said}"


def peers_shown(network: Network) -> list[PeerStatus]:
    """Connected peers as clients are told of them."""
    return [
        PeerStatus(
            peer_id=peer.peer_id.hex(),
            address=f"{peer.host}:{peer.port}",
            name=peer.name,
            version="",
            inbound=not peer.outbound,
            height=peer.head.height,
            score=peer.score,
            connected_ms=TimeMs(peer.connected_ms),
        )
        for peer in network.peers()
    ]


@asynccontextmanager
async def serving(config: Config, genesis: Genesis, network: Network, stage: Stage) -> AsyncIterator[None]:
    """Answers JSON-RPC meanwhile. Raises ListenError or StorageError; when it ends, port and folders are free."""
    folder = config.home / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # a kill may have left it
    with ExitStack() as opened:
        opened.callback(shutil.rmtree, folder, ignore_errors=True)
        chain = Chain.create(folder, genesis)
        opened.callback(chain.close)
        content = ContentStore(
            config.content_path,
            config.content_quota_mib * MIB,
            unreferenced_ms=config.content_upload_hours * 3_600_000,
        )
        opened.callback(content.close)
        backend = BeginningBackend(config, chain, content, network, stage)
        calls = backend.metrics_of.rpc_calls
        server = RpcServer(
            backend,
            rpc_config(config),
            observe=lambda method, outcome: calls.labels(method, outcome).inc(),
        )
        try:
            await server.start()
        except OSError as error:
            raise ListenError(
                f"JSON-RPC can't listen there: {error.strerror}",
                value=config.rpc_listen,
                remedy="stop what uses this port, or choose another with --rpc-listen",
            ) from error
        try:
            yield
        finally:
            await server.stop()
