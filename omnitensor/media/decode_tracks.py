"""In the child: sound and video by PyAV (FFmpeg), with the one demultiplexer that the first bytes name and known decoders only.

Nothing that a file names is opened: no other file, no address. What is promised by a header is compared with what is there.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
from fractions import Fraction
from typing import Any, Final

import av
from av.container import InputContainer
from av.video.stream import VideoStream
from msgspec.structs import replace

from omnitensor.media import headers
from omnitensor.media.facts import Facts, Job, Measures, Seen
from omnitensor.media.kinds import CONTAINERS
from omnitensor.media.listening import Heard, listen
from omnitensor.media.watching import Watched, watch
from omnitensor.protocol import limits

SOUNDS: Final = frozenset(
    {"aac", "alac", "flac", "mp3", "mp3float", "mp2", "opus", "libopus", "vorbis", "libvorbis"}
)
PICTURES: Final = frozenset(
    {
        "h264",
        "hevc",
        "vp8",
        "vp9",
        "libvpx",
        "libvpx-vp9",
        "av1",
        "libdav1d",
        "mpeg4",
        "mjpeg",
        "msmpeg4v3",
        "mpeg2video",
    }
)
PCM: Final = tuple(
    f"pcm_{form}"
    for form in (
        "u8",
        "s16le",
        "s16be",
        "s24le",
        "s24be",
        "s32le",
        "s32be",
        "f32le",
        "f64le",
        "mulaw",
        "alaw",
    )
)
"""Decoders that get to see a file; others are as good as unknown formats."""
ALLOWED: Final = SOUNDS | PICTURES | frozenset(PCM)
FAULTS: Final = (
    av.error.FFmpegError,
    OSError,
    ValueError,
    OverflowError,
    EOFError,
    ZeroDivisionError,
    IndexError,
)
SHORT_MS: Final = {"pictures": 500, "sound": 150}
SHORT_BPS: Final = 50
"""What may be missing of a promised duration: this many milliseconds, or half a hundredth of it."""
FRAMES_OVER: Final = 2
"""A header that has more than so many times the frames that its duration and rate give contradicts itself."""
_AUDIO_TYPES: Final = {
    "video/mp4": "audio/mp4",
    "video/quicktime": "audio/mp4",
    "video/webm": "audio/webm",
    "video/x-matroska": "audio/x-matroska",
}
_VIDEO_TYPES: Final = {"audio/mp4": "video/mp4", "audio/ogg": "video/ogg"}


# PyAV loads parts of itself when it meets certain streams; a confined child can't, so all are here before.
for _module in pkgutil.walk_packages(av.__path__, "av."):
    if not _module.name.startswith("av.__"):
        importlib.import_module(_module.name)


class Unfit(Exception):
    """Why a file is not decoded."""


def see(job: Job, source: io.BufferedReader) -> Seen:
    """Facts from the headers; with ``whole`` from decoding, and measures."""
    av.logging.set_level(None)
    facts = Facts(job.media_type, job.size)
    try:
        estimated = not headers.check(job.media_type, source, job.size)
        source.seek(0)
        with _opened(job, source) as container:
            facts = _facts(job, container)
            _check(container, facts)
        return _whole(job, source, facts, estimated) if job.whole else Seen(facts)
    except (Unfit, headers.Lies) as error:
        return Seen(_faulty(facts, str(error)))
    except FAULTS as error:
        text = " ".join(str(getattr(error, "strerror", "") or error).split())[:160]
        return Seen(_faulty(facts, f"it does not decode ({text})"))


def _opened(job: Job, source: io.BufferedReader) -> InputContainer:
    allowed = ",".join(sorted(ALLOWED))
    options = {
        "codec_whitelist": allowed,
        "protocol_whitelist": "none",
        "format_whitelist": _FORMATS[CONTAINERS[job.media_type]],
        "max_streams": "16",
        "max_probe_packets": "500",
        "probesize": "1000000",
        "analyzeduration": "2000000",
    }
    return av.open(
        source,
        "r",
        format=CONTAINERS[job.media_type],
        options=options,
        io_open=_no_other,
        metadata_errors="ignore",
    )


_FORMATS: Final = {
    "wav": "wav",
    "flac": "flac",
    "ogg": "ogg",
    "mp3": "mp3",
    "mp4": "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska": "matroska,webm",
    "avi": "avi",
}


def _no_other(url: str, flags: int, options: dict[str, Any]) -> Any:
    raise PermissionError(f"a file names another one: {url[:80]}")


def picture_track(container: InputContainer) -> VideoStream | None:
    """The video of a container; a cover picture is none."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    return None


def _facts(job: Job, container: InputContainer) -> Facts:
    video = picture_track(container)
    audio = container.streams.audio[0] if container.streams.audio else None
    duration_ms = max(0, (container.duration or 0) // 1_000)
    heard: Any = audio.codec_context if audio is not None else None  # None as well where no decoder is known
    sound = _codec(heard)
    channels, rate = (heard.channels, heard.sample_rate) if heard is not None else (0, 0)
    if video is None:
        return Facts(
            _AUDIO_TYPES.get(job.media_type, job.media_type),
            job.size,
            duration_ms=duration_ms,
            channels=channels,
            sample_rate_hz=rate,
            codec=sound,
        )
    seen: Any = video.codec_context
    rate_mhz = _mhz(video.average_rate or video.guessed_rate)
    return Facts(
        _VIDEO_TYPES.get(job.media_type, job.media_type),
        job.size,
        width=seen.width if seen is not None else 0,
        height=seen.height if seen is not None else 0,
        frames=_frames(video.frames, duration_ms, rate_mhz),
        frame_rate_mhz=rate_mhz,
        duration_ms=duration_ms,
        channels=channels,
        sample_rate_hz=rate,
        codec=_codec(seen),
        audio_codec=sound,
    )


def _check(container: InputContainer, facts: Facts) -> None:
    """Raises Unfit for what is beyond the limits, or not known. Nothing was decoded yet."""
    if not container.streams.audio and picture_track(container) is None:
        raise Unfit("it holds neither sound nor video")
    for stream in (*container.streams.audio[:1], *filter(None, [picture_track(container)])):
        context: Any = stream.codec_context  # None where no decoder is known
        if context is None or context.name not in ALLOWED:
            raise Unfit(f"its coding is not read here: {_codec(context) or 'unknown'}")
    if facts.width * facts.height > limits.video_frame_pixels_max:
        raise Unfit(f"over {limits.video_frame_pixels_max} pixels a frame: {facts.width} x {facts.height}")
    if picture_track(container) is not None and not facts.width * facts.height:
        raise Unfit("its video has no size")
    if facts.channels > limits.audio_channels_max or facts.sample_rate_hz > limits.audio_rate_hz_max:
        raise Unfit(f"its sound has {facts.channels} channels of {facts.sample_rate_hz} Hz")


def _whole(job: Job, source: io.BufferedReader, facts: Facts, estimated: bool) -> Seen:
    watched = heard = None
    if facts.width:
        source.seek(0)
        with _opened(job, source) as container:
            track = picture_track(container)
            assert track is not None, "it was there a moment ago"
            watched = watch(container, track, facts, job)
    if facts.channels or not facts.width:
        source.seek(0)
        with _opened(job, source) as container:
            heard = listen(container, facts, job)
    if estimated and heard is not None:
        heard.told_ms = heard.decoded_ms
        facts = replace(facts, duration_ms=heard.decoded_ms if heard.complete else facts.duration_ms)
    facts = _compared(facts, watched, heard)
    return Seen(
        facts,
        _measures(facts, watched, heard),
        watched.picture if watched is not None else heard.picture if heard is not None else None,
        heard.sound if heard is not None else None,
    )


def _compared(facts: Facts, watched: Watched | None, heard: Heard | None) -> Facts:
    """Facts after decoding: a duration that is not there is a fault; one that no header had is filled in."""
    told = facts.duration_ms
    for what, found in (("pictures", watched), ("sound", heard if watched is None else None)):
        if found is None:
            continue
        promised = found.told_ms or facts.duration_ms
        if not found.parts:
            return _faulty(facts, f"none of its {what} decodes")
        if found.complete and _short(what, found.decoded_ms, promised):
            there = f"{what} of {found.decoded_ms} ms are there"
            return _faulty(facts, f"it is cut off: its header promises {promised} ms, {there}")
        if not found.complete and not found.end_found:
            return _faulty(facts, f"it is cut off: there are no {what} near the end of its {promised} ms")
        if found.complete:
            told = max(told, found.decoded_ms)
    frames = watched.parts if watched is not None and watched.complete else facts.frames
    return replace(facts, duration_ms=told, frames=frames)


def _short(what: str, there_ms: int, told_ms: int) -> bool:
    return told_ms - there_ms > max(SHORT_MS[what], told_ms * SHORT_BPS // 10_000)


def _measures(facts: Facts, watched: Watched | None, heard: Heard | None) -> Measures:
    return Measures(
        complete=all(found.complete for found in (watched, heard) if found is not None),
        decoded_ms=watched.decoded_ms
        if watched is not None
        else heard.decoded_ms
        if heard is not None
        else 0,
        silent_bps=heard.silent_bps if heard is not None else None,
        clipped_bps=heard.clipped_bps if heard is not None else None,
        frames_seen=watched.seen if watched is not None else 0,
        black_bps=watched.black_bps if watched is not None else None,
        frozen_bps=watched.frozen_bps if watched is not None else None,
        broken=sum(found.broken for found in (watched, heard) if found is not None),
    )


def _frames(told: int, duration_ms: int, rate_mhz: int) -> int:
    """The number of frames that a header has; 0 where it contradicts the header's own duration."""
    expected = duration_ms * rate_mhz // 1_000_000
    return told if 0 < told <= FRAMES_OVER * (expected + 1) else 0


def _codec(context: Any) -> str:
    return str(context.codec.canonical_name or context.name) if context is not None else ""


def _mhz(rate: Fraction | None) -> int:
    return int(rate * 1_000) if rate is not None and 0 < rate < 1_000_000 else 0


def _faulty(facts: Facts, fault: str) -> Facts:
    return replace(facts, fault=fault)
