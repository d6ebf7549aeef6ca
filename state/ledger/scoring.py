"""What a committee's reports say of an item, and what each report was worth. Knows numbers; no accounts, money or state.

All values are integers and ``//`` is floor toward minus infinity. Scores are 0..100, ratios in basis points. Reports are
given by item and then by reviewer: ``reports[item][reviewer]`` is ``(completeness, accuracy, relevance)``, and
``weights[reviewer]`` is that reviewer's vote.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from omnitensor.protocol.bodies import CampaignSpec
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS

Triple = tuple[int, int, int]
CRITERIA: Final = ("completeness", "accuracy", "relevance")


class Bar(NamedTuple):
    """What a campaign holds items against: weights of the criteria (sum 10,000), their thresholds, and the overall one."""

    weights: Triple
    thresholds: Triple
    overall: int


def bar_of(spec: CampaignSpec) -> Bar:
    return Bar(spec.criterion_weights, spec.thresholds, spec.overall_threshold)


class Tally(NamedTuple):
    """Outcome for one item: score of each criterion, whether it passes, and the weight that says the same, in BPS."""

    scores: Triple
    accepted: bool
    agreement_bps: int


class ReferenceKind(IntEnum):
    """Against what a reviewer's bits are held for one item."""

    PEERS = 0
    """The weighted majority of the other reviewers."""
    FINAL = 1
    """A later round, whose verdict stands."""
    GOLD = 2
    """Expected bits, committed before the draw."""


class Reference(NamedTuple):
    kind: ReferenceKind
    bits: Triple = (0, 0, 0)
    """Whether each criterion passes; without meaning for ``PEERS``."""


PEERS: Final = Reference(ReferenceKind.PEERS)


class Score(NamedTuple):
    """How one reviewer did on one batch. Points are in BPS (0: no better than a constant, negative: worse)."""

    peer: int | None
    gold: int | None
    peer_items: int
    gold_items: int
    closeness_bps: int
    """10,000 less the mean distance from the others' median, beyond what is free."""
    references: tuple[tuple[int, int], ...]
    """``(criterion, bit)`` of every peer reference used; they feed the campaign's base rates."""


def weighted_median(pairs: Sequence[tuple[int, int]]) -> int:
    """Lower weighted median of ``(value, weight)`` pairs: the first value, from below, that half of the weight reaches."""
    assert pairs, "the median of nothing"
    ordered = sorted(pairs)
    total = sum(weight for _, weight in ordered)
    reached = 0
    for value, weight in ordered:
        reached += weight
        if 2 * reached >= total:
            return value
    raise AssertionError("weights are positive, so half of them is reached")


def overall(scores: Triple, bar: Bar) -> int:
    """Weighted sum of the criteria in points times 10,000."""
    return sum(score * weight for score, weight in zip(scores, bar.weights, strict=True))


def passes(scores: Triple, bar: Bar) -> bool:
    """Every criterion reaches its threshold and the weighted sum the overall one."""
    return (
        all(score >= threshold for score, threshold in zip(scores, bar.thresholds, strict=True))
        and overall(scores, bar) >= bar.overall * BPS
    )


def bits_of(scores: Triple, bar: Bar) -> Triple:
    """Which criteria reach their thresholds."""
    completeness, accuracy, relevance = (
        int(score >= threshold) for score, threshold in zip(scores, bar.thresholds, strict=True)
    )
    return completeness, accuracy, relevance


def tally(reports: Sequence[Triple], weights: Sequence[int], bar: Bar) -> Tally:
    """Verdict of a committee on one item; ``reports[i]`` has the weight ``weights[i]``."""
    scores = (
        weighted_median([(report[0], weight) for report, weight in zip(reports, weights, strict=True)]),
        weighted_median([(report[1], weight) for report, weight in zip(reports, weights, strict=True)]),
        weighted_median([(report[2], weight) for report, weight in zip(reports, weights, strict=True)]),
    )
    accepted = passes(scores, bar)
    agreeing = sum(
        weight for report, weight in zip(reports, weights, strict=True) if passes(report, bar) == accepted
    )
    return Tally(scores, accepted, agreeing * BPS // sum(weights))


def points(bit: int, reference: int, prior_bps: int, clip_bps: int) -> int:
    """Peer truth serum: agreeing pays the inverse of how common the answer is, less one; disagreeing costs one, in BPS.

    ``prior_bps`` is the share of ones, kept within ``clip_bps`` of either end. Whoever always gives one answer expects zero.
    """
    ones = min(clip_bps, max(BPS - clip_bps, prior_bps))
    share = ones if bit else BPS - ones
    return BPS * BPS // share - BPS if bit == reference else -BPS


def score(
    reviewer: int,
    reports: Sequence[Sequence[Triple]],
    weights: Sequence[int],
    references: Sequence[Reference],
    priors_bps: Triple,
    gold_priors_bps: Triple,
    bar: Bar,
    params: Params,
) -> Score:
    """Score of reviewer number ``reviewer`` over the items of a batch.

    A criterion on which the others' weight ties has no reference and is left out. A reviewer without others is held
    against nothing: no peer points, full closeness.
    """
    peer_points = peer_weight = gold_points = gold_weight = 0
    peer_items = gold_items = distance = distances = 0
    used: list[tuple[int, int]] = []
    for by_reviewer, reference in zip(reports, references, strict=True):
        own = by_reviewer[reviewer]
        if reference.kind is ReferenceKind.GOLD:
            gold_items += 1
        else:
            peer_items += 1
        for criterion, threshold in enumerate(bar.thresholds):
            bit = int(own[criterion] >= threshold)
            weight = bar.weights[criterion]
            if reference.kind is ReferenceKind.GOLD:
                expected = reference.bits[criterion]
                gold_points += weight * points(
                    bit, expected, gold_priors_bps[criterion], params.peer_clip_bps
                )
                gold_weight += weight
                continue
            others = [
                (report[criterion], weights[other])
                for other, report in enumerate(by_reviewer)
                if other != reviewer
            ]
            if others:
                away = abs(own[criterion] - weighted_median(others)) - params.closeness_free_points
                distance += min(params.closeness_span_points, max(0, away))
                distances += 1
            found = reference_bit(reference, criterion, others, threshold)
            if found is None:
                continue
            peer_points += weight * points(bit, found, priors_bps[criterion], params.peer_clip_bps)
            peer_weight += weight
            used.append((criterion, found))
    return Score(
        peer_points // peer_weight if peer_weight else None,
        gold_points // gold_weight if gold_weight else None,
        peer_items,
        gold_items,
        BPS - (distance * BPS // (params.closeness_span_points * distances) if distances else 0),
        tuple(used),
    )


def reference_bit(
    reference: Reference, criterion: int, others: Sequence[tuple[int, int]], threshold: int
) -> int | None:
    """What a criterion is held against: a final bit, or the others' weighted majority; None when that ties."""
    if reference.kind is ReferenceKind.FINAL:
        return reference.bits[criterion]
    margin = sum(weight if value >= threshold else -weight for value, weight in others)
    return None if margin == 0 else int(margin > 0)


def prior_bps(ones: int, total: int, params: Params) -> int:
    """Share of ones among the references so far, in BPS, with ``prior_weight`` imagined references that were even."""
    return (params.prior_weight * BPS // 2 + ones * BPS) // (params.prior_weight + total)
