"""The order that opens a competition. Data only."""

from typing import Annotated, ClassVar

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies.base import BodyBase
from omnitensor.protocol.types import U16, AmountF, Bps, CampaignIdF


class CompetitionOpen(BodyBase, frozen=True, tag=100):
    """Puts up a pool for the contributors of a campaign, split when the campaign has ended."""

    KIND: ClassVar[str] = "competition_open"
    campaign: CampaignIdF
    pool: AmountF
    rule: U16
    """A PrizeRule."""
    shares_bps: Annotated[tuple[Bps, ...], Meta(max_length=limits.competition_ranks_max)]
    """By place, the first one first; empty for a split in proportion."""

    def weight(self) -> int:
        return 2_000 + 100 * len(self.shares_bps)
