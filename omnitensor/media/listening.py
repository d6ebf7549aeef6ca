"""In the child: decodes the sound of a container, the beginning and the end of a long one, and measures it."""

from __future__ import annotations

import array
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.stream import Stream

from omnitensor.media import drawing
from omnitensor.media.facts import Facts, Job, Picture, Sound
from omnitensor.protocol import limits

RATE_HZ: Final = 16_000
"""Everything is measured at this rate, 16 bits."""
WINDOW: Final = RATE_HZ // 10
SILENT_RANGE: Final = 65
"""A window is silent in which samples differ by less: a thousandth of the whole range."""
_ENDS: Final = (32_767, -32_767, -32_768)
END_MS: Final = 2_000
"""What is decoded of a long sound's end."""
_PACKET_FAULTS: Final = (av.error.FFmpegError, ValueError)


@dataclass
class Heard:
    """What listening gave."""

    parts: int = 0
    broken: int = 0
    told_ms: int = 0
    """What the track's own header promises, where it has one."""
    decoded_ms: int = 0
    complete: bool = True
    end_found: bool = True
    silent_bps: int | None = None
    clipped_bps: int | None = None
    picture: Picture | None = None
    sound: Sound | None = None


@dataclass
class _Meter:
    """Takes decoded frames in turn; of each window keeps the lowest and highest sample of any channel."""

    previews: bool
    lows: array.array[int] = field(default_factory=lambda: array.array("h"))
    highs: array.array[int] = field(default_factory=lambda: array.array("h"))
    clipped: int = 0
    samples: int = 0
    silent: int = 0
    waiting: list[array.array[int]] = field(default_factory=list)
    first: bytearray = field(default_factory=bytearray)

    def add(self, frame: AudioFrame) -> None:
        """A frame of 16-bit samples, one plane a channel."""
        planes = []
        for plane in frame.planes:
            samples = array.array("h", bytes(plane)[: frame.samples * 2])
            planes.append(samples)
        if not planes:
            return
        room = RATE_HZ * 2 * limits.preview_sound_ms_max // 1_000 - len(self.first)
        if self.previews and room > 0:
            self.first += _little(planes[0])[:room]
        self.waiting = [a + b for a, b in zip(self.waiting, planes, strict=True)] if self.waiting else planes
        whole = len(self.waiting[0]) // WINDOW * WINDOW
        for start in range(0, whole, WINDOW):
            self._window([plane[start : start + WINDOW] for plane in self.waiting])
        self.waiting = [plane[whole:] for plane in self.waiting]

    def end(self) -> None:
        """Takes what is left over as a last, short window."""
        if self.waiting and len(self.waiting[0]):
            self._window(self.waiting)
        self.waiting = []

    def _window(self, planes: list[array.array[int]]) -> None:
        lows, highs = [min(plane) for plane in planes], [max(plane) for plane in planes]
        self.lows.append(min(lows))
        self.highs.append(max(highs))
        self.silent += all(high - low < SILENT_RANGE for low, high in zip(lows, highs, strict=True))
        self.samples += sum(len(plane) for plane in planes)
        if self.highs[-1] in _ENDS or self.lows[-1] in _ENDS:
            self.clipped += sum(plane.count(value) for plane in planes for value in _ENDS)


def listen(container: InputContainer, facts: Facts, job: Job) -> Heard:
    """Decodes the first sound of a container. Raises what its demultiplexer raises at the beginning."""
    stream = container.streams.audio[0]
    stream.codec_context.thread_count = 1
    heard, meter = Heard(told_ms=told_ms(stream)), _Meter(job.previews)
    resampler = AudioResampler(format="s16p", rate=RATE_HZ)
    decoded_s = 0.0
    for frame in _decoded(container, heard):
        heard.parts += 1
        decoded_s += frame.samples / max(1, frame.sample_rate)
        for measured in _resampled(resampler, frame, heard):
            meter.add(measured)
        if decoded_s * 1_000 >= job.sound_ms:
            heard.complete = decoded_s * 1_000 >= facts.duration_ms
            break
    meter.end()
    heard.decoded_ms = round(decoded_s * 1_000)
    if not heard.complete:
        heard.end_found = _has_end(container, facts)
    if meter.lows:
        heard.silent_bps = meter.silent * 10_000 // len(meter.lows)
        heard.clipped_bps = meter.clipped * 10_000 // max(1, meter.samples)
    if job.previews and meter.lows:
        heard.picture = drawing.waveform(meter.lows, meter.highs)
        heard.sound = Sound(RATE_HZ, bytes(meter.first))
    return heard


def told_ms(stream: Stream) -> int:
    """How long a track is by its own header; 0 where that says nothing."""
    if stream.duration is None or stream.time_base is None:
        return 0
    return max(0, int(stream.duration * stream.time_base * 1_000))


def _decoded(container: InputContainer, heard: Heard) -> Iterator[AudioFrame]:
    """Frames in turn; packets that do not decode are counted and passed over, up to a number."""
    try:
        for packet in container.demux(container.streams.audio[0]):
            try:
                frames = packet.decode()
            except _PACKET_FAULTS:
                heard.broken += 1
                if heard.broken > limits.media_broken_parts_max:
                    return
                continue
            yield from frames
    except _PACKET_FAULTS:
        heard.broken += 1  # the container itself breaks off here


def _resampled(resampler: AudioResampler, frame: AudioFrame, heard: Heard) -> list[AudioFrame]:
    frame.pts = None  # times may jump; here only samples count
    try:
        return resampler.resample(frame)
    except _PACKET_FAULTS:
        heard.broken += 1
        return []


def _has_end(container: InputContainer, facts: Facts) -> bool:
    """Whether something decodes near the end of a long sound: where a stream is cut off, seeking ends up before it."""
    goal_us = max(0, facts.duration_ms - END_MS) * 1_000 + (container.start_time or 0)
    try:
        container.seek(goal_us)
    except _PACKET_FAULTS:
        return False
    return any(
        frame.time is None or frame.time * 1_000_000 >= goal_us for frame in _decoded(container, Heard())
    )


def _little(samples: array.array[int]) -> bytes:
    if sys.byteorder == "big":
        samples = array.array("h", samples)
        samples.byteswap()
    return samples.tobytes()
