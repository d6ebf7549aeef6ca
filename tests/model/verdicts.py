"""Verdicts, scores, reputation and pay, after docs/specification/data-validation.md. Part of the model."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

from tests.model.campaigns import U64_MAX
from tests.model.ground import BPS, Ground, Thing, parts_of
from tests.model.seats import REVEALED

CRITERIA = ("completeness", "accuracy", "relevance")
FLAGS = ("duplicate", "personal_data", "illegal", "poisoned", "unavailable", "wrong_tier", "licence")


def lower_median(values: list[int], weights: list[int]) -> int:
    """The smallest value that half of the weight does not exceed."""
    return min(
        value
        for value in values
        if 2 * sum(weight for other, weight in zip(values, weights, strict=True) if other <= value)
        >= sum(weights)
    )


class Judged:
    """What a committee says of one item."""

    def __init__(self, spec: Any, reports: list[tuple[int, ...]], weights: list[int]) -> None:
        self.spec = spec
        total = sum(weights)
        self.scores = tuple(lower_median([report[c] for report in reports], weights) for c in range(3))
        self.good = self.passes(self.scores)
        agreeing = sum(
            weight
            for report, weight in zip(reports, weights, strict=True)
            if self.passes(report[:3]) == self.good
        )
        self.agreement = floor(Fraction(agreeing * BPS, total))
        raised = [
            sum(weight for report, weight in zip(reports, weights, strict=True) if report[3] >> bit & 1)
            for bit in range(7)
        ]
        self.flagged = 4 * sum(w for report, w in zip(reports, weights, strict=True) if report[3]) >= total
        self.heard = tuple(
            name for name, weight in zip(FLAGS, raised, strict=True) if weight and 4 * weight >= total
        )
        self.agreed = tuple(
            name
            for name, weight in zip(FLAGS, raised, strict=True)
            if name in self.heard and Fraction(weight, total) >= Fraction(spec.agree_min_bps, BPS)
        )
        self.overall = self.sum_of(self.scores) // BPS

    def sum_of(self, scores: tuple[int, ...]) -> int:
        return sum(score * weight for score, weight in zip(scores, self.spec.criterion_weights, strict=True))

    def passes(self, scores: tuple[int, ...]) -> bool:
        reached = all(score >= bar for score, bar in zip(scores, self.spec.thresholds, strict=True))
        return reached and self.sum_of(scores) >= self.spec.overall_threshold * BPS

    def failed(self) -> tuple[str, ...]:
        names = [
            name
            for name, score, bar in zip(CRITERIA, self.scores, self.spec.thresholds, strict=True)
            if score < bar
        ]
        if self.sum_of(self.scores) < self.spec.overall_threshold * BPS:
            names.append("overall")
        return tuple(names)


class Verdicts(Ground):
    """Ends batches, and pays or charges their reviewers."""

    def quality(self, address: bytes) -> int:
        """``Q``: the decayed average, capped by the two gates once they have evidence enough."""
        row = self.reviewers.get(address)
        total, gold, peer = (row.total, row.gold, row.peer) if row else ((0, 0),) * 3
        p = self.p
        prior = p.reputation_prior_weight
        found = floor(Fraction(total[0] + p.reputation_break_even_bps * prior, total[1] + prior))
        for (points, weight), least, bar, prior in (
            (gold, p.gate_gold_evidence_min, p.gate_gold_bps, p.gate_gold_prior_weight),
            (peer, p.gate_peer_evidence_min, p.gate_peer_bps, p.gate_peer_prior_weight),
        ):
            if weight >= least:
                gate = floor(Fraction(points, weight + prior))
                found = min(found, gate) if gate < bar else found
        return found

    def vote_weight(self, address: bytes) -> int:
        return max(1, min(8, 2 + self.quality(address) * 8 // BPS))

    def decide(self, number: int) -> None:
        batch = self.batches[number]
        campaign = self.campaigns[batch.campaign]
        sitting = [address for address, _ in self.seats_in(number, REVEALED)]
        weights = [self.vote_weight(address) for address in sitting]
        reports = [self.seats[number, batch.round, address].report for address in sitting]
        by_item = [
            [tuple(report[4 * place : 4 * place + 4]) for report in reports]
            for place in range(len(batch.items))
        ]
        for address, weight in zip(sitting, weights, strict=True):
            self.seats[number, batch.round, address].vote = weight
        by_item = [[(*said[:3], said[3] & ~1) for said in reports] for reports in by_item]
        for item, said in zip(batch.items, by_item, strict=True):
            self._end_item(item, Judged(campaign.spec, said, weights))
        for item in batch.items:
            self.set_aside(campaign, 0, -self.items[item].review_reserved, 0)
            self.items[item].review_reserved = 0
        self._reward(number, batch, campaign, sitting, weights, by_item)
        self.settling[self.height + max(1, self.p.challenge_blocks), number] = True

    def _end_item(self, number: int, judged: Judged) -> None:
        item = self.items[number]
        if item.displaced:
            self.reject(number, ("duplicate",), parts_of(item.bond, self.p.reject_bond_bps))
            return
        item.scores, item.overall = judged.scores, judged.overall
        item.agreement_bps = judged.agreement
        if judged.agreement < judged.spec.agree_min_bps:
            self.leave_undecided(number, ("disagreement", *judged.heard))
        elif not judged.good:
            self.hold_rejected(number, (*judged.failed(), *judged.heard), self._rejection_cost(item, judged))
        elif not judged.flagged:
            self.accept(number, judged.overall)
        elif judged.agreed:
            self.hold_rejected(number, judged.agreed, self._rejection_cost(item, judged, flagged=True))
        else:
            self.leave_undecided(number, ("flagged", *judged.heard))

    def _rejection_cost(self, item: Thing, judged: Judged, flagged: bool = False) -> int:
        if {"illegal", "poisoned"} & set(judged.agreed):
            return int(item.bond)
        near = all(
            score >= bar - self.p.near_miss_points
            for score, bar in zip(judged.scores, judged.spec.thresholds, strict=True)
        )
        if near and not judged.heard and not flagged:
            return 0
        return parts_of(item.bond, self.p.reject_bond_bps)

    # -- reviewers

    def _reward(
        self,
        number: int,
        batch: Thing,
        campaign: Thing,
        sitting: list[bytes],
        weights: list[int],
        by_item: list[list[tuple[int, ...]]],
    ) -> None:
        p = self.p
        priors = [
            (p.prior_weight * BPS // 2 + ones * BPS) // (p.prior_weight + total)
            for ones, total in zip(campaign.ones, campaign.totals, strict=True)
        ]
        used: list[tuple[int, int]] = []
        for place, address in enumerate(sitting):
            points, closeness, references = self._score(place, weights, by_item, priors, campaign.spec)
            used += references
            self._settle_seat(number, batch, campaign, address, points, closeness)
        campaign.ones = tuple(
            have + sum(bit for c, bit in used if c == criterion)
            for criterion, have in enumerate(campaign.ones)
        )
        campaign.totals = tuple(
            have + sum(c == criterion for c, _ in used) for criterion, have in enumerate(campaign.totals)
        )

    def _score(
        self,
        place: int,
        weights: list[int],
        by_item: list[list[tuple[int, ...]]],
        priors: list[int],
        spec: Any,
    ) -> tuple[int | None, int, list[tuple[int, int]]]:
        """Points against peers, closeness, and the references that were used."""
        gained = weight_of = away = compared = 0
        used = []
        others = [other for other in range(len(weights)) if other != place]
        for reports in by_item:
            for criterion, bar in enumerate(spec.thresholds):
                own = reports[place][criterion]
                theirs = [reports[other][criterion] for other in others]
                votes = [weights[other] for other in others]
                if others:
                    distance = abs(own - lower_median(theirs, votes)) - self.p.closeness_free_points
                    away += max(0, min(self.p.closeness_span_points, distance))
                    compared += 1
                ones = sum(vote for score, vote in zip(theirs, votes, strict=True) if score >= bar)
                zeros = sum(votes) - ones
                if ones == zeros:
                    continue
                reference = int(ones > zeros)
                bit = int(own >= bar)
                share = max(BPS - self.p.peer_clip_bps, min(self.p.peer_clip_bps, priors[criterion]))
                share = share if bit else BPS - share
                gained += spec.criterion_weights[criterion] * (
                    BPS**2 // share - BPS if bit == reference else -BPS
                )
                weight_of += spec.criterion_weights[criterion]
                used.append((criterion, reference))
        points = floor(Fraction(gained, weight_of)) if weight_of else None
        spread = self.p.closeness_span_points * compared
        closeness = BPS - (away * BPS // spread if compared else 0)
        return points, closeness, used

    def _settle_seat(
        self,
        number: int,
        batch: Thing,
        campaign: Thing,
        address: bytes,
        points: int | None,
        closeness: int,
    ) -> None:
        record, p = self.reviewer(address), self.p
        record.reports += 1
        if points is not None:
            evidence = len(batch.items) * 1000
            share = evidence * (BPS - p.gamma_gold_bps) // BPS
            record.total = decayed(record.total, p.reputation_decay, points, share)
            record.peer = decayed(record.peer, p.gate_decay, points, evidence)
        self.note_review(address, len(batch.items), 0 if points is not None and points < 0 else closeness)
        quality = self.quality(address)
        standing = (quality - p.reputation_break_even_bps) * BPS // p.reputation_span_bps
        standing = max(-BPS, min(BPS, standing))
        penalty = 0
        if standing < 0 and points is not None and points < 0:
            penalty = batch.fee * -standing * p.penalty_bps // BPS**2
        self.charge(number, address, penalty, REVEALED)
        base = p.closeness_base_bps
        amount = batch.fee * max(0, standing) * (base + (BPS - base) * closeness // BPS) // BPS**2
        campaign.available -= amount
        assert campaign.available >= 0
        campaign.paid_reviewers = min(U64_MAX, campaign.paid_reviewers + amount)
        self.move("campaigns", address, amount)
        self.note_payment(address, "review", amount, batch.campaign, batch=number)
        seat = self.seats[number, batch.round, address]
        seat.paid, seat.quality_bps, seat.closeness_bps = amount, quality, closeness
        seat.peer_bps = points or 0


def decayed(average: tuple[int, int], decay: tuple[int, int], value: int, weight: int) -> tuple[int, int]:
    kept = Fraction(*decay)
    return floor(average[0] * kept) + value * weight, floor(average[1] * kept) + weight
