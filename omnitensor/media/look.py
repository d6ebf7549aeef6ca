"""Looks at a file: by its headers, by decoding it, or at its pixels. A bad file is never an exception but a ``fault``.

Blocks for as long as decoding takes: on an event loop call it through a thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from omnitensor.media import kinds
from omnitensor.media.facts import Facts, Job, Picture, Seen
from omnitensor.media.room import ROOM, Gone, open_regular
from omnitensor.protocol import limits

_OPENED: Final = frozenset(
    (*kinds.IMAGE_FORMATS, *kinds.CONTAINERS, kinds.TEXT, kinds.PARQUET, kinds.UNKNOWN)
)


def inspect(path: Path, declared: str = "") -> Facts:
    """Facts of a file from its headers, a text's from all of it. ``declared`` tells kinds of text apart (CSV, JSON).

    Raises OSError where the file can't be read, MediaError where no process for it can be had.
    """
    return _see(path, declared, whole=False).facts


def look(path: Path, declared: str = "", *, previews: bool = False) -> Seen:
    """Facts and measures of a file from decoding it; with ``previews`` what to show of it. Raises likewise."""
    return _see(path, declared, whole=True, previews=previews)


def pixels(path: Path) -> Picture | Facts:
    """The first frame of an image as plain pixels, or facts with the fault where there are none. Raises likewise."""
    seen = _see(path, "", whole=True, pixels=True)
    return seen.picture if seen.picture is not None else seen.facts


def _see(path: Path, declared: str, *, whole: bool, previews: bool = False, pixels: bool = False) -> Seen:
    source = open_regular(path)
    try:
        size = os.fstat(source).st_size
        if not size:
            return Seen(Facts("", 0, fault="the file is empty"))
        media_type = kinds.sniff(os.pread(source, kinds.HEAD_BYTES, 0))
        if media_type not in _OPENED:
            return Seen(Facts(media_type, size))
        job = Job(
            media_type,
            kinds.plain(declared),
            kinds.by_name(path.name),
            size,
            whole,
            previews,
            pixels,
            limits.media_look_cpu_s_max if whole else limits.media_facts_cpu_s_max,
            limits.media_child_memory_bytes_max,
            limits.media_look_ms_max if whole else limits.media_facts_ms_max,
            limits.audio_decoded_ms_max,
            limits.video_decoded_pixels_max,
        )
        try:
            seen = ROOM.run(job, source)
        except Gone as error:
            known = media_type if media_type != kinds.UNKNOWN else ""
            return Seen(Facts(known, size, fault=str(error)))
    finally:
        os.close(source)
    return replace(seen, facts=replace(seen.facts, size=size))
