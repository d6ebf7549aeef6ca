"""Says what content is, from its bytes alone: media type, and basic facts of text and images. Believes no name and no header.

Content is a stranger's: sizes are read before anything is decoded, formats are few, and what is decoded is bounded.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError

HEAD_BYTES: Final = 4_096
"""How much of the beginning tells the media type."""
PART_BYTES: Final = 1 << 20
UNKNOWN: Final = "application/octet-stream"
TEXT: Final = "text/plain"

IMAGE_FORMATS: Final = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
"""Images that are opened, by media type, with the one decoder that gets to see them."""

_MAGIC: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (8, b"AVI ", "video/x-msvideo"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftyphei", "image/heic"),
    (4, b"ftypmif1", "image/heic"),
    (4, b"ftyp", "video/mp4"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"PAR1", "application/vnd.apache.parquet"),
)
"""Bytes at an offset and what they tell; the first match counts."""

_RIFF_TYPES: Final = frozenset({"image/webp", "audio/wav", "video/x-msvideo"})
_CONTROL: Final = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b") + b"\x7f"


class MediaError(ProtocolError):
    """Bytes that are not what they look like, or more than is looked at."""

    code = "media"


@dataclass(frozen=True, slots=True)
class Media:
    """What content is. Characters and lines of text; pixels and frames of an image; None where it is of another kind."""

    media_type: str
    size: int
    characters: int | None = None
    lines: int | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None


def sniff(head: bytes) -> str:
    """The media type that the first bytes tell (give ``HEAD_BYTES`` of them, or all); ``UNKNOWN`` where they tell nothing."""
    for offset, magic, media_type in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            if media_type in _RIFF_TYPES and head[:4] != b"RIFF":
                continue
            return media_type
    if head[:4] == b"\x1aE\xdf\xa3":
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if (
        len(head) > 14
        and head[:2] == b"BM"
        and struct.unpack_from("<I", head, 14)[0] in (12, 40, 52, 56, 108, 124)
    ):
        return "image/bmp"
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] & 0xF0 not in (0x00, 0xF0):
        return "audio/mpeg"
    return TEXT if _may_be_text(head) else UNKNOWN


def agrees(declared: str, found: str) -> bool:
    """Whether bytes found to be of one media type can be what was declared; any kind of text looks like plain text."""
    declared, found = declared.split(";")[0].strip().lower(), found.lower()
    if found == TEXT:
        return declared.startswith("text/") or declared in (
            "application/json",
            "application/xml",
            "image/svg+xml",
        )
    return declared == found


def inspect(path: Path, *, decode: bool = False) -> Media:
    """Media type and facts of a file, in memory that does not grow with it.

    An image's pixels are decoded only with ``decode``, and only up to ``limits.image_pixels_max``. Raises MediaError where
    the bytes are not what they begin as: a picture cut off, text with bytes that are not UTF-8.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    media_type = sniff(head)
    if media_type == TEXT:
        return _inspect_text(path, size)
    if media_type in IMAGE_FORMATS:
        return _inspect_image(path, size, media_type, decode)
    return Media(media_type, size)


def _may_be_text(head: bytes) -> bool:
    if not head or head.translate(None, _CONTROL) != head:
        return False
    try:
        # A character may be cut in two where the head ends.
        codecs.getincrementaldecoder("utf-8")("strict").decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return True


def _inspect_text(path: Path, size: int) -> Media:
    if size > limits.media_text_bytes_max:
        return Media(TEXT, size)
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    characters = lines = place = 0
    ends_line = True
    for part in _parts(path):
        if part.translate(None, _CONTROL) != part:
            raise MediaError(
                "a text holds control characters", value=path.name, remedy="give plain UTF-8 text"
            )
        try:
            text = decoder.decode(part, final=place + len(part) == size)
        except UnicodeDecodeError as error:
            raise MediaError(
                "a text is not UTF-8",
                value=f"byte {place + error.start}",
                remedy="save it as UTF-8",
            ) from error
        place += len(part)
        characters += len(text)
        lines += text.count("\n")
        ends_line = text.endswith("\n") if text else ends_line
    return Media(TEXT, size, characters=characters, lines=lines + (not ends_line))


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part


def _inspect_image(path: Path, size: int, media_type: str, decode: bool) -> Media:
    from PIL import Image, UnidentifiedImageError  # a node that sees no image need not hold it in memory

    try:
        with Image.open(path, formats=[IMAGE_FORMATS[media_type]]) as image:
            width, height = image.size
            if decode:
                if width * height > limits.image_pixels_max:
                    raise MediaError(
                        "an image is too large to look at",
                        value=f"{width} x {height}",
                        remedy=f"at most {limits.image_pixels_max} pixels",
                    )
                image.load()
            # Counting the frames of these reads an index; of others it would decode them.
            frames = getattr(image, "n_frames", 1) if media_type in ("image/png", "image/webp") else 1
            return Media(
                media_type, size, width=width, height=height, frames=min(frames, limits.image_frames_max)
            )
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
    ) as error:
        raise MediaError(
            f"not a whole {media_type}: {error}", value=path.name, remedy="check the file"
        ) from error
