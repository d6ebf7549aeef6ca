"""Answers peers and judges what they send: the node as ``p2p`` sees it (``p2p.interface.Handler``).

Whatever comes is verified before the core or the mempool gets it and before it is passed on. Cheap checks come first: what
is old, known or too far ahead costs no cryptography.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import structlog

from consensus.stake import events as ev
from consensus.stake.core import Core
from consensus.stake.watch import Watch
from datalayer.store import ContentStore
from node.application import ChainApplication
from node.driver import Driver, now_ms
from node.epochs import EarlyMessages, epoch_of_message
from node.evidence import EvidencePool
from node.fetching import serve
from node.metrics import Metrics
from node.snapshot_serving import SnapshotShelf
from node.verification import BatchVerifier
from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.epochs import boundary_of
from omnitensor.protocol.errors import CodecError, LimitError, ProtocolError, SignatureError, StorageError
from omnitensor.protocol.evidence import EVIDENCE_KINDS, Evidence
from omnitensor.protocol.types import Epoch, Hash, Height, View
from omnitensor.protocol.votes import Certificate, Proposal, Vote, VoteKind
from p2p.interface import Charge, Head, Judgement, PeerInfo, Verdict
from p2p.messages import (
    BlocksRequest,
    CandidateRequest,
    CandidateResponse,
    CertificatesRequest,
    CertificatesResponse,
    ChunkRequest,
    ContentComing,
    ContentQuery,
    Gossip,
    LeavesRequest,
    PeerId,
    Pruned,
    Request,
    Response,
    SnapshotPieceRequest,
    SnapshotQuery,
    StatusUpdate,
    StepsRequest,
)
from p2p.ranges import assemble_blocks

FORGED_POINTS: Final = 50
INVALID_POINTS: Final = 10
ASK_SECONDS: Final = 1.0

log = structlog.get_logger("peers")


class PeerStatusListener(Protocol):
    """Who wants to know how far peers are: the sync."""

    def peer_status(self, peer_id: PeerId, height: int) -> None: ...

    def peer_gone(self, peer_id: PeerId) -> None: ...


class PeerHandler:
    """Lives on the event loop. ``driver`` and ``sync`` are set once they exist; until then messages for them are not judged."""

    def __init__(
        self,
        application: ChainApplication,
        votes: BatchVerifier,
        crypto: ThreadPoolExecutor,
        disk: ThreadPoolExecutor,
        reads: ThreadPoolExecutor,
        content: ContentStore,
        shelf: SnapshotShelf,
        metrics: Metrics,
        final_view: Callable[[], View],
    ) -> None:
        self._application = application
        self._votes = votes
        self._crypto = crypto
        self._disk = disk
        self._reads = reads
        self._content = content
        self._shelf = shelf
        self._metrics = metrics
        self._final_view = final_view
        self._certifying: dict[tuple[VoteKind, View, Hash], asyncio.Future[None]] = {}
        """Certificates being verified, by what they say: the last in line for each."""
        self._early = EarlyMessages()
        self._asked_at = 0.0
        self.driver: Driver | None = None
        self.previous: Core | None = None
        """The core of the epoch before: it still has what ended it, for those who are a little behind."""
        self.on_ahead: Callable[[PeerId], None] = _nothing
        """Told, once a second at most, of a peer that speaks of a later epoch."""
        self.sync: PeerStatusListener | None = None
        self._watch = Watch()
        self.relay: Callable[[Hash], int | None] = lambda _: None
        """Told of content that a peer asks this node to fetch; says how much of it is here, None where it is not fetched."""
        self.evidence: EvidencePool | None = None
        self.announce: Callable[[Evidence], object] = lambda _: None
        """Tells all peers of evidence that was found here."""

    # -- what the network asks

    def head(self) -> Head:
        """How far this node is, as it can prove. A head that is final through a block above it is not claimed yet.

        A crash between the blocks of a range leaves such a head, and whoever asked for it would be given nothing.
        """
        reader = self._application.reader()
        head = reader.head
        if head.proof is not None or head.height == 0:
            return Head(head.height, head.hash, self._final_view())
        proof = reader.newest_proof()
        if proof is None:
            return Head(Height(0), self._application.chain.genesis_hash, View(0))
        block = reader.block(Hash(proof.candidate.block_hash))
        assert block is not None, "a proof is of a block that is here"
        return Head(Height(block.header.height), block.hash, View(proof.candidate.view))

    def has_transaction(self, transaction_id: Hash) -> bool:
        return self._application.waiting.knows(transaction_id)

    def transaction(self, transaction_id: Hash) -> bytes | None:
        waiting = self._application.waiting.get(transaction_id)
        return None if waiting is None else waiting.encoded

    async def on_peer_up(self, peer: PeerInfo) -> None:
        log.info("peer up", peer=peer.peer_id.hex()[:16], name=peer.name, height=peer.head.height)
        if self.sync is not None:
            self.sync.peer_status(peer.peer_id, peer.head.height)

    async def on_peer_down(self, peer_id: PeerId, reason: str) -> None:
        log.info("peer down", peer=peer_id.hex()[:16], reason=reason)
        if self.sync is not None:
            self.sync.peer_gone(peer_id)

    async def on_status(self, peer_id: PeerId, status: StatusUpdate) -> None:
        if self.sync is not None:
            self.sync.peer_status(peer_id, status.head_height)

    # -- gossip

    async def on_gossip(self, peer_id: PeerId, message: Gossip) -> Judgement:
        """Verified, handed to the core, passed on; or why not."""
        driver = self.driver
        try:
            if isinstance(message, EVIDENCE_KINDS):
                return await self._on_evidence(message)
            if driver is None or driver.halted is not None:
                return Verdict.LATER
            epoch = epoch_of_message(message)
            if epoch != driver.epoch.number:
                return await self._of_another_epoch(peer_id, message, epoch - driver.epoch.number)
            match message:
                case Vote():
                    return await self._on_vote(driver, peer_id, message)
                case Certificate():
                    return await self._on_certificate(driver, peer_id, message)
                case Proposal():
                    return await self._on_proposal(driver, peer_id, message)
        except ProtocolError as error:
            self._metrics.charges.labels(error.code).inc()
            return Charge(FORGED_POINTS, str(error))

    async def _of_another_epoch(
        self, peer_id: PeerId, message: Vote | Certificate | Proposal, ahead: int
    ) -> Judgement:
        """What is of the next epoch is held until this node is there; whoever says it knows how this epoch ended."""
        if ahead < 0:
            return await self._on_late_vote(message) if isinstance(message, Vote) else Verdict.IGNORE
        if ahead == 1:
            self._early.hold(peer_id, message)
        now = time.monotonic()
        if now - self._asked_at >= ASK_SECONDS:
            self._asked_at = now
            self.on_ahead(peer_id)
        return Verdict.LATER

    async def judge_early(self) -> AsyncIterator[tuple[PeerId, Gossip, Judgement]]:
        """A new epoch has begun here: judges what was held of it."""
        for peer_id, message in self._early.take():
            yield peer_id, message, await self.on_gossip(peer_id, message)

    async def _on_vote(self, driver: Driver, peer_id: PeerId, vote: Vote) -> Judgement:
        core = driver.core
        verifier = driver.epoch.verifier
        verifier.check_vote_shape(vote)
        if not core.wants_vote(vote):
            return Verdict.LATER if vote.view > core.view else await self._on_late_vote(vote)
        if self._votes.full:
            return Verdict.LATER
        if not await self._votes.verify(*verifier.vote_item(vote), peer_id):
            raise SignatureError("a vote's signature is not its signer's", value=vote.signature)
        self._watch.remember(vote)
        await driver.submit(ev.VoteReceived(now_ms(), peer_id, vote))
        return Verdict.RELAY

    async def _on_late_vote(self, vote: Vote) -> Judgement:
        """A vote that counts for nothing any more may still contradict one that did."""
        evidence = self._watch.conflict(vote)
        if evidence is not None and self.evidence is not None and await self.evidence.take(evidence):
            self.announce(evidence)
        return Verdict.IGNORE

    async def _on_certificate(self, driver: Driver, peer_id: PeerId, certificate: Certificate) -> Judgement:
        """Of those for one thing that come at once, one is verified, and the others are not needed when it is genuine."""
        if not driver.core.wants_certificate(certificate):
            return Verdict.IGNORE
        named = (certificate.kind, certificate.view, Hash(certificate.candidate_id))
        before = self._certifying.get(named)
        turn = self._certifying[named] = asyncio.get_running_loop().create_future()
        try:
            if before is not None:
                await asyncio.wait([before])
                if not driver.core.wants_certificate(certificate):
                    return Verdict.IGNORE
            await self._in_crypto(lambda: driver.epoch.verifier.verify_certificate(certificate))
            await driver.submit(ev.CertificateReceived(now_ms(), peer_id, certificate))
        finally:
            turn.set_result(None)
            if self._certifying.get(named) is turn:
                del self._certifying[named]
        return Verdict.RELAY

    async def _on_proposal(self, driver: Driver, peer_id: PeerId, proposal: Proposal) -> Judgement:
        core, view = driver.core, proposal.candidate.view
        if view <= core.final.view:
            return Verdict.IGNORE
        if view > core.view + limits.views_ahead_max:
            return Verdict.LATER
        if core.is_flooded(proposal):
            return Verdict.IGNORE
        # Spared is only what is held to the byte: another signature under the same words may be forged, and is passed on with
        # the proposal to nodes that would blame this one for it.
        known = frozenset(c for c in proposal.justification if c in core.certificates(c.view, c.view))
        await self._in_crypto(lambda: driver.epoch.verifier.verify_proposal(proposal, known.__contains__))
        await driver.submit(ev.ProposalReceived(now_ms(), peer_id, proposal))
        return Verdict.RELAY

    async def _on_evidence(self, evidence: Evidence) -> Judgement:
        """Passed on once, by whoever learned something of it."""
        if self.evidence is None:
            return Verdict.LATER
        return Verdict.RELAY if await self.evidence.take(evidence) else Verdict.IGNORE

    async def _in_crypto(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._crypto, work)

    # -- transactions

    async def on_transactions(self, peer_id: PeerId, encoded: tuple[bytes, ...]) -> tuple[Judgement, ...]:
        """Each is judged alone. One that only came too late or pays too little is nobody's fault."""
        return tuple(map(judgement_of, await self._application.waiting.add_each(encoded)))

    # -- requests

    async def on_request(self, peer_id: PeerId, request: Request) -> Response | Charge | None:
        """The answer to a request; None when it is not held."""
        match request:
            case BlocksRequest():
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._reads, self._blocks, request)
            case CandidateRequest(candidate_id):
                return self._candidate(candidate_id)
            case CertificatesRequest(epoch, from_view, count):
                return self._certificates(epoch, from_view, View(from_view + count - 1))
            case SnapshotQuery() | SnapshotPieceRequest() | StepsRequest():
                loop, reader = asyncio.get_running_loop(), self._application.reader()
                return await loop.run_in_executor(self._reads, self._shelf.serve, request, reader)
            case ContentQuery() | LeavesRequest() | ChunkRequest():
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(self._disk, serve, self._content, request)
                if found is None and isinstance(request, ContentQuery) and request.relay:
                    coming = self.relay(request.chunk_root)
                    return None if coming is None else ContentComing(coming)
                return found
            case _:
                return None

    def _blocks(self, request: BlocksRequest) -> Response | None:
        reader = self._application.reader()
        if reader.is_pruned(request.from_height) and not reader.encoded_block(request.from_height):
            return Pruned(reader.first_block)

        def header_at(height: int) -> Header | None:
            block = reader.block(Height(height))
            return None if block is None else block.header

        return assemble_blocks(
            request,
            lambda height: reader.encoded_block(Height(height)),
            header_at,
            lambda height: reader.proof(Height(height)),
        )

    def _certificates(self, epoch: Epoch, first: View, last: View) -> Response | None:
        """Those of this epoch's core; of an epoch that is over, what made its boundary final."""
        if self.driver is not None and epoch == self.driver.epoch.number:
            return CertificatesResponse(self.driver.core.certificates(first, last))
        if epoch >= self._application.epoch.number:
            return None
        proof = self._application.reader().proof(boundary_of(epoch, self._application.chain.params))
        return None if proof is None else CertificatesResponse((proof.certificate,))

    def _candidate(self, candidate_id: Hash) -> Response | None:
        """A candidate in memory with its certificates."""
        for core in (self.driver.core if self.driver is not None else None, self.previous):
            kept = core.find(candidate_id) if core is not None else None
            if core is not None and kept is not None:
                view = kept.candidate.view
                return CandidateResponse(kept.candidate, kept.block, core.certificates(view, view))
        return None


def _nothing(peer_id: PeerId) -> None:
    """Nobody wants to know."""


def judgement_of(fault: ProtocolError | None) -> Judgement:
    """What a transaction's sender deserves. One that comes too late or pays too little is nobody's fault; our disk is ours."""
    if fault is None:
        return Verdict.RELAY
    if isinstance(fault, CodecError | LimitError | SignatureError):
        return Charge(INVALID_POINTS, str(fault))
    if isinstance(fault, StorageError):
        log.error("a transaction could not be judged", reason=str(fault))
    return Verdict.IGNORE
