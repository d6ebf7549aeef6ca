"""Twins, enumerated: a sample of all scripts holds, a twin that spoke twice is accused, and a lax quorum is seen to fork."""

from __future__ import annotations

from functools import cached_property
from itertools import permutations, product

import pytest

from omnitensor.protocol.votes import ValidatorTable
from tests.simulation.twins import TwinsWorld, one_twin, play_script, scripts
from tests.simulation.world import Product

EVERY, CHUNKS = 130, 4


def test_the_enumeration_is_large_and_has_nothing_twice() -> None:
    found = scripts()
    assert len(found) >= 10_000
    assert len({(script.family, script.steps) for script in found}) == len(found)
    assert {script.family for script in found} == {"one twin", "three parts", "two twins"}
    assert all(len(set(step.groups)) <= 3 for script in found for step in script.steps)


def test_the_enumeration_of_one_view_has_one_script_of_each_class() -> None:
    """Counted another way: what a view is, when honest validators have no names and the twin's machines no order."""
    classes = set()
    for leader, sides in product(range(4), product((0, 1), repeat=5)):
        looks = set()
        for honest in permutations(range(3)):
            for machines in ((3, 4), (4, 3)):
                for flip in (0, 1):
                    cut = tuple(sides[at] ^ flip for at in (*honest, *machines))
                    looks.add((honest.index(leader) if leader < 3 else 3, cut))
        classes.add(min(looks))
    assert len(list(one_twin("", 1, 2))) == len(classes)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_sample_of_all_scripts_holds(chunk: int) -> None:
    numbers = range(chunk * EVERY, len(scripts()), CHUNKS * EVERY)
    spoke = 0
    for number in numbers:
        each = play_script(number)
        assert not each.violations, (
            f'{each.violations[0]}\nreplay: make twins ARGS="--number {number} --trace"'
        )
        assert each.accused or not each.spoke_twice
        spoke += each.spoke_twice
    assert spoke > len(numbers) / 4, "else the scripts would show nothing"


class HalfTable(ValidatorTable):
    @cached_property
    def quorum_weight(self) -> int:
        return self.total_weight // 2


def test_where_half_the_stake_is_enough_twins_fork_the_chain_and_it_is_seen() -> None:
    for number in range(20_000, 21_000, 25):
        violations = play_script(number, Product(table=HalfTable)).violations
        if any("FORK" in violation for violation in violations):
            return
    pytest.fail("no fork in 40 scripts")


def test_a_script_is_played_as_it_is_written() -> None:
    script = scripts()[31_000]
    world = TwinsWorld(script, 31_000, trace=True)
    world.run()
    table = world.epoch_leaders()
    assert table[: len(script.steps)] == [step.leader for step in script.steps]
    assert world.network.faults["partitioned"] > 0
