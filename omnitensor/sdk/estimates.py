"""What a campaign will cost, before anything is signed: each kind of item at most, at least and probably, and how many. Pure.

What an item reserves is the ledger's arithmetic, to the unit. What is probable rests on assumptions that are said with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import comb
from typing import Final

from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.bodies import CampaignSpec
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS
from omnitensor.sdk.results_base import Result

SECOND_ROUND_RESERVED_BPS: Final = 4_000
PAY_BASE_BPS: Final = 5_000
PAY_FLOOR_SCORE: Final = 60
PAY_SPAN_SCORE: Final = 40
GOLD_SHARE_BPS: Final = 1_000
"""About one item in ten should be gold."""
ITEMS_SHOWN_MAX: Final = 10**12


class Assumptions(Result, frozen=True):
    """What the probable figures rest on. Shares in basis points."""

    good_bps: int = 7_000
    """Items that are accepted."""
    accuracy_bps: int = 8_500
    """Reviews whose own verdict on an item is the right one."""
    score: int = 80
    """Overall score of an accepted item."""


class KindCost(Result, frozen=True):
    """One tier and category, in nanoOMNIT an item."""

    tier: int
    tier_bps: int
    category: str
    reward_least: int
    """Of an item just good enough."""
    reward_most: int
    first_round: int
    """The fees of all its reviewers, at most."""
    second_round: int
    """A whole one, where there is one."""
    reserved: int
    """What admitting the item sets aside: the reward, the first round, and four tenths of a second."""
    most: int
    """Accepted at the highest pay after a second round."""
    probable: int
    items_sure: int
    """What the budget covers whatever happens."""
    items_probable: int


class Estimate(Result, frozen=True):
    """Amounts in nanoOMNIT."""

    budget: int
    kinds: list[KindCost]
    second_round_bps: int
    """Share of the items that probably goes to a second round."""
    reviews_milli: int
    """Reviews an item, in thousandths."""
    items_sure: int
    """Were all items of the dearest kind."""
    items_probable_least: int
    items_probable_most: int
    """Were all of the cheapest."""
    targets_cost: int | None
    """What the categories' targets come to, in each the dearest tier, probably; None without targets."""
    item_bond: int
    seat_bond: int
    """What a reviewer lays down for an item of the dearest tier."""
    gold_pieces: int
    """Advised: one in ten of what the budget probably covers."""
    gold_bond_each: int
    gold_bonds: int
    opening_fee: int
    """Of the transaction that opens it, at most."""
    assumptions: Assumptions
    advice: list[str]


def estimate(
    spec: CampaignSpec,
    budget: int,
    params: Params,
    *,
    opening_fee: int = 0,
    reviewers: int | None = None,
    assumptions: Assumptions | None = None,
) -> Estimate:
    """The estimate of a checked specification. `reviewers`: validators that could sit, where that is known."""
    assumed = assumptions or Assumptions()
    second_bps = second_round_bps(spec, assumed.accuracy_bps)
    kinds = kinds_of(spec, budget, assumed)
    dearest, cheapest = max(kinds, key=lambda kind: kind.most), min(kinds, key=lambda kind: kind.probable)
    dear_probable = min(kind.items_probable for kind in kinds)
    targets = _targets_cost(spec, kinds)
    bond_each = spec.first_seats * (spec.review_fee * max(spec.tier_bps) // BPS)
    pieces = max(1, dear_probable * GOLD_SHARE_BPS // BPS)
    fee_most = spec.review_fee * max(spec.tier_bps) // BPS
    return Estimate(
        budget=budget,
        kinds=kinds,
        second_round_bps=second_bps,
        reviews_milli=1_000 * spec.first_seats + 1_000 * spec.second_seats * second_bps // BPS,
        items_sure=dearest.items_sure,
        items_probable_least=dear_probable,
        items_probable_most=cheapest.items_probable,
        targets_cost=targets,
        item_bond=spec.item_bond,
        seat_bond=min(params.validator_stake_min, params.seat_bond_multiple * fee_most),
        gold_pieces=pieces,
        gold_bond_each=bond_each,
        gold_bonds=pieces * bond_each,
        opening_fee=opening_fee,
        assumptions=assumed,
        advice=_advice(spec, budget, kinds, second_bps, targets, reviewers),
    )


def kinds_of(spec: CampaignSpec, budget: int, assumptions: Assumptions | None = None) -> list[KindCost]:
    """What an item costs, by tier and category."""
    assumed = assumptions or Assumptions()
    second_bps = second_round_bps(spec, assumed.accuracy_bps)
    return [
        _kind(spec, tier, category, budget, second_bps, assumed)
        for tier in range(len(spec.tier_bps))
        for category in range(len(spec.categories))
    ]


def second_round_bps(spec: CampaignSpec, accuracy_bps: int) -> int:
    """Share of the items that goes to a second round: by lot, or because reviewers of such accuracy, who weigh the same and err
    independently, agree less than is asked. Flags and appeals come on top."""
    if spec.second_seats == 0:
        return 0
    seats, right = spec.first_seats, Fraction(accuracy_bps, BPS)
    disagree = sum(
        (
            comb(seats, ones) * right**ones * (1 - right) ** (seats - ones)
            for ones in range(seats + 1)
            if _agreement_bps(ones, seats) < spec.agree_min_bps
        ),
        Fraction(0),
    )
    lot = Fraction(spec.audit_bps, BPS)
    return int((lot + (1 - lot) * disagree) * BPS)


def _agreement_bps(right: int, seats: int) -> int:
    """Weight that says what the verdict says; a tie is a rejection, which half of the weight says."""
    return max(right, seats - right) * BPS // seats


def _kind(
    spec: CampaignSpec, tier: int, category: int, budget: int, second_bps: int, assumed: Assumptions
) -> KindCost:
    tier_bps, kind = spec.tier_bps[tier], spec.categories[category]
    fee = spec.review_fee * tier_bps // BPS
    reward = spec.unit_price * tier_bps * kind.importance_bps // (BPS * BPS)
    first, second = spec.first_seats * fee, spec.second_seats * fee
    most = reward + first + second
    pay = reward * _pay_bps(assumed.score) // BPS
    probable = pay * assumed.good_bps // BPS + first + second * second_bps // BPS
    return KindCost(
        tier=tier,
        tier_bps=tier_bps,
        category=kind.name,
        reward_least=reward * _pay_bps(max(spec.overall_threshold, 0)) // BPS,
        reward_most=reward,
        first_round=first,
        second_round=second,
        reserved=reward + first + second * SECOND_ROUND_RESERVED_BPS // BPS,
        most=most,
        probable=probable,
        items_sure=min(ITEMS_SHOWN_MAX, budget // max(1, most)),
        items_probable=min(ITEMS_SHOWN_MAX, budget // max(1, probable)),
    )


def _pay_bps(score: int) -> int:
    """Share of the highest reward that an accepted item of an overall score earns."""
    share = PAY_BASE_BPS + PAY_BASE_BPS * (score - PAY_FLOOR_SCORE) // PAY_SPAN_SCORE
    return max(0, min(BPS, share))


def _targets_cost(spec: CampaignSpec, kinds: Sequence[KindCost]) -> int | None:
    """What all targets come to; None where a category has none, since nothing bounds the campaign then."""
    if any(category.target == 0 for category in spec.categories):
        return None
    return sum(
        category.target * max(kind.probable for kind in kinds if kind.category == category.name)
        for category in spec.categories
    )


def _advice(
    spec: CampaignSpec,
    budget: int,
    kinds: Sequence[KindCost],
    second_bps: int,
    targets: int | None,
    reviewers: int | None,
) -> list[str]:
    """What a sponsor may want to know before signing."""
    said: list[str] = []
    cheapest = min(kind.reserved for kind in kinds)
    if budget < cheapest:
        said.append(
            f"the budget does not cover one item, which reserves {format_omnit(cheapest)}: it will be refused"
        )
    dear = max(kinds, key=lambda kind: kind.reserved)
    if cheapest <= budget < dear.reserved:
        said.append(
            f"tier {dear.tier} of {dear.category} reserves {format_omnit(dear.reserved)}, more than the budget"
        )
    if targets is not None and budget < targets:
        said.append(
            f"the targets of the categories come to about {format_omnit(targets)}, more than the budget"
        )
    if reviewers is not None and reviewers < spec.first_seats:
        said.append(
            f"{reviewers} validators can sit and {spec.first_seats} seats are asked for: committees will be smaller"
        )
    elif reviewers is not None and spec.second_seats and reviewers < spec.first_seats + 3:
        said.append("few validators are left for a second round: members of the first may sit in it again")
    if second_bps > BPS // 2:
        said.append("more than half of the items probably go to a second round: ask for less agreement")
    if spec.second_seats == 0:
        said.append(
            "without a second round (second_seats) no verdict can be appealed, and disagreement leaves items undecided"
        )
    if spec.item_bond == 0:
        said.append("without an item_bond it costs a contributor nothing to hand in what is worthless")
    return said
