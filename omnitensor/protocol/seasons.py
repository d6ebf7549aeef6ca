"""Seasons in words: roles, badges, how a competition's pool is split. Data only."""

from enum import IntEnum
from typing import Final


class Role(IntEnum):
    """As what an account is scored in a season. The number is also that of the role's leaderboards in the state."""

    CONTRIBUTOR = 0
    VALIDATOR = 1
    WORKER = 2

    @property
    def label(self) -> str:
        return self.name.lower()


CAMPAIGN_BOARD: Final = 3
"""Number of the leaderboards of campaigns, beside those of roles."""


class BadgeKind(IntEnum):
    """What a badge is for. Those of seasons and competitions name which."""

    FIRST_ITEM = 0
    HUNDRED_ITEMS = 1
    THOUSAND_ITEMS = 2
    TOP_CONTRIBUTOR = 3
    TOP_VALIDATOR = 4
    TOP_WORKER = 5
    STEADFAST = 6
    """A validator's season with reports and without a missed seat."""
    WINNER = 7
    """First in a competition."""

    @property
    def label(self) -> str:
        return self.name.lower()


ITEMS_FOR_BADGE: Final = {
    1: BadgeKind.FIRST_ITEM,
    100: BadgeKind.HUNDRED_ITEMS,
    1_000: BadgeKind.THOUSAND_ITEMS,
}
"""Accepted items, settled for good, that a badge is given for."""
TOP_PLACES: Final = 10
"""Places of a season's leaderboard that get a badge."""
STEADFAST_REPORTS: Final = 10
"""Paid reports in a season, and no missed seat, for a badge."""


class PrizeRule(IntEnum):
    """How a competition's pool is split among the campaign's contributors."""

    PROPORTIONAL = 0
    """By accepted value."""
    RANKS = 1
    """By place: each has its share."""

    @property
    def label(self) -> str:
        return self.name.lower()
