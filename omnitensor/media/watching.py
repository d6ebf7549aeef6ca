"""In the child: decodes the pictures of a video, all of a short one and places spread over a long one, and measures them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from omnitensor.media import drawing
from omnitensor.media.facts import Facts, Job, Picture
from omnitensor.media.listening import told_ms
from omnitensor.protocol import limits

SMALL: Final = 32
"""Pixels a side at which frames are compared, in grey."""
LOOKED_AT: Final = 48
"""Frames of a short video that are compared with the one before."""
BLACK_MAX: Final = 24
"""No pixel of a black frame is lighter, of 255; video's black is 16 in many codings."""
SAME_MEAN_MILLI: Final = 1_500
"""Frames are the same whose pixels differ by less than 1.5 of 255 on the average, as coding alone makes them differ,"""
SAME_MAX: Final = 8
"""and none of them by more than this."""
_PACKET_FAULTS: Final = (av.error.FFmpegError, ValueError)


@dataclass
class Watched:
    """What watching gave."""

    parts: int = 0
    seen: int = 0
    broken: int = 0
    told_ms: int = 0
    """What the track's own header promises, where it has one."""
    decoded_ms: int = 0
    complete: bool = True
    end_found: bool = True
    black_bps: int | None = None
    frozen_bps: int | None = None
    picture: Picture | None = None


@dataclass
class _Eye:
    """Takes the frames that are looked at, in turn."""

    cell: tuple[int, int]
    previews: bool
    black: int = 0
    frozen: int = 0
    seen: int = 0
    last: bytes = b""
    cells: list[bytes] = field(default_factory=list)

    def add(self, frame: VideoFrame) -> None:
        small = _pixels(frame, SMALL, SMALL, "gray", 1)
        self.black += max(small) <= BLACK_MAX
        self.frozen += bool(self.last) and _same(self.last, small)
        self.seen += 1
        self.last = small
        if self.previews:
            self.cells.append(_pixels(frame, *self.cell, "rgb24", 3))

    def sheet(self) -> Picture | None:
        """Twelve of the frames, spread evenly."""
        most = drawing.SHEET_COLUMNS * drawing.SHEET_ROWS
        count = min(most, len(self.cells))
        chosen = [self.cells[place * len(self.cells) // count] for place in range(count)]
        return drawing.contact_sheet(chosen, *self.cell) if chosen else None


def watch(container: InputContainer, stream: VideoStream, facts: Facts, job: Job) -> Watched:
    """Decodes a video track. Raises what its demultiplexer raises at the beginning."""
    stream.codec_context.thread_count = 1
    watched = Watched(told_ms=told_ms(stream))
    eye = _Eye(drawing.cell_size(facts.width, facts.height), job.previews)
    frames_max = max(1, job.video_pixels // (facts.width * facts.height))
    expected = facts.frames or facts.duration_ms * facts.frame_rate_mhz // 1_000_000
    if expected <= frames_max:
        _all(container, stream, watched, eye, frames_max, max(1, expected // LOOKED_AT))
    else:
        _in_places(container, stream, facts, watched, eye, frames_max)
    watched.seen = eye.seen
    if eye.seen:
        watched.black_bps = eye.black * 10_000 // eye.seen
        watched.frozen_bps = eye.frozen * 10_000 // (eye.seen - 1) if eye.seen > 1 else None
        watched.picture = eye.sheet() if job.previews else None
    return watched


def _all(
    container: InputContainer, stream: VideoStream, watched: Watched, eye: _Eye, frames_max: int, step: int
) -> None:
    """Frame by frame. A header that promised fewer frames than there are does not make this longer than ``frames_max``."""
    first = last = None
    for frame in _decoded(container, stream, watched):
        if frame.width * frame.height > limits.video_frame_pixels_max:
            watched.broken += 1  # a stream may change its size on the way
            break
        if watched.parts % step == 0 and eye.seen < LOOKED_AT * 2:
            eye.add(frame)
        watched.parts += 1
        if frame.pts is not None:
            first = frame.time if first is None else min(first, frame.time)
            last = frame.time if last is None else max(last, frame.time)
        if watched.parts >= frames_max:
            watched.complete = False
            break
    rate = float(stream.average_rate) if stream.average_rate else 0.0
    one = 1 / rate if rate > 0 else 0.0
    if first is not None and last is not None:
        watched.decoded_ms = max(0, round((last - first + one) * 1_000))


def _in_places(
    container: InputContainer,
    stream: VideoStream,
    facts: Facts,
    watched: Watched,
    eye: _Eye,
    frames_max: int,
) -> None:
    """At places spread evenly over the length, each entered at the last point before it where a stream can be entered."""
    watched.complete = False
    start, left, found = container.start_time or 0, frames_max, False
    for place in range(limits.video_places_max):
        found = False
        goal_us = start + facts.duration_ms * 1_000 * (2 * place + 1) // (2 * limits.video_places_max)
        try:
            container.seek(goal_us)
        except _PACKET_FAULTS:
            watched.broken += 1
            continue
        chosen = None
        for count, frame in enumerate(_decoded(container, stream, watched)):
            watched.parts += 1
            left -= 1
            chosen = frame
            reached = frame.pts is None or frame.time * 1_000_000 >= goal_us
            if reached or count >= limits.video_frames_to_place_max or left <= 0:
                break
        if chosen is not None and chosen.width * chosen.height <= limits.video_frame_pixels_max:
            eye.add(chosen)
            late_us = facts.duration_ms * 1_000 // limits.video_places_max
            found = chosen.pts is None or chosen.time * 1_000_000 >= goal_us - late_us
        if left <= 0:
            return
    watched.end_found = found


def _decoded(container: InputContainer, stream: VideoStream, watched: Watched) -> Iterator[VideoFrame]:
    """Frames in turn; packets that do not decode are counted and passed over, up to a number."""
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except _PACKET_FAULTS:
                watched.broken += 1
                if watched.broken > limits.media_broken_parts_max:
                    return
                continue
            for frame in frames:
                if isinstance(frame, VideoFrame):
                    watched.broken += frame.is_corrupt
                    yield frame
    except _PACKET_FAULTS:
        watched.broken += 1  # the container itself breaks off here


def _pixels(frame: VideoFrame, width: int, height: int, form: str, channels: int) -> bytes:
    """A frame's pixels at another size, without the padding at the end of lines."""
    plane = frame.reformat(width=width, height=height, format=form).planes[0]
    data, line = bytes(plane), plane.line_size
    return b"".join(data[y * line : y * line + width * channels] for y in range(height))


def _same(one: bytes, two: bytes) -> bool:
    differences = [abs(a - b) for a, b in zip(one, two, strict=True)]
    return max(differences) <= SAME_MAX and sum(differences) * 1_000 < SAME_MEAN_MILLI * len(differences)
