"""Makes a chain's database, and opens one only when what it holds hangs together. Never repairs."""

from pathlib import Path
from typing import Final

from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import CodecError, ProtocolError
from omnitensor.protocol.types import Hash, Height
from state import history, migration, pages
from state.blocks import PreparedBlock, decode_block, root_of_transactions
from state.commitment import commitment_of
from state.execution import Tip, head_row, history_rows
from state.genesis import Genesis, GenesisRecord
from state.ledger.supply import check_supply
from state.overlay import Overlay
from state.reader import Head
from state.records import GenesisRow, HeightRow
from state.rows import CommittedRows, read_row, state_rows
from state.schema import BLOCKS, GENESIS, HEAD, HEIGHTS, HISTORY, KEPT, PROOFS, SCHEMA_VERSION
from state.store import HEAL, Batch, DamagedStoreError, ForeignStoreError, Snapshot, Stamp, Store

BLOCKS_WALKED: Final = 64
"""Blocks below the head whose bytes, hashes and links are checked at every start."""
ROWS_CHECKED_AT_OPEN_MAX: Final = 50_000
"""A state of at most so many rows is hashed again at every start (about 0.2 s); ``verify`` hashes any."""


Loaded = tuple[Store, Genesis, Head, Tip, CommittedRows]


def silent(what: str, place: int, end: int) -> None:
    """Nobody listens."""


def create(path: Path, genesis: Genesis) -> None:
    """Makes a database that holds the genesis block and its state. Raises StorageError where something is there already."""
    Store.create(path, stamp_of(genesis), first_rows(genesis)).close()


def stamp_of(genesis: Genesis) -> Stamp:
    """What names the database of a chain."""
    return Stamp(SCHEMA_VERSION, genesis.chain_id, genesis.hash)


def first_rows(genesis: Genesis) -> Batch:
    """What a new database holds: the genesis block and its state."""
    blocks = history.appended(history.EMPTY, 0, genesis.hash)
    tip = Tip(genesis.hash, genesis.block.header, genesis.rows, genesis.commitment, blocks)
    rows: Batch = [(bytes([prefix]) + key, encode(value)) for prefix, key, value in genesis.rows.changes()]
    rows += genesis_rows(genesis)
    rows += pages.all_rows(genesis.commitment)
    rows += history_rows(history.EMPTY, Height(0), genesis.hash)
    rows.append(head_row(Height(0), tip))
    return rows


def genesis_rows(genesis: Genesis) -> Batch:
    """What every database of a chain holds of its beginning, whatever else is pruned."""
    return [
        (GENESIS.full_key(b""), encode(GenesisRow(encode(genesis.record())))),
        (BLOCKS.full_key(0), encode(genesis.block)),
        (HEIGHTS.full_key(genesis.hash), encode(HeightRow(Height(0)))),
        *migration.stamped(),
    ]


def load(store: Store, expected: Genesis | None, tell: migration.Tell = silent) -> Loaded:
    """Checks an open database, and closes it where that fails. Raises a StorageError that says what is wrong and what to do.

    One that an older version of this software has made is migrated first; ``tell`` hears how far that is.
    """
    try:
        genesis = check_stamp(store, expected)
        migration.migrate(store, tell)
        rows = CommittedRows(store)
        tip, head = _head(store, rows)
        _walk(store, head)
        _check_state(store, tip)
        return store, genesis, head, tip, rows
    except BaseException:
        store.close()
        raise


def verify(store: Snapshot, tip: Tip) -> None:
    """Hashes every row of the state and every block, whatever their number. Raises DamagedStoreError."""
    if not pages.hold_exactly(store, tip.commitment, state_rows(store)):
        raise _other_state(tip)
    first = first_kept(store)
    blocks = history.kept_peaks(first, lambda level, index: _history_node(store, level, index))
    for height in range(first, tip.header.height + 1):
        prepared = _block(store, Height(height))
        below = prepared.header.history_root
        if below != history.root_of(blocks):
            raise DamagedStoreError(
                "the tree over all blocks is not of these blocks", value=height, remedy=HEAL
            )
        for level, index, node in history.completed(blocks, height, prepared.hash):
            if _history_node(store, level, index) != node:
                raise DamagedStoreError(
                    "a node of the tree over all blocks is not what it was", value=height, remedy=HEAL
                )
        blocks = history.appended(blocks, height, prepared.hash)
    if blocks != tip.history:
        raise DamagedStoreError("the head's tree over all blocks is not of these blocks", remedy=HEAL)


def check_stamp(store: Store, expected: Genesis | None) -> Genesis:
    """The genesis that the database holds, which is the expected one. Raises ForeignStoreError where chain or version differ."""
    stamp = store.stamp
    if stamp.schema_version != SCHEMA_VERSION:
        raise ForeignStoreError(
            "the database was made by another version of this software, in whose chain the state is encoded otherwise",
            value=f"schema {stamp.schema_version}",
            remedy=f"this version reads schema {SCHEMA_VERSION}: start the version that made it, or move chain/ "
            "away, keep keys/ and safety/, run init again in the same folder and let the node sync from its peers",
        )
    if expected is not None and expected.hash != stamp.genesis_hash:
        raise ForeignStoreError(
            f"the database is of another chain than {expected.chain_id} {expected.hash.hex()[:16]}",
            value=f"{stamp.chain_id} {stamp.genesis_hash.hex()[:16]}",
            remedy="give the genesis.json that it was made with, and the version of this software (another may read the same "
            "file as another chain's), or another folder",
        )
    row = read_row(store, GENESIS, b"")
    if row is None:
        raise DamagedStoreError("the database holds no genesis", value=store.path, remedy=HEAL)
    if expected is not None and row.encoded == encode(expected.record()):
        return expected  # nothing to derive anew: a genesis of many accounts takes long
    try:
        genesis = Genesis.from_record(decode(GenesisRecord, row.encoded))
        found = genesis.hash
    except ProtocolError as error:
        raise DamagedStoreError("the database's genesis can't be read", value=error, remedy=HEAL) from error
    if found != stamp.genesis_hash or genesis.chain_id != stamp.chain_id:
        raise DamagedStoreError("the database's genesis is not its stamp's", value=found, remedy=HEAL)
    return genesis


def _head(store: Store, rows: CommittedRows) -> tuple[Tip, Head]:
    """The head, with its row checked against its block."""
    row = read_row(store, HEAD, b"")
    if row is None:
        raise DamagedStoreError("the database has no head", value=store.path, remedy=HEAL)
    prepared = _block(store, row.height)
    header = prepared.header
    if prepared.hash != row.hash:
        raise DamagedStoreError("the head is not the block at its height", value=row.hash, remedy=HEAL)
    commitment = pages.load(store)
    if commitment.root() != header.state_root:
        raise DamagedStoreError("the head's state root is not its state's", value=row.hash, remedy=HEAL)
    if len(row.history) != (row.height + 1).bit_count():
        raise DamagedStoreError("the head's tree over all blocks has another size", remedy=HEAL)
    for level, index, node in history.peaks(row.history, row.height + 1):
        if _history_node(store, level, index) != node:
            raise DamagedStoreError("a node of the tree over all blocks is not what it was", remedy=HEAL)
    proof = read_row(store, PROOFS, row.height.to_bytes(8, "big"))
    if proof is not None and proof.candidate.block_hash != row.hash:
        raise DamagedStoreError("the head's proof is another block's", value=row.hash, remedy=HEAL)
    tip = Tip(row.hash, header, rows, commitment, row.history)
    return tip, Head(row.height, row.hash, header, proof)


def _history_node(store: Snapshot, level: int, index: int) -> Hash:
    row = read_row(store, HISTORY, HISTORY.key(level, index))
    if row is None:
        raise DamagedStoreError(
            "a node of the tree over all blocks is missing", value=(level, index), remedy=HEAL
        )
    return row.hash


def first_kept(store: Snapshot) -> Height:
    """The first height whose block is kept, besides genesis."""
    row = read_row(store, KEPT, b"")
    return Height(0) if row is None else row.height


def _walk(store: Snapshot, head: Head) -> None:
    """Walks back from the head: every block's bytes are a block's, its roots its transactions', its parent the one below."""
    parent, height = head.hash, int(head.height)
    for _ in range(min(BLOCKS_WALKED, height + 1 - first_kept(store))):
        prepared = _block(store, Height(height))
        placed = read_row(store, HEIGHTS, prepared.hash)
        if (
            prepared.hash != parent
            or prepared.header.transactions_root != root_of_transactions(prepared.transactions)
            or placed is None
            or placed.height != height
        ):
            raise DamagedStoreError("a block below the head is not what it was", value=height, remedy=HEAL)
        parent, height = prepared.header.parent, height - 1


def _block(store: Snapshot, height: Height) -> PreparedBlock:
    encoded = store.get(BLOCKS.full_key(height))
    if encoded is None:
        raise DamagedStoreError("a block is missing", value=height, remedy=HEAL)
    try:
        prepared = decode_block(encoded)
    except CodecError as error:
        raise DamagedStoreError("a block can't be read", value=height, remedy=HEAL) from error
    if prepared.header.height != height:
        raise DamagedStoreError("a block is in another's place", value=height, remedy=HEAL)
    return prepared


def _check_state(store: Snapshot, tip: Tip) -> None:
    """Pages were checked against the head's root when they were loaded; rows are, where they are few, by hashing them anew."""
    is_small = tip.commitment.count() <= ROWS_CHECKED_AT_OPEN_MAX
    if is_small and commitment_of(state_rows(store)).root() != tip.header.state_root:
        raise _other_state(tip)
    check_supply(Overlay(tip.base))


def _other_state(tip: Tip) -> DamagedStoreError:
    return DamagedStoreError("the state is not the one that the head commits to", value=tip.hash, remedy=HEAL)
