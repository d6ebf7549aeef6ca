"""Mends a stopped node's database, when its operator says which way. What was there is kept beside the new one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node import config as configuration
from node import snapshot_work
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.types import Hash, Height
from state import indexing, opening
from state.blocks import decode_block
from state.chain import Chain
from state.genesis import Genesis
from state.rows import read_row
from state.schema import BLOCKS, PROOFS
from state.snapshots import loading
from state.store import LockedStoreError, Store

Tell = Callable[[int, int], None]
"""Hears how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What there is now, and where what was there before is."""

    height: int
    aside: Path | None
    ended_by: str = ""
    """Why it did not come as far as the damaged one was, where that is so."""


def rebuild_indexes(home: Path, tell: Callable[[str, int], None]) -> int:
    """Makes every index anew from state and blocks; how many rows."""
    config, genesis = _node(home)
    store = Store.open(config.chain_path)
    try:
        opening.check_stamp(store, genesis)
        return indexing.rebuild(store, tell)
    finally:
        store.close()


def replay(home: Path, tell: Tell) -> Repaired:
    """Executes the damaged database's own blocks, from genesis on, into a new one, as far as they can be read and are right.

    Raises StorageError where not even the files open, or where old blocks were pruned.
    """
    config, genesis = _node(home)
    old = Store.open(config.chain_path)
    made = loading.made_path(config.chain_path)
    ended_by = ""
    try:
        if opening.first_kept(old):
            raise StorageError(
                "blocks were pruned, so the chain can't be made from its blocks",
                remedy="use --restore FILE or --refetch",
            )
        _remove(made)
        new = Chain.create(made, genesis)
        try:
            top = _top(old)
            for height in range(1, top + 1):
                try:
                    _replay_one(old, new, Height(height))
                except ProtocolError as error:
                    ended_by = f"block {height}: {error.reason}"
                    break
                tell(height, top)
            height_reached = int(new.head.height)
        finally:
            new.close()
    finally:
        old.close()
    return Repaired(height_reached, snapshot_work.put_in_place(config.chain_path, genesis), ended_by)


def _replay_one(old: Store, new: Chain, height: Height) -> None:
    encoded = old.get(BLOCKS.full_key(height))
    if encoded is None:
        raise StorageError("it is missing", value=height)
    block = decode_block(encoded)
    new.check(block)
    new.commit(Hash(block.hash), read_row(old, PROOFS, PROOFS.key(height)))


def _top(store: Store) -> int:
    """The highest block that can be read."""
    for key, _ in store.scan(BLOCKS.prefix_bytes, bytes([BLOCKS.prefix + 1]), reverse=True):
        return int.from_bytes(key[1:], "big")
    return 0


def restore(home: Path, source: Path, checkpoint: str, tell: Tell) -> Repaired:
    """Makes the database of a snapshot file."""
    _refuse_running(home)
    shown, aside = snapshot_work.import_from(home, source, checkpoint, replace=True, tell=tell)
    return Repaired(shown.height, aside)


def refetch(home: Path) -> Repaired:
    """Moves the database aside and begins an empty one, which the node fills from its peers."""
    _refuse_running(home)
    config, genesis = _node(home)
    made = loading.made_path(config.chain_path)
    _remove(made)
    Chain.create(made, genesis).close()
    return Repaired(0, snapshot_work.put_in_place(config.chain_path, genesis))


def _remove(made: Path) -> None:
    """What an interrupted repair or import has left."""
    if made.exists():
        made.rename(snapshot_work.free_name(made))


def _refuse_running(home: Path) -> None:
    """Raises LockedStoreError where a node uses the database."""
    config, _ = _node(home)
    if config.chain_path.exists():
        try:
            Store.open(config.chain_path).close()
        except LockedStoreError:
            raise
        except StorageError:
            return


def _node(home: Path) -> tuple[configuration.Config, Genesis]:
    config = configuration.load(home, configuration.Sources())
    return config, Genesis.load(config.genesis_path)
