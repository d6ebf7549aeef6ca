"""Writes previews to disk: PNG and WAV made here from plain pixels and samples, and text without what steers a terminal.

No byte of a stranger's file and none that a decoder formatted reaches the disk as it is.
"""

from __future__ import annotations

import io
import os
import re
import struct
import wave
import zlib
from pathlib import Path
from typing import Final

from omnitensor.media.facts import Picture, Seen, Sound

_CHANNELS: Final = {"L": (1, 0), "RGB": (3, 2), "RGBA": (4, 6)}
"""Bytes a pixel, and PNG's number for it."""


def save_previews(seen: Seen, folder: Path, stem: str) -> list[Path]:
    """Writes what a look gave to show, as ``stem.png``, ``stem.wav`` and ``stem.txt``, readable for the owner alone.

    Raises OSError. `stem` must be a plain name: letters, digits, dots, hyphens and underscores.
    """
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}", stem), (
        "names come from item numbers and hashes"
    )
    written = []
    for ending, data in (
        ("png", png(seen.picture) if seen.picture is not None else b""),
        ("wav", wav(seen.sound) if seen.sound is not None else b""),
        ("txt", printable(seen.text).encode() if seen.text else b""),
    ):
        if data:
            written.append(_written(folder / f"{stem}.{ending}", data))
    return written


def png(picture: Picture) -> bytes:
    """Plain pixels as a PNG file, by its specification's sections 5, 9 and 11."""
    channels, colour = _CHANNELS[picture.mode]
    line = picture.width * channels
    assert len(picture.pixels) == line * picture.height, "checked when it came from the child"
    rows = b"".join(b"\0" + picture.pixels[y * line : (y + 1) * line] for y in range(picture.height))
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows, 6))
        + _chunk(b"IEND", b"")
    )


def wav(sound: Sound) -> bytes:
    """Plain samples as a WAV file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate_hz)
        file.writeframes(sound.samples)
    return out.getvalue()


def printable(text: str) -> str:
    """Text of a stranger without what would steer a terminal."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)


def well_formed(picture: Picture) -> bool:
    """Whether a picture has the pixels that it says it has."""
    channels = _CHANNELS.get(picture.mode, (0, 0))[0]
    return (
        channels > 0
        and picture.width > 0
        and picture.height > 0
        and len(picture.pixels) == picture.width * picture.height * channels
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _written(path: Path, data: bytes) -> Path:
    """Puts a file in place whole, and never through a link that somebody left there."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(data)
    os.replace(part, path)
    return path
