"""What a node answers for reports: batches of a campaign, a reviewer's record. Data only; amounts in nanoOMNIT."""

from __future__ import annotations

from omnitensor.sdk.results_base import Cursor, Result
from omnitensor.sdk.results_data import Item


class GoldInfo(Result, frozen=True):
    """An item that was gold: which criteria pass, and whether its committee voided it."""

    item: int
    completeness: bool
    accuracy: bool
    relevance: bool
    voided: bool = False


class MemberInfo(Result, frozen=True):
    """A seat; `report` has four bytes an item, as hexadecimal text, once it is revealed."""

    validator: str
    state: str
    report: str | None = None
    vote: int = 0
    paid: int = 0
    penalty: int = 0


class BatchLine(Result, frozen=True):
    """A batch of one round. `phase`: frozen, accept, commit, reveal, gold, second or done."""

    batch: int
    round: int
    phase: str
    outcome: str
    items: list[int]
    seats: dict[str, int] = {}
    paid: int = 0
    """To all of its reviewers; it changes no more once the batch is done."""
    penalties: int = 0
    """From all of its reviewers, what burned included."""
    bonds: int = 0
    gold: list[GoldInfo] = []
    gold_until: int | None = None
    origin: int | None = None
    second: int | None = None
    is_appeal: bool = False
    thin: bool = False
    formed_at: int = 0
    commit_until: int = 0
    reveal_until: int | None = None
    decided_at: int | None = None
    settle_at: int | None = None
    settled: bool = False
    members: list[MemberInfo] | None = None

    @property
    def is_done(self) -> bool:
        """Whether its reviewers are paid, and nothing more is to come of it for them."""
        return self.phase == "done"


class BatchLinePage(Result, frozen=True):
    batches: list[BatchLine]
    next: Cursor = None


class AccountItemPage(Result, frozen=True):
    items: list[Item]
    next: Cursor = None


class RecordLine(Result, frozen=True):
    """A reviewer's seat: what it said against verdicts and gold, and what came of it."""

    batch: int
    round: int
    campaign: int
    state: str
    phase: str
    outcome: str
    items: int
    drawn_at: int = 0
    decided_at: int | None = None
    fee: int = 0
    bond: int = 0
    paid: int = 0
    penalty: int = 0
    vote: int = 0
    quality_bps: int = 0
    closeness_bps: int = 0
    peer_bps: int = 0
    gold_bps: int = 0
    judged: int = 0
    agreed: int = 0
    gold_bits: int = 0
    gold_right: int = 0


class RecordPage(Result, frozen=True):
    record: list[RecordLine]
    next: Cursor = None
