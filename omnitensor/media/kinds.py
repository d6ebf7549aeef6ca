"""Media types: what the first bytes tell, what may be declared of them, which are opened and by which decoder. Pure.

Believes no name and no header of a request. The first magic number that fits decides, so that a file that is valid as two
types is one of them for everybody.
"""

from __future__ import annotations

import codecs
import struct
from typing import Final

from omnitensor.media.facts import Facts

HEAD_BYTES: Final = 4_096
"""How much of the beginning tells the media type."""
UNKNOWN: Final = "application/octet-stream"
TEXT: Final = "text/plain"
CSV: Final = "text/csv"
TSV: Final = "text/tab-separated-values"
JSON: Final = "application/json"
PARQUET: Final = "application/vnd.apache.parquet"

IMAGE_FORMATS: Final = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
"""Images that are opened, by media type, with the one decoder that gets to see them."""

CONTAINERS: Final = {
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
    "audio/mp4": "mp4",
    "video/mp4": "mp4",
    "video/quicktime": "mp4",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
}
"""Sound and video that is opened, by what the first bytes tell, with the one demultiplexer that gets to see it."""

TABLES: Final = (CSV, TSV, PARQUET)
TEXT_SUFFIXES: Final = {
    ".md": "text/markdown",
    ".csv": CSV,
    ".tsv": TSV,
    ".html": "text/html",
    ".json": JSON,
    ".xml": "application/xml",
}
"""What text may be declared as, by the ending of its name: bytes alone do not tell these apart."""

_SYNONYMS: Final = {
    "image/jpg": "image/jpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/mp3": "audio/mpeg",
    "audio/m4a": "audio/mp4",
    "audio/x-m4a": "audio/mp4",
    "video/avi": "video/x-msvideo",
    "application/x-parquet": PARQUET,
}
_SAME_BYTES: Final = (
    {"video/quicktime", "video/mp4"},
    {"video/webm", "video/x-matroska"},
    {"audio/webm", "audio/x-matroska"},
)
"""Types of one container, told apart by a brand that writers set as they like."""

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
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"PAR1", PARQUET),
)
"""Bytes at an offset and what they tell; the first match counts."""

_RIFF_TYPES: Final = frozenset({"image/webp", "audio/wav", "video/x-msvideo"})
_BMP_HEADERS: Final = (12, 40, 52, 56, 108, 124)
CONTROL: Final = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b") + b"\x7f"
"""Bytes that no text holds."""


def sniff(head: bytes) -> str:
    """The media type that the first bytes tell (give ``HEAD_BYTES`` of them, or all); ``UNKNOWN`` where they tell nothing."""
    for offset, magic, media_type in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            if media_type in _RIFF_TYPES and head[:4] != b"RIFF":
                continue
            return media_type
    if head[:4] == b"\x1aE\xdf\xa3":
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if len(head) >= 18 and head[:2] == b"BM" and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADERS:
        return "image/bmp"
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] & 0xF0 not in (0x00, 0xF0):
        return "audio/mpeg"
    return TEXT if _may_be_text(head) else UNKNOWN


def kind_of(media_type: str) -> str:
    """text, image, audio, video or table; empty for what is not opened."""
    if media_type in TABLES:
        return "table"
    kind = media_type.partition("/")[0]
    if kind in ("text", "image", "audio", "video"):
        return kind
    return "text" if media_type in TEXT_SUFFIXES.values() else ""


def plain(media_type: str) -> str:
    """A declared media type without parameters, in small letters, by its registered name."""
    name = media_type.partition(";")[0].strip().lower()
    return _SYNONYMS.get(name, name)


def agrees(declared: str, facts: Facts) -> bool:
    """Whether bytes can be what they were declared as: one format, or for anything that is written, text."""
    if not facts.media_type or facts.fault:
        return False
    wanted, found = plain(declared), facts.media_type
    if wanted == found or {wanted, found} in _SAME_BYTES:
        return True
    written = found.startswith("text/") or found in TEXT_SUFFIXES.values()
    return written and (wanted.startswith("text/") or wanted in TEXT_SUFFIXES.values())


def type_matches(pattern: str, media_type: str) -> bool:
    """Whether a campaign's pattern (``text/plain``, ``image/*``, ``*/*``) takes a media type."""
    wanted, given = pattern.lower().partition("/"), media_type.lower().partition("/")
    return all(want in ("*", have) for want, have in ((wanted[0], given[0]), (wanted[2], given[2])))


def possible_types(facts: Facts) -> tuple[str, ...]:
    """The media types that a file may be declared as, the most telling first."""
    if not facts.media_type:
        return ()
    return (facts.media_type, TEXT) if facts.media_type in TEXT_SUFFIXES.values() else (facts.media_type,)


def by_name(name: str) -> str:
    """What text of this name is likely to be; empty where the ending says nothing."""
    dot = name.rfind(".")
    return TEXT_SUFFIXES.get(name[dot:].lower(), "") if dot >= 0 else ""


def _may_be_text(head: bytes) -> bool:
    if not head or head.translate(None, CONTROL) != head:
        return False
    try:
        # A character may be cut in two where the head ends.
        codecs.getincrementaldecoder("utf-8")("strict").decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return True
