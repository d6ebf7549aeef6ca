"""Every kind of message: round trip, lane, bounds, and what is refused."""

from __future__ import annotations

from typing import get_args

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol import limits
from omnitensor.protocol.codec import Record, decode
from omnitensor.protocol.errors import ProtocolError
from p2p import messages
from p2p.messages import (
    RESPONSES_OF,
    Ask,
    Chunk,
    ChunkRequest,
    Hello,
    Lane,
    Leaves,
    Notice,
    Peers,
    Ping,
    Reply,
    Request,
    Response,
    Tell,
    Transactions,
    decode_envelope,
    encode_envelope,
    gossip_of,
    lane_of,
    notice_of,
)
from tests.p2p.network_samples import SAMPLES


def test_there_is_a_sample_of_every_kind() -> None:
    kinds = {Hello, *get_args(Notice), *get_args(Request), *get_args(Response)}
    assert {type(sample) for sample in SAMPLES} == kinds


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_every_kind_survives_the_wire(message: Record) -> None:
    if isinstance(message, get_args(Request)):
        envelope: messages.Envelope = Ask(7, message)
    elif isinstance(message, get_args(Response)):
        envelope = Reply(7, message)
    else:
        envelope = Tell(message)  # type: ignore[arg-type]  # a Hello or a notice, by the test above
    data = encode_envelope(envelope)
    assert decode_envelope(data) == envelope
    raw = msgpack.unpackb(data)
    assert msgpack.packb(raw, use_bin_type=True) == data
    with pytest.raises(ProtocolError):
        decode_envelope(data + b"\x00")
    with pytest.raises(ProtocolError):
        decode_envelope(data[:-1])


def test_tags_are_unique_and_every_response_answers_a_request() -> None:
    tags = [type(sample).__struct_config__.tag for sample in SAMPLES]
    assert len(set(tags)) == len(tags)
    assert set(RESPONSES_OF) == set(get_args(Request))
    assert {kind for kinds in RESPONSES_OF.values() for kind in kinds} == set(get_args(Response)) - {
        messages.NotHeld
    }


def test_votes_go_before_transactions_before_bytes() -> None:
    lanes = {type(sample).__name__: lane_of(sample) for sample in SAMPLES}  # type: ignore[arg-type]  # messages
    for kind in ("VoteNotice", "CertificateNotice", "ProposalNotice", "EvidenceNotice"):
        assert lanes[kind] is Lane.CONSENSUS
    for kind in ("TransactionAnnounce", "TransactionRequest", "Transactions"):
        assert lanes[kind] is Lane.TRANSACTIONS
    for kind in ("BlocksResponse", "Chunk", "Leaves"):
        assert lanes[kind] is Lane.BULK
    assert sorted(Lane) == [Lane.CONSENSUS, Lane.CONTROL, Lane.TRANSACTIONS, Lane.BULK]


def test_gossip_goes_into_its_notice_and_out_again() -> None:
    for sample in SAMPLES:
        if isinstance(sample, messages.GossipNotice):
            assert notice_of(gossip_of(sample)) == sample


@pytest.mark.parametrize(
    "message",
    [
        Chunk(bytes(limits.piece_bytes_max + 1)),
        Chunk(b""),
        ChunkRequest(bytes(32), 0, limits.chunk_bytes, 1),  # type: ignore[arg-type]  # raw bytes for a hash
        ChunkRequest(bytes(31), 0, 0, 1),  # type: ignore[arg-type]  # too short on purpose
        Leaves((bytes(32),) * (limits.leaf_hashes_per_message_max + 1)),  # type: ignore[arg-type]  # raw hashes
        Transactions(()),
        Transactions((bytes(limits.transaction_bytes_max + 1),)),
        Transactions((b"x",) * (limits.transactions_per_message_max + 1)),
        Peers((messages.PeerAddress(messages.PeerId(bytes(32)), "h", 1),) * 65),
        Peers((messages.PeerAddress(messages.PeerId(bytes(32)), "h", 0),)),
        messages.BlocksRequest(0, 0),  # type: ignore[arg-type]  # plain numbers
        messages.BlocksRequest(0, limits.blocks_per_response_max + 1),  # type: ignore[arg-type]  # plain numbers
        messages.TransactionAnnounce((bytes(32),) * 1_025),  # type: ignore[arg-type]  # raw hashes
        messages.Goodbye("x", "y" * (limits.reason_chars_max + 1)),
        Ping(-1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_bound_is_kept_by_the_decoder(message: Record) -> None:
    with pytest.raises(ProtocolError):
        decode(type(message), msgspec_bytes(message))


def msgspec_bytes(message: Record) -> bytes:
    import msgspec

    return msgspec.msgpack.encode(message)


def test_a_frame_above_its_bound_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ProtocolError, match="too large"):
        decode_envelope(bytes(limits.frame_bytes_max + 1))


def test_answers_at_their_bounds_fit_a_frame() -> None:
    leaves = Reply(2**32 - 1, Leaves((bytes(32),) * limits.leaf_hashes_per_message_max))  # type: ignore[arg-type]  # raw hashes
    piece = Reply(2**32 - 1, Chunk(bytes(limits.piece_bytes_max)))
    for envelope in (leaves, piece):
        assert len(encode_envelope(envelope)) <= limits.frame_bytes_max
    overhead = 16 * 1024
    assert limits.proposal_bytes_max + overhead <= limits.frame_bytes_max
    assert limits.blocks_response_bytes_max >= limits.block_bytes_max


@given(data=st.binary(max_size=200))
@settings(max_examples=200)
def test_garbage_is_a_typed_error(data: bytes) -> None:
    try:
        envelope = decode_envelope(data)
    except ProtocolError:
        return
    assert encode_envelope(envelope) == data
