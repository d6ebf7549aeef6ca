"""What a block left behind that nobody needs any more: its rows, found from itself, and how long they are needed at least.

Decides nothing about when; ``chain`` writes. State, steps of light clients and the tree over all blocks stay whatever is pruned.
"""

from omnitensor.protocol import limits
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import CodecError, StorageError
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Height
from state import indexes, indexing
from state.blocks import decode_block
from state.records import HeightRow
from state.rows import read_row
from state.schema import BLOCK_EVENTS, BLOCKS, HEIGHTS, KEPT, PROOFS, RECEIPTS
from state.store import Batch, DamagedStoreError, Snapshot


class KeepError(StorageError):
    """A node that is told to keep fewer blocks than others, or its own clients, need of it."""

    code = "prune_keep"


def kept_least(params: Params) -> int:
    """Blocks below its head that a node that prunes keeps at least.

    As long as evidence counts, as a whole review with every redraw and its challenge window may take, and as somebody may
    wait for a transaction: who was away for less syncs from any node, and finds what became of what he sent.
    """
    evidence = (params.evidence_epochs + 1) * params.epoch_blocks
    round_blocks = params.seat_accept_blocks + params.report_commit_blocks + params.report_reveal_blocks
    review = (
        params.submission_reveal_blocks
        + params.batch_wait_blocks
        + params.seed_delay_blocks
        + (params.seat_redraws_max + 1) * round_blocks
        + params.challenge_blocks
    )
    return max(evidence, review, params.valid_until_blocks_max)


def kept_blocks(wanted: int, params: Params) -> int:
    """How many blocks to keep, 0 standing for the least. Raises KeepError below the least."""
    least = kept_least(params)
    if wanted and wanted < least:
        raise KeepError(
            "too few blocks would be kept",
            value=wanted,
            remedy=f"keep {least} at least (storage.keep_blocks = 0 keeps so many), or set storage.mode = archive",
        )
    return wanted or least


def piece(store: Snapshot, below: Height) -> tuple[Batch, int]:
    """What to write to remove the lowest blocks below a height, a few of them, and how many they are. Genesis stays."""
    kept = read_row(store, KEPT, b"")
    first = max(1, 0 if kept is None else kept.height)
    keys: list[bytes] = []
    if first > 1 and first < below and store.get(BLOCKS.full_key(first - 1)) is not None:
        keys += keys_of(store, Height(first - 1))  # of the snapshot that this node began with
    height = first
    while height < min(below, first + limits.prune_blocks_max) and len(keys) < limits.prune_rows_max:
        keys += keys_of(store, Height(height))
        height += 1
    rows: Batch = [(key, None) for key in keys]
    return [*rows, (KEPT.full_key(b""), encode(HeightRow(Height(height))))], height - first


def keys_of(store: Snapshot, height: Height) -> list[bytes]:
    """Every row that a block's commit wrote and nothing else needs. Raises DamagedStoreError where the block can't be read."""
    encoded = store.get(BLOCKS.full_key(height))
    if encoded is None:
        raise DamagedStoreError("a block is missing", value=height, remedy="see: omnitensor-node doctor")
    try:
        block = decode_block(encoded)
    except CodecError as error:
        raise DamagedStoreError(
            "a block can't be read", value=height, remedy="see: omnitensor-node doctor"
        ) from error
    keys = [BLOCKS.full_key(height), HEIGHTS.full_key(block.hash), PROOFS.full_key(height)]
    keys += [BLOCK_EVENTS.full_key(height), *[RECEIPTS.full_key(one.id) for one in block.transactions]]
    result = indexing.result_of(store, block)
    if result is not None:
        keys += [key for key, _ in indexes.of_block(height, block.transactions, result)]
    return keys
