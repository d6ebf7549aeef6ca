"""What an operator does with the indexes of a stopped node: checks them, makes them anew. Takes the database for itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from node import config as configuration
from state import indexing, opening
from state.genesis import Genesis
from state.store import Store


def rebuild(home: Path, tell: Callable[[str, int], None]) -> int:
    """Makes every index of the node in a folder anew; how many rows that are. Raises StorageError."""
    with _chain_of(home) as store:
        return indexing.rebuild(store, tell)


def verify(home: Path) -> dict[str, int]:
    """Rows of each index, all of them right. Raises WrongIndexError, or another StorageError."""
    with _chain_of(home) as store:
        return indexing.verify(store)


@contextmanager
def _chain_of(home: Path) -> Iterator[Store]:
    """The node's database, checked as at every start: indexes are made from what it holds."""
    config = configuration.load(home, configuration.Sources())
    genesis = Genesis.load(config.genesis_path)
    store, *_ = opening.load(Store.open(config.chain_path), genesis)
    try:
        yield store
    finally:
        store.close()
