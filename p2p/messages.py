"""Everything that one node says to another, as typed records with their bounds. Knows shapes; judges nothing.

Three envelopes carry them: `Tell` (no answer), `Ask` (numbered by the asker) and `Reply` (with the number of its Ask).
A frame is the canonical encoding of one envelope.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, NewType

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block, Header
from omnitensor.protocol.codec import Record, decode, encode
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.evidence import EVIDENCE_KINDS, Evidence
from omnitensor.protocol.types import U16, U32, U64, EpochF, HashF, HeightF, ViewF
from omnitensor.protocol.votes import Candidate, Certificate, FinalityProof, Proposal, Vote

PROTOCOL_VERSION: Final = 1
"""Of frames and messages; two nodes talk only when theirs are equal."""

PeerId = NewType("PeerId", bytes)
"""32 bytes: the Ed25519 public key of a node's identity."""
PeerIdF = Annotated[PeerId, Meta(min_length=32, max_length=32)]

TransactionIdsF = Annotated[
    tuple[HashF, ...], Meta(min_length=1, max_length=limits.transaction_ids_per_message_max)
]
EncodedTransactionF = Annotated[bytes, Meta(min_length=1, max_length=limits.transaction_bytes_max)]
EncodedBlockF = Annotated[bytes, Meta(min_length=1, max_length=limits.block_bytes_max)]
GossipIdsF = Annotated[tuple[HashF, ...], Meta(min_length=1, max_length=limits.gossip_ids_per_message_max)]


class Lane(IntEnum):
    """What leaves first when a peer's line is busy. Each lane keeps its order; a lower number passes a higher one."""

    CONSENSUS = 0
    CONTROL = 1
    TRANSACTIONS = 2
    BULK = 3


# --- Hello: the first frame in each direction -----------------------------------------------------------------------


class Hello(Record, frozen=True, tag=1):
    """Of which chain the speaker is, and how far. Who it is and which version it speaks was said under Noise."""

    chain_id: Annotated[str, Meta(min_length=1, max_length=limits.chain_id_chars_max)]
    genesis_hash: HashF
    head_height: HeightF
    head_hash: HashF
    final_view: ViewF
    listen_port: U16
    """Port at which the speaker takes connections; 0 when it takes none."""
    node_name: Annotated[str, Meta(max_length=limits.node_name_chars_max)]


# --- Notices: said without expecting an answer -----------------------------------------------------------------------


class VoteNotice(Record, frozen=True, tag=10):
    """A validator's vote, passed on by whoever found it valid."""

    vote: Vote


class CertificateNotice(Record, frozen=True, tag=11):
    """A certificate, passed on by whoever found it valid."""

    certificate: Certificate


class ProposalNotice(Record, frozen=True, tag=12):
    """A leader's proposal, block included."""

    proposal: Proposal


class EvidenceNotice(Record, frozen=True, tag=15):
    """Evidence against a validator, passed on by whoever found it to convict somebody."""

    evidence: Evidence


class Have(Record, frozen=True, tag=13):
    """Gossip ids (`p2p.gossip.gossip_id`) that the sender can give to a peer to which it does not push."""

    ids: GossipIdsF


class Want(Record, frozen=True, tag=14):
    """Ids of a `Have` that the sender lacks."""

    ids: GossipIdsF


class TransactionAnnounce(Record, frozen=True, tag=20):
    """Ids of transactions that the sender holds and found valid."""

    ids: TransactionIdsF


class TransactionRequest(Record, frozen=True, tag=21):
    """Ids out of announcements of the peer that is asked."""

    ids: TransactionIdsF


class Transactions(Record, frozen=True, tag=22):
    """Requested transactions in their canonical bytes. Ids are recomputed, never believed."""

    encoded: Annotated[
        tuple[EncodedTransactionF, ...], Meta(min_length=1, max_length=limits.transactions_per_message_max)
    ]


class StatusUpdate(Record, frozen=True, tag=30):
    """How far the sender is: its last final block and the view that made it final."""

    head_height: HeightF
    head_hash: HashF
    final_view: ViewF


class Ping(Record, frozen=True, tag=31):
    """Asks for a sign of life."""

    number: U64
    """The sender's clock, in milliseconds since 1970; any number is answered."""


class Pong(Record, frozen=True, tag=32):
    """The sign of life, with the number of its `Ping`."""

    number: U64


class Goodbye(Record, frozen=True, tag=33):
    """The last message before the sender closes: why, for the log of the other end."""

    code: Annotated[str, Meta(max_length=limits.name_chars_max)]
    reason: Annotated[str, Meta(max_length=limits.reason_chars_max)]


# --- Requests and their responses ------------------------------------------------------------------------------------


class BlocksRequest(Record, frozen=True, tag=40):
    """Final blocks from a height upwards."""

    from_height: HeightF
    count: Annotated[int, Meta(ge=1, le=limits.blocks_per_response_max)]


class BlocksResponse(Record, frozen=True, tag=41):
    """Consecutive final blocks from the height asked for, in canonical bytes, and why they are final.

    `proof` finalizes the last of `links`, or the last block where there are no links. `links` are the headers directly above the
    last block: a block that became final through a descendant has no proof of its own.
    """

    blocks: Annotated[
        tuple[EncodedBlockF, ...], Meta(min_length=1, max_length=limits.blocks_per_response_max)
    ]
    links: Annotated[tuple[Header, ...], Meta(max_length=limits.header_links_max)]
    proof: FinalityProof


class Pruned(Record, frozen=True, tag=46):
    """Answer to a `BlocksRequest`: the sender has removed them."""

    first_height: HeightF
    """The first that it keeps, besides genesis."""


class CandidateRequest(Record, frozen=True, tag=42):
    """A candidate of the epoch by its id."""

    candidate_id: HashF


class CandidateResponse(Record, frozen=True, tag=43):
    """A candidate, its block, its notarization or finalization, and skip certificates of views that it or its child crosses."""

    candidate: Candidate
    block: Block | None
    """None for a filler."""
    certificates: Annotated[tuple[Certificate, ...], Meta(max_length=limits.certificates_per_message_max)]


class CertificatesRequest(Record, frozen=True, tag=44):
    """The certificates of consecutive views (R2: those that a proposal's justification has no room for)."""

    epoch: EpochF
    from_view: ViewF
    count: Annotated[int, Meta(ge=1, le=limits.certificates_per_message_max)]


class CertificatesResponse(Record, frozen=True, tag=45):
    """Certificates of the views asked for, as far as the sender holds them."""

    certificates: Annotated[tuple[Certificate, ...], Meta(max_length=limits.certificates_per_message_max)]


class SnapshotQuery(Record, frozen=True, tag=47):
    """Asks for the newest snapshot of the state that the peer gives."""


class SnapshotOffer(Record, frozen=True, tag=48):
    """The manifest of a snapshot that the sender gives, in its canonical bytes."""

    manifest: Annotated[bytes, Meta(min_length=1, max_length=limits.snapshot_manifest_bytes_max)]


class SnapshotPieceRequest(Record, frozen=True, tag=49):
    """`size` bytes at `offset` of chunk `index` of the snapshot at a height. Answered with a `Chunk`."""

    height: HeightF
    index: Annotated[int, Meta(ge=0, lt=256)]
    offset: U32
    size: Annotated[int, Meta(ge=1, le=limits.piece_bytes_max)]


class StepsRequest(Record, frozen=True, tag=56):
    """What leads a light client over epochs, from one on (`state.records.StepRow`)."""

    from_epoch: EpochF
    count: Annotated[int, Meta(ge=1, le=limits.steps_per_message_max)]


class StepsResponse(Record, frozen=True, tag=57):
    """Steps from the epoch asked for, in canonical bytes, as many as fit."""

    steps: Annotated[
        tuple[Annotated[bytes, Meta(max_length=limits.step_bytes_max)], ...],
        Meta(min_length=1, max_length=limits.steps_per_message_max),
    ]


class ContentQuery(Record, frozen=True, tag=50):
    """Whether the peer holds a content, whole. With `relay` it is asked to fetch one that its own peers hold."""

    chunk_root: HashF
    relay: bool


class ContentOffer(Record, frozen=True, tag=51):
    """The content that the sender holds whole."""

    content: ContentId


class ContentComing(Record, frozen=True, tag=58):
    """The sender fetches the content from its own peers, and has so many bytes of it: it can be asked again."""

    here: Annotated[int, Meta(ge=0, le=limits.content_bytes_max)]


class LeavesRequest(Record, frozen=True, tag=52):
    """Leaf hashes of a content's chunks, from chunk `start`."""

    chunk_root: HashF
    start: U32
    count: Annotated[int, Meta(ge=1, le=limits.leaf_hashes_per_message_max)]


class Leaves(Record, frozen=True, tag=53):
    """Leaf hashes in order of the chunks, from the start asked for."""

    hashes: Annotated[tuple[HashF, ...], Meta(max_length=limits.leaf_hashes_per_message_max)]


class ChunkRequest(Record, frozen=True, tag=54):
    """A piece of a chunk: `size` bytes at `offset` within chunk `index` (a chunk does not fit a frame)."""

    chunk_root: HashF
    index: U32
    offset: Annotated[int, Meta(ge=0, lt=limits.chunk_bytes)]
    size: Annotated[int, Meta(ge=1, le=limits.piece_bytes_max)]


class Chunk(Record, frozen=True, tag=55):
    """The bytes of the piece asked for. They are verified against the chunk's leaf hash when it is whole."""

    data: Annotated[bytes, Meta(min_length=1, max_length=limits.piece_bytes_max)]


class PeersRequest(Record, frozen=True, tag=60):
    """Asks for addresses of nodes."""


class PeerAddress(Record, frozen=True):
    """Where a node takes connections."""

    peer_id: PeerIdF
    host: Annotated[str, Meta(min_length=1, max_length=limits.host_chars_max)]
    port: Annotated[int, Meta(ge=1, le=65_535)]


class Peers(Record, frozen=True, tag=61):
    """Addresses that the sender heard of; hearsay until a connection proves them."""

    addresses: Annotated[tuple[PeerAddress, ...], Meta(max_length=limits.peer_addresses_per_message_max)]


class NotHeld(Record, frozen=True, tag=70):
    """Answer to any request for what the sender does not have or will not give now."""


Gossip = Vote | Certificate | Proposal | Evidence
"""What is flooded: each valid message reaches everybody and is judged by each node once."""
GossipNotice = VoteNotice | CertificateNotice | ProposalNotice | EvidenceNotice
Notice = (
    GossipNotice
    | Have
    | Want
    | TransactionAnnounce
    | TransactionRequest
    | Transactions
    | StatusUpdate
    | Ping
    | Pong
    | Goodbye
)
Request = (
    BlocksRequest
    | CandidateRequest
    | CertificatesRequest
    | SnapshotQuery
    | SnapshotPieceRequest
    | StepsRequest
    | ContentQuery
    | LeavesRequest
    | ChunkRequest
    | PeersRequest
)
Response = (
    BlocksResponse
    | CandidateResponse
    | CertificatesResponse
    | SnapshotOffer
    | StepsResponse
    | ContentOffer
    | ContentComing
    | Leaves
    | Chunk
    | Peers
    | Pruned
    | NotHeld
)
Message = Hello | Notice | Request | Response


class Tell(Record, frozen=True, tag=0):
    """A message that expects no answer."""

    message: Hello | Notice


class Ask(Record, frozen=True, tag=1):
    """A request; `number` is the asker's, unique among its open requests on this connection."""

    number: U32
    message: Request


class Reply(Record, frozen=True, tag=2):
    """The one answer to the Ask of this number."""

    number: U32
    message: Response


Envelope = Tell | Ask | Reply

RESPONSES_OF: Final[dict[type, tuple[type, ...]]] = {
    BlocksRequest: (BlocksResponse, Pruned),
    CandidateRequest: (CandidateResponse,),
    CertificatesRequest: (CertificatesResponse,),
    SnapshotQuery: (SnapshotOffer,),
    SnapshotPieceRequest: (Chunk,),
    StepsRequest: (StepsResponse,),
    ContentQuery: (ContentOffer, ContentComing),
    LeavesRequest: (Leaves,),
    ChunkRequest: (Chunk,),
    PeersRequest: (Peers,),
}
"""The kinds of response (besides NotHeld) that a request may get."""

_LANES: Final[dict[type, Lane]] = {
    VoteNotice: Lane.CONSENSUS,
    CertificateNotice: Lane.CONSENSUS,
    ProposalNotice: Lane.CONSENSUS,
    EvidenceNotice: Lane.CONSENSUS,
    Have: Lane.CONSENSUS,
    Want: Lane.CONSENSUS,
    CandidateRequest: Lane.CONSENSUS,
    CandidateResponse: Lane.CONSENSUS,
    CertificatesRequest: Lane.CONSENSUS,
    CertificatesResponse: Lane.CONSENSUS,
    TransactionAnnounce: Lane.TRANSACTIONS,
    TransactionRequest: Lane.TRANSACTIONS,
    Transactions: Lane.TRANSACTIONS,
    BlocksResponse: Lane.BULK,
    SnapshotOffer: Lane.BULK,
    StepsResponse: Lane.BULK,
    Leaves: Lane.BULK,
    Chunk: Lane.BULK,
}


def lane_of(message: Message) -> Lane:
    """The lane that a message travels in: small talk of the connection is CONTROL."""
    return _LANES.get(type(message), Lane.CONTROL)


def kind_of(message: Message) -> str:
    """Name of a message's kind for metrics, rate limits and logs."""
    return type(message).__name__


def encode_envelope(envelope: Envelope) -> bytes:
    """The bytes of a frame."""
    return encode(envelope)


def decode_envelope(frame: bytes) -> Envelope:
    """The envelope in a frame. Raises CodecError or LimitError for anything else."""
    return decode(Envelope, frame, limits.frame_bytes_max)  # type: ignore[arg-type]  # a union is no type[T]


def notice_of(gossip: Gossip) -> GossipNotice:
    """The notice that carries a vote, certificate, proposal or evidence."""
    if isinstance(gossip, Vote):
        return VoteNotice(gossip)
    if isinstance(gossip, Certificate):
        return CertificateNotice(gossip)
    if isinstance(gossip, EVIDENCE_KINDS):
        return EvidenceNotice(gossip)
    return ProposalNotice(gossip)


def gossip_of(notice: GossipNotice) -> Gossip:
    """The vote, certificate, proposal or evidence in a notice."""
    if isinstance(notice, VoteNotice):
        return notice.vote
    if isinstance(notice, CertificateNotice):
        return notice.certificate
    if isinstance(notice, EvidenceNotice):
        return notice.evidence
    return notice.proposal
