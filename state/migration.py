"""Brings a database made by an older version of this software forwards, step by step. Touches a node's own tables alone.

What the state root commits to is never migrated: other bytes under one root would be another chain. A step writes in pieces, each
with the key of the next in the same batch, and the last with the new version: a kill at any instant costs the piece under way.
"""

from collections.abc import Callable, Iterator
from typing import Final

from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.epochs import boundary_of, epoch_of
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Epoch, Height
from state import steps
from state.overlay import Overlay
from state.rows import CommittedRows, decode_block_parts, read_row
from state.schema import BLOCKS, HEAD, LAYOUT_VERSION, PARAMS, PROOFS, VALIDATOR_SETS, number
from state.store import Batch, DamagedStoreError, ForeignStoreError, Store

LAYOUT_KEY: Final = b"\x00layout"
"""The version of a node's own tables; a database without this row has version 1."""
PLACE_KEY: Final = b"\x00moving"
"""How far a migration has come; absent when none is under way."""
PIECE: Final = 64
"""Epochs a batch."""

Tell = Callable[[str, int, int], None]
"""Hears what is being done, how far it is, and how far it goes."""
Piece = tuple[Batch, int, int]
"""Rows to write, where the next piece begins, and where it all ends."""


def layout_of(store: Store) -> int:
    """The version of a database's own tables. Raises DamagedStoreError."""
    return _number(store, LAYOUT_KEY, 1)


def stamped() -> Batch:
    """What a new database says of its layout."""
    return [(LAYOUT_KEY, encode(LAYOUT_VERSION))]


def check(store: Store) -> None:
    """Raises ForeignStoreError where a later version of this software has made or migrated the database."""
    found = layout_of(store)
    if not 1 <= found <= LAYOUT_VERSION:
        raise ForeignStoreError(
            "the database was written by a later version of this software",
            value=f"layout {found}",
            remedy=f"this version knows layouts up to {LAYOUT_VERSION}: start the later version, or restore an older copy",
        )


def migrate(store: Store, tell: Tell) -> None:
    """Brings the database to this version's layout; does nothing where it has it. Goes on where a kill has interrupted it."""
    check(store)
    while (found := layout_of(store)) < LAYOUT_VERSION:
        name, pieces = MIGRATIONS[found]
        for rows, place, end in pieces(store, _number(store, PLACE_KEY, 0)):
            store.write([*rows, (PLACE_KEY, encode(place))])
            tell(name, place, end)
        store.write([(LAYOUT_KEY, encode(found + 1)), (PLACE_KEY, None)])


def _steps_from_blocks(store: Store, place: int) -> Iterator[Piece]:
    """1 to 2: the steps of light clients, from boundary blocks, their proofs, and the voters that the state still has."""
    head, params = read_row(store, HEAD, b""), read_row(store, PARAMS, b"")
    if head is None or params is None:
        raise DamagedStoreError("the database has no head or no parameters", value=store.path)
    state = Overlay(CommittedRows(store))
    oldest = next((number(key) for key, _ in state.scan(VALIDATOR_SETS)), 0)
    end = epoch_of(Height(head.height + 1), params)
    place = max(place, oldest - 1)
    while place < end:
        until = min(place + PIECE, end)
        rows: Batch = []
        for epoch in range(place, until):
            rows += _step_row(store, state, Epoch(epoch), params, first=epoch == max(0, oldest - 1))
        place = until
        yield rows, place, end


def _step_row(store: Store, state: Overlay, epoch: Epoch, params: Params, *, first: bool) -> Batch:
    height = boundary_of(epoch, params)
    block, proof = store.get(BLOCKS.full_key(height)), read_row(store, PROOFS, height.to_bytes(8, "big"))
    if block is None:
        raise DamagedStoreError("a block is missing", value=height)
    if proof is None:
        return []
    step = steps.step_of(decode_block_parts(block)[0], proof, state, first=first)
    return [] if step is None else [steps.row_of(step)]


MIGRATIONS: Final[dict[int, tuple[str, Callable[[Store, int], Iterator[Piece]]]]] = {
    1: ("writing the steps of light clients", _steps_from_blocks),
}
"""By the version that each leads on from: a name for people, and its pieces from a place on. Each piece may be written twice."""


def _number(store: Store, key: bytes, default: int) -> int:
    data = store.get(key)
    if data is None:
        return default
    try:
        return decode(int, data)
    except CodecError as error:
        raise DamagedStoreError("the database's version can't be read", value=data) from error
