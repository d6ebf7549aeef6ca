"""Hundreds of seeded executions of the real core under faults, hostile validators and crashes; every checker must stay silent."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.stake.knowledge import Rule
from omnitensor.protocol.blocks import Block
from tests.simulation.adversaries import ADVERSARY_CLASSES
from tests.simulation.application import HashChain
from tests.simulation.run import play_seed, replay_command
from tests.simulation.scenario import Scenario, scenario_of, tolerated
from tests.simulation.scheme import RealScheme
from tests.simulation.world import Product, World

ROOT = Path(__file__).resolve().parents[2]
SEEDS, PLAYED, CHUNK = 384, 160, 32
RULES = {rule.name for rule in Rule}
EVERYDAY_RULES = RULES - {Rule.R5_HALT.name}


@pytest.mark.parametrize("first", range(0, PLAYED, CHUNK))
def test_seeds_hold(first: int) -> None:
    """No fork, no honest evidence, no halt, everything final available, progress after healing; and every rule at work."""
    fired: set[str] = set()
    views = 0
    for seed in range(first, first + CHUNK):
        outcome = play_seed(seed)
        assert not outcome.violations, f"{outcome.violations[0]}\nreplay: {replay_command(seed)}"
        fired |= set(outcome.rules)
        views += outcome.views
    assert fired >= EVERYDAY_RULES, f"rules that never fired: {EVERYDAY_RULES - fired}"
    assert views > 10 * CHUNK


def test_default_mix_stays_within_what_is_tolerated_and_uses_every_adversary() -> None:
    kinds: set[str] = set()
    sizes: set[int] = set()
    for seed in range(SEEDS):
        scenario = scenario_of(seed)
        hostile = sum(scenario.weights[index] for index in scenario.byzantine)
        assert 3 * hostile < sum(scenario.weights)
        assert hostile <= tolerated(scenario.weights)
        kinds |= set(scenario.byzantine.values())
        sizes.add(scenario.size)
    assert kinds == set(ADVERSARY_CLASSES)
    assert min(sizes) == 4
    assert max(sizes) == 21


def test_same_seed_same_trace_in_processes_with_different_hash_seeds() -> None:
    code = "from tests.simulation.run import play_seed; print(play_seed(11).trace_hash, play_seed(23).trace_hash)"
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


def test_holds_with_real_signatures() -> None:
    """A short execution on BLS: the cheap scheme is not what makes the others pass."""
    scenario = Scenario(
        seed=5,
        weights=(10, 10, 10, 10),
        byzantine={3: "garbage"},
        block_interval_ms=200,
        chaos_ms=2_000,
        loss=0.05,
        crash_chance=0.2,
        progress_blocks=2,
    )
    outcome = World(scenario, Product(scheme=RealScheme)).run()
    assert not outcome.violations
    assert outcome.height >= 4


class BrokenMachine(HashChain):
    """Computes wrongly from height 5 on."""

    def check(self, block: Block) -> str | None:
        return "wrong sum" if block.header.height >= 5 else super().check(block)


def test_a_node_that_computes_wrongly_halts_and_says_where() -> None:
    """R5: a quorum notarizes what it finds invalid; it stops, the others go on."""
    world = World(Scenario(seed=3, weights=(10, 10, 10, 10), chaos_ms=3_000))
    broken = world.nodes[2]
    broken.chain = BrokenMachine(broken.chain.committed[0].block)
    outcome = world.run()
    assert outcome.rules[Rule.R5_HALT.name] == 1
    assert "wrong sum" in broken.halted
    assert "view" in broken.halted
    assert 5 <= len(broken.chain.committed) < 8, "it commits nothing that it finds invalid"
    assert all(len(node.chain.committed) > 8 for node in world.nodes if node is not broken)


def hostile_third(seed: int, kind: str, size: int) -> Scenario:
    """Just over a third of the stake hostile, and of one mind."""
    return Scenario(
        seed=seed,
        weights=(10,) * size,
        byzantine=dict.fromkeys(range(size // 3 + 1), kind),
        chaos_ms=8_000,
        progress_ms=5_000,
    )


@pytest.mark.parametrize("size", [4, 7, 10])
def test_colluding_validators_with_more_than_a_third_fork_the_chain_and_are_seen(size: int) -> None:
    for seed in range(5):
        world = World(hostile_third(seed, "conspirator", size))
        violations = world.run().violations
        if any("FORK" in violation for violation in violations):
            assert world.accusations, "whoever forks the chain leaves evidence"
            assert not any("evidence against honest" in violation for violation in violations)
            return
    pytest.fail("no fork was seen, though more than a third of the stake colludes: the checkers are blind")


@pytest.mark.parametrize("size", [4, 7, 10])
def test_silent_validators_with_more_than_a_third_stall_the_chain_and_are_seen(size: int) -> None:
    violations = World(hostile_third(0, "silent", size)).run().violations
    assert violations
    assert all("no progress" in violation for violation in violations), "a stall, and nothing worse"


@pytest.mark.parametrize("kind", ["conspirator", "silent"])
def test_the_same_validators_with_a_third_achieve_nothing(kind: str) -> None:
    for seed in range(3):
        scenario = replace(hostile_third(seed, kind, 7), byzantine={0: kind, 1: kind})
        assert not World(scenario).run().violations


def test_calm_network_is_fast() -> None:
    """Without faults a block comes every interval (rounded up to two message delays) and nothing is skipped."""
    scenario = Scenario(seed=1, weights=(10,) * 4, block_interval_ms=200, chaos_ms=10_000)
    outcome = World(scenario).run()
    assert not outcome.violations
    assert outcome.rules.get(Rule.R4.name, 0) + outcome.rules.get(Rule.R4_EARLY.name, 0) == 0
    assert outcome.height >= 0.75 * outcome.virtual_ms / scenario.block_interval_ms


@pytest.mark.parametrize("option", [["--seed", "4"], ["--seeds", "9", "--jobs", "2", "--start", "100"]])
def test_command_line_tells_what_it_did(option: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.run", *option],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules" in done.stdout
    assert "views" in done.stdout


def test_calm_epochs_follow_one_another_with_sets_that_change() -> None:
    """Real cores through many epochs: R0 at each root, joining and leaving, nothing skipped for want of votes for long."""
    scenario = Scenario(
        seed=8, weights=(10, 20, 30, 10, 20), block_interval_ms=100, epoch_blocks=4, chaos_ms=12_000
    )
    world = World(scenario)
    outcome = world.run()
    assert not outcome.violations
    assert outcome.epochs >= 12
    assert outcome.rules[Rule.R6_BOUNDARY.name] >= 4 * (outcome.epochs - 1)
    assert outcome.rules[Rule.R0.name] >= 2 * outcome.epochs
    sizes = {len(found.members) for found in world.sets.by_number.values()}
    assert len(sizes) > 1, "somebody left, and somebody came back"
    for node in world.nodes:
        for height in range(4, len(node.chain.committed), 4):
            assert node.chain.committed[height].proof is not None, "a boundary has its own proof"
