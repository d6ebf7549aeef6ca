"""One message of every kind, for tests of the wire."""

from __future__ import annotations

from msgspec.structs import replace

from omnitensor.protocol.blocks import Block, Header
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.evidence import ConflictingVotes
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import BlsSignature, Epoch, Hash, Height, TimeMs, View, Weight
from omnitensor.protocol.votes import Candidate, Certificate, FinalityProof, Proposal, VoteKind
from p2p.messages import (
    BlocksRequest,
    BlocksResponse,
    CandidateRequest,
    CandidateResponse,
    CertificateNotice,
    CertificatesRequest,
    CertificatesResponse,
    Chunk,
    ChunkRequest,
    ContentComing,
    ContentOffer,
    ContentQuery,
    EvidenceNotice,
    Goodbye,
    Have,
    Hello,
    Leaves,
    LeavesRequest,
    Message,
    NotHeld,
    PeerAddress,
    PeerId,
    Peers,
    PeersRequest,
    Ping,
    Pong,
    ProposalNotice,
    Pruned,
    SnapshotOffer,
    SnapshotPieceRequest,
    SnapshotQuery,
    StatusUpdate,
    StepsRequest,
    StepsResponse,
    TransactionAnnounce,
    TransactionRequest,
    Transactions,
    VoteNotice,
    Want,
)
from tests.p2p.network_kit import CHAIN, GENESIS, hash_of, key_of, transaction_of, vote_of

AGGREGATE = BlsSignature(bytes(96))


def header_of(height: int, parent: Hash) -> Header:
    """A header in shape."""
    return Header(
        version=1,
        chain_id=CHAIN,
        height=Height(height),
        epoch=Epoch(0),
        parent=parent,
        timestamp_ms=TimeMs(1_000 * height),
        proposer=key_of(height % 4).address,
        beacon_reveal=bytes(96),
        beacon=hash_of(height),
        base_fee=100,
        weight_used=Weight(0),
        transactions_root=hash_of(1),
        receipts_root=hash_of(2),
        work_root=hash_of(3),
        state_root=hash_of(4),
        validators_hash=hash_of(5),
        next_validators_hash=hash_of(5),
        history_root=hash_of(6),
        attendance=None,
    )


def block_of(height: int, parent: Hash, transactions: int = 0) -> Block:
    """A block in shape."""
    bodies = tuple(decode(Transaction, transaction_of(number)) for number in range(transactions))
    return Block(header_of(height, parent), bodies)


def candidate_of(block_hash: Hash, view: int = 5) -> Candidate:
    return Candidate(Epoch(0), View(view), View(view - 1), hash_of(view), block_hash)


def certificate_of(candidate: Candidate, kind: VoteKind = VoteKind.FINALIZE) -> Certificate:
    return Certificate(kind, candidate.epoch, candidate.view, candidate.id, b"\x0f", AGGREGATE)


def proof_of(block_hash: Hash, view: int = 5) -> FinalityProof:
    candidate = candidate_of(block_hash, view)
    return FinalityProof(candidate, certificate_of(candidate))


def chain_of(count: int, start: int = 1) -> list[Block]:
    """Blocks that link, from height `start`."""
    blocks: list[Block] = []
    for height in range(start, start + count):
        blocks.append(block_of(height, blocks[-1].hash if blocks else GENESIS))
    return blocks


_BLOCK = block_of(1, GENESIS, 2)
_CANDIDATE = candidate_of(_BLOCK.hash)
_CERTIFICATE = certificate_of(_CANDIDATE, VoteKind.NOTARIZE)
_CONTENT = content_id_of(b"content")

SAMPLES: tuple[Message, ...] = (
    Hello(CHAIN, GENESIS, Height(1), hash_of(1), View(2), 9645, "a node"),
    VoteNotice(vote_of(1)),
    CertificateNotice(_CERTIFICATE),
    ProposalNotice(Proposal(_CANDIDATE, _BLOCK, (_CERTIFICATE,), vote_of(2))),
    EvidenceNotice(ConflictingVotes.of(vote_of(1), replace(vote_of(1), candidate_id=hash_of(77)))),
    Have((hash_of(1), hash_of(2))),
    Want((hash_of(1),)),
    TransactionAnnounce((hash_of(3),)),
    TransactionRequest((hash_of(3),)),
    Transactions((transaction_of(1), transaction_of(2))),
    StatusUpdate(Height(5), hash_of(5), View(6)),
    Ping(2**64 - 1),
    Pong(0),
    Goodbye("stopping", "the node stops"),
    BlocksRequest(Height(5), 64),
    BlocksResponse((encode(_BLOCK),), (header_of(2, _BLOCK.hash),), proof_of(hash_of(1))),
    CandidateRequest(_CANDIDATE.id),
    CandidateResponse(_CANDIDATE, _BLOCK, (_CERTIFICATE,)),
    CertificatesRequest(Epoch(0), View(3), 16),
    CertificatesResponse((_CERTIFICATE,)),
    Pruned(Height(7)),
    SnapshotQuery(),
    SnapshotOffer(b"manifest"),
    SnapshotPieceRequest(Height(600), 255, 0, 7),
    StepsRequest(Epoch(3), 64),
    StepsResponse((b"step",)),
    ContentQuery(_CONTENT.chunk_root, True),
    ContentOffer(_CONTENT),
    ContentComing(7),
    LeavesRequest(_CONTENT.chunk_root, 0, 8_192),
    Leaves((hash_of(1),)),
    ChunkRequest(_CONTENT.chunk_root, 0, 0, 7),
    Chunk(b"content"),
    PeersRequest(),
    Peers((PeerAddress(PeerId(key_of(3).public), "192.0.2.7", 9645),)),
    NotHeld(),
)
