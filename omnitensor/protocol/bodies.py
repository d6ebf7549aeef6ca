"""What a transaction orders: one typed body a kind, with its weight and the scope a session key needs for it. Data only."""

from enum import IntEnum
from typing import Annotated, ClassVar, Final

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.codec import Record
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.types import (
    U16,
    U32,
    AddressF,
    AmountF,
    BatchIdF,
    BlsPublicKeyF,
    BlsSignatureF,
    Bps,
    CampaignIdF,
    HashF,
    HeightF,
    PublicKeyF,
)


class Scope(IntEnum):
    """What an account lets a session key do: bits of a mask. An order without a scope needs the account's own key."""

    REVIEW = 1
    UPLOAD = 2
    WORK = 4
    REPORT = 8
    """Submitting evidence, and no more: for a node that reports by itself."""


SCOPES_ALL: Final = 15


class BodyBase(Record, frozen=True):
    """Common to all bodies: ``KIND`` as people read it, and the scope a session key needs (None: the account's own key)."""

    KIND: ClassVar[str]
    SCOPE: ClassVar[Scope | None] = None

    def weight(self) -> int:
        """Units of work beyond the envelope's."""
        return 100


class Transfer(BodyBase, frozen=True, tag=1):
    KIND: ClassVar[str] = "transfer"
    to: AddressF
    amount: AmountF


class SessionKeyAdd(BodyBase, frozen=True, tag=10):
    """Lets ``key`` sign orders of the given scopes for the sender up to a height."""

    KIND: ClassVar[str] = "session_key_add"
    key: PublicKeyF
    scopes: Annotated[int, Meta(ge=1, le=SCOPES_ALL)]
    valid_until: HeightF


class SessionKeyRemove(BodyBase, frozen=True, tag=11):
    KIND: ClassVar[str] = "session_key_remove"
    key: PublicKeyF


class ValidatorRegister(BodyBase, frozen=True, tag=20):
    """Makes the sender a validator with its own stake. The proof of possession covers the consensus key."""

    KIND: ClassVar[str] = "validator_register"
    stake: AmountF
    consensus_key: BlsPublicKeyF
    proof_of_possession: BlsSignatureF
    commission_bps: Bps
    name: Annotated[str, Meta(max_length=limits.name_chars_max)]

    def weight(self) -> int:
        # The proof of possession takes two pairings, about as long as thirty transfers.
        return 15_000


class ValidatorEdit(BodyBase, frozen=True, tag=23):
    """Changes the sender's validator; what is None stays. A key comes with its proof of possession.

    A new key votes from the next epoch on. The old one is never used again.
    """

    KIND: ClassVar[str] = "validator_edit"
    consensus_key: BlsPublicKeyF | None
    proof_of_possession: BlsSignatureF | None
    commission_bps: Bps | None
    name: Annotated[str, Meta(max_length=limits.name_chars_max)] | None

    def weight(self) -> int:
        return 0 if self.consensus_key is None else 15_000  # as a registration


class StakeAdd(BodyBase, frozen=True, tag=21):
    KIND: ClassVar[str] = "stake_add"
    amount: AmountF


class StakeWithdraw(BodyBase, frozen=True, tag=22):
    """Takes stake out of a validator; it is paid after the unbonding time and can be slashed until then."""

    KIND: ClassVar[str] = "stake_withdraw"
    amount: AmountF


class Category(Record, frozen=True):
    """A kind of data that a campaign wants: how much it matters to the pay and how many items are wanted (0: no bound)."""

    name: Annotated[str, Meta(min_length=1, max_length=limits.name_chars_max)]
    importance_bps: U32
    target: U32


class CampaignSpec(Record, frozen=True):
    """What a sponsor asks for and pays. Amounts in nanoOMNIT an item at complexity and importance 1.0."""

    title: Annotated[str, Meta(min_length=1, max_length=limits.title_chars_max)]
    instructions: Annotated[str, Meta(max_length=limits.instructions_chars_max)]
    """What the reviewers hold items against."""
    specification: ContentId | None
    """A longer document, as content."""
    media: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=limits.media_type_chars_max)], ...],
        Meta(min_length=1, max_length=limits.campaign_media_max),
    ]
    """Accepted media types, as ``text/plain`` or ``image/*``."""
    licence: Annotated[str, Meta(min_length=1, max_length=limits.licence_chars_max)]
    """SPDX identifier under which contributors give their items."""
    tier_bps: Annotated[tuple[U32, ...], Meta(min_length=1, max_length=limits.campaign_tiers_max)]
    """Complexity tiers."""
    categories: Annotated[tuple[Category, ...], Meta(min_length=1, max_length=limits.campaign_categories_max)]
    unit_price: AmountF
    review_fee: AmountF
    """For one reviewer's review of one item."""
    item_bond: AmountF
    criterion_weights: tuple[U16, U16, U16]
    """Completeness, accuracy, relevance; they sum to 10,000."""
    thresholds: tuple[U16, U16, U16]
    overall_threshold: U16
    """0..100, as the thresholds."""
    first_seats: Annotated[int, Meta(ge=1, le=limits.seats_per_round_max)]
    second_seats: Annotated[int, Meta(ge=0, le=limits.seats_per_round_max)]
    agree_min_bps: Bps
    contributor_share_max_bps: Bps
    """Largest share of the admitted items that one contributor may have once there are twenty; 10,000: no bound."""
    item_bytes_max: Annotated[int, Meta(ge=1, le=limits.content_bytes_max)]
    closes_at: HeightF
    """Submissions are taken up to this height; what is under way is finished, then the rest returns to the sponsor."""


class CampaignOpen(BodyBase, frozen=True, tag=30):
    KIND: ClassVar[str] = "campaign_open"
    spec: CampaignSpec
    budget: AmountF

    def weight(self) -> int:
        return 2_000


class CampaignFund(BodyBase, frozen=True, tag=31):
    KIND: ClassVar[str] = "campaign_fund"
    campaign: CampaignIdF
    amount: AmountF


class CampaignClose(BodyBase, frozen=True, tag=32):
    """Takes no further submissions; the rest of the money returns when nothing is under way."""

    KIND: ClassVar[str] = "campaign_close"
    campaign: CampaignIdF


class ItemDeclaration(Record, frozen=True):
    """One item as its contributor declares it. ``tier`` and ``category`` are indexes into the campaign's."""

    content: ContentId
    media_type: Annotated[str, Meta(min_length=1, max_length=limits.media_type_chars_max)]
    tier: U16
    category: U16


class SubmissionCommit(BodyBase, frozen=True, tag=40):
    """Claims priority for items without showing them: ``submission_commitment(items root, sender, salt)``."""

    KIND: ClassVar[str] = "submission_commit"
    SCOPE: ClassVar[Scope | None] = Scope.UPLOAD
    campaign: CampaignIdF
    commitment: HashF
    count: Annotated[int, Meta(ge=1, le=limits.submission_items_max)]


class SubmissionReveal(BodyBase, frozen=True, tag=41):
    KIND: ClassVar[str] = "submission_reveal"
    SCOPE: ClassVar[Scope | None] = Scope.UPLOAD
    campaign: CampaignIdF
    commitment: HashF
    salt: HashF
    items: Annotated[tuple[ItemDeclaration, ...], Meta(min_length=1, max_length=limits.submission_items_max)]

    def weight(self) -> int:
        return 100 + 400 * len(self.items)


class SeatAccept(BodyBase, frozen=True, tag=50):
    KIND: ClassVar[str] = "seat_accept"
    SCOPE: ClassVar[Scope | None] = Scope.REVIEW
    batch: BatchIdF
    round: U16


class SeatDecline(BodyBase, frozen=True, tag=51):
    KIND: ClassVar[str] = "seat_decline"
    SCOPE: ClassVar[Scope | None] = Scope.REVIEW
    batch: BatchIdF
    round: U16


class ReportCommit(BodyBase, frozen=True, tag=52):
    """Binds a reviewer to scores nobody sees yet. ``sealed``: the report under a key of the reviewer's, for other devices."""

    KIND: ClassVar[str] = "report_commit"
    SCOPE: ClassVar[Scope | None] = Scope.REVIEW
    batch: BatchIdF
    round: U16
    commitment: HashF
    sealed: Annotated[bytes, Meta(max_length=limits.sealed_report_bytes_max)]


class ReportReveal(BodyBase, frozen=True, tag=53):
    """Opens a commitment. ``report`` has four bytes an item: completeness, accuracy, relevance (0..100), flags."""

    KIND: ClassVar[str] = "report_reveal"
    SCOPE: ClassVar[Scope | None] = Scope.REVIEW
    batch: BatchIdF
    round: U16
    salt: HashF
    report: Annotated[bytes, Meta(min_length=4, max_length=4 * limits.batch_items_max)]

    def weight(self) -> int:
        return 100 + 50 * (len(self.report) // 4)


class EvidenceSubmit(BodyBase, frozen=True, tag=60):
    """Convicts whoever signed what no honest validator signs: it is slashed and removed for good, and the sender is paid."""

    KIND: ClassVar[str] = "evidence_submit"
    SCOPE: ClassVar[Scope | None] = Scope.REPORT
    evidence: Evidence

    def weight(self) -> int:
        return 30_000  # two signatures to verify, and the keys of a hundred validators to add up


Body = (
    Transfer
    | SessionKeyAdd
    | SessionKeyRemove
    | ValidatorRegister
    | ValidatorEdit
    | StakeAdd
    | StakeWithdraw
    | CampaignOpen
    | CampaignFund
    | CampaignClose
    | SubmissionCommit
    | SubmissionReveal
    | SeatAccept
    | SeatDecline
    | ReportCommit
    | ReportReveal
    | EvidenceSubmit
)
"""Every kind of body; on the wire an array headed by the kind's tag."""

BODY_KINDS: Final[tuple[type[BodyBase], ...]] = (
    Transfer,
    SessionKeyAdd,
    SessionKeyRemove,
    ValidatorRegister,
    ValidatorEdit,
    StakeAdd,
    StakeWithdraw,
    CampaignOpen,
    CampaignFund,
    CampaignClose,
    SubmissionCommit,
    SubmissionReveal,
    SeatAccept,
    SeatDecline,
    ReportCommit,
    ReportReveal,
    EvidenceSubmit,
)
