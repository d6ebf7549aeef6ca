"""Prices, pay and penalties as integer functions of plain values. Moves no money: who is paid from where is in ``verdicts``."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from omnitensor.protocol.bodies import CampaignSpec
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS

SECOND_ROUND_RESERVED_BPS: Final = 4_000
"""Share of a whole second round that each item reserves: most items never need one."""

PAY_BASE_BPS: Final = 5_000
"""Share of the reward that an item just good enough earns; the rest grows with its score."""
PAY_FLOOR_SCORE: Final = 60
PAY_SPAN_SCORE: Final = 40


class Reserve(NamedTuple):
    """What admitting one item sets aside, in nanoOMNIT; ``fee`` is one reviewer's, at most."""

    fee: int
    reward: int
    review: int
    escalation: int

    @property
    def total(self) -> int:
        return self.reward + self.review + self.escalation


def reserve(spec: CampaignSpec, tier: int, category: int) -> Reserve:
    """Reserve for an item of the given tier and category (indexes into the specification's)."""
    tier_bps = spec.tier_bps[tier]
    fee = spec.review_fee * tier_bps // BPS
    reward = spec.unit_price * tier_bps * spec.categories[category].importance_bps // (BPS * BPS)
    escalation = spec.second_seats * fee * SECOND_ROUND_RESERVED_BPS // BPS
    return Reserve(fee, reward, first_round(spec, fee), escalation)


def first_round(spec: CampaignSpec, fee: int) -> int:
    """What an item's first round may cost its campaign, and its reviewers together earn at most; ``fee`` is the item's."""
    return spec.first_seats * fee


def contributor_pay(reward_max: int, score: int) -> int:
    """What an accepted item of overall ``score`` (0..100) earns of ``reward_max``."""
    share = PAY_BASE_BPS + PAY_BASE_BPS * (score - PAY_FLOOR_SCORE) // PAY_SPAN_SCORE
    return reward_max * max(0, min(BPS, share)) // BPS


def settle(fee: int, quality_bps: int, closeness_bps: int, params: Params) -> tuple[int, int]:
    """``(pay, penalty)`` of a reviewer for work priced at ``fee``: above break-even pay, below it a penalty, never both."""
    standing = (quality_bps - params.reputation_break_even_bps) * BPS // params.reputation_span_bps
    standing = max(-BPS, min(BPS, standing))
    if standing < 0:
        return 0, fee * -standing * params.penalty_bps // (BPS * BPS)
    base = params.closeness_base_bps
    return fee * standing * (base + (BPS - base) * closeness_bps // BPS) // (BPS * BPS), 0


def burned_part(penalty: int, params: Params) -> int:
    """What of a penalty is burned; the rest goes to the campaign that was let down."""
    return penalty * params.penalty_burn_bps // BPS


def rejection_cost(
    bond: int,
    scores: tuple[int, ...],
    thresholds: tuple[int, ...],
    *,
    flagged: bool,
    fraud: bool,
    params: Params,
) -> int:
    """What a rejected item costs of its bond: all for fraud, nothing for a near miss, else a share.

    A near miss has every criterion within ``near_miss_points`` of its threshold and no flag against it.
    """
    if fraud:
        return bond
    near = all(
        score + params.near_miss_points >= threshold
        for score, threshold in zip(scores, thresholds, strict=True)
    )
    return 0 if near and not flagged else bond * params.reject_bond_bps // BPS


def largest_remainder(total: int, weights: Sequence[tuple[bytes, int]]) -> tuple[dict[bytes, int], int]:
    """``total`` split by weight, exactly: shares by key, and what is left when all weights are zero.

    Units that floors leave over go to the largest remainders, ties to the smaller key.
    """
    weighing = sum(weight for _, weight in weights)
    if weighing == 0:
        return {key: 0 for key, _ in weights}, total
    shares = {key: total * weight // weighing for key, weight in weights}
    over = total - sum(shares.values())
    for key, _ in sorted(weights, key=lambda pair: (-(total * pair[1] % weighing), pair[0]))[:over]:
        shares[key] += 1
    return shares, 0
