"""A quick look at the simulator of people: the order of earnings that the whole of it shows, in a few short campaigns."""

from __future__ import annotations

from statistics import mean

import pytest

from benchmarks.people import design
from benchmarks.people.__main__ import KINDS, Run, play, runs_of, summed
from benchmarks.people.minds import DEVIATIONS, honest
from benchmarks.people.scenes import Played, Scene


def lone(mind: str, seed: int = 1, good: float = 0.7) -> Played:
    return play(Run("lone", mind, 0.0, good, seed, 24))


@pytest.mark.parametrize("mind", ["gold_aware", "copies", "always_accept", "always_reject", "random"])
def test_habit_costs_and_work_is_paid(mind: str) -> None:
    played = lone(mind)
    paid = mean(value for name, value in played.pay.items() if name.startswith("honest"))
    assert played.pay["other"] < 0 < 0.8 < paid
    assert played.accuracy > 0.93


def test_half_the_work_earns_less_than_half() -> None:
    played = [lone("half_effort", seed) for seed in (1, 2)]
    found = summed(played)
    assert found.others < found.honest / 2


def test_a_coalition_of_a_third_gets_no_spam_in() -> None:
    played = play(Run("coalition", "own_spam", 0.3, 0.7, 1, 24))
    assert played.spam_accepted <= 0.05
    assert played.accuracy > 0.93


def test_appeals_turn_wrong_rejections_and_not_right_ones() -> None:
    played = play(Run("appeals", "honest", 0.0, 0.7, 1, 24))
    turned, tried = played.appeals["right"]
    assert tried > 30
    assert turned <= tried // 20
    turned, tried = played.appeals["wrong"]
    assert turned * 2 > tried > 0


def test_a_run_is_the_same_every_time() -> None:
    minds = {f"honest{n}": honest for n in range(6)}
    assert Scene(minds, 3).play(0.8, 4) == Scene(minds, 3).play(0.8, 4)
    assert Scene(minds, 3).play(0.8, 4) != Scene(minds, 4).play(0.8, 4)


def test_everything_that_the_design_measured_is_run() -> None:
    runs = runs_of(1, 1, KINDS)
    assert set(DEVIATIONS) == set(design.PAY) - {"honest"}
    assert len(DEVIATIONS) == 10
    assert {(run.mind, run.good) for run in runs if run.kind == "lone"} == {
        (mind, good) for mind in DEVIATIONS for good in (0.5, 0.7, 0.9, 0.95)
    }
    shares = {(run.mind, run.share) for run in runs if run.kind == "coalition"}
    assert set(design.COALITIONS) | {("own_spam", share) for share in design.SPAM} <= shares
