"""Scores, reputation and pay of reviewers, after docs/specification/data-validation.md. Part of the model."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

from tests.model.campaigns import U64_MAX
from tests.model.ground import BPS, Ground, Thing
from tests.model.seats import REVEALED
from tests.model.verdicts import lower_median

Bits = tuple[int, ...]
GOLD, FINAL = "gold", "final"


class Score:
    """How one reviewer did on one batch."""

    def __init__(self) -> None:
        self.gained = {"peer": 0, GOLD: 0}
        self.weight = {"peer": 0, GOLD: 0}
        self.items = {"peer": 0, GOLD: 0}
        self.away = self.compared = 0
        self.used: list[tuple[int, int]] = []

    def points(self, of: str) -> int | None:
        return floor(Fraction(self.gained[of], self.weight[of])) if self.weight[of] else None


class ReviewerPay(Ground):
    """What each report of a batch is worth."""

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

    def pay_committee(self, number: int, final: dict[int, Bits]) -> int:
        """Scores and pays everybody who sits; how much was paid."""
        batch = self.batches[number]
        campaign = self.campaigns[batch.campaign]
        self.free_reviews(batch)
        sitting, weights, by_item = self.committee(number)
        priors = {"peer": self._priors(campaign.ones, campaign.totals)}
        priors[GOLD] = self._priors(campaign.gold_ones, campaign.gold_totals)
        references: list[tuple[str, Bits]] = [
            (FINAL, final[item]) if item in final else ("", ()) for item in batch.items
        ]
        for place, _, mask, voided in batch.gold:
            if not voided:
                references[place] = (GOLD, tuple(mask >> bit & 1 for bit in range(3)))
        unread = self.unread(number, sitting)
        by_item = [each for place, each in enumerate(by_item) if place not in unread]
        references = [each for place, each in enumerate(references) if place not in unread]
        paid = 0
        used: list[tuple[int, int]] = []
        for place, address in enumerate(sitting):
            score = self._score(place, weights, by_item, references, priors, campaign.spec)
            used += score.used
            paid += self._settle_seat(number, batch, campaign, address, score)
        campaign.ones, campaign.totals = counted(campaign.ones, campaign.totals, used)
        golds = [each for kind, bits in references if kind == GOLD for each in enumerate(bits)]
        campaign.gold_ones, campaign.gold_totals = counted(campaign.gold_ones, campaign.gold_totals, golds)
        return paid

    def _priors(self, ones: tuple[int, ...], totals: tuple[int, ...]) -> list[int]:
        weight = self.p.prior_weight
        return [
            (weight * BPS // 2 + one * BPS) // (weight + total)
            for one, total in zip(ones, totals, strict=True)
        ]

    def _score(
        self,
        place: int,
        weights: list[int],
        by_item: list[list[tuple[int, ...]]],
        references: list[tuple[str, Bits]],
        priors: dict[str, list[int]],
        spec: Any,
    ) -> Score:
        score = Score()
        others = [other for other in range(len(weights)) if other != place]
        votes = [weights[other] for other in others]
        for reports, (kind, bits) in zip(by_item, references, strict=True):
            of = GOLD if kind == GOLD else "peer"
            score.items[of] += 1
            for criterion, bar in enumerate(spec.thresholds):
                own = reports[place][criterion]
                theirs = [reports[other][criterion] for other in others]
                if kind != GOLD and others:
                    distance = abs(own - lower_median(theirs, votes)) - self.p.closeness_free_points
                    score.away += max(0, min(self.p.closeness_span_points, distance))
                    score.compared += 1
                if kind:
                    reference = bits[criterion]
                else:
                    ones = sum(vote for said, vote in zip(theirs, votes, strict=True) if said >= bar)
                    if 2 * ones == sum(votes):
                        continue
                    reference = int(2 * ones > sum(votes))
                bit, weight = int(own >= bar), spec.criterion_weights[criterion]
                score.gained[of] += weight * self._points(bit, reference, priors[of][criterion])
                score.weight[of] += weight
                if kind != GOLD:
                    score.used.append((criterion, reference))
        return score

    def _points(self, bit: int, reference: int, prior: int) -> int:
        """Agreeing pays the inverse of how common the answer is, less one; disagreeing costs one."""
        if bit != reference:
            return -BPS
        clip = self.p.peer_clip_bps
        ones = max(BPS - clip, min(clip, prior))
        return int(BPS**2 // (ones if bit else BPS - ones) - BPS)

    def _settle_seat(self, number: int, batch: Thing, campaign: Thing, address: bytes, score: Score) -> int:
        p, peer, gold = self.p, score.points("peer"), score.points(GOLD)
        spread = p.closeness_span_points * score.compared
        closeness = BPS - (score.away * BPS // spread if score.compared else 0)
        self._update(address, score)
        wrong = (peer or 0) < 0 or (gold or 0) < 0
        self.note_review(address, len(batch.items), 0 if wrong else closeness)
        quality = self.quality(address)
        standing = (quality - p.reputation_break_even_bps) * BPS // p.reputation_span_bps
        standing = max(-BPS, min(BPS, standing))
        penalty = 0
        if standing < 0 and (gold is not None or (peer or 0) < 0):
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
        seat.peer_bps, seat.gold_bps = peer or 0, gold or 0
        return int(amount)

    def _update(self, address: bytes, score: Score) -> None:
        record, p = self.reviewer(address), self.p
        peer, gold, gamma = score.points("peer"), score.points(GOLD), p.gamma_gold_bps
        record.reports += 1
        if peer is None and gold is None:
            return
        if peer is not None and gold is not None:
            value = (gamma * gold + (BPS - gamma) * peer) // BPS
            evidence = (score.items["peer"] + score.items[GOLD]) * 1000
        elif peer is not None:
            value, evidence = peer, score.items["peer"] * 1000 * (BPS - gamma) // BPS
        else:
            value, evidence = gold or 0, score.items[GOLD] * 1000 * gamma // BPS
        record.total = decayed(record.total, p.reputation_decay, value, evidence)
        if peer is not None:
            record.peer = decayed(record.peer, p.gate_decay, peer, score.items["peer"] * 1000)
        if gold is not None:
            record.gold = decayed(record.gold, p.gate_decay, gold, score.items[GOLD] * 1000)


def decayed(average: tuple[int, int], decay: tuple[int, int], value: int, weight: int) -> tuple[int, int]:
    kept = Fraction(*decay)
    return floor(average[0] * kept) + value * weight, floor(average[1] * kept) + weight


def counted(
    ones: tuple[int, ...], totals: tuple[int, ...], used: list[tuple[int, int]]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Base rates after further references: how many of each criterion, and how many of them were ones."""
    return (
        tuple(have + sum(bit for c, bit in used if c == place) for place, have in enumerate(ones)),
        tuple(have + sum(c == place for c, _ in used) for place, have in enumerate(totals)),
    )
