"""Indexes made anew are what was written while chains ran, byte for byte; wrong ones are found; a killed rebuild goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from node import cli
from node.setup import make_folder
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.types import Amount
from state import indexes, indexing
from state.chain import Chain
from state.indexing import UnfinishedIndexesError, WrongIndexError
from state.schema import BLOCKS, INDEX_REBUILD, RECEIPTS, TABLES, TRANSACTIONS_BY_ADDRESS, Kind
from state.store import Batch, DamagedStoreError, Store
from tests.simulation.disk import SimDisk
from tests.simulation.scenario import on_ledger, scenario_of
from tests.simulation.sim_store import SimDb
from tests.simulation.world import World, rows_of
from tests.state.chain_fixtures import build, new_chain, order
from tests.state.chain_fixtures import key as key_of

FIRST, SEEDS_MAX = 5_012, 40
ROOT = Path(__file__).resolve().parents[2]
INDEX_PREFIXES = {table.prefix for table in indexes.INDEXES}

Rows = dict[bytes, bytes]


@lru_cache
def written_while_running() -> tuple[Rows, Rows]:
    """All rows of honest nodes' databases at the ends of two random executions in which much happened."""
    found: list[Rows] = []
    for seed in range(FIRST, FIRST + SEEDS_MAX):
        world = World(on_ledger(scenario_of(seed)))
        outcome = world.run()
        assert not outcome.violations, seed
        rows = dict(rows_of(world.honest()[0]))
        if len({key[0] for key in index_rows(rows)}) >= 8 and len(index_rows(rows)) > 60:
            found.append(rows)
        if len(found) == 2:
            return found[0], found[1]
    raise AssertionError("hardly anything happens in these executions: choose others")


def store_of(rows: Rows) -> tuple[SimDb, Store]:
    db = SimDb(SimDisk(Random(1)))
    db.write(list(rows.items()), sync=True)
    return db, Store.over(db)


def index_rows(rows: Rows) -> Rows:
    return {key: value for key, value in rows.items() if key[0] in INDEX_PREFIXES}


def test_every_index_has_a_source() -> None:
    tables = {prefix for prefix, table in TABLES.items() if table.kind is Kind.INDEX}
    assert tables | {TRANSACTIONS_BY_ADDRESS.prefix} == INDEX_PREFIXES, (
        "say in state/indexes.py what it follows from"
    )
    assert all(table.kind is Kind.STATE for table in indexes.OF_STATE)


@pytest.mark.parametrize("which", [0, 1])
def test_they_are_what_was_written_while_the_chain_ran(which: int) -> None:
    rows = written_while_running()[which]
    db, store = store_of({key: value for key, value in rows.items() if key[0] not in INDEX_PREFIXES})
    with pytest.raises(WrongIndexError):
        indexing.verify(store)
    assert indexing.rebuild(store) == len(index_rows(rows))
    assert db.image.rows == rows
    counts = indexing.verify(store)
    assert sum(counts.values()) == len(index_rows(rows))
    assert sum(1 for count in counts.values() if count) >= 8, counts


def _without(rows: Rows, at: bytes) -> Rows:
    return {key: value for key, value in rows.items() if key != at}


def _other(rows: Rows, at: bytes) -> Rows:
    return {**rows, at: rows[at] + b"\x00"}


def _more(rows: Rows, at: bytes) -> Rows:
    return {**rows, at[:-1] + bytes([at[-1] ^ 0x80]): rows[at]}


@pytest.mark.parametrize("spoil", [_without, _other, _more])
def test_what_is_wrong_is_found_and_mended(spoil: Callable[[Rows, bytes], Rows]) -> None:
    rows = written_while_running()[1]
    for prefix in sorted({key[0] for key in index_rows(rows)}):
        at = min(key for key in rows if key[0] == prefix)
        db, store = store_of(spoil(rows, at))
        with pytest.raises(WrongIndexError, match=TABLES[prefix].name) as wrong:
            indexing.verify(store)
        assert "index rebuild" in wrong.value.remedy
        indexing.rebuild(store)
        assert db.image.rows == rows


class Dying(Store):
    """Its process is killed at some write: before it, or when it is done and nobody heard of it."""

    writes_left = 10**9
    after_write = False

    def write(self, batch: Batch) -> None:
        self.writes_left -= 1
        if self.writes_left < 0 and not self.after_write:
            raise SystemExit
        super().write(batch)
        if self.writes_left < 0:
            raise SystemExit


@pytest.mark.parametrize("after_write", [False, True])
def test_killed_at_any_write_it_goes_on(after_write: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "ROWS_PER_WRITE", 40)
    rows = written_while_running()[0]
    spoiled = _more(_without(rows, min(index_rows(rows))), max(index_rows(rows)))
    kills = 0
    while True:
        db, _ = store_of(spoiled)
        store = Dying.over(db)
        assert isinstance(store, Dying)
        store.writes_left, store.after_write = kills, after_write
        try:
            indexing.rebuild(store)
            break
        except SystemExit:
            kills += 1
        if INDEX_REBUILD.full_key(b"") in db.image.rows:
            with pytest.raises(UnfinishedIndexesError, match="index rebuild"):
                indexing.refuse_unfinished(store)
            with pytest.raises(UnfinishedIndexesError):
                indexing.verify(store)
        indexing.rebuild(Store.over(db))
        assert db.image.rows == rows, kills
    assert kills > 3


def test_a_rebuild_does_not_begin_again_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "ROWS_PER_WRITE", 10)
    rows = written_while_running()[1]
    db, _ = store_of(rows)
    store = Dying.over(db)
    assert isinstance(store, Dying)
    indexing.rebuild(store)
    store.writes_left = 10**9 - store.writes_left - 2  # all but the last of as many writes
    with pytest.raises(SystemExit):
        indexing.rebuild(store)
    rest = indexing.rebuild(Store.over(db))
    assert 0 < rest < len(index_rows(rows))
    assert db.image.rows == rows


def test_blocks_whose_receipts_are_not_theirs_are_no_source() -> None:
    rows = written_while_running()[1]
    receipt = min(key for key in rows if key[0] == RECEIPTS.prefix)
    _, store = store_of(_without(rows, receipt))
    with pytest.raises(DamagedStoreError, match="receipts and events"):
        indexing.verify(store)
    with pytest.raises(DamagedStoreError, match="receipts and events"):
        indexing.rebuild(store)


def test_a_node_without_old_blocks_has_what_its_blocks_give() -> None:
    """As after pruning: index rows of the blocks that are kept, and all indexes over the state."""
    rows = written_while_running()[1]
    heights = sorted(key for key in rows if key[0] == BLOCKS.prefix)
    gone = heights[1 : len(heights) // 2]
    kept = {key: value for key, value in rows.items() if key not in gone and key[0] not in INDEX_PREFIXES}
    db, store = store_of(kept)
    indexing.rebuild(store)
    of_history = {table.prefix for table in indexes.INDEXES_OF_HISTORY}
    lowest = int.from_bytes(heights[len(heights) // 2][1:], "big")
    for key, value in index_rows(rows).items():
        is_old = key[0] in of_history and int.from_bytes(key[34:42], "big") < lowest
        assert db.image.rows.get(key) == (None if is_old else value)
    indexing.verify(store)


# -- the command


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A node's folder with a few blocks."""
    make_folder(tmp_path / "node", ROOT / "genesis.json", {})
    return tmp_path / "node"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.commands, list(arguments))
    error = "" if result.exception is None else str(result.exception)
    return result.exit_code, result.stdout + error


def test_the_command_checks_and_makes_anew(home: Path) -> None:
    code, said = run("index", "verify", "--home", str(home), "--json")
    assert code == 0
    assert set(json.loads(said)["rows"]) == {table.name for table in indexes.INDEXES}
    store = Store.open(home / "chain")
    stray = TRANSACTIONS_BY_ADDRESS.full_key(bytes(33), 1, 1)
    store.write([(stray, b"\x91\xc4\x20" + bytes(32))])
    store.close()
    code, said = run("index", "verify", "--home", str(home))
    assert code != 0
    assert "transactions by address has rows that nothing explains" in said
    code, said = run("index", "rebuild", "--home", str(home), "--json")
    assert (code, json.loads(said.splitlines()[-1])) == (0, {"rows": 0})
    code, said = run("index", "verify", "--home", str(home))
    assert code == 0
    assert "every index is what follows" in said


def test_the_command_ends_what_was_interrupted_and_nothing_else_opens_it(home: Path) -> None:
    store = Store.open(home / "chain")
    store.write([indexing._mark(indexing.IndexRebuild(0, b""))])
    store.close()
    with pytest.raises(UnfinishedIndexesError):
        Chain.open(home / "chain")
    assert run("index", "verify", "--home", str(home))[0] != 0
    assert run("index", "rebuild", "--home", str(home))[0] == 0
    Chain.open(home / "chain").close()


def test_the_command_says_where_there_is_no_node(tmp_path: Path) -> None:
    code, said = run("index", "rebuild", "--home", str(tmp_path / "nothing"))
    assert code != 0
    assert "omnitensor-node init" in said


def test_a_chain_on_a_real_disk_is_indexed_alike(tmp_path: Path) -> None:
    chain = new_chain(tmp_path)
    for height in range(1, 6):
        orders = [
            order(key_of(f"a{i}"), height - 1, Transfer(key_of(f"b{height % 3}").address, Amount(5)))
            for i in range(4)
        ]
        chain.commit(build(chain, orders).hash, None)
    chain.close()
    store = Store.open(tmp_path / "chain")
    before = dict(store.scan(b"\x01", None))
    assert indexing.verify(store)["transactions by address"] == 5 * 4 * 2
    indexing.rebuild(store)
    assert dict(store.scan(b"\x01", None)) == before
    store.close()
