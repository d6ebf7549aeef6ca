"""Reports about a person: what became of a contributor's items, and how a reviewer fared. Pure; asks no node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from omnitensor.protocol.types import BPS
from omnitensor.sdk.results_base import Result
from omnitensor.sdk.results_data import Campaign, Item
from omnitensor.sdk.results_report import RecordLine


class AppealCandidate(Result, frozen=True):
    """A rejection that its contributor can appeal now, those with the best prospects first."""

    item: int
    campaign: int
    until: int
    points_missing: int
    """By how many points it missed the bar where it missed it most."""
    agreement_bps: int
    bond: int
    """What an appeal lays down; it returns if the verdict turns."""


class ContributorSum(Result, frozen=True):
    """Items of a contributor, in all or in one campaign; amounts in nanoOMNIT."""

    submitted: int
    waiting: int
    accepted: int
    rejected: int
    undecided: int
    acceptance_bps: int | None
    """Of those with a verdict."""
    reasons: dict[str, int]
    rewarded: int
    paid: int
    pending: int
    """Of the rewards, what is paid when challenge windows end."""
    bonds_held: int
    bonds_at_stake: int
    """What rejections cost that can still be appealed."""


class ContributorReport(Result, frozen=True):
    address: str
    height: int
    penalties: int
    """nanoOMNIT that were taken from the account's bonds, ever, in every campaign and role: an item does not keep its own."""
    total: ContributorSum
    campaigns: dict[str, ContributorSum]
    """By campaign's number."""
    appeals: list[AppealCandidate]
    items: list[Item]
    """The newest first."""


class ReviewerSum(Result, frozen=True):
    """Seats of a reviewer, in all or in one campaign; amounts in nanoOMNIT."""

    seats: int
    open: int
    revealed: int
    declined: int
    missed: int
    """Seats that cost it for a report that did not come, was shown early, or contradicted another."""
    batches_paid: int
    judged: int
    agreed: int
    agreement_bps: int | None
    """Of its views of items, those that are the verdict's."""
    gold_bits: int
    gold_right: int
    gold_bps: int | None
    fees: int
    """What its batches that are done could have paid at most."""
    paid: int
    penalties: int
    bonds_held: int


class StandingPoint(Result, frozen=True):
    """A reviewer's standing after a batch."""

    batch: int
    round: int
    height: int | None
    quality_bps: int


class ReviewerReport(Result, frozen=True):
    address: str
    height: int
    standing_bps: int | None
    """Now; None where the account is no validator."""
    total: ReviewerSum
    campaigns: dict[str, ReviewerSum]
    history: list[StandingPoint]
    """The oldest first."""
    record: list[RecordLine]
    """The newest first."""


def contributor_sum(items: Sequence[Item]) -> ContributorSum:
    """What became of items."""
    states = Counter(item.status for item in items)
    accepted = states["accepted"] + states["paid"]
    judged = accepted + states["rejected"]
    refused = [item for item in items if item.status == "rejected"]
    return ContributorSum(
        submitted=len(items),
        waiting=sum(states[name] for name in ("revealed", "queued", "in_review", "escalated")),
        accepted=accepted,
        rejected=states["rejected"],
        undecided=states["undecided"],
        acceptance_bps=accepted * BPS // judged if judged else None,
        reasons=dict(sorted(Counter(reason for item in refused for reason in item.reasons).items())),
        rewarded=sum(item.reward or 0 for item in items),
        paid=sum(item.paid for item in items),
        pending=sum((item.reward or 0) - item.paid for item in items if item.status == "accepted"),
        bonds_held=sum(item.bond for item in items),
        bonds_at_stake=sum(item.bond_cost for item in refused if item.bond),
    )


def appeal_candidates(
    items: Sequence[Item], campaigns: Mapping[int, Campaign], height: int
) -> list[AppealCandidate]:
    """Rejections that can be appealed now: those nearest to the bar, and on which reviewers agreed least, first."""
    found: list[AppealCandidate] = []
    for item in items:
        if item.status != "rejected" or item.appeal_until is None or item.appeal_until <= height:
            continue
        spec = campaigns[item.campaign].spec
        if spec.second_seats == 0:
            continue
        fee = spec.review_fee * spec.tier_bps[item.tier] // BPS
        found.append(
            AppealCandidate(
                item=item.item,
                campaign=item.campaign,
                until=item.appeal_until,
                points_missing=_missing(item, campaigns[item.campaign]),
                agreement_bps=item.agreement_bps or 0,
                bond=spec.second_seats * fee,
            )
        )
    return sorted(found, key=lambda each: (each.points_missing, each.agreement_bps, each.item))


def _missing(item: Item, campaign: Campaign) -> int:
    scores, spec = item.scores or {}, campaign.spec
    bars = dict(zip(("completeness", "accuracy", "relevance"), spec.thresholds, strict=True))
    bars["overall"] = spec.overall_threshold
    return max(0, *(bar - scores.get(name, 0) for name, bar in bars.items()))


def reviewer_sum(record: Sequence[RecordLine]) -> ReviewerSum:
    """How a reviewer fared in seats."""
    states = Counter(line.state for line in record)
    done = [line for line in record if line.phase == "done" and line.state == "revealed"]
    judged, agreed = sum(line.judged for line in record), sum(line.agreed for line in record)
    bits, right = sum(line.gold_bits for line in record), sum(line.gold_right for line in record)
    return ReviewerSum(
        seats=len(record),
        open=sum(
            line.phase != "done" and line.state in ("seated", "committed", "revealed") for line in record
        ),
        revealed=states["revealed"],
        declined=states["declined"],
        missed=states["missed"] + states["leaked"] + states["contradicted"],
        batches_paid=sum(line.paid > 0 for line in record),
        judged=judged,
        agreed=agreed,
        agreement_bps=agreed * BPS // judged if judged else None,
        gold_bits=bits,
        gold_right=right,
        gold_bps=right * BPS // bits if bits else None,
        fees=sum(line.fee for line in done),
        paid=sum(line.paid for line in record),
        penalties=sum(line.penalty for line in record),
        bonds_held=sum(line.bond for line in record),
    )


def contributor_report(
    address: str,
    height: int,
    penalties: int,
    items: Sequence[Item],
    campaigns: Mapping[int, Campaign],
) -> ContributorReport:
    """Everything about an account's items; `campaigns` has those of items that can be appealed."""
    numbers = sorted({item.campaign for item in items})
    return ContributorReport(
        address=address,
        height=height,
        penalties=penalties,
        total=contributor_sum(items),
        campaigns={
            str(number): contributor_sum([item for item in items if item.campaign == number])
            for number in numbers
        },
        appeals=appeal_candidates(items, campaigns, height),
        items=list(items),
    )


def reviewer_report(
    address: str, height: int, standing_bps: int | None, record: Sequence[RecordLine]
) -> ReviewerReport:
    """Everything about a reviewer's seats, which are given with the newest first."""
    scored = [line for line in reversed(record) if line.phase == "done" and line.state == "revealed"]
    return ReviewerReport(
        address=address,
        height=height,
        standing_bps=standing_bps,
        total=reviewer_sum(record),
        campaigns={
            str(number): reviewer_sum([line for line in record if line.campaign == number])
            for number in sorted({line.campaign for line in record})
        },
        history=[
            StandingPoint(
                batch=line.batch, round=line.round, height=line.decided_at, quality_bps=line.quality_bps
            )
            for line in scored
        ],
        record=list(record),
    )
