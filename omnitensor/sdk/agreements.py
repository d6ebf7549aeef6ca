"""How well a campaign's reviewers agree, criterion by criterion, from the reports they revealed. Pure; asks no node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from omnitensor.protocol.reviews import REPORT_ITEM_BYTES, ReportError, decode_report
from omnitensor.protocol.types import BPS
from omnitensor.sdk.agreement import Coefficient, Unit, ac1, alpha, observed
from omnitensor.sdk.errors import ResponseError
from omnitensor.sdk.results_base import Result
from omnitensor.sdk.results_data import SpecInfo
from omnitensor.sdk.results_report import BatchLine

CRITERIA: Final = ("completeness", "accuracy", "relevance")

Plain = tuple[int, int, int]
"""A `Unit` as it is counted."""


class Agreement(Result, frozen=True):
    """One question to the reviewers. Coefficients are 1 for perfect agreement and 0 for what chance gives."""

    name: str
    """completeness, accuracy or relevance: of the scores, and whether they reach the threshold; verdict; flagged."""
    units: int
    """Items that at least two reviewers judged."""
    reports: int
    """Ratings of those items."""
    same: float | None
    """Share of pairs of reviewers who say the same about an item: passes or not, accepts or not, flags or not."""
    alpha: Coefficient
    """Krippendorff's nominal alpha of the same."""
    ac1: Coefficient
    """Gwet's AC1 of the same: it does not fall where nearly all items are good."""
    alpha_scores: Coefficient | None = None
    """Krippendorff's interval alpha of the scores 0..100, of a criterion."""


class AgreementReport(Result, frozen=True):
    """By question, over the batches of a round."""

    campaign: int
    round: int
    batches: int
    agreements: list[Agreement]


class Tables:
    """Counts units as batches come; what is held does not grow with a campaign."""

    def __init__(self, campaign: int, spec: SpecInfo, round_: int) -> None:
        self._campaign = campaign
        self._spec = spec
        self._round = round_
        self._batches = 0
        self._bits: dict[str, Counter[Plain]] = {
            name: Counter() for name in (*CRITERIA, "verdict", "flagged")
        }
        self._scores: dict[str, Counter[Plain]] = {name: Counter() for name in CRITERIA}

    def add(self, batch: BatchLine) -> None:
        """A batch with its members; one of another round, or whose reports are not open, changes nothing.

        Raises ResponseError where a report is none.
        """
        if batch.round != self._round:
            return
        reports = [member.report for member in batch.members or () if member.report]
        if not reports:
            return
        self._batches += 1
        said = [_bytes_of(report, batch) for report in reports]
        for start in range(0, len(said[0]), REPORT_ITEM_BYTES):
            self._add_item([report[start : start + REPORT_ITEM_BYTES] for report in said])

    def _add_item(self, views: list[bytes]) -> None:
        """What each reviewer said of an item: three scores and flags, a byte each. Plain, for a campaign may have a million."""
        ratings = len(views)
        for place, name in enumerate(CRITERIA):
            scores = [view[place] for view in views]
            squares = sum([score * score for score in scores])
            self._scores[name][ratings, sum(scores), squares] += 1
            bar = self._spec.thresholds[place]
            self._count_bits(name, ratings, sum([score >= bar for score in scores]))
        self._count_bits("verdict", ratings, sum([accepts(view, self._spec) for view in views]))
        self._count_bits("flagged", ratings, sum([view[3] != 0 for view in views]))

    def _count_bits(self, name: str, ratings: int, ones: int) -> None:
        self._bits[name][ratings, ones, ones] += 1

    def report(self) -> AgreementReport:
        return AgreementReport(
            campaign=self._campaign,
            round=self._round,
            batches=self._batches,
            agreements=[self._agreement(name, _units(bits)) for name, bits in self._bits.items()],
        )

    def _agreement(self, name: str, units: Counter[Unit]) -> Agreement:
        paired = {unit: times for unit, times in units.items() if unit.ratings >= 2}
        return Agreement(
            name=name,
            units=sum(paired.values()),
            reports=sum(unit.ratings * times for unit, times in paired.items()),
            same=observed(units),
            alpha=alpha(units),
            ac1=ac1(units),
            alpha_scores=alpha(_units(self._scores[name])) if name in self._scores else None,
        )


def _bytes_of(report: str, batch: BatchLine) -> bytes:
    """A report's bytes, four an item. Raises ResponseError where they are none."""
    try:
        data = bytes.fromhex(report)
        decode_report(data, len(batch.items))
    except (ReportError, ValueError) as error:
        raise ResponseError(
            f"the node sent a report that is none: {error}", value=f"batch {batch.batch}"
        ) from error
    return data


def _units(plain: Counter[Plain]) -> Counter[Unit]:
    return Counter({Unit(*key): times for key, times in plain.items()})


def accepts(view: bytes, spec: SpecInfo) -> bool:
    """Whether a reviewer's own view of an item is that it should be accepted: by its scores, and without a flag."""
    first, second, third, flags = view
    bars, weights = spec.thresholds, spec.criterion_weights
    if flags or first < bars[0] or second < bars[1] or third < bars[2]:
        return False
    overall = first * weights[0] + second * weights[1] + third * weights[2]
    return overall >= spec.overall_threshold * BPS


def agreement_of(
    campaign: int, spec: SpecInfo, batches: Iterable[BatchLine], round_: int = 1
) -> AgreementReport:
    """The whole report from batches with members."""
    tables = Tables(campaign, spec, round_)
    for batch in batches:
        tables.add(batch)
    return tables.report()
