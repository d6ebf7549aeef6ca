"""In the child: whether the lengths that a container promises fit into its file, exactly. Reads headers alone; decodes nothing.

A file cut off is found here, whatever a lenient demultiplexer would make of it.
"""

from __future__ import annotations

import io
import struct
from typing import Final

BOXES_MAX: Final = 10_000
TAIL_BYTES: Final = 128 * 1024
"""An Ogg page has less than 64 KiB."""
_OGG_END: Final = 4
MP3_HEAD_BYTES: Final = 64 * 1024
_MP3_LENGTHS: Final = (b"Xing", b"Info", b"VBRI")
"""Marks of the first frame of an MP3 that says how many follow."""


class Lies(Exception):
    """What a header promises and the file does not hold."""


def check(media_type: str, source: io.BufferedReader, size: int) -> bool:
    """Raises Lies. Formats without such promises pass; False where even a duration can only be estimated."""
    if media_type == "audio/wav":
        _riff(source, size)
        _wav_data(source, size)
    elif media_type == "video/x-msvideo":
        _riff(source, size)
    elif media_type in ("video/mp4", "audio/mp4", "video/quicktime"):
        _boxes(source, size)
    elif media_type in ("video/webm", "video/x-matroska"):
        _segment(source, size)
    elif media_type == "audio/ogg":
        _last_page(source, size)
    return media_type != "audio/mpeg" or any(mark in _at(source, 0, MP3_HEAD_BYTES) for mark in _MP3_LENGTHS)


def _riff(source: io.BufferedReader, size: int) -> None:
    head = _at(source, 0, 12)
    promised = int(struct.unpack_from("<I", head, 4)[0]) + 8 if len(head) == 12 else 12
    _fits(promised, size, "file")


def _wav_data(source: io.BufferedReader, size: int) -> None:
    """The samples of a WAV: their block is there, is whole, and is not empty."""
    place = 12
    for _ in range(BOXES_MAX):
        head = _at(source, place, 8)
        if len(head) < 8:
            raise Lies("it holds no samples")
        kind, length = head[:4], int(struct.unpack_from("<I", head, 4)[0])
        if kind == b"data":
            _fits(place + 8 + length, size, "samples")
            if not length:
                raise Lies("it holds no samples")
            return
        place += 8 + length + length % 2
    raise Lies("it has too many parts")


def _boxes(source: io.BufferedReader, size: int) -> None:
    """The outer boxes of an MP4: they fill the file, and an index of what is in it is among them."""
    place, kinds = 0, set[bytes]()
    for _ in range(BOXES_MAX):
        if place == size:
            break
        head = _at(source, place, 16)
        if len(head) < 8:
            raise Lies(f"it is cut off: {size - place} bytes are left over at its end")
        length, kind = int(struct.unpack_from(">I", head)[0]), head[4:8]
        if length == 1 and len(head) == 16:
            length = int(struct.unpack_from(">Q", head, 8)[0])
        elif length == 0:
            length = size - place
        if length < 8:
            raise Lies(f"its box at byte {place} has an impossible length")
        _fits(place + length, size, kind.decode("latin-1") if kind.isalnum() else "box")
        kinds.add(kind)
        place += length
    if place != size:
        raise Lies("it has too many parts")
    if b"moov" not in kinds:
        raise Lies("it is cut off: the index of what is in it is missing")


def _segment(source: io.BufferedReader, size: int) -> None:
    """The one segment of a Matroska file, behind its EBML header. A length that is left open promises nothing."""
    place = 0
    for _ in range(2):
        head = _at(source, place, 12)
        if len(head) < 5:
            raise Lies("it is cut off in its header")
        length, width = _ebml_length(head[4:])
        if not width:
            raise Lies("its header has an impossible length")
        end = place + 4 + width + length if length is not None else size
        _fits(end, size, "segment" if place else "header")
        place = end


def _ebml_length(data: bytes) -> tuple[int | None, int]:
    """A length and its own width in bytes; None: left open. Width 0: none that is valid."""
    width = next((count for count in range(1, 9) if data[0] >> (8 - count)), 0)
    if not width or len(data) < width:
        return 0, 0
    value = int.from_bytes(data[:width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), width


def _last_page(source: io.BufferedReader, size: int) -> None:
    """The last page of an Ogg: it ends with the file, and says that it is the last."""
    start = max(0, size - TAIL_BYTES)
    tail = _at(source, start, TAIL_BYTES)
    place = tail.rfind(b"OggS")
    while place >= 0:
        page = tail[place : place + 27]
        if len(page) == 27 and page[4] == 0:
            lengths = tail[place + 27 : place + 27 + page[26]]
            if len(lengths) == page[26] and place + 27 + page[26] + sum(lengths) == len(tail):
                if page[5] & _OGG_END:
                    return
                break
        place = tail.rfind(b"OggS", 0, place)
    raise Lies("it is cut off: its last page is missing")


def _fits(end: int, size: int, what: str) -> None:
    if end > size:
        raise Lies(f"it is cut off: its {what} ends at byte {end} by its header, and the file has {size}")


def _at(source: io.BufferedReader, place: int, length: int) -> bytes:
    source.seek(place)
    return source.read(length)
