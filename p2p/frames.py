"""Frames over an encrypted stream. Bytes in, frames out and back; knows lanes and sizes, no messages and no sockets.

On the wire: records of `length (2 bytes, big-endian) || Noise message`. A record's plaintext is one fragment of a frame:
`head (1 byte) || [size of the frame (4 bytes), in its first fragment] || data`. The head holds the lane (low 2 bits) and
whether the fragment is a frame's first (0x80). Fragments of different lanes may alternate, those of one lane may not, so
that a vote passes a frame of a megabyte that is under way. Every size is checked before anything is kept.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from omnitensor.protocol import limits
from p2p.errors import FrameError
from p2p.messages import Lane
from p2p.noise import TAG_BYTES, NoiseSession

LENGTH_BYTES: Final = 2
SIZE_BYTES: Final = 4
_FIRST: Final = 0x80
_LANE_MASK: Final = 0x03
_FRAGMENT_BYTES_MIN: Final = 2
"""A head and a byte."""

assert len(Lane) == _LANE_MASK + 1
assert limits.fragment_bytes_max + 1 + SIZE_BYTES + TAG_BYTES <= limits.noise_message_bytes_max


def pack_record(message: bytes) -> bytes:
    """A Noise message with its length before it."""
    assert 0 < len(message) <= limits.noise_message_bytes_max
    return len(message).to_bytes(LENGTH_BYTES, "big") + message


class RecordReader:
    """Cuts a stream into records. Keeps at most what one `feed` brought and one unfinished record."""

    def __init__(self, record_bytes_max: int) -> None:
        self.record_bytes_max = record_bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the stream, split anywhere."""
        self._buffer += data

    def next_record(self) -> bytes | None:
        """The next whole record, or None until more is fed. Raises FrameError for a length of 0 or above the limit."""
        if len(self._buffer) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if not 0 < length <= self.record_bytes_max:
            raise FrameError(
                "a record has a length out of bounds",
                value=f"{length} bytes",
                remedy=f"1 to {self.record_bytes_max} bytes are taken at this point",
            )
        end = LENGTH_BYTES + length
        if len(self._buffer) < end:
            return None
        record = bytes(self._buffer[LENGTH_BYTES:end])
        del self._buffer[:end]
        return record


class FrameReader:
    """Decrypts records and puts frames together, one at a time in each lane."""

    def __init__(self, session: NoiseSession, records: RecordReader, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._session = session
        self._records = records
        self._parts: dict[Lane, bytearray] = {}
        self._missing: dict[Lane, int] = {}

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the stream."""
        self._records.feed(data)

    def next_frame(self) -> tuple[Lane, bytes] | None:
        """The next whole frame and its lane, or None until more is fed. Raises FrameError for anything malformed."""
        while (record := self._records.next_record()) is not None:
            lane = self._take(self._session.decrypt(record))
            if lane is not None:
                del self._missing[lane]
                return lane, bytes(self._parts.pop(lane))
        return None

    def _take(self, fragment: bytes) -> Lane | None:
        """Adds a fragment to its frame; the lane if that is now whole."""
        if len(fragment) < _FRAGMENT_BYTES_MIN or fragment[0] & ~(_FIRST | _LANE_MASK):
            raise FrameError("a fragment has no valid head", value=fragment[:8])
        lane, start = Lane(fragment[0] & _LANE_MASK), 1
        if fragment[0] & _FIRST:
            start += SIZE_BYTES
            self._begin(lane, fragment[1:start])
        if lane not in self._missing:
            raise FrameError(
                "a fragment continues a frame that was never begun", value=f"lane {lane.name.lower()}"
            )
        added = len(fragment) - start
        if not 0 < added <= self._missing[lane]:
            raise FrameError(
                "a fragment is empty or longer than what its frame misses",
                value=f"{added} bytes, {self._missing[lane]} are missing",
            )
        self._parts[lane] += memoryview(fragment)[start:]
        self._missing[lane] -= added
        return lane if self._missing[lane] == 0 else None

    def _begin(self, lane: Lane, size_field: bytes) -> None:
        if lane in self._missing:
            raise FrameError(
                "a frame begins before the one before it in its lane ended",
                value=f"lane {lane.name.lower()}",
            )
        size = int.from_bytes(size_field, "big")
        if len(size_field) < SIZE_BYTES or not 0 < size <= self.frame_bytes_max:
            raise FrameError(
                "a frame has a size out of bounds",
                value=f"{size} bytes",
                remedy=f"frames of 1 to {self.frame_bytes_max} bytes are taken at this point",
            )
        self._parts[lane] = bytearray()
        self._missing[lane] = size


class _LaneQueue:
    """Frames of one lane that wait, and how much of the foremost has left."""

    __slots__ = ("bytes", "frames", "sent")

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.sent = 0
        self.bytes = 0


class Outbox:
    """Frames that wait for one peer, and which fragment leaves next: always the lowest lane that has any.

    Each lane has a bound in frames and bytes (`limits.outbox_*`). A full CONSENSUS lane drops its oldest frame that has not begun
    to leave, since newer votes say more; every other lane refuses the new frame, and whoever pushed is told.
    """

    def __init__(self) -> None:
        self._lanes = {lane: _LaneQueue() for lane in Lane}
        self.dropped = 0
        """Frames that gave way to newer ones."""

    def __bool__(self) -> bool:
        return any(queue.frames for queue in self._lanes.values())

    @property
    def bytes_queued(self) -> int:
        return sum(queue.bytes for queue in self._lanes.values())

    def lane_bytes(self, lane: Lane) -> int:
        """Bytes of the frames of one lane that have not wholly left."""
        return self._lanes[lane].bytes

    def push(self, lane: Lane, frame: bytes) -> bool:
        """Queues a frame; False when there is no room."""
        assert 0 < len(frame) <= limits.frame_bytes_max
        queue = self._lanes[lane]
        while not self._fits(lane, queue, frame):
            if lane is not Lane.CONSENSUS or not self._drop_oldest(queue):
                return False
        queue.frames.append(frame)
        queue.bytes += len(frame)
        return True

    def next_fragment(self) -> bytes | None:
        """Plaintext of the next record, or None when nothing waits."""
        for lane, queue in self._lanes.items():
            if queue.frames:
                return self._cut(lane, queue)
        return None

    @staticmethod
    def _fits(lane: Lane, queue: _LaneQueue, frame: bytes) -> bool:
        return (
            len(queue.frames) < limits.outbox_frames_max[lane]
            and queue.bytes + len(frame) <= limits.outbox_bytes_max[lane]
        )

    def _drop_oldest(self, queue: _LaneQueue) -> bool:
        place = 1 if queue.sent else 0
        if len(queue.frames) <= place:
            return False
        queue.bytes -= len(queue.frames[place])
        del queue.frames[place]
        self.dropped += 1
        return True

    @staticmethod
    def _cut(lane: Lane, queue: _LaneQueue) -> bytes:
        frame, start = queue.frames[0], queue.sent
        end = min(start + limits.fragment_bytes_max, len(frame))
        head = (
            bytes([lane | _FIRST]) + len(frame).to_bytes(SIZE_BYTES, "big") if start == 0 else bytes([lane])
        )
        queue.sent = end
        if end == len(frame):
            queue.frames.popleft()
            queue.bytes -= len(frame)
            queue.sent = 0
        return head + frame[start:end]
