"""Which content the chain names: what a node fetches, serves and keeps. Reads the state; touches no bytes."""

from itertools import islice
from typing import Final

from omnitensor.protocol.content import ContentId
from omnitensor.protocol.types import Hash
from state.reader import Reader
from state.schema import ITEMS, ITEMS_BY_CONTENT, number

NAMES_TRIED_MAX: Final = 4
"""Different declarations of one chunk root that are believed possible; each cost its contributor a bond."""


def contents_named(reader: Reader, chunk_root: Hash) -> tuple[ContentId, ...]:
    """What items declare of a chunk root, the earliest first. More than one when somebody lied about size or SHA-256."""
    found: dict[ContentId, None] = {}
    for key, _ in islice(reader.scan(ITEMS_BY_CONTENT, chunk_root), NAMES_TRIED_MAX):
        item = reader.get(ITEMS, number(key))
        if item is not None:
            found[item.content] = None
    return tuple(found)


def is_named(reader: Reader, chunk_root: Hash) -> bool:
    return next(iter(reader.scan(ITEMS_BY_CONTENT, chunk_root)), None) is not None
