"""Small real media files, made by the libraries themselves: sounds, videos, pictures, tables."""

from __future__ import annotations

import array
import io
import math
import struct
import wave
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

Wave = Callable[[float], float]
"""A sound: seconds to -1..1."""
Paint = Callable[[int, int, int], tuple[int, int, int]]
"""A video: frame, x and y to a colour."""


def tone(seconds: float) -> float:
    return 0.4 * math.sin(2 * math.pi * 440 * seconds)


def silence(seconds: float) -> float:
    return 0.0


def moving(frame: int, x: int, y: int) -> tuple[int, int, int]:
    return (x * 4 + frame * 9) % 256, (y * 5) % 256, (frame * 5) % 256


def still(frame: int, x: int, y: int) -> tuple[int, int, int]:
    return moving(0, x, y)


def black(frame: int, x: int, y: int) -> tuple[int, int, int]:
    return 0, 0, 0


def samples_of(sound: Wave, seconds: float, rate: int) -> array.array[int]:
    return array.array("h", (round(32_767 * sound(place / rate)) for place in range(round(seconds * rate))))


def wav(sound: Wave = tone, seconds: float = 1.0, rate: int = 8_000, channels: int = 1) -> bytes:
    out = io.BytesIO()
    one = samples_of(sound, seconds, rate)
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(array.array("h", (value for value in one for _ in range(channels))).tobytes())
    return out.getvalue()


def sound_file(
    path: Path, form: str, codec: str, sound: Wave = tone, seconds: float = 1.0, rate: int = 48_000
) -> Path:
    """A file of one coded sound."""
    with av.open(str(path), "w", format=form) as container:
        _add_sound(container, container.add_stream(codec, rate=rate, layout="mono"), sound, seconds, rate)
    return path


def video_file(
    path: Path,
    form: str = "mp4",
    codec: str = "libx264",
    *,
    paint: Paint = moving,
    frames: int = 25,
    rate: int = 25,
    size: tuple[int, int] = (64, 48),
    sound: Wave | None = None,
    sound_codec: str = "aac",
    gop: int = 12,
) -> Path:
    """A file of a coded video, with a sound where one is given."""
    width, height = size
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = gop
        heard = container.add_stream(sound_codec, rate=48_000, layout="mono") if sound is not None else None
        for number in range(frames):
            frame = av.VideoFrame(width, height, "rgb24")
            plane = frame.planes[0]
            data = bytearray(plane.buffer_size)
            for y in range(height):
                row = bytes(value for x in range(width) for value in paint(number, x, y))
                data[y * plane.line_size : y * plane.line_size + len(row)] = row
            plane.update(bytes(data))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if heard is not None and sound is not None:
            _add_sound(container, heard, sound, frames / rate, 48_000)
    return path


def _add_sound(container: object, stream: object, sound: Wave, seconds: float, rate: int) -> None:
    resampler = av.AudioResampler(
        format=stream.format, layout=stream.layout, rate=rate, frame_size=stream.frame_size or 1_024
    )
    data = samples_of(sound, seconds, rate)
    frame = av.AudioFrame("s16", "mono", len(data))
    frame.planes[0].update(data.tobytes())
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for part in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def picture(form: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, form)
    return out.getvalue()


def png_of(width: int, height: int, data: bytes = bytes(100)) -> bytes:
    """A PNG by the standard (section 5), with as little data as an attacker would give it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data, 9))
        + chunk(b"IEND", b"")
    )


def table(rows: int = 30) -> str:
    lines = ["name,length,seen"]
    lines += [f"whale {number},{20 + number % 7},{'yes' if number % 3 else 'no'}" for number in range(rows)]
    return "\n".join(lines) + "\n"
