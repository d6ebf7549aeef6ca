"""Orders about campaigns, and about what is handed in to them. Data only."""

from typing import Annotated, ClassVar

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies.base import BodyBase, Scope
from omnitensor.protocol.codec import Record
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.sealing import OWN_SEAL_BYTES, READING_KEY_BYTES, WRAP_BYTES
from omnitensor.protocol.types import (
    U16,
    U32,
    AmountF,
    Bps,
    CampaignIdF,
    HashF,
    HeightF,
    ItemIdF,
)
from omnitensor.protocol.work import CampaignModel


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
    audit_bps: Bps = 0
    """Chance that an item goes to a second round whatever the first says."""
    reading_key: Annotated[bytes, Meta(max_length=READING_KEY_BYTES)] = b""
    """The sponsor's X25519 key, which makes the campaign private: its items are encrypted. Empty: they are not."""
    model: CampaignModel | None = None
    """Scores its items; they reach the reviewers as advice."""

    @property
    def contents(self) -> tuple[ContentId, ...]:
        """What it names: its specification and its model."""
        named = (self.specification, self.model.content if self.model else None)
        return tuple(content for content in named if content is not None)


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


class CampaignCancel(BodyBase, frozen=True, tag=33):
    """Takes nothing in any more, not even what is committed and not shown; what was shown is judged and paid."""

    KIND: ClassVar[str] = "campaign_cancel"
    campaign: CampaignIdF


class PrivateItem(Record, frozen=True):
    """What goes with an encrypted item: what its plain bytes are, hidden, and its key for two who read it at any time."""

    plain: HashF
    """``sealing.plain_commitment`` of the plain bytes."""
    sponsor: Annotated[bytes, Meta(min_length=WRAP_BYTES, max_length=WRAP_BYTES)]
    """The item's key, wrapped to the campaign's reading key."""
    own: Annotated[bytes, Meta(min_length=OWN_SEAL_BYTES, max_length=OWN_SEAL_BYTES)]
    """The same under a key of the contributor's, so that any device that holds it can give the item's key to seats."""


class ItemDeclaration(Record, frozen=True):
    """One item as its contributor declares it. ``tier`` and ``category`` are indexes into the campaign's.

    Of a private campaign's item ``content`` is the encrypted file's, and ``media_type`` the plain one's.
    """

    content: ContentId
    media_type: Annotated[str, Meta(min_length=1, max_length=limits.media_type_chars_max)]
    tier: U16
    category: U16
    private: PrivateItem | None = None


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


class ItemAppeal(BodyBase, frozen=True, tag=42):
    """Asks for a second round about a verdict, with a bond of what one costs, which returns if the verdict turns.

    A rejection is its contributor's to appeal; an acceptance anybody else's.
    """

    KIND: ClassVar[str] = "item_appeal"
    SCOPE: ClassVar[Scope | None] = Scope.UPLOAD
    item: ItemIdF

    def weight(self) -> int:
        return 1_000
