"""What a file is, judged from its bytes: media type, and whether it decodes. Knows formats; nothing of campaigns.

Files come from strangers: sizes are bounded before anything is decoded, and only known image formats are tried.
"""

from __future__ import annotations

import codecs
import warnings
from pathlib import Path
from typing import Final

import msgspec
from PIL import Image, UnidentifiedImageError

from omnitensor.protocol.limits import MIB, image_pixels_max
from omnitensor.sdk.errors import FileError

HEAD_BYTES: Final = 64
READ_BYTES: Final = 1 * MIB

IMAGE_FORMATS: Final = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
TEXT_SUFFIXES: Final = {
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".html": "text/html",
    ".json": "application/json",
    ".xml": "application/xml",
}
_CONTROLS: Final = frozenset(map(chr, (*range(32), 127))) - set("\t\n\v\f\r\x1b")


class Facts(msgspec.Struct, frozen=True):
    """What a file's bytes say. `media_type` is empty where they are of no known kind; `fault` says why they do not decode."""

    media_type: str
    size: int
    characters: int = 0
    width: int = 0
    height: int = 0
    fault: str = ""

    @property
    def kind(self) -> str:
        """text, image, audio, video, or empty."""
        return self.media_type.partition("/")[0]


def sniff(path: Path) -> Facts:
    """Facts of a file. Raises FileError where it can't be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if not head:
            return Facts("", size, fault="the file is empty")
        if known := _of_head(head):
            kind = known.partition("/")[0]
            return _image_facts(path, size, known) if kind == "image" else Facts(known, size)
        return _text_facts(path, size)
    except OSError as error:
        raise FileError(
            f"the file can't be read ({error.strerror})", value=path, remedy="check its name and permissions"
        ) from error


def possible_types(facts: Facts, path: Path) -> tuple[str, ...]:
    """The media types that a file may be declared as, the most telling first."""
    if facts.kind != "text":
        return (facts.media_type,) if facts.media_type else ()
    refined = TEXT_SUFFIXES.get(path.suffix.lower())
    return (refined, facts.media_type) if refined else (facts.media_type,)


def type_matches(pattern: str, media_type: str) -> bool:
    """Whether a campaign's pattern (``text/plain``, ``image/*``, ``*/*``) takes a media type."""
    wanted, given = pattern.lower().partition("/"), media_type.lower().partition("/")
    return all(want in ("*", have) for want, have in ((wanted[0], given[0]), (wanted[2], given[2])))


def agrees(declared: str, facts: Facts) -> bool:
    """Whether bytes can be what they were declared as: an image of that format, text for anything that is written."""
    if not facts.media_type or facts.fault:
        return False
    if facts.kind == "text":
        return declared.startswith("text/") or declared in TEXT_SUFFIXES.values()
    return declared.lower() == facts.media_type or {declared.lower(), facts.media_type} in _SYNONYMS


_SYNONYMS: Final = (
    {"image/jpg", "image/jpeg"},
    {"audio/x-wav", "audio/wav"},
    {"audio/mp3", "audio/mpeg"},
    {"video/quicktime", "video/mp4"},
    {"video/webm", "video/x-matroska"},
    {"audio/ogg", "video/ogg"},
)


def _of_head(head: bytes) -> str:
    """The media type that a file's first bytes name; empty for text and for the unknown."""
    if head.startswith(b"RIFF") and len(head) >= 12:
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return "audio/mp4" if head[8:11] == b"M4A" else "video/mp4"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            return media_type
    return ""


_BMP_HEADERS: Final = (12, 40, 52, 56, 108, 124)
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
)


def _image_facts(path: Path, size: int, named: str) -> Facts:
    """Dimensions of an image that decodes whole; otherwise why it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images; our own bound decides
            with Image.open(path, formats=list(IMAGE_FORMATS)) as image:
                width, height = image.size
                if width * height > image_pixels_max:
                    return Facts(
                        named, size, width=width, height=height, fault=f"over {image_pixels_max} pixels"
                    )
                media_type = IMAGE_FORMATS.get(image.format or "", named)
                image.load()
        return Facts(media_type, size, width=width, height=height)
    except UnidentifiedImageError:
        return Facts(named, size, fault="it begins like an image and is none")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        return Facts(named, size, fault=f"the image does not decode ({error})")


def _text_facts(path: Path, size: int) -> Facts:
    """Characters of a file that is UTF-8 text; otherwise why it is none."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    characters = 0
    with path.open("rb") as file:
        while True:
            piece = file.read(READ_BYTES)
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                return Facts("", size, fault=f"neither a known format nor UTF-8 text ({error.reason})")
            if found := _CONTROLS.intersection(text):
                return Facts(
                    "", size, fault=f"neither a known format nor text (it holds U+{ord(min(found)):04X})"
                )
            characters += len(text)
            if not piece:
                return Facts("text/plain", size, characters=characters)
