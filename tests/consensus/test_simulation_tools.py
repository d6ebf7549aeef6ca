"""What is built around the simulator: scenarios as files, shrinking, the table of who said what, the search and its summary."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.stake.knowledge import Rule
from tests.simulation.faults import CRASH, PARTITION, Fault, plan_of
from tests.simulation.mutants import BY_NAME, scenario_for
from tests.simulation.scenario import Scenario, is_tolerable, scenario_of, tolerated
from tests.simulation.scenario_files import from_text, to_text
from tests.simulation.search import Total
from tests.simulation.shrink import explicit, nature, shrink, size_of, without_member
from tests.simulation.world import World

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("seed", range(40))
def test_a_scenario_is_the_same_from_its_file(seed: int) -> None:
    scenario = explicit(scenario_of(seed))
    assert from_text(to_text(scenario)) == (scenario, "")
    assert from_text(to_text(scenario, "no standstill")) == (scenario, "no standstill")


@pytest.mark.parametrize("text", ["[]", '{"seed": 1, "wind": 3}', "{", '{"weights": "x", "seed": 1}'])
def test_what_is_no_scenario_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_text(text)


def test_faults_written_down_are_the_same_execution() -> None:
    scenario = scenario_for(BY_NAME["votes not durable"], 1)
    assert plan_of(scenario)
    assert World(scenario).run().trace_hash == World(explicit(scenario)).run().trace_hash


def test_a_member_less_takes_its_machines_and_their_faults_along() -> None:
    plan = (
        Fault(500, PARTITION, lasts_ms=9, groups=(0, 1, 2, 3, 4)),
        Fault(600, CRASH, 1),
        Fault(700, CRASH, 4),
    )
    scenario = Scenario(1, (10, 20, 30, 40), byzantine={1: "twin", 3: "silent"}, plan=plan)
    assert scenario.validators_of_machines == (0, 1, 2, 3, 1)
    less = without_member(scenario, 1)
    assert less.weights == (10, 30, 40)
    assert less.byzantine == {2: "silent"}
    assert less.plan == (Fault(500, PARTITION, lasts_ms=9, groups=(0, 2, 3)),)
    less = without_member(scenario, 0)
    assert less.plan == (
        Fault(500, PARTITION, lasts_ms=9, groups=(1, 2, 3, 4)),
        Fault(600, CRASH, 0),
        Fault(700, CRASH, 3),
    )


@pytest.mark.parametrize("name", ["a vote counts twice", "votes not durable"])
def test_a_failing_scenario_is_made_short_and_still_fails(name: str) -> None:
    mutant = BY_NAME[name]
    scenario = scenario_for(mutant, 0)
    before = World(scenario, mutant.product).run().violations
    shrunk = shrink(scenario, mutant.product)
    assert shrunk is not None
    assert size_of(shrunk.scenario) < size_of(scenario) / 2
    kept, _ = from_text(to_text(shrunk.scenario))
    again = World(kept, mutant.product).run().violations
    assert nature(again[0]) == nature(before[0])
    assert sum(kept.weights[index] for index in kept.byzantine) <= tolerated(kept.weights)
    assert shrink(scenario, mutant.product) == shrunk, "the same each time"
    assert not World(replace(kept, loss=0.0)).run().violations, "the product holds where the fault shows"


def test_an_execution_on_the_ledger_is_made_short_within_its_bounds() -> None:
    """Epochs on the ledger always end, and late validators keep their places when another goes."""
    mutant = BY_NAME["evidence slashes twice"]
    scenario = Scenario(
        seed=4,
        weights=(10, 20, 10, 10, 20),
        byzantine={0: "skip_and_finalizer"},
        ledger=True,
        late=(3,),
        epoch_blocks=6,
        chaos_ms=4_000,
        loss=0.05,
        crash_chance=0.1,
        progress_ms=10_000,
    )
    assert without_member(scenario, 1).late == (2,)
    assert without_member(scenario, 3).late == ()
    shrunk = shrink(scenario, mutant.product, tries_max=60)
    assert shrunk is not None
    assert is_tolerable(shrunk.scenario)
    assert size_of(shrunk.scenario) < size_of(scenario)
    assert World(shrunk.scenario, mutant.product).run().violations


def test_the_default_mix_is_tolerable() -> None:
    assert all(is_tolerable(scenario_of(seed)) for seed in range(300))


def test_nothing_to_shrink_where_nothing_fails() -> None:
    assert shrink(scenario_of(3)) is None


def test_the_story_tells_who_said_what() -> None:
    world = World(Scenario(seed=1, weights=(10,) * 4, block_interval_ms=200, chaos_ms=2_000), trace=True)
    world.run()
    assert world.story is not None
    head, first, *_ = world.story.table(views_max=100)
    assert head.split()[:3] == ["epoch.view", "proposed", "node"]
    cells = first.split()
    assert cells[0] == "0.1"
    named = cells[2]
    assert first.count(f"N:{named}") >= 4, "a quorum of votes, and the certificate"
    assert first.count(f"F:{named}") >= 3
    shown = world.story.table(views_max=3)
    assert "left out" in shown[0]
    assert len(shown) == 5


def test_the_summary_says_which_rules_never_fired() -> None:
    total = Total(2)
    for seed in (1, 2):
        total.add(World(scenario_of(seed)).run())
    assert total.done == 2
    assert Rule.R3.name not in total.never()
    total.rules[Rule.R3.name] = 0
    assert Rule.R3.name in total.never()
    assert any("R3 " in line and "NEVER" in line for line in total.lines(1.0))
    assert sum(total.validators.values()) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_brings_the_summary_so_far(number: signal.Signals) -> None:
    command = [sys.executable, "-u", "-m", "tests.simulation.run", "--seeds", "100000", "--jobs", "2"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert "playing seeds 0 to 99999" in process.stdout.readline()
        time.sleep(1)
        process.send_signal(number)
        said, _ = process.communicate(timeout=600)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, said
    assert "executions of 100000" in said
    assert "0 violated" in said
    assert "Traceback" not in said


def test_the_command_line_shrinks_and_replays(tmp_path: Path) -> None:
    out = tmp_path / "short.json"

    def run(*options: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation.run", *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    code, said = run("--seed", "0", "--mutant", "a vote counts twice", "--shrink", "--out", str(out))
    assert (code, "VIOLATION" in said, f"--scenario {out}" in said) == (1, True, True), said
    code, said = run("--scenario", str(out), "--trace")
    assert (code, "VIOLATION" in said, "epoch.view" in said) == (1, True, True), said
    code, said = run("--scenario", str(tmp_path / "none.json"))
    assert (code, "none.json" in said, "Traceback" in said) == (2, True, False)
