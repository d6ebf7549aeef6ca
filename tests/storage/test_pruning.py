"""Pruning: what goes, what stays, who is told, and that a node that has pruned is as good as one that has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnitensor.protocol.codec import decode
from omnitensor.protocol.limits import prune_blocks_max
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Epoch, Height
from state import opening, pruning
from state.chain import Chain
from state.pruning import KeepError
from state.reader import PrunedError
from state.schema import (
    BLOCK_EVENTS,
    BLOCKS,
    EVENTS_BY_ADDRESS,
    HEIGHTS,
    KEPT,
    PROOFS,
    RECEIPTS,
    TABLES,
    TRANSACTIONS_BY_ADDRESS,
    number,
)
from state.store import Snapshot
from tests.state.chain_fixtures import key
from tests.storage.chains import EPOCH_BLOCKS, grow, grown, rows

GONE = (BLOCKS, HEIGHTS, PROOFS, RECEIPTS, BLOCK_EVENTS, TRANSACTIONS_BY_ADDRESS, EVENTS_BY_ADDRESS)


def height_in(chain: Chain, full: bytes, value: bytes) -> int | None:
    """The height that a row is about, by the table's own layout; None for what is about no block."""
    table = TABLES[full[0]]
    parts = table.split(full[1:])
    if table in (BLOCKS, PROOFS, BLOCK_EVENTS):
        return number(parts[0])
    if table in (TRANSACTIONS_BY_ADDRESS, EVENTS_BY_ADDRESS):
        return number(parts[1])
    if table in (HEIGHTS, RECEIPTS):
        row = decode(table.value_type, value)
        return int(row.height)
    return None


def test_what_is_pruned_is_gone_and_nothing_else(tmp_path: Path) -> None:
    chain = grown(tmp_path, 10 * EPOCH_BLOCKS + 1)
    before, cut = rows(chain), Height(7 * EPOCH_BLOCKS + 2)
    old = chain.reader()
    while chain.prune(cut):
        pass
    after = rows(chain)
    for full, value in before.items():
        height = height_in(chain, full, value)
        gone = height is not None and 0 < height < cut
        assert (full in after) != gone, (TABLES[full[0]].name, height)
        assert gone or after[full] == value
    assert set(after) - set(before) == {KEPT.full_key(b"")}
    assert {TABLES[full[0]] for full in before if full not in after} == set(GONE)
    assert old.block(Height(3)) is not None, "readers see what was there when they were made"
    assert chain.reader().block(Height(3)) is None
    assert (chain.reader().first_block, old.first_block) == (cut, 0)
    assert all(chain.reader().step(Epoch(epoch)) for epoch in range(10)), "steps are kept for ever"
    chain.close()


def test_a_chain_that_was_pruned_opens_verifies_and_goes_on(tmp_path: Path) -> None:
    chain = grown(tmp_path, 5 * EPOCH_BLOCKS)
    cut = Height(4 * EPOCH_BLOCKS - 1)
    while chain.prune(cut):
        pass
    chain.close()
    chain = Chain.open(tmp_path / "chain")
    opening.verify(Snapshot(chain._store._raw), chain._tip)
    grow(chain, 3)
    reader = chain.reader()
    assert reader.prove_block(Height(4 * EPOCH_BLOCKS)).size == reader.head.height
    assert reader.transactions_by_address(key("a0").address)
    assert all(place[0] >= cut for place, _ in reader.transactions_by_address(key("a0").address))
    chain.close()


def test_it_is_done_in_pieces_and_never_reaches_the_head(tmp_path: Path) -> None:
    chain = grown(tmp_path, prune_blocks_max + 9)
    assert chain.prune(Height(10**9)) == prune_blocks_max
    assert chain.prune(Height(10**9)) == 8, "all below the head"
    assert chain.prune(Height(10**9)) == 0
    assert chain.reader().block(chain.head.height) is not None
    assert chain.reader().block(Height(0)) is not None
    grow(chain, 1)
    chain.close()
    Chain.open(tmp_path / "chain").close()


def test_what_clients_and_peers_need_is_kept_at_least() -> None:
    params = Params()
    least = pruning.kept_least(params)
    assert least == (params.evidence_epochs + 1) * params.epoch_blocks == 1_209_600
    assert pruning.kept_blocks(0, params) == least
    assert pruning.kept_blocks(least + 5, params) == least + 5
    with pytest.raises(KeepError, match=r"keep 1209600 at least.*archive"):
        pruning.kept_blocks(least - 1, params)
    assert pruning.kept_least(Params(epoch_blocks=4, evidence_epochs=2)) == params.valid_until_blocks_max


def test_a_missing_proof_is_said_to_be_pruned(tmp_path: Path) -> None:
    chain = grown(tmp_path, 9)
    chain._store.write([(b"\x0a" + bytes(16), None), (KEPT.full_key(b""), b"\x91\x05")])
    chain._reader = chain._new_reader(chain.head)
    with pytest.raises(PrunedError, match="first block that it keeps is 5"):
        chain.reader().prove_block(Height(1))
    chain.close()
