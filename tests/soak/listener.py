"""One that listens: a peer of every validator that says nothing, and keeps what each of them has signed.

It stands outside the partitions. What it hears goes to the simulator's checkers: no honest validator signs what would convict it,
whatever was done to its process.
"""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.types import Hash, Height, View
from omnitensor.protocol.votes import Proposal, Vote
from p2p.config import HostConfig, Seed
from p2p.host import Host
from p2p.interface import Charge, Head, Judgement, PeerInfo, Verdict
from p2p.messages import Gossip, PeerId, Request, Response, StatusUpdate
from state.genesis import Genesis
from tests.soak.places import Place

STEP_SECONDS: Final = 0.2


class Listener:
    """``start`` and ``stop`` once each; ``votes`` may be read when it has stopped."""

    def __init__(self, place: Place, genesis: Genesis, peers: Sequence[tuple[str, int]]) -> None:
        self._place = place
        self._genesis = genesis
        self._peers = tuple(Seed(host, port) for host, port in peers)
        self._stop = threading.Event()
        self._running: Future[None] | None = None
        self.votes: Final[dict[tuple[int, int, int, int, bytes], Vote]] = {}
        """Each vote once: by epoch, view, signer's index, kind and candidate."""
        self.ups = 0

    def start(self) -> None:
        self._running = self._place.beside(lambda: asyncio.run(self._listen()))

    def stop(self) -> None:
        self._stop.set()
        if self._running is not None:
            self._running.result(30)

    async def _listen(self) -> None:
        host = Host(
            SigningKey.generate(),
            self._genesis.chain_id,
            self._genesis.hash,
            self,
            HostConfig(persistent=self._peers, exchange=False, node_name="listener"),
        )
        await host.start()
        try:
            while not self._stop.is_set():
                await asyncio.sleep(STEP_SECONDS)
        finally:
            await host.stop()

    def _keep(self, vote: Vote) -> None:
        key = (int(vote.epoch), int(vote.view), vote.signer, int(vote.kind), bytes(vote.candidate_id))
        self.votes.setdefault(key, vote)

    # -- what a host asks of a node

    def head(self) -> Head:
        return Head(Height(0), self._genesis.hash, View(0))

    def has_transaction(self, transaction_id: Hash) -> bool:
        return True

    def transaction(self, transaction_id: Hash) -> bytes | None:
        return None

    async def on_gossip(self, peer_id: PeerId, message: Gossip) -> Judgement:
        if isinstance(message, Vote):
            self._keep(message)
        elif isinstance(message, Proposal):
            self._keep(message.leader_vote)
        return Verdict.IGNORE

    async def on_transactions(self, peer_id: PeerId, encoded: tuple[bytes, ...]) -> tuple[Judgement, ...]:
        return tuple(Verdict.IGNORE for _ in encoded)

    async def on_status(self, peer_id: PeerId, status: StatusUpdate) -> None: ...

    async def on_request(self, peer_id: PeerId, request: Request) -> Response | Charge | None:
        return None

    async def on_peer_up(self, peer: PeerInfo) -> None:
        self.ups += 1

    async def on_peer_down(self, peer_id: PeerId, reason: str) -> None: ...
