"""In the child: which decoder sees a file. Nothing here runs in a process that has anything to lose."""

from __future__ import annotations

import importlib
import io
import os
from types import ModuleType
from typing import Any, Final

from omnitensor.media import kinds
from omnitensor.media.facts import Facts, Job, Seen

_IMAGE: Final = "omnitensor.media.decode_image"
_TRACKS: Final = "omnitensor.media.decode_tracks"
_PARQUET: Final = "omnitensor.media.decode_parquet"
_TEXT: Final = "omnitensor.media.decode_text"
UNREAD: Final = {
    _TRACKS: "audio and video are not looked into here: pip install 'omnitensor[media]'",
    _PARQUET: "Parquet is not looked into here: pip install 'omnitensor[dataset]'",
}
_loaded: Final[dict[str, ModuleType | None]] = {}
"""Decoders by module; None where its library is not installed."""


class Source(io.RawIOBase):
    """An open file that gives its bytes and nothing else: libraries that would go around Python find no descriptor."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor: Final = descriptor
        self._size: Final = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: object, /) -> int:
        room = memoryview(buffer)  # type: ignore[arg-type]  # typeshed names no buffer type here
        data = os.pread(self._descriptor, len(room), self._at) if self._at < self._size else b""
        room[: len(data)] = data
        self._at += len(data)
        return len(data)


def prepare(job: Job) -> None:
    """Loads the decoder of a job into the keeper, where a forked child finds it. Reads nothing of the file."""
    module = _module(job)
    if (
        module != _PARQUET
    ):  # which brings threads, and those do not survive a fork: each child loads it for itself
        _load(module)


def load(job: Job) -> None:
    """Loads in the child, before it is confined, what the keeper can't hold."""
    if _module(job) == _PARQUET:
        _load(_PARQUET)


def _load(module: str) -> None:
    if module in _loaded:
        return
    try:
        _loaded[module] = importlib.import_module(module)
    except ImportError:
        if module not in UNREAD:
            raise
        _loaded[module] = None


def see(job: Job, descriptor: int) -> Seen:
    """What a file is and shows; a fault of the file's in its facts. May raise MemoryError."""
    module = _module(job)
    decoder: Any = _loaded[module]
    if decoder is None:
        return Seen(Facts(job.media_type, job.size, unread=UNREAD[module]))
    seen: Seen = decoder.see(job, io.BufferedReader(Source(descriptor, job.size), 64 * 1024))
    return seen


def _module(job: Job) -> str:
    if job.media_type in kinds.IMAGE_FORMATS:
        return _IMAGE
    if job.media_type in kinds.CONTAINERS:
        return _TRACKS
    return _PARQUET if job.media_type == kinds.PARQUET else _TEXT
