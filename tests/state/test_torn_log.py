"""A log whose end a power cut left half written costs that end and nothing else; a fault before the end is refused as ever."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from state.store import DamagedStoreError, Stamp, Store
from state.torn_log import BLOCK_BYTES, TORN_NAME, crc32c, torn_at

STAMP = Stamp(1, "torn", bytes(32))
LARGE = 3 * BLOCK_BYTES // 2
"""So large a write has two parts: the first fills its block."""


def test_the_checksum_is_the_published_one() -> None:
    """RFC 3720, appendix B.4, and the check value of the polynomial's catalogue."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def written(path: Path, sizes: list[int]) -> tuple[Path, list[int]]:
    """A database with a write of each size in its newest log, and how long that log was after each."""
    Store.create(path, STAMP, [(b"first", b"row")]).close()
    store = Store.open(path)
    log = max(path.glob("*.log"), key=lambda each: int(each.stem))
    ends = []
    for number, size in enumerate(sizes):
        store.write([(b"row%d" % number, random.Random(number).randbytes(size))])
        ends.append(log.stat().st_size)
    store.close()
    return log, ends


def found(path: Path) -> list[bytes]:
    store = Store.open(path)
    try:
        return [key for key, _ in store.scan(b"row", b"rox")]
    finally:
        store.close()


@pytest.mark.parametrize("filled", ["zeros", "nonsense"])
@pytest.mark.parametrize("size", [200, LARGE])
def test_an_end_without_its_bytes_is_cut_off(tmp_path: Path, filled: str, size: int) -> None:
    log, ends = written(tmp_path / "db", [200, 300, size])
    data = bytearray(log.read_bytes())
    start = ends[1] + 60
    gone = len(data) - start
    data[start:] = bytes(gone) if filled == "zeros" else random.Random(1).randbytes(gone)
    log.write_bytes(data)
    assert found(tmp_path / "db") == [b"row0", b"row1"]
    assert (tmp_path / "db" / TORN_NAME).read_bytes() == data[ends[1] :]
    assert found(tmp_path / "db") == [b"row0", b"row1"], "and it opens again"


@pytest.mark.parametrize("sizes", [[200, 300, 200], [200, LARGE, 200], [200, 300, LARGE]])
def test_a_fault_before_the_last_record_is_refused(tmp_path: Path, sizes: list[int]) -> None:
    log, ends = written(tmp_path / "db", sizes)
    whole = log.read_bytes()
    data = bytearray(whole)
    data[ends[0] + 40] ^= 1  # in the second write
    log.write_bytes(data)
    with pytest.raises(DamagedStoreError):
        found(tmp_path / "db")
    assert log.read_bytes() == data, "what is refused is left as it is"
    log.write_bytes(whole)
    assert found(tmp_path / "db") == [b"row0", b"row1", b"row2"]


def test_a_log_of_whole_records_has_no_torn_end(tmp_path: Path) -> None:
    log, ends = written(tmp_path / "db", [100, LARGE, BLOCK_BYTES, 5, 32_700])
    data = log.read_bytes()
    assert torn_at(data) is None
    assert all(torn_at(data[:end]) is None for end in ends)
    assert torn_at(data[: ends[-1] - 1]) is not None
