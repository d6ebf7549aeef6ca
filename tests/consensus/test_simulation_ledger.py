"""The simulation on the real ledger: seeds that hold, what happens in them, and that its checkers and its database see and do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import msgpack
import pytest

from state import opening
from state.store import Store
from tests.simulation.disk import PowerCut, SimDisk
from tests.simulation.jail_checkers import JailCheckers
from tests.simulation.ledger_checkers import ACCOUNTS, ATTENDANCE, CONVICTIONS, LedgerCheckers
from tests.simulation.ledger_world import LedgerSets
from tests.simulation.scenario import Scenario, floors_of, on_ledger, scenario_of, tolerated
from tests.simulation.scheme import RealScheme, SimScheme
from tests.simulation.sim_store import SimDb
from tests.simulation.world import Product, World, rows_of

ROOT = Path(__file__).resolve().parents[2]
FIRST, SEEDS = 5_000, 24
MUST_HAPPEN = (
    "transfer done",
    "stake_add done",
    "stake_withdraw done",
    "validator_edit done",
    "validator_register done",
    "evidence_submit done",
    "submission_reveal done",
    "seat.drawn",
    "validator.jailed",
    "convicted",
    "joined",
    "left",
    "keys changed",
    "weights changed",
    "failed: balance",
    "refused: signature",
    "refused: expired",
)


def test_seeds_hold_on_the_ledger_and_everything_happens_in_them() -> None:
    happened: Counter[str] = Counter()
    for seed in range(FIRST, FIRST + SEEDS):
        outcome = World(on_ledger(scenario_of(seed))).run()
        assert not outcome.violations, f"seed {seed}: {outcome.violations[0]}"
        happened += outcome.ledger
    assert not [what for what in MUST_HAPPEN if not happened[what]]


def test_same_seed_same_trace_on_the_ledger_in_processes_with_different_hash_seeds() -> None:
    code = (
        "from tests.simulation.scenario import on_ledger, scenario_of; from tests.simulation.world import World\n"
        "for seed in (5002, 5004): print(World(on_ledger(scenario_of(seed))).run().trace_hash)"
    )
    hashes = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        ).stdout.split()
        for hash_seed in ("1", "4242")
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0])) == 2


def test_a_share_of_the_default_mix_is_on_the_ledger_and_tolerates_its_load() -> None:
    chosen = [scenario for seed in range(600) if (scenario := scenario_of(seed)).ledger]
    assert 60 < len(chosen) < 140
    assert any(scenario.late for scenario in chosen)
    assert any(scenario.seats for scenario in chosen)
    for scenario in chosen:
        hostile = sum(scenario.weights[index] for index in scenario.byzantine)
        assert hostile <= tolerated(floors_of(scenario)), "with all stake withdrawn that may be"
        assert not set(scenario.late) & set(scenario.byzantine)


def test_holds_on_the_ledger_with_real_signatures() -> None:
    scenario = Scenario(
        seed=3, weights=(10, 10, 10, 10), ledger=True, epoch_blocks=4, block_interval_ms=300, chaos_ms=1_500
    )
    outcome = World(scenario, Product(scheme=RealScheme)).run()
    assert not outcome.violations
    assert outcome.height >= 4


# -- the database


def test_what_was_synced_stays_and_what_was_not_is_lost_from_some_batch_on() -> None:
    left = set()
    for seed in range(40):
        db = SimDb(SimDisk(Random(seed)))
        db.write([(b"\x10a", b"1"), (b"\x10b", b"1")], sync=True)
        for number in (b"2", b"3"):
            db.write([(b"\x10a", number), (b"\x10b", None if number == b"3" else number)], sync=False)
        before = db.snapshot()
        db.power_off(Random(seed))
        rows = db.image.rows
        left.add(rows[b"\x10a"])
        assert (
            rows
            == {
                b"1": {b"\x10a": b"1", b"\x10b": b"1"},
                b"2": {b"\x10a": b"2", b"\x10b": b"2"},
                b"3": {b"\x10a": b"3"},
            }[rows[b"\x10a"]]
        )
        assert before.rows == {b"\x10a": b"3"}, "a snapshot never changes"
    assert left == {b"1", b"2", b"3"}


@pytest.mark.parametrize("cut", [1, 2])
def test_a_power_cut_in_a_write_leaves_all_of_it_or_nothing(cut: int) -> None:
    disk = SimDisk(Random(1))
    db = SimDb(disk)
    db.write([(b"\x10a", b"1")], sync=True)
    disk.cut_in = cut
    with pytest.raises(PowerCut):
        db.write([(b"\x10a", b"2"), (b"\x10b", b"2")], sync=True)
    db.power_off(Random(1))
    assert db.image.rows == ({b"\x10a": b"1"} if cut == 1 else {b"\x10a": b"2", b"\x10b": b"2"})


def test_it_scans_as_leveldb_does() -> None:
    db = SimDb(SimDisk(Random(1)))
    store = Store.over(
        db, (opening.Stamp(1, "x", bytes(32)), [(b"\x10" + bytes([n]), b"%d" % n) for n in range(6)])
    )
    keys = [key[1] for key, _ in store.scan(b"\x10\x01", b"\x10\x04")]
    assert keys == [1, 2, 3]
    keys = [key[1] for key, _ in store.scan(b"\x10\x01", b"\x10\x04", include_high=True, reverse=True)]
    assert keys == [4, 3, 2, 1]
    assert [key[1] for key, _ in store.scan(b"\x10\x04", None)] == [4, 5]


# -- the checkers


def _checked(change: dict[bytes, bytes | None]) -> list[str]:
    """What the checkers say of genesis' rows with some changed, as if after block 1."""
    world = World(
        Scenario(seed=1, weights=(10, 10, 10, 10), ledger=True, epoch_blocks=4, byzantine={3: "silent"})
    )
    seen: list[str] = []
    sets = world.sets
    assert isinstance(sets, LedgerSets)
    validator_at = {bytes(a): i for a, i in sets.validator_at.items()}
    jails = JailCheckers(seen.append, validator_at, 5_000, 1, 4, 3_000)
    checkers = LedgerCheckers(seen.append, validator_at, frozenset({3}), (10,) * 4, 4, 100, jails)
    rows = rows_of(world.nodes[0])
    checkers.begin(rows)
    changed = {key: value for key, value in {**rows, **change}.items() if value is not None}
    checkers.attended(1, ())
    checkers.committed(0, 1, sets.genesis.block.header, changed)
    checkers.committed(1, 1, sets.genesis.block.header, rows)
    return seen


def test_the_ledgers_checkers_see_what_is_wrong() -> None:
    scheme, secrets = SimScheme(), [b"s%d" % number for number in range(4)]
    sets = LedgerSets(
        Scenario(seed=1, weights=(10, 10, 10, 10), epoch_blocks=4),
        scheme,
        secrets,
        [scheme.key(secret) for secret in secrets],
    )
    assert _checked({}) == []
    user = bytes([ACCOUNTS]) + sets.users[0].address
    richer = "\n".join(_checked({user: msgpack.packb([1, 0])}))
    assert "the supply at height 1 is" in richer
    assert "the pot accounts" in richer
    assert "another state at height 1 in 1 rows" in richer
    conviction = msgpack.packb([1, 0, 1, bytes(32), 1, bytes(33), 500_000_000, 250_000_000, 50_000_000])
    honest = bytes([CONVICTIONS]) + sets.accounts[0].address
    assert "convicted the honest validator 0" in "\n".join(_checked({honest: conviction}))
    hostile = bytes([CONVICTIONS]) + sets.accounts[3].address
    assert "was slashed by" in "\n".join(_checked({hostile: conviction}))
    counted = msgpack.packb([1, [1, 1, 1, 1]])
    assert "the attendance at height 1 is" in "\n".join(_checked({bytes([ATTENDANCE]) + bytes(8): counted}))
    assert "holds another set for epoch 0" in "\n".join(_checked({b"\x1a" + bytes(8): None}))
