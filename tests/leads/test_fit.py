"""The test of fit is fair to draws that are honest, and sees those that are not."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from tests.leads.fit import SIGNIFICANCE, fit_of
from tests.leads.record import EpochRecord

Epochs = list[tuple[dict[str, int], Counter[str]]]


def drawn(seed: int, unfair: float = 1.0) -> Epochs:
    """Forty epochs of 40 views, whose credit changes; ``unfair`` times its share for one of them."""
    chance = random.Random(seed)
    epochs: Epochs = []
    for _ in range(40):
        weights = {name: chance.randrange(1, 100) for name in ("ann", "ben", "cid")}
        pulled = {name: weight * (unfair if name == "ann" else 1.0) for name, weight in weights.items()}
        led = Counter(chance.choices(list(pulled), list(pulled.values()), k=40))
        epochs.append((weights, led))
    return epochs


def test_chances_of_honest_draws_are_spread_evenly() -> None:
    """Deciles over 400 runs: none is out of what is due by five standard deviations."""
    chances = [fit_of(drawn(seed)).chance for seed in range(400)]
    counts, _ = np.histogram(chances, 10, (0.0, 1.0))
    assert all(abs(count - 40) < 5 * 36**0.5 for count in counts.tolist()), counts
    assert sum(chance < SIGNIFICANCE for chance in chances) <= 4


def test_who_leads_a_third_too_often_is_seen() -> None:
    assert all(not fit_of(drawn(seed, unfair=1.5)).holds for seed in range(20))


def test_of_one_epoch_it_is_pearsons() -> None:
    weights, led = {"ann": 1, "ben": 2, "cid": 7}, Counter({"ann": 20, "ben": 12, "cid": 68})
    found = fit_of([(weights, led)])
    expected = chisquare([20, 12, 68], [10, 20, 70])
    assert (found.statistic, found.chance) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found.freedom, found.due) == (2, {"ann": 10, "ben": 20, "cid": 70})


def test_who_leads_without_weight_never_fits() -> None:
    assert fit_of([({"ann": 1_000_000}, Counter({"ann": 5_000, "ben": 1}))]).chance == 0.0


def test_one_alone_fits_always() -> None:
    assert fit_of([({"ann": 3}, Counter({"ann": 50}))]).chance == 1.0


# -- an epoch's record


def an_epoch(views: int = 60) -> EpochRecord:
    """An epoch that went by the draw; every seventh view was skipped."""
    plain = EpochRecord(
        4, bytes(range(32)), {"v0": 10, "v1": 10}, {"w0": 30, "v1": 10, "w1": 1}, 9, {}, (), Counter()
    )
    skipped = tuple(view for view in range(1, views) if view % 7 == 0)
    led = {view: plain.due(view) for view in range(1, views + 1) if view not in skipped}
    told = Counter(plain.due(view) for view in skipped if view % 3)
    return EpochRecord(4, plain.seed, plain.stakes, plain.credit, 9, led, skipped, told)


def test_a_record_that_went_by_the_draw_has_no_fault() -> None:
    record = an_epoch()
    assert record.faults() == []
    assert record.turns_of_work.total() == 40
    assert record.led_by_stake.total() + record.led_by_work.total() == 60 - 8


def test_one_lead_out_of_turn_one_view_unaccounted_and_one_charge_too_few_are_seen() -> None:
    record = an_epoch()
    taken = next(view for view, name in record.led.items() if name == "w0")
    record.led[taken] = "w1"
    assert [fault.split(" was ")[0] for fault in record.faults()] == [f"epoch 4: view {taken}"]
    record = an_epoch()
    del record.led[20]
    assert "neither led nor skipped" in record.faults()[0]
    record = an_epoch()
    record.told.subtract([next(iter(record.told))])
    assert "charged for" in record.faults()[0]
