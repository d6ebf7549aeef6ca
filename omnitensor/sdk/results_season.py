"""What a node answers about seasons, leaderboards, badges and competitions, as typed values; see ``results``. Data only."""

from __future__ import annotations

from omnitensor.sdk.results import Cursor, Result


class SeasonInfo(Result, frozen=True):
    """`pools` by role: what left the reserve, or, while the season runs, what would at most."""

    season: int
    first_epoch: int
    opened_at: int
    closed_at: int | None
    ends_after_epoch: int | None
    pools: dict[str, int]
    places: int
    paid: int
    participation: int


class Place(Result, frozen=True):
    """A place on a leaderboard, from 1."""

    rank: int
    account: str
    value: int
    works: int
    missed: int = 0


class Leaderboard(Result, frozen=True):
    season: int | None
    places: list[Place]
    next: Cursor = None


class StandingInfo(Result, frozen=True):
    address: str
    season: int
    role: str
    value: int
    works: int
    missed: int
    participation: int
    rank: int | None


class BadgeInfo(Result, frozen=True):
    badge: str
    of: int | None
    rank: int | None
    height: int


class Badges(Result, frozen=True):
    """An account's badges, and its prizes over its lifetime."""

    address: str
    items: int
    prizes: int
    participation: int
    badges: list[BadgeInfo]
    next: Cursor = None


class CompetitionInfo(Result, frozen=True):
    competition: int
    campaign: int
    sponsor: str
    pool: int
    rule: str
    shares_bps: list[int]
    opened_at: int
    paid: int
    returned: int
    ended_at: int | None


class CompetitionPage(Result, frozen=True):
    competitions: list[CompetitionInfo]
    next: Cursor = None
