"""What a sponsor keeps of its gold: the answers with their salts, and how far everything has come. Asks no node.

Both files are secrets, and are on disk before anything that rests on them is sent. The book never changes once its commitment is
signed; progress is small and changes with every step.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from omnitensor.protocol import merkle
from omnitensor.protocol.bodies import GoldOpening, GoldSpare
from omnitensor.protocol.limits import KIB, gold_items_max
from omnitensor.protocol.reviews import gold_leaf
from omnitensor.protocol.types import Hash, ItemId
from omnitensor.sdk.orders import Order
from omnitensor.sdk.results import hash_of

book_bytes_max: Final = gold_items_max * 8 * KIB
"""The most pieces, each with the longest path that systems have and its hashes."""


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer: a content, which criteria it passes (1, 2, 4), and the salt that hides it."""

    chunk_root: str
    bits: int
    salt: str
    name: str = ""
    """The file's path, for handing it in."""
    tier: int | None = None
    category: str | int | None = None
    plain: str = ""
    """Of a private item the plain file's chunk root; `chunk_root` is the encrypted one's."""
    signer: str = ""
    """Of a private item the public key whose secret encrypts it: no other can hand it in."""

    @property
    def file_root(self) -> str:
        """Of the file that was answered for, as it lies on the disk."""
        return self.plain or self.chunk_root

    @classmethod
    def new(
        cls, chunk_root: str, bits: int, name: str, tier: int | None, category: str | int | None
    ) -> Piece:
        """An answer with a salt of its own."""
        return cls(chunk_root, bits, secrets.token_bytes(32).hex(), name, tier, category)


class GoldBook(msgspec.Struct, frozen=True):
    """A campaign's gold as it lies on disk, in the order of its tree."""

    campaign: int
    chain_id: str
    pieces: list[Piece]


class HandIn(msgspec.Struct, frozen=True):
    """Pieces that one account hands in together, by their places; `done` once they are on chain."""

    account: str
    places: list[int]
    done: bool = False


class Progress(msgspec.Struct, frozen=True):
    """How far a campaign's gold has come."""

    commit: Order | None = None
    """The commitment as it was signed, from before it was sent."""
    hand_ins: list[HandIn] = []
    reveals: dict[str, Order] = {}
    """Answers under way, by batch."""
    used: list[int] = []
    """Places of pieces that were said or opened."""
    floor: int = 0
    """Batches below this one ask for nothing any more."""


class Tree:
    """A book's tree, worked out once."""

    def __init__(self, book: GoldBook) -> None:
        self.book: Final = book
        level = [
            merkle.leaf_hash(
                gold_leaf(
                    book.chain_id, book.campaign, hash_of(piece.chunk_root), piece.bits, hash_of(piece.salt)
                )
            )
            for piece in book.pieces
        ]
        self._levels: Final = [level]
        while len(level) > 1:
            pairs = zip(level[::2], level[1::2], strict=False)
            level = [merkle.node_hash(left, right) for left, right in pairs] + level[len(level) & ~1 :]
            self._levels.append(level)
        self.root: Final = Hash(level[0])
        self.places: Final = {piece.chunk_root: place for place, piece in enumerate(book.pieces)}

    def opening(self, place: int, item: int) -> GoldOpening:
        """A piece as it is said of an item."""
        piece = self.book.pieces[place]
        return GoldOpening(place, ItemId(item), piece.bits, hash_of(piece.salt), self._path(place))

    def spare(self, place: int) -> GoldSpare:
        """A piece as it is opened unused."""
        piece = self.book.pieces[place]
        return GoldSpare(place, hash_of(piece.chunk_root), piece.bits, hash_of(piece.salt), self._path(place))

    def _path(self, place: int) -> tuple[Hash, ...]:
        found: list[Hash] = []
        for level in self._levels[:-1]:
            if place ^ 1 < len(level):
                found.append(Hash(level[place ^ 1]))
            place >>= 1
        return tuple(found)


def same_answers(book: GoldBook, pieces: Sequence[Piece]) -> bool:
    """Whether a book holds exactly these answers, whatever their salts, names, order, and who encrypts them."""
    return {piece.file_root: piece.bits for piece in book.pieces} == {
        piece.file_root: piece.bits for piece in pieces
    }
