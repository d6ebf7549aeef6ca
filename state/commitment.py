"""The state root: a commitment to the set of rows, whatever the history that led to it.

Knows bytes, no meaning and no disk. Each row is hashed to 672 bytes (SHAKE-128, four blocks of its sponge), read as 84
integers of 64 bits; a set's value is the sum of its rows', integer by integer, modulo 2**64. Adding a row adds and removing it
subtracts: a block costs what it touches, and the order of history can't matter. The root hashes the sum and the number of rows.

This is the construction of Bellare and Micciancio (1997), over vectors as in LtHash (Lewi, Kim, Maykov, Weis 2019). The group has
5,376 bits; the best attack known to us, Wagner's generalised birthday, takes about 2**146 steps and a set of 2**73 rows.

It has no proofs: nobody can show one row of the root to somebody who has not all of them. The page-leaf trie replaces it behind
the same functions (docs/decisions/0003-state-root-by-multiset-hash.md).
"""

from collections.abc import Iterable
from hashlib import sha256, shake_128
from typing import Final

import numpy as np
from numpy.typing import NDArray

from omnitensor.protocol import hashing
from omnitensor.protocol.limits import hashed_rows_cached_max
from omnitensor.protocol.types import Hash

LANES: Final = 84
SUM_BYTES: Final = 8 * LANES

_LANE = np.dtype("<u8")
_ENTRY: Final = sha256(hashing.STATE_ENTRY.tag.encode("ascii")).digest()
"""Separates these hashes from all others."""

Change = tuple[bytes, bytes | None, bytes | None]
"""Key with its prefix byte, encoded value before and after; None where there was or is no row."""


class RowHasher:
    """Hashes rows to vectors, and remembers those written lately: what changes in this block often changed in one before."""

    def __init__(self, rows_max: int = hashed_rows_cached_max) -> None:
        self._rows_max: Final = rows_max
        self._vectors: dict[bytes, bytes] = {}

    def written(self, row: bytes) -> bytes:
        """The vector of a row that now is."""
        vector = shake_128(row).digest(SUM_BYTES)
        vectors = self._vectors
        if len(vectors) >= self._rows_max:
            # Half at once: taking the first of a dict again and again is slow.
            kept = list(vectors.items())[self._rows_max // 2 :]
            vectors.clear()
            vectors.update(kept)
        if self._rows_max:
            vectors[row] = vector
        return vector

    def removed(self, row: bytes) -> bytes:
        """The vector of a row that no longer is."""
        return self._vectors.pop(row, None) or shake_128(row).digest(SUM_BYTES)


class Commitment:
    """The sum over a set of rows, and their number. Frozen: a change makes another."""

    __slots__ = ("count", "sum")

    def __init__(self, sum_bytes: bytes = bytes(SUM_BYTES), count: int = 0) -> None:
        assert len(sum_bytes) == SUM_BYTES
        assert count >= 0
        self.sum: Final = sum_bytes
        self.count: Final = count

    def root(self) -> Hash:
        """The state root of the set."""
        return hashing.STATE_ROOT(self.count.to_bytes(8, "big"), self.sum)

    def changed(self, changes: Iterable[Change], hasher: RowHasher | None = None) -> "Commitment":
        """The commitment to the set with these rows changed. Each key at most once. A hasher saves time and changes nothing."""
        hasher = RowHasher(0) if hasher is None else hasher
        added: list[bytes] = []
        removed: list[bytes] = []
        for key, before, after in changes:
            if before == after:
                continue
            head = _ENTRY + len(key).to_bytes(2, "big") + key
            if after is not None:
                added.append(hasher.written(head + after))
            if before is not None:
                removed.append(hasher.removed(head + before))
        if not added and not removed:
            return self
        total = np.frombuffer(self.sum, dtype=_LANE) + _summed(added) - _summed(removed)
        return Commitment(total.tobytes(), self.count + len(added) - len(removed))


EMPTY: Final = Commitment()


def commitment_of(rows: Iterable[tuple[bytes, bytes]]) -> Commitment:
    """The commitment to a whole set of (key, value), computed anew; a few microseconds a row, in bounded memory."""
    commitment = EMPTY
    part: list[Change] = []
    for key, value in rows:
        part.append((key, None, value))
        if len(part) == 4096:
            commitment = commitment.changed(part)
            part.clear()
    return commitment.changed(part)


def _summed(vectors: list[bytes]) -> NDArray[np.uint64]:
    """The sum of vectors, lane by lane, modulo 2**64."""
    if not vectors:
        return np.zeros(LANES, dtype=_LANE)
    table = np.frombuffer(b"".join(vectors), dtype=_LANE).reshape(len(vectors), LANES)
    total: NDArray[np.uint64] = np.add.reduce(table, axis=0, dtype=_LANE)
    return total
