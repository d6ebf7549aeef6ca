"""Where a campaign's money is and went, to the unit: buckets, pay, what returned, and the bonds of its gold. Pure.

Everything comes from the campaign's own row, which the ledger keeps; batches only tell the two rounds of reviewers' pay apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from omnitensor.sdk.errors import ResponseError
from omnitensor.sdk.results_base import Result
from omnitensor.sdk.results_data import Campaign, Escrow
from omnitensor.sdk.results_report import BatchLine


class GoldSpend(Result, frozen=True):
    """Bonds of gold: laid down, and what became of them."""

    laid: int = 0
    returned: int = 0
    burned: int = 0
    held: int = 0


class Spend(Result, frozen=True):
    """A campaign's money in nanoOMNIT.

    `funded + penalties == held.total + contributors + reviewers + returned`, and
    `reviewers == first_rounds + second_rounds + appeals + unattributed`.
    """

    campaign: int
    status: str
    funded: int
    """What its sponsor paid in."""
    penalties: int
    """What came in from others' bonds: contributors', reviewers', and of appeals that were lost."""
    contributors: int
    reviewers: int
    first_rounds: int
    second_rounds: int
    """Of disagreement, flags and audits."""
    appeals: int
    """Second rounds that somebody appealed for."""
    unattributed: int
    """Reviewers' pay that came while the batches were read; 0 on a chain at rest."""
    returned: int
    held: Escrow
    gold: GoldSpend
    reviewers_charged: int
    """Penalties of its reviewers as a whole; a part of them burned and the rest is among `penalties`."""

    @property
    def held_total(self) -> int:
        return sum(self.held.as_dict().values())

    @property
    def spent(self) -> int:
        """What its sponsor has paid for good so far: pay less what others forfeited, and gold that burned."""
        return self.contributors + self.reviewers - self.penalties + self.gold.burned


class Sums(NamedTuple):
    """What batches paid, by kind of round, and charged."""

    first: int = 0
    second: int = 0
    appeals: int = 0
    charged: int = 0

    def plus(self, batch: BatchLine) -> Sums:
        first = batch.paid if batch.round == 1 else 0
        appeal = batch.paid if batch.is_appeal else 0
        return Sums(
            self.first + first,
            self.second + batch.paid - first - appeal,
            self.appeals + appeal,
            self.charged + batch.penalties,
        )


def spend_of(campaign: Campaign, batches: Iterable[BatchLine], known: Sums | None = None) -> Spend:
    """The report, from a campaign's row and all of its batches (or those beside `known` sums), read before the row.

    Raises ResponseError where a node's numbers do not add up.
    """
    sums = known or Sums()
    for batch in batches:
        sums = sums.plus(batch)
    found = Spend(
        campaign=campaign.campaign,
        status=campaign.status,
        funded=campaign.funded,
        penalties=campaign.penalties,
        contributors=campaign.paid_contributors,
        reviewers=campaign.paid_reviewers,
        first_rounds=sums.first,
        second_rounds=sums.second,
        appeals=sums.appeals,
        unattributed=campaign.paid_reviewers - sums.first - sums.second - sums.appeals,
        returned=campaign.refunded,
        held=campaign.escrow,
        gold=_gold_of(campaign),
        reviewers_charged=sums.charged,
    )
    money_in = found.funded + found.penalties
    money_out = found.held_total + found.contributors + found.reviewers + found.returned
    if money_in != money_out or found.unattributed < 0:
        raise ResponseError(
            "the node's numbers of a campaign do not add up",
            value=f"campaign {campaign.campaign}: {money_in} in, {money_out} out",
            remedy="ask another node; report it if that one says the same",
        )
    return found


def _gold_of(campaign: Campaign) -> GoldSpend:
    gold = campaign.gold
    if gold is None:
        return GoldSpend()
    open_pieces = gold.count - gold.returned - gold.taken
    return GoldSpend(
        laid=gold.count * gold.bond_each,
        returned=gold.returned * gold.bond_each,
        burned=gold.taken * gold.bond_each,
        held=open_pieces * gold.bond_each,
    )
