"""What a node can be asked about seasons, leaderboards, badges and competitions, typed. Reads only."""

from __future__ import annotations

from typing import Any

from omnitensor.protocol.types import Address
from omnitensor.sdk.reads import PAGE_ITEMS, PAGES_MAX, Reads, address_text, campaign_number
from omnitensor.sdk.results_season import (
    Badges,
    CompetitionInfo,
    CompetitionPage,
    Leaderboard,
    Place,
    SeasonInfo,
    StandingInfo,
)


class SeasonReads(Reads):
    """The part of a client that asks about seasons."""

    async def season(self, season: int | None = None) -> SeasonInfo:
        """A season, or the one that runs. Raises NotFoundError."""
        return await self._ask(SeasonInfo, "season.get", season=season)

    async def leaderboard(
        self, role: str = "contributor", *, season: int | None = None, limit: int = 20
    ) -> list[Place]:
        """The first of a role (contributor, validator, worker) in a season, the first place first."""
        return await self._places("season.leaderboard", limit, role=role, season=season)

    async def campaign_leaderboard(self, campaign: int | str, *, limit: int = 20) -> list[Place]:
        """The first of a campaign's contributors. Raises NotFoundError."""
        return await self._places("campaign.leaderboard", limit, campaign=campaign_number(campaign))

    async def standing(
        self, address: Address | str, role: str = "contributor", *, season: int | None = None
    ) -> StandingInfo:
        """How an account stands in a season."""
        return await self._ask(
            StandingInfo, "season.standing", address=address_text(address), role=role, season=season
        )

    async def badges(self, address: Address | str) -> Badges:
        """An account's badges, and its prizes over its lifetime."""
        text, pages = address_text(address), list[Badges]()
        for _ in range(PAGES_MAX):
            cursor = pages[-1].next if pages else None
            pages.append(
                await self._ask(Badges, "account.badges", address=text, cursor=cursor, limit=PAGE_ITEMS)
            )
            if pages[-1].next is None:
                break
        last = pages[-1]
        return Badges(
            address=last.address,
            items=last.items,
            prizes=last.prizes,
            participation=last.participation,
            badges=[each for page in pages for each in page.badges],
        )

    async def competition(self, competition: int) -> CompetitionInfo:
        """A competition. Raises NotFoundError."""
        return await self._ask(CompetitionInfo, "competition.get", competition=competition)

    async def competitions(self, campaign: int | str | None = None) -> list[CompetitionInfo]:
        """All competitions, or those of a campaign, the newest first."""
        named = None if campaign is None else campaign_number(campaign)
        found, cursor = list[CompetitionInfo](), None
        for _ in range(PAGES_MAX):
            page = await self._ask(
                CompetitionPage, "competition.list", campaign=named, cursor=cursor, limit=PAGE_ITEMS
            )
            found += page.competitions
            if (cursor := page.next) is None:
                break
        return found

    async def _places(self, method: str, limit: int, **params: Any) -> list[Place]:
        """So many places of a leaderboard, page by page."""
        found, cursor = list[Place](), None
        while len(found) < limit:
            more = min(PAGE_ITEMS, limit - len(found))
            page = await self._ask(Leaderboard, method, cursor=cursor, limit=more, **params)
            found += page.places
            if (cursor := page.next) is None or not page.places:
                break
        return found
