"""The state root: a commitment to the set of rows, whatever the history that led to it, under which any row can be proven.

The seam between what executes blocks and the trie: rows in, roots and proofs out. Knows bytes, no meaning and no disk.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from omnitensor.protocol.state_proof import StateProof, key_hash
from omnitensor.protocol.types import Hash
from state import trie
from state.trie import Node, ReadPage, Writes

Change = tuple[bytes, bytes | None]
"""Key with its table's prefix byte, and the encoded value that now is; None where there is no row any more."""


class Commitment:
    """A set of rows, as the trie over it. Frozen: a change makes another, which shares what was not touched."""

    __slots__ = ("node",)

    def __init__(self, node: Node = trie.EMPTY) -> None:
        self.node: Final = node

    def root(self) -> Hash:
        """The state root of the set."""
        return Hash(self.node.hash)

    def changed(self, changes: Iterable[Change], read: ReadPage) -> "Changed":
        """The commitment to the set with these rows set or removed; of two changes of a key the later one counts."""
        hashed = {
            sha256(key).digest(): None if value is None else sha256(value).digest() for key, value in changes
        }
        node, writes = trie.changed(self.node, hashed, read)
        return Changed(Commitment(node), writes)

    def prove(self, key: bytes, read: ReadPage) -> StateProof:
        """Shows the row of a key, or that there is none."""
        return trie.prove(self.node, key_hash(key), read)

    def count(self) -> int:
        """The number of rows; looks at every page."""
        return sum(page.count for _, page in trie.pages(self.node))


@dataclass(frozen=True, slots=True)
class Changed:
    """What a batch of changes leads to: the new commitment, and which pages it has and the old one had not."""

    commitment: Commitment
    writes: Writes


EMPTY: Final = Commitment()


def commitment_of(rows: Iterable[tuple[bytes, bytes]]) -> Commitment:
    """The commitment to a whole set of (key, value), computed anew in memory; a few microseconds a row."""
    return Commitment(
        trie.built(sorted(sha256(key).digest() + sha256(value).digest() for key, value in rows))
    )
