"""Campaigns and their escrow, after docs/specification/data-validation.md. Part of the model; shares no code with the ledger."""

from __future__ import annotations

import itertools
import re
from typing import Any

from tests.model.ground import BPS, Ground, Thing, parts_of, refuse_if
from tests.model.privacy_points import keeps_a_secret

OPEN, CLOSING, CLOSED, EXPIRED, CANCELLED = range(5)
U64_MAX = 2**64 - 1
FACTOR_MAX = 1_000_000


def reserve_of(spec: Any, tier: int, category: int) -> tuple[int, int, int, int]:
    """Fee of one reviewer, and what is set aside for reward, review and escalation."""
    fee = spec.review_fee * spec.tier_bps[tier] // BPS
    reward = spec.unit_price * spec.tier_bps[tier] * spec.categories[category].importance_bps // BPS**2
    return fee, reward, spec.first_seats * fee, spec.second_seats * fee * 4000 // BPS


class Campaigns(Ground):
    """What sponsors open, fund and close."""

    def open(self) -> None:
        self.campaigns = self.table()
        self.earnings = self.table()

    # -- orders

    def campaign_open(self, sender: bytes, body: Any) -> None:
        spec = body.spec
        refuse_if(not self._makes_sense(spec), "campaign_spec")
        reserves = [
            sum(reserve_of(spec, tier, category)[1:])
            for tier in range(len(spec.tier_bps))
            for category in range(len(spec.categories))
        ]
        refuse_if(body.budget < min(reserves), "budget")
        self.move(sender, "campaigns", body.budget)
        number = self.count("campaign", self.p.first_campaign_id)
        if spec.model is not None:
            self.see_model(spec.model.root)
        self.campaigns[number] = self.thing(
            sponsor=sender,
            spec=spec,
            status=OPEN,
            expired=False,
            cancelled=False,
            available=body.budget,
            reward=0,
            review=0,
            escalation=0,
            submitted=0,
            queued=0,
            in_review=0,
            accepted=0,
            rejected=0,
            undecided=0,
            paid=0,
            escalated=0,
            submissions_open=0,
            admitted=0,
            category_counts=(0,) * len(spec.categories),
            ones=(0, 0, 0),
            totals=(0, 0, 0),
            gold_ones=(0, 0, 0),
            gold_totals=(0, 0, 0),
            rejections_open=0,
            funded=body.budget,
            paid_contributors=0,
            paid_reviewers=0,
            penalties=0,
            refunded=0,
            opened_at=self.height,
            opened_ms=self.time_ms,
            closing_at=0,
            ended_at=0,
            queue=self.table(),
            open_batches=self.table(),
        )

    def _makes_sense(self, spec: Any) -> bool:
        names = [category.name for category in spec.categories]
        return (
            len(self.bytes_of(spec)) <= 8_192
            and sum(spec.criterion_weights) == BPS
            and all(0 <= each <= 100 for each in (*spec.thresholds, spec.overall_threshold))
            and all(1 <= tier <= FACTOR_MAX for tier in spec.tier_bps)
            and spec.review_fee * min(spec.tier_bps) // BPS >= 1
            and all(1 <= category.importance_bps <= FACTOR_MAX for category in spec.categories)
            and len(names) == len(set(names))
            and all(
                re.match(r"^[a-z0-9][a-z0-9.+-]*/(\*|[a-z0-9][a-z0-9.+-]*)\Z", media) for media in spec.media
            )
            and spec.closes_at > self.height
            and (spec.model is None or (model_fits(spec.model) and not spec.reading_key))
            and (not spec.reading_key or keeps_a_secret(spec.reading_key))
        )

    def campaign_fund(self, sender: bytes, body: Any) -> None:
        row = self._mine(sender, body.campaign)
        refuse_if(body.amount == 0, "amount")
        self.move(sender, "campaigns", body.amount)
        row.available += body.amount
        row.funded = min(U64_MAX, row.funded + body.amount)

    def campaign_close(self, sender: bytes, body: Any) -> None:
        row = self._mine(sender, body.campaign)
        row.status, row.closing_at = CLOSING, self.height
        self.end_if_idle(body.campaign)

    def campaign_cancel(self, sender: bytes, body: Any) -> None:
        row = self._sponsored(sender, body.campaign)
        refuse_if(row.cancelled or row.status not in (OPEN, CLOSING), "campaign_closed")
        row.cancelled = True
        if row.status == OPEN:
            row.status, row.closing_at = CLOSING, self.height
            self.end_if_idle(body.campaign)

    def _sponsored(self, sender: bytes, number: int) -> Thing:
        refuse_if(number not in self.campaigns, "campaign_unknown")
        row: Thing = self.campaigns[number]
        refuse_if(row.sponsor != sender, "not_sponsor")
        return row

    def _mine(self, sender: bytes, number: int) -> Thing:
        row = self._sponsored(sender, number)
        refuse_if(row.status != OPEN, "campaign_closed")
        return row

    # -- what happens by itself

    def reach_deadlines(self) -> None:
        for number in sorted(self.living_campaigns()):
            row = self.campaigns[number]
            if row.status == OPEN and row.spec.closes_at <= self.height:
                row.status, row.expired, row.closing_at = CLOSING, True, self.height
                self.end_if_idle(number)

    def living_campaigns(self) -> list[int]:
        return [number for number, row in self.campaigns.items() if row.status in (OPEN, CLOSING)]

    def end_if_idle(self, number: int) -> None:
        """Nothing is under way in a closing campaign: what is left returns."""
        row = self.campaigns[number]
        busy = row.submissions_open + row.queued + row.in_review + row.accepted + row.rejections_open
        busy += row.escalated
        if row.status != CLOSING or busy:
            return
        assert row.reward == row.review == row.escalation == 0, (number, row.values())
        amount = row.available
        self.move("campaigns", row.sponsor, amount)
        row.available = 0
        row.refunded = min(U64_MAX, row.refunded + amount)
        row.status = CANCELLED if row.cancelled else EXPIRED if row.expired else CLOSED
        if number in self.gold_sets:
            self.gold_due[self.height + max(1, self.p.challenge_blocks), number] = True
        row.ended_at = self.height
        self.end_competitions(number)
        self.note_payment(row.sponsor, "refund", amount, number)

    # -- buckets

    def set_aside(self, row: Thing, reward: int, review: int, escalation: int) -> None:
        """From available into the other buckets, or back where the amounts are below zero."""
        row.available -= reward + review + escalation
        row.reward += reward
        row.review += review
        row.escalation += escalation
        assert min(row.available, row.reward, row.review, row.escalation) >= 0, row.values()

    def take_penalty(self, row: Thing, pot: str, amount: int) -> None:
        """A part burns, the rest is the campaign's."""
        burned = parts_of(amount, self.p.penalty_burn_bps)
        self.move(pot, "burned", burned)
        self.move(pot, "campaigns", amount - burned)
        row.available += amount - burned
        row.penalties = min(U64_MAX, row.penalties + amount - burned)

    # -- who earned what

    def earned(self, address: bytes) -> Thing:
        if address not in self.earnings:
            self.earnings[address] = self.thing(
                contribution=0,
                review=0,
                pending=0,
                penalties=0,
                items_submitted=0,
                items_accepted=0,
                items_rejected=0,
                items_undecided=0,
                recent=(),
            )
        row: Thing = self.earnings[address]
        return row

    def note_payment(
        self, address: bytes, kind: str, amount: int, campaign: int, item: int = 0, batch: int = 0
    ) -> None:
        if not amount:
            return
        self.score_payment(address, kind, amount, campaign, item)
        row = self.earned(address)
        payment = (self.height, self.time_ms, kind, amount, campaign, item, batch)
        row.recent = (payment, *row.recent)[:16]
        sums = {"contribution": "contribution", "review": "review", "penalty": "penalties"}
        if kind in sums:
            setattr(row, sums[kind], min(U64_MAX, getattr(row, sums[kind]) + amount))


def model_fits(model: Any) -> bool:
    """A campaign's model takes an item's operands, with some constants, and gives few scores."""
    widths = [(layer.inputs, layer.outputs) for layer in model.layers]
    chained = all(one[1] == other[0] for one, other in itertools.pairwise(widths))
    return (
        chained and model.tile in (16, 32, 64, 128) and 1_024 <= widths[0][0] <= 1_152 and widths[-1][1] <= 16
    )
