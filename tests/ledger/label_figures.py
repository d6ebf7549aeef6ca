"""What the ledger makes of real labels, over many towns: means, and how sure they are.

``make labels`` plays 40 towns of each (``TOWNS=n`` for another number), writes ``benchmarks/results/labels.json``, and exits
with 1 where a mean is not what the design promises. The suite plays the first few of the same towns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from benchmarks.people.town import SPEC
from omnitensor.protocol.bodies import CampaignSpec
from omnitensor.protocol.reviews import ItemScore
from tests.ledger.labels import JOY_BAR, Judged, Labels, bluebirds, campaigns_judged, joy, judged, rte

RESULTS: Final = Path(__file__).parents[2] / "benchmarks" / "results" / "labels.json"
STANDARD: Final = SPEC
STRICT: Final = replace(SPEC, first_seats=7, second_seats=15)
ECONOMY: Final = replace(SPEC, first_seats=3, second_seats=9, agree_min_bps=10_000)
EVEN: Final = replace(SPEC, first_seats=7, second_seats=7)
JOY: Final = replace(SPEC, thresholds=(JOY_BAR, JOY_BAR, JOY_BAR), overall_threshold=JOY_BAR)
BEFORE: Final = 8
"""Campaigns in which people come to be known, and"""
COUNTED: Final = 8
"""those after them, over which figures are means."""
RTE_ACCURACY_MIN, RTE_LABELS_MAX = 0.91, 6.5
BLUEBIRDS_ACCURACY_MIN, BLUEBIRDS_LABELS_MAX = 0.82, 9.5
JOY_POINTS_MAX: Final = 2.0
"""What one hostile reviewer in five may add to the medians' mean error."""


class Figures(NamedTuple):
    """Of one town, or means over several."""

    accuracy: float
    beside_gold: float
    """Accuracy over the items whose truth nobody was told."""
    majority: float
    """Accuracy of the majority of the same first rounds."""
    labels: float
    """Labels an item, of both rounds."""


def figures(found: Judged, labels: Labels) -> Figures:
    return Figures(
        found.accuracy(labels.truth),
        found.accuracy_beside_gold(labels.truth),
        found.majority(labels.truth),
        found.given / len(labels.truth),
    )


def means(found: Iterable[Figures]) -> Figures:
    return Figures(*map(mean, zip(*found, strict=True)))


def strangers(labels: Labels, spec: CampaignSpec, seed: int) -> Figures:
    """A town's first campaign: everybody is as good as any."""
    return figures(judged(labels, spec, seed=seed), labels)


def acquainted(labels: Labels, spec: CampaignSpec, seed: int) -> tuple[Figures, Figures]:
    """A town's first campaign, and those after ``BEFORE`` others, by which people are known."""
    played = islice(campaigns_judged(labels, spec, seed=seed), BEFORE + COUNTED)
    found = [figures(one, labels) for one in played]
    return found[0], means(found[BEFORE:])


class Errors(NamedTuple):
    """Mean distances in points between scores of joy and the experts', over all headlines."""

    honest: float
    """The ledger's medians of what people said, and"""
    hostile: float
    """where one in five says the opposite."""
    means: float
    """With them, the mean of the labels that the first committees gave."""


def hostile_errors(seed: int) -> Errors:
    labels, truth = joy()
    turned = with_hostile(labels, set(Random(seed).sample(labels.workers, len(labels.workers) // 5)))
    honest, hostile = (judged(one, JOY, seed=seed) for one in (labels, turned))
    of_means = mean(
        abs(mean(score.accuracy for score in said) - truth[item]) for item, said in hostile.first.items()
    )
    return Errors(medians_error(honest, truth), medians_error(hostile, truth), of_means)


def with_hostile(labels: Labels, hostile: set[str]) -> Labels:
    """The same labels, of which some people say the opposite."""
    by_item = {
        item: {
            worker: ItemScore(*[100 - score for score in given.criteria]) if worker in hostile else given
            for worker, given in said.items()
        }
        for item, said in labels.by_item.items()
    }
    return Labels(by_item, labels.truth, labels.groups)


def medians_error(found: Judged, truth: dict[str, float]) -> float:
    """Mean distance in points between the second criterion's scores and what is taken as true."""
    return mean(abs(found.town.item(found.item_of[item]).scores[1] - right) for item, right in truth.items())


def mean_errors(seeds: Iterable[int]) -> Errors:
    return Errors(*map(mean, zip(*map(hostile_errors, seeds), strict=True)))


class Report:
    """Prints a line for each figure, and keeps it for the file."""

    def __init__(self) -> None:
        self.out: dict[str, Any] = {}

    def add(self, name: str, found: list[Figures]) -> Figures:
        of_all = means(found)
        sure = stdev(one.accuracy for one in found) / len(found) ** 0.5 if len(found) > 1 else 0.0
        print(
            f"{name:44}{of_all.accuracy:.4f} ±{sure:.4f}  beside gold {of_all.beside_gold:.4f}  "
            f"labels {of_all.labels:.2f}  majority of the first round {of_all.majority:.4f}",
            flush=True,
        )
        row = {field: round(value, 4) for field, value in of_all._asdict().items()}
        self.out[name] = row | {"standard_error": round(sure, 4), "towns": len(found)}
        return of_all


def measure(towns: int) -> tuple[dict[str, Any], list[str]]:
    """Everything that is measured, and what is not as it must be."""
    report, wrong = Report(), []
    seeds = range(1, towns + 1)
    few = range(1, max(2, towns // 4) + 1)
    text, birds = rte(), bluebirds()
    found = report.add("rte, strangers", [strangers(text, STANDARD, seed) for seed in seeds])
    if found.accuracy < RTE_ACCURACY_MIN or found.labels > RTE_LABELS_MAX:
        wrong.append(f"RTE: {found.accuracy:.3f} at {found.labels:.2f} labels")
    for name, spec, over in (
        ("standard", STANDARD, seeds),
        ("economy", ECONOMY, few),
        ("strict", STRICT, few),
        ("7 and 7", EVEN, few),
    ):
        first, known = zip(*(acquainted(birds, spec, seed) for seed in over), strict=True)
        report.add(f"bluebirds, {name}, strangers", list(first))
        found = report.add(f"bluebirds, {name}, known people", list(known))
        if spec is STANDARD and not (
            found.accuracy >= BLUEBIRDS_ACCURACY_MIN
            and found.beside_gold >= BLUEBIRDS_ACCURACY_MIN
            and found.labels <= BLUEBIRDS_LABELS_MAX
        ):
            wrong.append(f"bluebirds: {found.accuracy:.3f} at {found.labels:.2f} labels")
    errors = mean_errors(seeds)
    print(
        f"joy: median error {errors.honest:.1f} points, with one hostile in five {errors.hostile:.1f}, "
        f"of the means of the same labels {errors.means:.1f}"
    )
    report.out["joy"] = {field: round(value, 2) for field, value in errors._asdict().items()}
    if errors.hostile > errors.honest + JOY_POINTS_MAX or errors.hostile >= errors.means:
        wrong.append(f"joy: {errors.hostile:.1f} points with hostile reviewers, {errors.honest:.1f} without")
    return report.out, wrong


def main() -> int:
    towns = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    out, wrong = measure(towns)
    RESULTS.write_text(json.dumps(out, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
