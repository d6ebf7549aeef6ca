"""Gives peers what a new node begins with: the newest snapshot, pieces of those that are kept, and steps of light clients.

Reads files and the database: call it on the threads for reads.
"""

import threading
from pathlib import Path
from typing import Final

import structlog

from omnitensor.protocol import limits
from omnitensor.protocol.codec import encode
from omnitensor.protocol.disk import told
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import Epoch, Height
from p2p.messages import (
    Chunk,
    Response,
    SnapshotOffer,
    SnapshotPieceRequest,
    SnapshotQuery,
    StepsRequest,
    StepsResponse,
)
from state.reader import Reader
from state.snapshots.files import SnapshotFile, heights_in, name_of

OPEN_MAX: Final = 2
"""Snapshots whose files are held open: the newest, and the one before, which somebody may still be fetching."""

SnapshotAsk = SnapshotQuery | SnapshotPieceRequest | StepsRequest


class SnapshotShelf:
    """A node's snapshots, as peers ask for them. Safe from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self._open: dict[int, SnapshotFile] = {}
        self._lock: Final = threading.Lock()

    def serve(self, request: SnapshotAsk, reader: Reader) -> Response | None:
        """The answer to a peer; None where it is not here."""
        try:
            match request:
                case SnapshotQuery():
                    heights = [
                        height
                        for height in heights_in(self._folder)
                        if reader.encoded_block(Height(height)) is not None
                    ]
                    file = self._file(heights[0]) if heights else None
                    return None if file is None else SnapshotOffer(file.encoded)
                case SnapshotPieceRequest(height, index, offset, size):
                    file = self._file(height)
                    data = b"" if file is None else file.piece(index, offset, size)
                    return Chunk(data) if data else None
                case StepsRequest(epoch, count):
                    return _steps(reader, epoch, count)
        except (StorageError, OSError) as error:
            structlog.get_logger("storage").error("a snapshot can't be read", error=told(error, self._folder))
            return None

    def close(self) -> None:
        with self._lock:
            for file in self._open.values():
                file.close()
            self._open.clear()

    def _file(self, height: int) -> SnapshotFile | None:
        """An open file stays readable when it is removed from the folder."""
        with self._lock:
            file = self._open.get(height)
            if file is None:
                path = self._folder / name_of(height)
                if not path.exists():
                    return None
                file = self._open[height] = SnapshotFile(path)
                while len(self._open) > OPEN_MAX:
                    self._open.pop(min(self._open)).close()
            return self._open.get(height)


def _steps(reader: Reader, first: Epoch, count: int) -> StepsResponse | None:
    found: list[bytes] = []
    size = 0
    for epoch in range(first, first + count):
        row = reader.step(Epoch(epoch))
        if row is None:
            break
        data = encode(row)
        if found and size + len(data) > limits.steps_response_bytes_max:
            break
        found.append(data)
        size += len(data)
    return StepsResponse(tuple(found)) if found else None
