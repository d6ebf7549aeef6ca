"""What a committee's reports make of one item: findings, and how the first or the last round ends it. Knows no state.

The arithmetic of scores is in ``scoring``; what becomes of the item is in ``outcomes``.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from omnitensor.protocol.reviews import Flag, ItemScore
from omnitensor.protocol.types import BPS
from state.ledger import scoring
from state.ledger.scoring import CRITERIA, Bar, Tally, Triple
from state.records_review import Escalation, ItemStatus

FLAG_QUARTER: Final = 4
"""Flags by a quarter of the weight are heard."""
FRAUD: Final = Flag.ILLEGAL | Flag.POISONED
"""Flags that, agreed upon, cost the whole bond."""
LAST_FLAG_BPS: Final = 5_000
"""Share of a second round's weight that makes a flag stand."""
OVERALL: Final = "overall"
DISAGREEMENT: Final = "disagreement"


class Findings(NamedTuple):
    """What the committee says of one item beyond the tally: weight behind each flag, behind any flag, and of all."""

    tally: Tally
    by_flag: tuple[tuple[Flag, int], ...]
    flagged: int
    total: int

    def heard(self) -> tuple[Flag, ...]:
        """Flags raised by a quarter of the weight."""
        return tuple(flag for flag, weight in self.by_flag if weight * FLAG_QUARTER >= self.total)

    def agreed(self, bps: int) -> tuple[Flag, ...]:
        """Flags raised by such a share of the weight, and by a quarter at least."""
        return tuple(
            flag
            for flag, weight in self.by_flag
            if weight * BPS >= bps * self.total and weight * FLAG_QUARTER >= self.total
        )


class Decision(NamedTuple):
    """How an item ends. ``reasons`` for a rejection or an undecided end."""

    status: ItemStatus
    reasons: tuple[str, ...] = ()
    fraud: bool = False
    flagged: bool = False


def find(scores: Sequence[ItemScore], weights: Sequence[int], bar: Bar) -> Findings:
    """What reports with these weights say of one item."""
    tally = scoring.tally([score.criteria for score in scores], weights, bar)
    by_flag = tuple(
        (flag, sum(weight for score, weight in zip(scores, weights, strict=True) if score.flags & flag))
        for flag in Flag
    )
    flagged = sum(weight for score, weight in zip(scores, weights, strict=True) if score.flags)
    return Findings(tally, by_flag, flagged, sum(weights))


def judge(findings: Findings, bar: Bar, agree_min_bps: int) -> Decision:
    """How an item ends by the first round alone.

    Too little agreement on the verdict leaves it undecided. Agreed bad, it is rejected for each criterion that fails, the overall
    score if that fails, and each flag heard. Agreed good but flagged by a quarter of the weight, it is rejected where a flag has
    the agreement that a verdict needs, and undecided otherwise.
    """
    tally = findings.tally
    heard = findings.heard()
    if tally.agreement_bps < agree_min_bps:
        return Decision(ItemStatus.UNDECIDED, (DISAGREEMENT, *map(flag_name, heard)))
    agreed = findings.agreed(agree_min_bps)
    if tally.accepted and is_flagged(findings) and not agreed:
        return Decision(ItemStatus.UNDECIDED, ("flagged", *map(flag_name, heard)))
    return _decided(findings, bar, agreed)


def judge_last(findings: Findings, bar: Bar) -> Decision:
    """How a second round ends an item: its verdict stands, whatever the agreement. A flag counts by half of the weight."""
    return _decided(findings, bar, findings.agreed(LAST_FLAG_BPS))


def cause_of(findings: Findings, agree_min_bps: int) -> Escalation:
    """Why an item needs a second round, ``NONE`` if it does not."""
    if findings.tally.agreement_bps < agree_min_bps:
        return Escalation.DISAGREEMENT
    return Escalation.FLAGS if is_flagged(findings) else Escalation.NONE


def is_flagged(findings: Findings) -> bool:
    """Whether a quarter of the weight raised any flag."""
    return findings.flagged * FLAG_QUARTER >= findings.total


def _decided(findings: Findings, bar: Bar, agreed: tuple[Flag, ...]) -> Decision:
    """Accepted or rejected, by scores and by the flags agreed on."""
    heard = findings.heard()
    fraud = any(flag in FRAUD for flag in agreed)
    if not findings.tally.accepted:
        reasons = (*failed_criteria(findings.tally.scores, bar), *map(flag_name, heard))
        return Decision(ItemStatus.REJECTED, reasons, fraud, flagged=bool(heard))
    if agreed and is_flagged(findings):
        return Decision(ItemStatus.REJECTED, tuple(map(flag_name, agreed)), fraud, flagged=True)
    return Decision(ItemStatus.ACCEPTED)


def failed_criteria(scores: Triple, bar: Bar) -> tuple[str, ...]:
    """Names of what fails: criteria below their thresholds, and ``overall``."""
    failed = [
        name
        for name, score, threshold in zip(CRITERIA, scores, bar.thresholds, strict=True)
        if score < threshold
    ]
    if scoring.overall(scores, bar) < bar.overall * BPS:
        failed.append(OVERALL)
    return tuple(failed)


def flag_name(flag: Flag) -> str:
    assert flag.name is not None, "single flags have names"
    return flag.name.lower()
