"""Verdicts of both rounds and appeals, after docs/specification/data-validation.md. Part of the model."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

from tests.model.ground import BPS, Ground, Thing, parts_of, refuse_if, tagged
from tests.model.seats import DONE, REVEALED, SECOND, VERDICT
from tests.model.submissions import ACCEPTED, ESCALATED, IN_REVIEW, REJECTED, UNDECIDED

CRITERIA = ("completeness", "accuracy", "relevance")
FLAGS = ("duplicate", "personal_data", "illegal", "poisoned", "unavailable", "wrong_tier", "licence")
NONE, DISAGREEMENT, FLAGGED, AUDIT, APPEAL = range(5)
OPEN, TURNED, UPHELD, VOID = range(4)
Bits = tuple[int, ...]


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
        self.total = sum(weights)
        self.scores = tuple(lower_median([report[c] for report in reports], weights) for c in range(3))
        self.bits = tuple(int(score >= bar) for score, bar in zip(self.scores, spec.thresholds, strict=True))
        self.good = self.passes(self.scores)
        agreeing = sum(
            weight
            for report, weight in zip(reports, weights, strict=True)
            if self.passes(report[:3]) == self.good
        )
        self.agreement = floor(Fraction(agreeing * BPS, self.total))
        self.raised = [
            sum(weight for report, weight in zip(reports, weights, strict=True) if report[3] >> bit & 1)
            for bit in range(7)
        ]
        any_flag = sum(w for report, w in zip(reports, weights, strict=True) if report[3])
        self.flagged = 4 * any_flag >= self.total
        self.heard = self.agreed_by(0)
        self.overall = self.sum_of(self.scores) // BPS

    def agreed_by(self, bps: int) -> tuple[str, ...]:
        """Flags that such a share of the weight raised, and a quarter at least."""
        return tuple(
            name
            for name, weight in zip(FLAGS, self.raised, strict=True)
            if Fraction(weight, self.total) >= max(Fraction(1, 4), Fraction(bps, BPS))
        )

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

    def first_end(self) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        """How the first round ends an item by itself: status, reasons, and the flags agreed."""
        agreed = self.agreed_by(self.spec.agree_min_bps)
        if self.agreement < self.spec.agree_min_bps:
            return UNDECIDED, ("disagreement", *self.heard), agreed
        if self.good and self.flagged and not agreed:
            return UNDECIDED, ("flagged", *self.heard), agreed
        return self._end(agreed)

    def last_end(self) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        """The same of a second round, whose verdict stands."""
        return self._end(self.agreed_by(5_000))

    def _end(self, agreed: tuple[str, ...]) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        if not self.good:
            return REJECTED, (*self.failed(), *self.heard), agreed
        return (REJECTED, agreed, agreed) if agreed else (ACCEPTED, (), agreed)

    def cause(self) -> int:
        if self.agreement < self.spec.agree_min_bps:
            return DISAGREEMENT
        return FLAGGED if self.flagged else NONE


class Verdicts(Ground):
    """Ends batches and appeals."""

    def open(self) -> None:
        self.appeals = self.table()

    # -- committees

    def committee(self, number: int) -> tuple[list[bytes], list[int], list[list[tuple[int, ...]]]]:
        """Who revealed and still sits, what each weighs, and what all say item by item."""
        batch = self.batches[number]
        seated = self.seats_in(number, REVEALED)
        by_item: list[list[tuple[int, ...]]] = []
        for place in range(len(batch.items)):
            said = []
            for _, seat in seated:
                *scores, flags = seat.report[4 * place : 4 * place + 4]
                named = any(reference.place == place for reference in seat.duplicates)
                said.append((*scores, flags if named else flags & ~1))
            by_item.append(said)
        for place in self.unread(number, [address for address, _ in seated]):
            by_item[place] = [(0, 0, 0, 16)] * len(seated)
        return [address for address, _ in seated], [seat.vote for _, seat in seated], by_item

    def decide(self, number: int) -> None:
        """A batch comes to its verdict."""
        batch = self.batches[number]
        for address, seat in self.seats_in(number, REVEALED):
            seat.vote = self.vote_weight(address)
        batch.phase, batch.outcome, batch.decided_at = DONE, VERDICT, self.height
        batch.settle_at = self.height + max(1, self.p.challenge_blocks)
        self.settling[batch.settle_at, number] = True
        if batch.round == 1:
            self._first_verdict(number, batch)
        else:
            self._second_verdict(number, batch)

    # -- first rounds

    def _first_verdict(self, number: int, batch: Thing) -> None:
        campaign = self.campaigns[batch.campaign]
        sitting, weights, by_item = self.committee(number)
        unread = [batch.items[place] for place in self.unread(number, sitting)]
        self.judge_gold(batch, campaign, weights, by_item, unread)
        judged = [Judged(campaign.spec, said, weights) for said in by_item]
        causes = {
            item: cause
            for item, each in zip(batch.items, judged, strict=True)
            if item not in unread and (cause := self._cause(item, each))
        }
        if causes and not self.affordable(campaign, list(causes)):
            causes = {}
        costs = [
            self._cost(item, each, each.first_end()) for item, each in zip(batch.items, judged, strict=True)
        ]
        for item_number, each, cost in zip(batch.items, judged, costs, strict=True):
            item = self.items[item_number]
            if item.displaced:
                self.reject(item_number, ("duplicate",), parts_of(item.bond, self.p.reject_bond_bps))
                continue
            status, reasons, _ = each.first_end()
            item.scores, item.overall, item.agreement_bps = each.scores, each.overall, each.agreement
            if item_number in causes:
                item.reasons, item.bond_cost = reasons, cost
                self._escalate(item_number, causes[item_number], status)
            else:
                self.end_item(item_number, status, reasons, cost, number)
        if causes:
            batch.phase = SECOND
            batch.second = self._open_second(number, batch.campaign, list(causes), b"")
        else:
            self.pay_committee(number, {})

    def _cause(self, number: int, judged: Judged) -> int:
        if self.items[number].displaced:
            return NONE
        lot = int.from_bytes(tagged("audit", self.beacon, number.to_bytes(8, "big")), "big") % BPS
        return judged.cause() or (AUDIT if lot < judged.spec.audit_bps else NONE)

    def end_item(self, number: int, status: int, reasons: tuple[str, ...], cost: int, batch: int) -> None:
        if status == UNDECIDED:
            self.leave_undecided(number, reasons)
        elif status == ACCEPTED:
            self.accept(number, self.items[number].overall, batch)
        else:
            self.hold_rejected(number, reasons, cost, batch)

    def _cost(self, number: int, judged: Judged, end: tuple[int, tuple[str, ...], tuple[str, ...]]) -> int:
        """What of an item's bond a rejection costs."""
        status, _, agreed = end
        item = self.items[number]
        if status != REJECTED:
            return 0
        if {"illegal", "poisoned"} & set(agreed):
            return int(item.bond)
        near = all(
            score >= bar - self.p.near_miss_points
            for score, bar in zip(judged.scores, judged.spec.thresholds, strict=True)
        )
        if near and not judged.heard:
            return 0
        return parts_of(item.bond, self.p.reject_bond_bps)

    # -- second rounds

    def affordable(self, campaign: Thing, numbers: list[int]) -> int:
        """Seats that a second round over items can have."""
        found = [self.items[number] for number in numbers]
        money = campaign.available + sum(item.escalation_reserved for item in found)
        return int(min(campaign.spec.second_seats, money // sum(item.fee for item in found)))

    def _escalate(self, number: int, cause: int, first: int) -> None:
        item = self.items[number]
        campaign, earned = self.campaigns[item.campaign], self.earned(item.contributor)
        if item.status == REJECTED:
            campaign.rejections_open -= 1
            earned.items_rejected -= 1
        if item.status == ACCEPTED:
            earned.items_accepted -= 1
        item.escalation, item.first, item.open_verdict = cause, first, 0
        self.advance(number, ESCALATED)

    def _open_second(self, origin: int, campaign: int, numbers: list[int], appellant: bytes) -> int:
        asked = self.affordable(self.campaigns[campaign], numbers)
        assert asked > 0
        second = self.count("batch", 1)
        for number in numbers:
            item = self.items[number]
            more = asked * item.fee - item.escalation_reserved
            self.set_aside(self.campaigns[campaign], 0, 0, more)
            item.escalation_reserved += more
            item.second = second
        self.create_batch(second, campaign, numbers, 2, asked, origin, appellant)
        return int(second)

    def _second_verdict(self, number: int, batch: Thing) -> None:
        campaign = self.campaigns[batch.campaign]
        sitting, weights, by_item = self.committee(number)
        unread = [batch.items[place] for place in self.unread(number, sitting)]
        bits: dict[int, Bits] = {}
        for item_number, said in zip(batch.items, by_item, strict=True):
            judged, item = Judged(campaign.spec, said, weights), self.items[item_number]
            if item_number not in unread:
                bits[item_number] = judged.bits
            status, reasons, _ = judged.last_end()
            cost = self._cost(item_number, judged, judged.last_end())
            item.scores, item.overall, item.agreement_bps = judged.scores, judged.overall, judged.agreement
            self.end_item(item_number, status, reasons, cost, number)
        paid = self.pay_committee(number, {})
        if batch.appellant:
            self._end_appeal(batch, paid, void=False)
        else:
            self._pay_origin(batch, bits)

    def _pay_origin(self, batch: Thing, bits: dict[int, Bits]) -> None:
        """The first round's reviewers, who waited, are held against the second's verdict."""
        origin = self.batches[batch.origin]
        self.pay_committee(batch.origin, bits)
        origin.phase = DONE
        self.forget_keys(batch.origin)
        del self.open_batches[batch.origin]

    def give_up_items(self, number: int, reason: str) -> None:
        """A batch came to no verdict: its items end as the first round would have ended them, or undecided."""
        batch = self.batches[number]
        for item_number in batch.items:
            item = self.items[item_number]
            if item.displaced:
                self.reject(item_number, ("duplicate",), parts_of(item.bond, self.p.reject_bond_bps))
            elif item.status == ESCALATED:
                reasons = item.reasons if item.first != UNDECIDED else (*item.reasons, reason)
                self.end_item(item_number, item.first, reasons, item.bond_cost, number)
            else:
                assert item.status == IN_REVIEW
                self.leave_undecided(item_number, (reason,))
        self.free_reviews(batch)
        if batch.appellant:
            self._end_appeal(batch, 0, void=True)
        elif batch.origin:
            self._pay_origin(batch, {})

    # -- appeals

    def item_appeal(self, sender: bytes, body: Any) -> None:
        refuse_if(body.item not in self.items, "item_unknown")
        item = self.items[body.item]
        refuse_if(not item.open_verdict, "appeal_closed")
        verdict, campaign = self.batches[item.open_verdict], self.campaigns[item.campaign]
        refuse_if(self.height > verdict.settle_at, "appeal_closed")
        refuse_if(verdict.round != 1, "appeal_last")
        refuse_if((sender == item.contributor) != (item.status == REJECTED), "appeal_whose")
        refuse_if(not self.affordable(campaign, [body.item]), "second_round")
        bond = campaign.spec.second_seats * item.fee
        self.move(sender, "bonds", bond)
        self._escalate(body.item, APPEAL, item.status)
        second = self._open_second(item.batch, item.campaign, [body.item], sender)
        self.appeals[body.item] = self.thing(
            appellant=sender, bond=bond, appealed_at=self.height, batch=second, state=OPEN
        )

    def _end_appeal(self, batch: Thing, paid: int, void: bool) -> None:
        number = batch.items[0]
        row, item, campaign = self.appeals[number], self.items[number], self.campaigns[batch.campaign]
        if void or item.status != item.first:
            row.state = VOID if void else TURNED
            self.move("bonds", row.appellant, row.bond)
        else:
            row.state = UPHELD
            kept = min(row.bond, paid)
            self.move("bonds", "campaigns", kept)
            campaign.available += kept
            campaign.penalties += kept
            self.move("bonds", "burned", row.bond - kept)
        row.bond = 0
