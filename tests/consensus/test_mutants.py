"""Each planted fault is seen by the checkers within its bound of seeds, where the true product passes the same seeds."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, hunt, scenario_for
from tests.simulation.world import World


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_caught(mutant: Mutant, capsys: pytest.CaptureFixture[str]) -> None:
    caught = hunt(mutant)
    assert caught is not None, f"{mutant.name} was not seen in {mutant.seeds_max} seeds"
    with capsys.disabled():
        print(f"\n{mutant.name}: {caught}")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_product_passes_where_mutant_is_planted(mutant: Mutant) -> None:
    for seed in range(3):
        assert not World(scenario_for(mutant, seed)).run().violations
