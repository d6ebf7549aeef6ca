"""What a node answers, as typed values. Data only: amounts in nanoOMNIT (integers), hashes as hexadecimal text.

Unknown fields are passed over, so that an older SDK reads a newer node; what a caller needs has no default.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from omnitensor.protocol.content import ContentId
from omnitensor.protocol.errors import KeyFormatError
from omnitensor.protocol.types import NANO, Hash
from omnitensor.sdk.errors import ResponseError

T = TypeVar("T")

Cursor = str | int | None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all results."""

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def read(kind: type[T], answer: Any, method: str) -> T:
    """`answer` as `kind`; decimal text is read as integers. Raises ResponseError."""
    try:
        return msgspec.convert(answer, kind, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ResponseError(
            f"the node's answer to {method} can't be read: {error}",
            remedy="check that node and SDK are of one version",
        ) from error


class Status(Result, frozen=True):
    chain_id: str
    genesis_hash: str
    height: int
    block_hash: str
    timestamp_ms: int
    epoch: int
    base_fee: int
    syncing: bool
    sync_target: int
    block_interval_ms: int
    version: str
    first_block: int = 0
    """The first height whose block and receipts the node keeps; 0 where it has all."""

    @property
    def checkpoint(self) -> str:
        """The node's last block, to verify from by whoever trusts this node."""
        return f"{self.height}:{self.block_hash}"


class Receipt(Result, frozen=True):
    code: str
    reason: str = ""
    fee: int = 0
    tip: int = 0
    events: list[dict[str, Any]] = []

    @property
    def ok(self) -> bool:
        return self.code == "ok"


class TransactionResult(Result, frozen=True):
    """`status` is pending, final or unknown."""

    id: str
    status: str
    height: int | None = None
    index: int | None = None
    kind: str = ""
    sender: str = ""
    receipt: Receipt | None = None
    body: Any = None


class SessionKeyInfo(Result, frozen=True):
    key: str
    scopes: list[str]
    valid_until: int


class AccountInfo(Result, frozen=True):
    address: str
    balance: int
    nonce: int
    next_nonce: int
    stake: int = 0
    session_keys: list[SessionKeyInfo] = []


class SessionInfo(Result, frozen=True):
    owner: str
    scopes: list[str]
    valid_until: int


class RewardEntry(Result, frozen=True):
    height: int
    kind: str
    amount: int
    campaign: int | None = None
    item: int | None = None


class Rewards(Result, frozen=True):
    address: str
    balance: int
    earned: dict[str, int]
    pending: int = 0
    penalties: int = 0
    items: dict[str, int] = {}
    recent: list[RewardEntry] = []

    @property
    def total(self) -> int:
        return sum(self.earned.values())


class Unbonding(Result, frozen=True):
    amount: int
    height: int


class ValidatorInfo(Result, frozen=True):
    address: str
    name: str = ""
    stake: int = 0
    held: int = 0
    delegated: int = 0
    power: int = 0
    leaving: int = 0
    rewards: int = 0
    unbonding: list[Unbonding] = []
    jailed: bool = False
    jailed_until: int | None = None
    absent_epochs: int = 0
    attendance: list[dict[str, int]] = []
    """epoch, blocks, named, share_bps: in the epoch under way, then in the one before, as far as it votes in them."""
    removed: bool = False
    votes: bool = False
    votes_next: bool = False
    reputation: int = 0
    commission_bps: int = 0
    commission_raise_from: int = 0
    reports: int = 0
    missed: int = 0
    seats_open: int = 0


class HeldEvidence(Result, frozen=True):
    """Evidence that a node holds and that is not on chain yet; ``encoded`` is what is submitted."""

    id: str
    kind: str
    fault: str
    epoch: int
    view: int
    validators: list[str]
    encoded: str


class Conviction(Result, frozen=True):
    """A validator that contradicted itself, and what it cost. Amounts in nanoOMNIT."""

    validator: str
    fault: str
    epoch: int
    view: int
    evidence: str
    height: int
    reporter: str
    slashed: int
    burned: int
    reward: int


class EvidencePage(Result, frozen=True):
    pool: list[HeldEvidence]
    convictions: list[Conviction]
    next: Cursor = None


class VoterInfo(Result, frozen=True):
    address: str
    name: str = ""
    stake: int = 0
    weight: int = 0
    consensus_key: str = ""


class ValidatorPage(Result, frozen=True):
    validators: list[ValidatorInfo]
    epoch: int = 0
    next: Cursor = None


class NextVoters(Result, frozen=True):
    epoch: int
    validators: list[VoterInfo]
    from_height: int = 0


class Voters(Result, frozen=True):
    epoch: int
    validators: list[VoterInfo]
    boundary: int = 0
    table: str = ""
    next: NextVoters | None = None


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
    opened_at: int = 0
    funded: int = 0
    paid_contributors: int = 0
    paid_reviewers: int = 0
    refunded: int = 0
    gold: GoldSetInfo | None = None


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
        return self.status in ("rejected", "undecided", "paid")

    @property
    def judged(self) -> bool:
        return self.settled or self.status == "accepted"


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


class Sealed(Result, frozen=True):
    commitment: str
    sealed: str


class RowProof(Result, frozen=True):
    """A row of the state with its proof; hexadecimal text."""

    height: int
    value: str | None
    page: str
    siblings: list[str]


class LeafProof(Result, frozen=True):
    """A leaf under the root in a block's header; hexadecimal text."""

    height: int
    leaf: str
    index: int
    size: int
    path: list[str]


class TableEntry(Result, frozen=True):
    """A voter in an epoch's table; the key as hexadecimal text."""

    address: str
    consensus_key: str
    weight: int


class StepInfo(Result, frozen=True):
    """What leads from one epoch to the next, as JSON; `omnitensor.light.Step` is its record."""

    header: dict[str, Any]
    proof: dict[str, Any]
    voters: list[TableEntry] | None = None


class StepPage(Result, frozen=True):
    """`epoch` is the one that votes now."""

    steps: list[StepInfo]
    epoch: int
    next: int | None = None


class ProvenTransaction(Result, frozen=True):
    """The parts of a transaction that are proven: what became of it, and itself."""

    proof: LeafProof | None = None
    transaction_proof: LeafProof | None = None


class ProvenEvents(Result, frozen=True):
    """A block's own events, as proven."""

    height: int
    proof: LeafProof


class BlockInfo(Result, frozen=True):
    """A block as JSON: the header's fields, and transactions by id, kind and sender."""

    header: dict[str, Any]
    transactions: list[dict[str, Any]] = []
    proof: Any = None
    history: LeafProof | None = None


def bytes_of(text: str) -> bytes:
    """Bytes of hexadecimal text. Raises ResponseError."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ResponseError("not hexadecimal text", value=text[:64]) from error


def hash_of(text: str) -> Hash:
    """32 bytes of hexadecimal text. Raises ResponseError."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise ResponseError("not the hexadecimal text of 32 bytes", value=text)
    return Hash(found)


def hash_given(text: str) -> str:
    """A hash that the user gave, in lower case. Raises KeyFormatError."""
    text = text.strip().lower().removeprefix("0x")
    if len(text) != 64 or any(digit not in "0123456789abcdef" for digit in text):
        raise KeyFormatError("not an id of 64 hexadecimal digits", value=text, remedy="copy it again in full")
    return text


def omnit(nano: int) -> str:
    """An amount as a plain decimal number of OMNIT, for JSON."""
    whole, rest = divmod(abs(nano), NANO)
    return f"{'-' if nano < 0 else ''}{whole}" + (f".{rest:09d}".rstrip("0") if rest else "")
