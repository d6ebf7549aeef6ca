"""Rows of seasons, leaderboards, badges and competitions that a client can check for itself; see ``rows``. Data only."""

from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol.codec import Record
from omnitensor.protocol.limits import competition_ranks_max
from omnitensor.protocol.seasons import BadgeKind, Role
from omnitensor.protocol.types import (
    U16,
    U32,
    U64,
    Address,
    AddressF,
    AmountF,
    Bps,
    CampaignIdF,
    EpochF,
    HeightF,
)

SEASONS_PREFIX: Final = 0x40
STANDINGS_PREFIX: Final = 0x41
BADGES_PREFIX: Final = 0x43
COMPETITIONS_PREFIX: Final = 0x44
CAREERS_PREFIX: Final = 0x47


def season_key(season: int) -> bytes:
    """Key of a ``Season``."""
    return bytes([SEASONS_PREFIX]) + season.to_bytes(8, "big")


def standing_key(role: Role, season: int, account: Address) -> bytes:
    """Key of a ``Standing``."""
    return bytes([STANDINGS_PREFIX]) + role.to_bytes(8, "big") + season.to_bytes(8, "big") + account


def badge_key(account: Address, kind: BadgeKind, of: int = 0) -> bytes:
    """Key of a ``Badge``; ``of`` is the season or competition that it is for."""
    return bytes([BADGES_PREFIX]) + account + kind.to_bytes(8, "big") + of.to_bytes(8, "big")


def competition_key(competition: int) -> bytes:
    """Key of a ``Competition``."""
    return bytes([COMPETITIONS_PREFIX]) + competition.to_bytes(8, "big")


def career_key(account: Address) -> bytes:
    """Key of a ``Career``."""
    return bytes([CAREERS_PREFIX]) + account


class Season(Record, frozen=True):
    """A span of epochs in which work is scored. ``pools``, ``places`` and ``closed_at`` are told when it closes."""

    first_epoch: EpochF
    opened_at: HeightF
    closed_at: HeightF
    """0 while it runs."""
    pools: tuple[AmountF, ...]
    """What left the reserve for each role, in the order of ``Role``; empty while it runs."""
    places: U16
    """Places of each role's leaderboard that have a share."""
    paid: AmountF
    """Of the pools so far."""
    participation: AmountF
    """Participation rewards so far, which are paid at once."""


class Standing(Record, frozen=True):
    """An account on one leaderboard."""

    value: U64
    """nanoOMNIT earned by accepted work."""
    works: U32
    """Accepted items, settled for good; for a validator paid reports."""
    missed: U32
    """Seats whose report did not come."""
    participation: AmountF
    """Participation rewards."""


class Career(Record, frozen=True):
    """An account's lifetime, as far as badges and prizes go."""

    items: U64
    """Accepted items, settled for good."""
    prizes: U64
    """nanoOMNIT from seasons and competitions."""
    participation: U64


class Badge(Record, frozen=True):
    """A distinction, given once."""

    height: HeightF
    rank: U16
    """Place on the leaderboard, from 1; 0 where it is not for a place."""


class Competition(Record, frozen=True):
    """A pool for a campaign's contributors."""

    sponsor: AddressF
    campaign: CampaignIdF
    pool: AmountF
    rule: U16
    """A PrizeRule."""
    shares_bps: Annotated[tuple[Bps, ...], Meta(max_length=competition_ranks_max)]
    opened_at: HeightF
    paid: AmountF
    returned: AmountF
    """To its sponsor, what nobody was due."""
    ended_at: HeightF
    """0 until all is paid."""
