"""What a node answers, as typed values. Data only: amounts in nanoOMNIT (integers), hashes as hexadecimal text.

Unknown fields are passed over, so that an older SDK reads a newer node; what a caller needs has no default.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from omnitensor.protocol.errors import KeyFormatError
from omnitensor.protocol.types import NANO
from omnitensor.sdk.errors import ResponseError
from omnitensor.sdk.results_base import Cursor as Cursor
from omnitensor.sdk.results_base import Result as Result
from omnitensor.sdk.results_base import bytes_of as bytes_of
from omnitensor.sdk.results_base import hash_of as hash_of
from omnitensor.sdk.results_data import AppealInfo as AppealInfo
from omnitensor.sdk.results_data import Assignment as Assignment
from omnitensor.sdk.results_data import AssignmentPage as AssignmentPage
from omnitensor.sdk.results_data import Batch as Batch
from omnitensor.sdk.results_data import BatchItem as BatchItem
from omnitensor.sdk.results_data import Campaign as Campaign
from omnitensor.sdk.results_data import CampaignPage as CampaignPage
from omnitensor.sdk.results_data import CategoryInfo as CategoryInfo
from omnitensor.sdk.results_data import ContentInfo as ContentInfo
from omnitensor.sdk.results_data import Escrow as Escrow
from omnitensor.sdk.results_data import GoldSetInfo as GoldSetInfo
from omnitensor.sdk.results_data import Item as Item
from omnitensor.sdk.results_data import ItemFacts as ItemFacts
from omnitensor.sdk.results_data import ItemPage as ItemPage
from omnitensor.sdk.results_data import Nearest as Nearest
from omnitensor.sdk.results_data import Sealed as Sealed
from omnitensor.sdk.results_data import SeatInfo as SeatInfo
from omnitensor.sdk.results_data import Similar as Similar
from omnitensor.sdk.results_data import SimilarItem as SimilarItem
from omnitensor.sdk.results_data import SpecInfo as SpecInfo
from omnitensor.sdk.results_data import Step as Step
from omnitensor.sdk.results_data import SubmissionInfo as SubmissionInfo

T = TypeVar("T")


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


class TransactionPage(Result, frozen=True):
    transactions: list[dict[str, Any]] = []
    next: Cursor = None


class SessionKeyInfo(Result, frozen=True):
    key: str
    scopes: list[str]
    valid_until: int
    allowance: int


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
    allowance: int


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


class WorkerConviction(Result, frozen=True):
    """What cost a worker its bond, or a part of it: `two_proposals` in one view, a receipt `bad`, `fraud`, or `withheld`.

    Amounts in nanoOMNIT. ``job`` and ``unit`` are of receipts, ``epoch``, ``view`` and ``evidence`` of two proposals.
    """

    kind: str
    worker: str
    height: int
    slashed: int
    reward: int
    job: str | None = None
    unit: int | None = None
    epoch: int | None = None
    view: int | None = None
    evidence: str | None = None
    reporter: str | None = None


class EvidencePage(Result, frozen=True):
    pool: list[HeldEvidence]
    convictions: list[Conviction]
    workers: list[WorkerConviction] = []
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
