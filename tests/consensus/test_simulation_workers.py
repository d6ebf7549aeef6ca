"""Worlds in which workers without stake lead: honest, absent, lying, colluding; and with all work hostile, at what pace."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.schedule import leaders
from consensus.stake.knowledge import Rule
from tests.simulation.scenario import WORKER_ADVERSARIES, Scenario, scenario_of, tolerated
from tests.simulation.scenario_files import from_text, to_text
from tests.simulation.shrink import explicit, shrink, without_member, without_worker
from tests.simulation.world import Outcome, Product, World

ROOT = Path(__file__).resolve().parents[2]


def hostile_work(seed: int, *kinds: str, ledger: bool = False) -> Scenario:
    """Honest validators, and no work but of hostile workers; calm once the network has healed."""
    return Scenario(
        seed=seed,
        weights=(10, 20, 10, 10, 15),
        workers=kinds,
        loss=0.05,
        crash_chance=0.1,
        chaos_ms=3_000,
        epoch_blocks=6 if ledger else 10,
        ledger=ledger,
        pace_views=3,
        progress_blocks=20,
    )


def played(scenario: Scenario, product: Product | None = None) -> tuple[World, Outcome]:
    world = World(scenario, product)
    return world, world.run()


def worked(world: World) -> int:
    """Epochs in which work led."""
    return sum(1 for epoch in world.sets.by_number.values() if epoch.schedule.is_led_by_work(1))


@pytest.mark.parametrize("kind", WORKER_ADVERSARIES)
def test_with_all_work_hostile_stake_keeps_the_pace(kind: str) -> None:
    """Page 3's bound: of any three views stake leads one, so no block takes longer than two spoiled views and its own."""
    world, outcome = played(hostile_work(1, kind, kind))
    assert not outcome.violations
    assert worked(world)


def test_with_all_work_hostile_on_the_ledger_whoever_misses_its_views_loses_credit() -> None:
    missed = 0
    for seed in range(2):  # what is drawn moves with the hash of genesis
        world, outcome = played(hostile_work(seed, "silent", "withholding_leader", ledger=True))
        assert not outcome.violations
        assert world.worker_rows is not None
        missed += world.worker_rows.missed
    assert missed


def test_with_all_work_hostile_on_the_ledger_nobody_is_jailed_for_being_passed_over() -> None:
    """Whom two blocks in three leave out, epoch after epoch, was there all the same: a third of the blocks is stake's."""
    snubbed = 0
    for seed in range(4):  # what is drawn moves with the hash of genesis
        scenario = Scenario(
            seed=seed,
            weights=(10,) * 5,
            workers=("snubbing_leader", "snubbing_leader"),
            ledger=True,
            epoch_blocks=20,
            jail_epochs=2,
            block_interval_ms=200,
            chaos_ms=3_000,
            progress_blocks=90,
        )
        world, outcome = played(scenario)
        assert not outcome.violations
        assert world.ledger is not None
        assert not world.ledger.jailed
        snubbed += world.ledger.epochs_below(2)
        if snubbed > 1:
            break
    assert snubbed > 1


def test_an_equivocating_worker_is_found_reported_and_loses_its_bond_on_the_ledger() -> None:
    convicted = 0
    for seed in range(3):  # what is drawn moves with the hash of genesis
        scenario = Scenario(
            seed=seed,
            weights=(10,) * 4,
            workers=("equivocating_leader", "equivocating_leader", ""),
            ledger=True,
            epoch_blocks=5,
            block_interval_ms=200,
            chaos_ms=7_000,
        )
        world, outcome = played(scenario)
        assert not outcome.violations
        assert outcome.ledger["worker_register done"]
        assert world.worker_rows is not None
        assert outcome.ledger["evidence_submit done"] >= len(world.worker_rows.convicted)
        convicted += len(world.worker_rows.convicted)
        if convicted:
            break
    assert convicted


def test_the_checker_of_pace_sees_a_schedule_without_views_of_stake() -> None:
    product = Product(patches=((leaders, "STAKE_VIEW_EVERY", 10**9),))
    _, outcome = played(hostile_work(0, "silent", "silent"), product)
    assert any("progress" in line or "took" in line for line in outcome.violations), outcome.violations


def test_workers_collude_with_hostile_validators_in_vain() -> None:
    """Conspirators among validators, as many as are tolerated, and all workers of their plan: no fork, and it goes on."""
    weights, epochs = (10,) * 7, 0
    for seed in range(3):
        scenario = Scenario(
            seed=seed,
            weights=weights,
            byzantine={0: "conspirator", 4: "conspirator"},
            workers=("conspirator", "conspirator"),
            loss=0.05,
            chaos_ms=5_000,
            epoch_blocks=10,
        )
        assert sum(weights[index] for index in scenario.byzantine) <= tolerated(weights)
        world, outcome = played(scenario)
        assert not outcome.violations
        epochs += worked(world)
    assert epochs


def test_workers_do_not_let_a_fork_be_smaller_than_a_third() -> None:
    """One conspirator less than can fork, and a crowd of workers of its plan, for all of which no vote counts."""
    scenario = Scenario(
        seed=1,
        weights=(10,) * 7,
        byzantine={1: "conspirator", 5: "conspirator"},
        workers=("conspirator",) * 6,
        chaos_ms=6_000,
        partition_chance=0.15,
    )
    _, outcome = played(scenario)
    assert not outcome.violations


def test_honest_workers_lead_and_are_caught_up_after_crashes() -> None:
    scenario = Scenario(
        seed=3, weights=(10, 10, 10, 10), workers=("", ""), crash_chance=0.4, loss=0.05, epoch_blocks=6
    )
    world, outcome = played(scenario)
    assert not outcome.violations
    assert world.leaders is not None
    assert world.leaders.led_by_work > 5
    assert outcome.rules[Rule.R2_WORKER.name] > 3
    behind = [node for node in world.nodes if node.validator >= scenario.size]
    assert all(node.height >= outcome.height - 2 for node in behind), "a worker's node follows the chain"


def test_some_validators_lead_by_work_in_epochs_in_which_they_do_not_vote() -> None:
    """The same key and the same safety store: a voter in one epoch, a worker in another."""
    found = 0
    for seed in range(6):
        scenario = Scenario(
            seed=seed, weights=(10,) * 6, workers=("",), crash_chance=0.2, epoch_blocks=4, chaos_ms=5_000
        )
        world, outcome = played(scenario)
        assert not outcome.violations
        found += sum(
            party < scenario.size for epoch in world.sets.by_number.values() for party in epoch.workers
        )
    assert found


def test_the_default_mix_has_workers_of_every_kind() -> None:
    chosen = [scenario for seed in range(384) if (scenario := scenario_of(seed)).workers]
    assert 100 < len(chosen) < 200
    assert {kind for scenario in chosen for kind in scenario.workers} == {"", *WORKER_ADVERSARIES}
    assert any(all(scenario.workers) for scenario in chosen)
    assert any(scenario.ledger for scenario in chosen)


def test_same_seed_same_trace_with_workers_whatever_the_hash_seed() -> None:
    code = (
        "from tests.simulation.scenario import Scenario; from tests.simulation.world import World\n"
        "usual = dict(weights=(10,) * 4, workers=('', 'garbage'), crash_chance=0.3, chaos_ms=3_000, epoch_blocks=4)\n"
        "for ledger in (False, True): print(World(Scenario(seed=5, ledger=ledger, **usual)).run().trace_hash)"
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
        ).stdout
        for hash_seed in ("1", "4242")
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0].split())) == 2


def test_scenarios_with_workers_are_written_and_made_short() -> None:
    scenario = explicit(
        Scenario(
            seed=2,
            weights=(10, 10, 10, 10),
            byzantine={3: "twin"},
            workers=("", "silent"),
            crash_chance=0.3,
            partition_chance=0.3,
            chaos_ms=3_000,
        )
    )
    assert from_text(to_text(scenario)) == (scenario, "")
    assert scenario.validators_of_machines == (0, 1, 2, 3, 3, 4, 5)
    less = without_worker(scenario, 0)
    assert (less.workers, less.validators_of_machines) == (("silent",), (0, 1, 2, 3, 3, 4))
    assert all(len(fault.groups) in (0, 6) for fault in less.plan or ())
    smaller = without_member(scenario, 0)
    assert (smaller.workers, smaller.validators_of_machines) == (("", "silent"), (0, 1, 2, 2, 3, 4))
    assert scenario.hostile == {3, 5}
    product = Product(patches=((leaders, "STAKE_VIEW_EVERY", 10**9),))
    failing = replace(hostile_work(0, "silent", "", "silent"), progress_blocks=5, progress_ms=8_000)
    short = shrink(failing, product, tries_max=60)
    assert short is not None
    assert len(short.scenario.workers) < 3
