"""Real people's labels, given through the whole ledger, against the plain majority of the labels of the first rounds.

Figures differ from town to town by two or three hundredths: ``make labels`` says what they are over many, and how sure that is.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import mean

import pytest

from state.schema import SEATS
from tests.ledger.label_figures import (
    BLUEBIRDS_ACCURACY_MIN,
    BLUEBIRDS_LABELS_MAX,
    JOY_POINTS_MAX,
    RTE_ACCURACY_MIN,
    RTE_LABELS_MAX,
    STANDARD,
    acquainted,
    figures,
    mean_errors,
    means,
)
from tests.ledger.labels import YES, Judged, Labels, bluebirds, judged, rte


@pytest.mark.slow
def test_textual_entailment_by_five_of_ten_workers_and_then_the_others() -> None:
    labels = rte()
    assert (len(labels.truth), len(labels.workers)) == (800, 164)
    played = [judged(labels, STANDARD, seed=seed) for seed in range(1, 5)]
    found = means(figures(one, labels) for one in played)
    assert found.accuracy >= RTE_ACCURACY_MIN
    assert found.labels <= RTE_LABELS_MAX
    assert found.accuracy > found.majority
    assert_pay_follows_accuracy(played[-1], labels)


@pytest.mark.slow
def test_bluebirds_by_people_whose_standing_is_known() -> None:
    """A hundred images are too few to know anybody: standings are those of eight campaigns before, by other committees."""
    labels = bluebirds()
    assert (len(labels.truth), len(labels.workers)) == (108, 39)
    strangers, known = map(
        means, zip(*(acquainted(labels, STANDARD, seed) for seed in range(1, 17)), strict=True)
    )
    assert known.accuracy >= BLUEBIRDS_ACCURACY_MIN
    assert known.beside_gold >= BLUEBIRDS_ACCURACY_MIN
    assert known.labels <= BLUEBIRDS_LABELS_MAX
    assert known.accuracy > strangers.accuracy > strangers.majority


def test_one_hostile_reviewer_in_five_hardly_moves_a_median() -> None:
    """Scores of a headline's joy: the ledger's medians against the experts', with every fifth worker saying the opposite."""
    errors = mean_errors(range(1, 25))
    assert errors.hostile <= errors.honest + JOY_POINTS_MAX
    assert errors.hostile < errors.means


def assert_pay_follows_accuracy(found: Judged, labels: Labels) -> None:
    """The third of the reviewers who are most often right earn more a report than the third who are least often right."""
    town = found.town
    paid: dict[str, list[float]] = defaultdict(list)
    for number, who in found.reports:
        batch = town.batch(number)
        seat = town.view.get(SEATS, number, batch.round, who)
        assert seat is not None
        paid[town.names[who]].append((seat.paid - seat.penalty) / batch.fee)
    right: dict[str, list[bool]] = defaultdict(list)
    for item, said in labels.by_item.items():
        for worker, score in said.items():
            right[worker].append((score == YES) == bool(labels.truth[item]))
    ranked = sorted(paid, key=lambda worker: mean(right[worker]))
    third = len(ranked) // 3
    low, high = (mean(mean(paid[worker]) for worker in part) for part in (ranked[:third], ranked[-third:]))
    assert high > low
