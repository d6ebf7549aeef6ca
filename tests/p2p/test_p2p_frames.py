"""Frames in arbitrary splits and lanes, malformed ones, and what leaves first when a line is busy."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol import limits
from p2p.errors import FrameError
from p2p.frames import FrameReader, Outbox, RecordReader, pack_record
from p2p.messages import Lane
from p2p.noise import NoiseSession
from tests.p2p.network_kit import key_of


def sessions() -> tuple[NoiseSession, NoiseSession]:
    alice = NoiseSession(key_of(1), initiator=True, static_key=bytes([1] * 32))
    bob = NoiseSession(key_of(2), initiator=False, static_key=bytes([2] * 32))
    bob.read(alice.write())
    alice.read(bob.write())
    bob.read(alice.write())
    return alice, bob


def reader_of(session: NoiseSession) -> FrameReader:
    return FrameReader(session, RecordReader(limits.noise_message_bytes_max), limits.frame_bytes_max)


def read_all(reader: FrameReader, data: bytes) -> list[tuple[Lane, bytes]]:
    reader.feed(data)
    frames = []
    while (item := reader.next_frame()) is not None:
        frames.append(item)
    return frames


def wire(session: NoiseSession, outbox: Outbox) -> bytes:
    data = b""
    while (fragment := outbox.next_fragment()) is not None:
        data += pack_record(session.encrypt(fragment))
    return data


def fragment(lane: int, data: bytes, *, size: int | None = None) -> bytes:
    """A fragment as the specification has it: a head, for a first one the frame's size, then data."""
    if size is None:
        return bytes([lane]) + data
    return bytes([0x80 | lane]) + size.to_bytes(4, "big") + data


frames_strategy = st.lists(
    st.tuples(
        st.sampled_from(list(Lane)), st.integers(1, 3 * limits.fragment_bytes_max), st.integers(0, 255)
    ),
    max_size=12,
)


@given(frames=frames_strategy, cuts=st.lists(st.integers(1, 70_000), max_size=20))
@settings(max_examples=40, deadline=None)
def test_frames_survive_any_split_and_keep_the_order_of_their_lane(
    frames: list[tuple[Lane, int, int]], cuts: list[int]
) -> None:
    alice, bob = sessions()
    outbox, sent = Outbox(), [(lane, bytes([fill]) * size) for lane, size, fill in frames]
    for lane, frame in sent:
        assert outbox.push(lane, frame)
    data, reader, received = wire(alice, outbox), reader_of(bob), []
    for cut in cuts:
        received += read_all(reader, data[:cut])
        data = data[cut:]
    received += read_all(reader, data)
    assert not outbox
    assert outbox.bytes_queued == 0
    for lane in Lane:
        assert [frame for at, frame in received if at is lane] == [frame for at, frame in sent if at is lane]


def test_a_vote_passes_a_megabyte_under_way() -> None:
    alice, bob = sessions()
    outbox, reader = Outbox(), reader_of(bob)
    bulk = bytes(limits.frame_bytes_max)
    outbox.push(Lane.BULK, bulk)
    begun = outbox.next_fragment()
    assert begun is not None
    received = read_all(reader, pack_record(alice.encrypt(begun)))
    outbox.push(Lane.TRANSACTIONS, b"transaction")
    outbox.push(Lane.CONSENSUS, b"vote")
    outbox.push(Lane.CONTROL, b"ping")
    received += read_all(reader, wire(alice, outbox))
    assert received == [
        (Lane.CONSENSUS, b"vote"),
        (Lane.CONTROL, b"ping"),
        (Lane.TRANSACTIONS, b"transaction"),
        (Lane.BULK, bulk),
    ]


def test_a_full_consensus_lane_drops_its_oldest_frame_that_has_not_begun() -> None:
    outbox = Outbox()
    count = limits.outbox_frames_max[Lane.CONSENSUS]
    assert outbox.push(Lane.CONSENSUS, b"0" * (limits.fragment_bytes_max + 1))
    assert outbox.next_fragment() is not None
    for number in range(1, count + 5):
        assert outbox.push(Lane.CONSENSUS, b"%d" % number)
    assert outbox.dropped == 5
    left = []
    while (fragment := outbox.next_fragment()) is not None:
        left.append(fragment[1:] if fragment[0] == Lane.CONSENSUS else fragment[5:])
    assert left == [b"0"] + [b"%d" % number for number in range(6, count + 5)]


@pytest.mark.parametrize("lane", [Lane.CONTROL, Lane.TRANSACTIONS, Lane.BULK])
def test_every_other_full_lane_refuses_the_new_frame(lane: Lane) -> None:
    outbox = Outbox()
    frame = bytes(limits.outbox_bytes_max[lane] // 4)
    pushed = 0
    while outbox.push(lane, frame):
        pushed += 1
    assert pushed == 4
    small = Outbox()
    for _ in range(limits.outbox_frames_max[lane]):
        assert small.push(lane, b"x")
    assert not small.push(lane, b"x")
    assert small.dropped == 0


@pytest.mark.parametrize(
    ("fragments", "reason"),
    [
        ([b""], "no valid head"),
        ([b"\x00"], "no valid head"),
        ([bytes([0x04]) + b"data"], "no valid head"),
        ([bytes([0x40]) + b"data"], "no valid head"),
        ([fragment(0, b"data")], "never begun"),
        ([bytes([0x80, 0, 0])], "size out of bounds"),
        ([fragment(0, b"x", size=0)], "size out of bounds"),
        ([fragment(0, b"x", size=limits.frame_bytes_max + 1)], "size out of bounds"),
        ([fragment(0, b"x", size=2**32 - 1)], "size out of bounds"),
        ([fragment(0, b"", size=4)], "empty or longer"),
        ([fragment(0, b"12345", size=4)], "empty or longer"),
        ([fragment(0, b"12", size=4), fragment(0, b"345")], "empty or longer"),
        ([fragment(0, b"12", size=4), fragment(1, b"34")], "never begun"),
        ([fragment(0, b"12", size=4), fragment(0, b"1234", size=4)], "before the one before it"),
        ([fragment(0, b"1234", size=4), fragment(0, b"5")], "never begun"),
    ],
)
def test_malformed_fragments_are_refused_with_a_reason(fragments: list[bytes], reason: str) -> None:
    alice, bob = sessions()
    data = b"".join(pack_record(alice.encrypt(one)) for one in fragments)
    with pytest.raises(FrameError, match=reason):
        read_all(reader_of(bob), data)


@pytest.mark.parametrize("length", [0, 257, 65_535])
def test_a_record_above_the_bound_is_refused_before_its_bytes_come(length: int) -> None:
    records = RecordReader(256)
    records.feed(length.to_bytes(2, "big"))
    with pytest.raises(FrameError, match="length out of bounds"):
        records.next_record()


@given(data=st.binary(min_size=2, max_size=400))
@settings(max_examples=80, deadline=None)
def test_garbage_never_becomes_a_frame(data: bytes) -> None:
    _, bob = sessions()
    with suppress(FrameError):
        assert read_all(reader_of(bob), data) == []


def test_what_is_kept_is_what_came_and_not_what_was_promised() -> None:
    alice, bob = sessions()
    reader = reader_of(bob)
    promise = fragment(3, b"x", size=limits.frame_bytes_max)
    assert read_all(reader, pack_record(alice.encrypt(promise))) == []
    assert sum(len(part) for part in reader._parts.values()) == 1
