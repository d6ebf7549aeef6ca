"""The node as the RPC server sees it (``rpc.backend.Backend``).

Answers from what the node has; changes nothing but the mempool.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from datalayer.store import ContentStore
from node.application import ChainApplication
from node.beginning import peers_shown
from node.clock_watch import ClockWatch
from node.config import Config
from node.content_house import ContentHouse
from node.driver import Driver
from node.fetching import ContentFetcher
from node.fingerprints import Fingerprints
from node.media_facts import MediaFacts
from node.metrics import Metrics
from node.named_content import contents_named, is_named
from node.syncing import BEHIND_BLOCKS_MAX, Syncer, is_old
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.errors import TransactionError
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.transactions import Transaction, transaction_id
from omnitensor.protocol.types import Address, Hash, Height, TimeMs
from p2p.interface import Network
from rpc.backend import NodeStatus, PeerStatus
from rpc.feed import BlockFeed
from state.reader import Reader


class NodeBackend:
    """Everything is called on the event loop's thread, but for ``settle``."""

    def __init__(
        self,
        config: Config,
        version: str,
        application: ChainApplication,
        network: Network,
        content: ContentStore,
        fingerprints: Fingerprints,
        disk: ThreadPoolExecutor,
        fetcher: ContentFetcher,
        house: ContentHouse,
        sync: Syncer,
        driver: Callable[[], Driver | None],
        feed: BlockFeed,
        metrics: Metrics,
        evidence: Callable[[], tuple[Evidence, ...]],
        clock: ClockWatch,
    ) -> None:
        self._config = config
        self._version = version
        self._application = application
        self._network = network
        self._content = content
        self._fingerprints = fingerprints
        self._facts = MediaFacts(content)
        self._disk = disk
        self._fetcher = fetcher
        self._house = house
        self._sync = sync
        self._driver = driver
        self._feed = feed
        self._metrics = metrics
        self._evidence = evidence
        self._clock = clock
        self._started_ms = TimeMs(time.time_ns() // 1_000_000)

    @property
    def genesis_hash(self) -> Hash:
        return self._application.chain.genesis_hash

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
        return self._feed

    def reader(self) -> Reader:
        return self._application.reader()

    async def submit(self, encoded: bytes) -> Hash:
        """Into the mempool and to the peers. What is pending or final already is fine: a client may send again.

        Also when it has expired since, or pays too little now: told so, a client would sign anew what was paid long ago.
        """
        try:
            await self._application.waiting.add(encoded)
        except TransactionError as error:
            found = transaction_id(encoded)
            if error.code == "duplicate" or self.reader().receipt(found) is not None:
                return found
            raise
        found = transaction_id(encoded)
        self._network.announce_transactions([found])
        return found

    def pending(self, transaction_id: Hash) -> Transaction | None:
        waiting = self._application.waiting.get(transaction_id)
        return None if waiting is None else waiting.transaction

    def next_nonce(self, address: Address) -> int:
        return self._application.waiting.next_nonce(address)

    def evidence(self) -> tuple[Evidence, ...]:
        """What waits to be on chain."""
        return self._evidence()

    async def fetch(self, chunk_root: Hash) -> bool:
        """When the chain names the content and it is still kept; it is not fetched for anybody's asking.

        Raises StorageError or ContentError where there is no room for it here.
        """
        for content in self.named(chunk_root):
            if await self._fetcher.fetch(content):
                return True
        return False

    def named(self, chunk_root: Hash) -> tuple[ContentId, ...]:
        """What the chain declares of a chunk root that this node would keep; nothing of any other."""
        reader = self.reader()
        return contents_named(reader, chunk_root) if self._house.wants(reader, chunk_root) else ()

    def settle(self, account: Address) -> int:
        return self._content.settle(account, partial(is_named, self.reader()))

    def fetched_bytes(self, chunk_root: Hash) -> int:
        return self._fetcher.here(chunk_root)

    def status(self) -> NodeStatus:
        progress = self._sync.progress
        driver = self._driver()
        reader = self.reader()
        height = reader.head.height
        reason = ""
        if driver is not None and driver.halted is not None:
            reason = f"halted: {driver.halted}"
        elif progress.target - height > BEHIND_BLOCKS_MAX and is_old(reader):
            reason = f"catching up: at {height} of {progress.target}"
        elif driver is None:
            reason = "consensus has not started"
        return NodeStatus(
            version=self._version,
            name=self._config.node_name,
            peer_id=self._network.peer_id.hex(),
            validator=self._application.epoch.address,
            syncing=progress.syncing,
            sync_target=Height(max(progress.target, height)),
            view=0 if driver is None else driver.core.view,
            started_ms=self._started_ms,
            p2p_listen=f"{self._config.p2p_listen.host}:{self._network.listen_port}",
            ready=not reason,
            not_ready_reason=reason,
            clock_ahead_ms=self._clock.status.ahead_ms,
            clock_peers=self._clock.status.peers,
            clock_wrong=self._clock.status.wrong,
        )

    def peers(self) -> Sequence[PeerStatus]:
        return peers_shown(self._network)

    def metrics(self) -> bytes:
        self._metrics.peers.set(len(self._network.peers()))
        self._metrics.syncing.set(int(self._sync.syncing))
        clock = self._clock.status
        self._metrics.clock_ahead.set((clock.ahead_ms or 0) / 1_000)
        self._metrics.clock_wrong.set(int(clock.wrong))
        mempool = self._application.waiting
        self._metrics.mempool_transactions.set(len(mempool))
        self._metrics.mempool_bytes.set(mempool.size_bytes)
        return self._metrics.text()
