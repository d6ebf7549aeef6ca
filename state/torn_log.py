"""The end of a LevelDB log that a power cut left half written: cuts it off, so that the database opens without it.

LevelDB takes a log that merely stops for one whose last write never happened. An end that has its length and not its bytes
(zeros, or what stood on the disk before) it refuses under paranoid checks, although nothing that was synced is missing. Such an
end is told from damage by what follows it: nothing that was ever a record. A fault in the log's very last record looks the
same, and costs what a missing end costs: the last write, which a node gets again from its peers.

Only the newest log is looked at, and only after an open was refused. Format: blocks of 32 KiB of records, each a checksum
(CRC-32C, masked) of type and payload, two bytes of length, one of type, and the payload; a record never crosses a block, and
fewer than 7 bytes at a block's end are zeros (LevelDB, ``doc/log_format.md``).
"""

import os
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 32_768
HEADER_BYTES: Final = 7
TORN_NAME: Final = "TORN"
"""What was cut off last, kept beside the log for whoever wants to look; LevelDB passes over names that it does not know."""
_TYPES: Final = range(1, 5)
_MASK_DELTA: Final = 0xA282EAD8


def _table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return tuple(found)


_TABLE: Final = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of the bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def record_end(data: bytes, at: int) -> int | None:
    """Where the record that begins at a place ends; None where there is none, or it is not what was written."""
    block_end = min(len(data), (at // BLOCK_BYTES + 1) * BLOCK_BYTES)
    if at + HEADER_BYTES > block_end or data[at + 6] not in _TYPES:
        return None
    end = at + HEADER_BYTES + int.from_bytes(data[at + 4 : at + 6], "little")
    if end > block_end:
        return None
    crc = crc32c(data[at + 6 : end])
    masked = ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
    return end if masked == int.from_bytes(data[at : at + 4], "little") else None


def torn_at(data: bytes) -> int | None:
    """Where a log's half-written end begins; None where all of it is records, or where records follow what is none."""
    at = 0
    while at < len(data):
        left = BLOCK_BYTES - at % BLOCK_BYTES
        if left < HEADER_BYTES:
            at += left
            continue
        end = record_end(data, at)
        if end is None:
            return None if _record_follows(data, at + 1) else at
        at = end
    return None


def _record_follows(data: bytes, start: int) -> bool:
    """Whether a record stands anywhere in the rest of a block, or at the beginning of a later one."""
    later = range(-(-start // BLOCK_BYTES) * BLOCK_BYTES, len(data), BLOCK_BYTES)
    if any(record_end(data, at) for at in later):
        return True
    rest = range(start, min(len(data), later.start))
    return any(record_end(data, at) for at in rest)


def cut_torn_end(folder: Path) -> bool:
    """Cuts a half-written end off a database's newest log, synced; whether there was one. Raises OSError."""
    logs = sorted(path for path in folder.glob("*.log") if path.stem.isdigit())
    if not logs:
        return False
    newest = max(logs, key=lambda path: int(path.stem))
    data = newest.read_bytes()
    at = torn_at(data)
    if at is None:
        return False
    (folder / TORN_NAME).write_bytes(data[at:])
    with newest.open("r+b") as file:
        file.truncate(at)
        file.flush()
        os.fsync(file.fileno())
    return True
