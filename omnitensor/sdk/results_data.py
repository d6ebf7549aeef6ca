"""What a node answers about campaigns, items, batches and seats, as typed values. Data only; amounts in nanoOMNIT."""

from __future__ import annotations

from omnitensor.media import Facts
from omnitensor.protocol.content import ContentId
from omnitensor.sdk.results_base import Cursor, Result, hash_of


class Escrow(Result, frozen=True):
    available: int
    reward: int = 0
    review: int = 0
    escalation: int = 0


class CategoryInfo(Result, frozen=True):
    name: str
    importance_bps: int
    target: int = 0


class ContentInfo(Result, frozen=True):
    sha256: str
    size: int
    chunk_root: str
    cid: str = ""

    def content_id(self) -> ContentId:
        """The protocol's record. Raises ResponseError where a hash is malformed."""
        return ContentId(hash_of(self.sha256), self.size, hash_of(self.chunk_root))


class ModelInfo(Result, frozen=True):
    """A campaign's model: its file, its root, inputs and outputs of each layer, width of its squares."""

    content: ContentInfo
    root: str
    layers: list[dict[str, int]]
    tile: int


class SpecInfo(Result, frozen=True):
    title: str
    instructions: str
    media: list[str]
    licence: str
    tier_bps: list[int]
    categories: list[CategoryInfo]
    unit_price: int
    review_fee: int
    item_bond: int
    criterion_weights: list[int]
    thresholds: list[int]
    overall_threshold: int
    first_seats: int
    second_seats: int
    agree_min_bps: int
    contributor_share_max_bps: int
    item_bytes_max: int
    closes_at: int
    audit_bps: int = 0
    specification: ContentInfo | None = None
    model: ModelInfo | None = None
    """Scores its items."""
    reading_key: str = ""
    """The sponsor's X25519 key, which makes the campaign private."""

    @property
    def is_private(self) -> bool:
        """Whether its items are encrypted."""
        return bool(self.reading_key)


class GoldSetInfo(Result, frozen=True):
    """A campaign's gold: pieces in all, whose bonds returned, and whose were burned."""

    root: str
    count: int
    bond_each: int
    committed_at: int
    returned: int = 0
    taken: int = 0


class Campaign(Result, frozen=True):
    """`status` is open, closing, closed, expired or cancelled."""

    campaign: int
    sponsor: str
    status: str
    spec: SpecInfo
    escrow: Escrow
    counts: dict[str, int] = {}
    submissions_open: int = 0
    admitted: int = 0
    """Items that reserved money, ever."""
    category_counts: list[int] = []
    """Items that fill each category's target."""
    rejections_open: int = 0
    opened_at: int = 0
    opened_ms: int = 0
    closing_at: int | None = None
    ended_at: int | None = None
    funded: int = 0
    paid_contributors: int = 0
    paid_reviewers: int = 0
    penalties: int = 0
    """What came in from others' bonds."""
    refunded: int = 0
    gold: GoldSetInfo | None = None

    @property
    def is_over(self) -> bool:
        """Everything is settled, and what was left has returned."""
        return self.status in ("closed", "expired", "cancelled")


class CampaignPage(Result, frozen=True):
    campaigns: list[Campaign]
    next: Cursor = None


class Step(Result, frozen=True):
    """A status of an item, with the block that brought it."""

    status: str
    height: int
    timestamp_ms: int = 0


class AppealInfo(Result, frozen=True):
    """`state` is open, turned, upheld or void."""

    appellant: str
    state: str
    bond: int
    appealed_at: int
    batch: int


class Item(Result, frozen=True):
    """`status` is revealed, queued, in_review, escalated, accepted, rejected, undecided or paid."""

    item: int
    campaign: int
    contributor: str
    status: str
    media_type: str
    content: ContentInfo
    tier: int = 0
    category: int = 0
    submission: str = ""
    history: list[Step] = []
    scores: dict[str, int] | None = None
    agreement_bps: int | None = None
    reasons: list[str] = []
    reward: int | None = None
    paid: int = 0
    batch: int | None = None
    second: int | None = None
    escalation: str = "none"
    """Why it went to a second round: disagreement, flags, audit or appeal."""
    appeal_until: int | None = None
    """Up to which height its verdict can be appealed; None when it can't be."""
    appeal: AppealInfo | None = None
    bond: int = 0
    bond_cost: int = 0

    @property
    def settled(self) -> bool:
        """Nothing is held for it any more, and nothing can change."""
        if self.status == "rejected":
            return self.bond == 0 and self.appeal_until is None
        return self.status in ("undecided", "paid")

    @property
    def judged(self) -> bool:
        """It has a verdict, which may still be appealed."""
        return self.settled or self.status in ("accepted", "rejected")


class ItemPage(Result, frozen=True):
    items: list[Item]
    next: Cursor = None


class Assignment(Result, frozen=True):
    """A seat. `state`: seated, committed, revealed, declined, missed ...; `phase`: accept, commit, reveal, gold, second, done."""

    batch: int
    round: int
    campaign: int
    state: str
    phase: str
    items: int
    commit_until: int = 0
    reveal_from: int | None = None
    reveal_until: int | None = None
    fee: int = 0
    bond: int = 0
    paid: int = 0
    penalty: int = 0
    keys_pending: bool = False
    """Keys of its private items are missing, and may still come: until then it takes no report."""

    @property
    def takes_report(self) -> bool:
        """Whether a report can be committed now."""
        return self.state in ("seated", "accepted") and self.phase in ("accept", "commit")


class AssignmentPage(Result, frozen=True):
    assignments: list[Assignment]
    next: Cursor = None


class SeatInfo(Result, frozen=True):
    """A seat of a batch; points and standing in basis points, once its reviewer is paid."""

    validator: str
    state: str
    vote: int = 0
    quality_bps: int = 0
    closeness_bps: int = 0
    peer_bps: int = 0
    gold_bps: int = 0
    paid: int = 0
    penalty: int = 0


class SubmissionInfo(Result, frozen=True):
    """`status` is committed, revealed or expired; `items` are its items' numbers, once revealed."""

    campaign: int
    commitment: str
    contributor: str
    status: str
    count: int
    item_bond: int = 0
    committed_at: int = 0
    reveal_until: int = 0
    items: list[int] = []


class BatchItem(Result, frozen=True):
    item: int
    content: ContentInfo
    media_type: str
    tier: int = 0
    category: int = 0
    contributor: str = ""


class Batch(Result, frozen=True):
    batch: int
    round: int
    campaign: int
    phase: str
    items: list[BatchItem]
    instructions: str = ""
    seats: list[SeatInfo] = []
    origin: int | None = None
    second: int | None = None
    asked: int = 0
    places: int = 0
    thin: bool = False
    """Members of the first round could be drawn for this second one."""


class ItemFacts(Result, frozen=True):
    """What a node found in the bytes of an item, beside what was declared."""

    item: int
    declared: str
    known: bool
    """Whether the node has the bytes, and could look into them."""
    private: bool = False
    """Its bytes are encrypted: what they are is seen where they are opened."""
    agrees: bool | None = None
    facts: Facts | None = None


class Sealed(Result, frozen=True):
    commitment: str
    sealed: str


class Nearest(Result, frozen=True):
    """An earlier item, and in how many of 256 bits its fingerprint differs."""

    item: int
    distance: int
    proven: bool = False
    """Both fingerprints are proven by work; else they are the node's word, of a private item this program's own."""


class SimilarItem(Result, frozen=True):
    place: int
    item: int
    known: bool
    """Whether the node could compare it."""
    proven: bool = False
    """Its fingerprint is proven by work."""
    scores: list[int] | None = None
    """What the campaign's model says of it, proven by work: advice."""
    nearest: Nearest | None = None


class Similar(Result, frozen=True):
    """What a node found in comparing a batch with earlier items of the campaign."""

    batch: int
    round: int
    bits_max: int
    items: list[SimilarItem]
    candidates: int = 0
    candidates_unknown: int = 0
    unfinished: bool = False
    """More is known when it is asked again."""
