"""What the ledger sees of the state: typed tables to read, write and scan. Knows no disk, no encoding and no history."""

from collections.abc import Iterator
from typing import Protocol, TypeVar

from omnitensor.protocol.codec import Record
from state.schema import KeyPart, Table

V = TypeVar("V", bound=Record)


class ReadView(Protocol):
    """Rows of typed tables, read only."""

    def get(self, table: Table[V], *key: KeyPart) -> V | None:
        """The row, or None."""

    def scan(
        self, table: Table[V], *key_prefix: KeyPart, start: bytes = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, V]]:
        """Rows whose key begins with the parts given, in key order, as (rest of the key, value).

        ``start`` is a rest of key to begin at (included): going up the smallest, in reverse the largest; empty begins at the
        end. What is written while a scan runs does not change what it yields, so a caller may delete as it goes.
        """


class View(ReadView, Protocol):
    """Rows of typed tables, and the power to change them."""

    def put(self, table: Table[V], value: V, *key: KeyPart) -> None: ...

    def delete(self, table: Table[V], *key: KeyPart) -> None:
        """Removes the row; removing what is not there changes nothing."""

    def mark(self) -> int:
        """A point to come back to with ``rollback``."""

    def rollback(self, mark: int) -> None:
        """Takes back every change since the mark."""
