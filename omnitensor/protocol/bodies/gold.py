"""Orders about gold: items whose answers their sponsor committed to before anybody was drawn to judge them. Data only."""

from typing import Annotated, ClassVar

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies.base import BodyBase, Scope
from omnitensor.protocol.codec import Record
from omnitensor.protocol.types import U32, AmountF, BatchIdF, CampaignIdF, HashF, ItemIdF

GoldPath = Annotated[tuple[HashF, ...], Meta(max_length=limits.gold_path_hashes_max)]
GoldBits = Annotated[int, Meta(ge=0, le=7)]
"""Which criteria pass: 1 completeness, 2 accuracy, 4 relevance."""


class GoldCommit(BodyBase, frozen=True, tag=34):
    """Binds a campaign to the answers of ``count`` gold items, under one root, with a bond for each."""

    KIND: ClassVar[str] = "gold_commit"
    campaign: CampaignIdF
    root: HashF
    count: Annotated[int, Meta(ge=1, le=limits.gold_items_max)]
    bond_each: AmountF


class GoldOpening(Record, frozen=True):
    """One gold item of a batch: its place in the tree, the item in which it was handed in, and the answers."""

    index: U32
    item: ItemIdF
    bits: GoldBits
    salt: HashF
    path: GoldPath


class GoldReveal(BodyBase, frozen=True, tag=35):
    """Says which items of a batch were gold, once its reports are open; none is an answer, too."""

    KIND: ClassVar[str] = "gold_reveal"
    SCOPE: ClassVar[Scope | None] = Scope.UPLOAD
    batch: BatchIdF
    openings: Annotated[tuple[GoldOpening, ...], Meta(max_length=limits.batch_items_max)]

    def weight(self) -> int:
        return 200 + 200 * len(self.openings)


class GoldSpare(Record, frozen=True):
    """One gold item that was never used: its content's chunk root instead of an item."""

    index: U32
    chunk_root: HashF
    bits: GoldBits
    salt: HashF
    path: GoldPath


class GoldRetire(BodyBase, frozen=True, tag=36):
    """Opens gold that no committee met, to have its bonds back."""

    KIND: ClassVar[str] = "gold_retire"
    SCOPE: ClassVar[Scope | None] = Scope.UPLOAD
    campaign: CampaignIdF
    spares: Annotated[tuple[GoldSpare, ...], Meta(min_length=1, max_length=limits.gold_retired_per_order_max)]

    def weight(self) -> int:
        return 200 + 200 * len(self.spares)
