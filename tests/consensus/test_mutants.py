"""Each planted fault is seen by the checkers within its bound of seeds, where the true product passes the same seeds."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, scenario_for
from tests.simulation.world import World


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_caught(mutant: Mutant, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(mutant.seeds_max):
        violations = World(scenario_for(mutant, seed), mutant.product).run().violations
        if violations:
            with capsys.disabled():
                print(
                    f"\n{mutant.name}: caught by seed {seed + 1} of {mutant.seeds_max}: {violations[0][:90]}"
                )
            return
    pytest.fail(f"{mutant.name} was not seen in {mutant.seeds_max} seeds")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_product_passes_where_mutant_is_planted(mutant: Mutant) -> None:
    for seed in range(3):
        assert not World(scenario_for(mutant, seed)).run().violations
