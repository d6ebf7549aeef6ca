"""What the RPC server needs of the node behind it, as a Protocol. Holds no logic; the node implements it.

Everything here is called on the event loop's thread. What blocks for long is a coroutine; the rest answers from memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import Address, Hash, Height, TimeMs

if TYPE_CHECKING:
    from datalayer.store import ContentStore
    from omnitensor.media import Facts
    from rpc.feed import BlockFeed
    from state.reader import Reader


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How the node fares, apart from the chain's own facts (those come from the reader)."""

    version: str
    name: str
    peer_id: str
    """The node's identity among peers, as hex."""
    validator: Address | None
    """The account whose consensus key this node votes with."""
    syncing: bool
    sync_target: Height
    """Highest height that peers report; the own height when not behind."""
    view: int
    """View that consensus is in; 0 while it does not run."""
    started_ms: TimeMs
    p2p_listen: str
    ready: bool
    """Whether clients should be sent here: consensus or sync runs, and the node is not far behind."""
    not_ready_reason: str = ""
    clock_ahead_ms: int | None = None
    """How far this machine's clock is ahead of its peers', by the median of what they say; None where too few do."""
    clock_peers: int = 0
    """Peers whose clocks that is the median of."""
    clock_wrong: bool = False
    """Whether it has been further off for a while than blocks may be ahead of a clock."""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One connected peer. Only ``peer_id`` and ``address`` are beyond the peer's own choosing."""

    peer_id: str
    address: str
    name: str
    version: str
    inbound: bool
    height: Height
    score: int
    connected_ms: TimeMs


class ContentFingerprints(Protocol):
    """Fingerprints of stored content. Unlike the rest, asked from threads of the server: it blocks on disk and processor."""

    def known(self, chunk_root: Hash) -> bytes | None:
        """The fingerprint of content that is here and has one already."""
        ...

    def compute(self, chunk_root: Hash) -> bytes | None:
        """The same, computed where it was not yet; None where the content is not here."""
        ...


class ContentFacts(Protocol):
    """Facts of stored content, read from its bytes. Asked from threads of the server as well."""

    def compute(self, chunk_root: Hash, declared: str = "") -> Facts | None:
        """What the bytes say, with a kind of text as it was declared; None where the content is not here."""
        ...


class Backend(Protocol):
    """The node as the RPC server sees it."""

    @property
    def genesis_hash(self) -> Hash: ...

    @property
    def content(self) -> ContentStore: ...

    @property
    def fingerprints(self) -> ContentFingerprints: ...

    @property
    def facts(self) -> ContentFacts: ...

    @property
    def feed(self) -> BlockFeed:
        """Final blocks in order, published by the node as it commits them."""
        ...

    def reader(self) -> Reader:
        """A consistent view of the last committed state; safe to use from another thread."""
        ...

    async def submit(self, encoded: bytes) -> Hash:
        """Verifies a transaction, takes it into the mempool, passes it on. Returns its id; raises TransactionError or CodecError.

        Submitting again what is pending or final already returns the id without an error, so that a client may resend.
        """
        ...

    def pending(self, transaction_id: Hash) -> Transaction | None:
        """A transaction that waits in the mempool."""
        ...

    def next_nonce(self, address: Address) -> int:
        """Nonce for the sender's next transaction, counting those that wait."""
        ...

    def evidence(self) -> Sequence[Evidence]:
        """Verified evidence that the node holds and that is not on chain, the oldest first."""
        ...

    async def fetch(self, chunk_root: Hash) -> bool:
        """Brings content that the chain refers to from peers into the content store. False when nobody had it.

        Raises StorageError or ContentError (``quota``) where there is no room for it here.
        """
        ...

    def settle(self, account: Address) -> int:
        """Counts no more against an account what the chain names by now of what it uploaded; how many contents that were.

        Blocks on disk: call it on a thread.
        """
        ...

    def fetched_bytes(self, chunk_root: Hash) -> int:
        """Bytes that are here of content which is on its way from peers."""
        ...

    def status(self) -> NodeStatus: ...

    def peers(self) -> Sequence[PeerStatus]: ...

    def metrics(self) -> bytes:
        """All metrics in Prometheus's text format."""
        ...
