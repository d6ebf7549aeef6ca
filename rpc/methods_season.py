"""Methods season.*, competition.*, account.badges, campaign.leaderboard: who did well, and what it brought. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from omnitensor.protocol.rows_season import competition_key, season_key, standing_key
from omnitensor.protocol.seasons import CAMPAIGN_BOARD, BadgeKind, PrizeRule, Role
from omnitensor.protocol.types import BPS, CampaignId
from rpc.cursors import bad_cursor
from rpc.errors import not_found
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    AmountText,
    Count,
    Cursor,
    Limit,
    Number,
    TaskId,
    WithProof,
    address_of,
    number_cursor,
    number_of,
    shown,
)
from rpc.methods_campaign import campaign_row
from rpc.proofs import RowProof, row_proof
from rpc.table import TABLE, Context, Params, Result
from state.ledger import seasons, standings
from state.ledger.standings import Board, Placed
from state.reader import Reader
from state.records_season import Competition, Season
from state.schema import BADGES, COMPETITIONS, COMPETITIONS_BY_CAMPAIGN, number

RoleName = Literal["contributor", "validator", "worker"]
BadgeName = Literal[
    "first_item",
    "hundred_items",
    "thousand_items",
    "top_contributor",
    "top_validator",
    "top_worker",
    "steadfast",
    "winner",
]
RANKED_MAX = 1_000
"""How far down a board a place is looked for."""


class SeasonShown(Result, frozen=True):
    season: Count
    first_epoch: Count
    opened_at: Count
    closed_at: Annotated[
        Count | None, Meta(description="The boundary with which it ended; null while it runs")
    ]
    ends_after_epoch: Annotated[
        Count | None, Meta(description="By the parameters in force; null once it has ended")
    ]
    pools: Annotated[
        dict[str, AmountText],
        Meta(description="By role: what left the reserve, or, while it runs, what would at most"),
    ]
    places: Annotated[Count, Meta(description="Places of each leaderboard that have a share")]
    paid: Annotated[AmountText, Meta(description="Of the pools so far")]
    participation: Annotated[AmountText, Meta(description="Rewards for taking part so far")]
    proof: RowProof | UnsetType = UNSET


def _season(reader: Reader, season: int, row: Season) -> SeasonShown:
    params = reader.params()
    pools: Sequence[int] = row.pools
    if not row.closed_at:
        pools = [params.season_pool * seasons.share_bps(params, role) // BPS for role in Role]
    return SeasonShown(
        season=season,
        first_epoch=row.first_epoch,
        opened_at=row.opened_at,
        closed_at=row.closed_at or None,
        ends_after_epoch=None if row.closed_at else row.first_epoch + params.season_epochs - 1,
        pools={role.label: str(pools[role]) for role in Role},
        places=row.places or params.season_places,
        paid=str(row.paid),
        participation=str(row.participation),
    )


def _number(reader: Reader, season: int | None) -> int:
    """A season that was named, or the one that runs. Raises RpcError (not found)."""
    running = standings.current_season(reader)
    if season is not None and season > running:
        raise not_found("season", season, f"season {running} runs now")
    return running if season is None else season


class SeasonParams(Params, frozen=True):
    season: Number | None = None
    proof: WithProof = False


@TABLE.method("season.get")
def season(context: Context, params: SeasonParams) -> SeasonShown:
    """A season by number, or the one that runs: its epochs, pools and what was paid."""
    reader = context.reader
    found = _number(reader, params.season)
    made = _season(reader, found, seasons.season_of(reader, found))
    if not params.proof:
        return made
    return SeasonShown(
        **{name: getattr(made, name) for name in made.__struct_fields__ if name != "proof"},
        proof=row_proof(reader, season_key(found)),
    )


class SeasonsParams(Params, frozen=True):
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class SeasonsPage(Result, frozen=True):
    seasons: list[SeasonShown]
    next: Cursor | None


@TABLE.method("season.list")
def season_list(context: Context, params: SeasonsParams) -> SeasonsPage:
    """Seasons, the newest first."""
    reader = context.reader
    at = number_cursor(params.cursor)
    top = standings.current_season(reader) if at is None else at
    found = [
        _season(reader, each, seasons.season_of(reader, each))
        for each in range(top, max(-1, top - params.limit), -1)
    ]
    below = top - params.limit
    return SeasonsPage(seasons=found, next=str(below) if below >= 0 else None)


class PlaceShown(Result, frozen=True):
    rank: Annotated[Count, Meta(description="From 1; of equal values the lower address comes first")]
    account: AddressText
    value: Annotated[AmountText, Meta(description="Earned by accepted work")]
    works: Annotated[Count, Meta(description="Accepted items, settled for good; of a validator paid reports")]
    missed: Annotated[Count, Meta(description="Of a validator: seats whose report did not come")]


class BoardPage(Result, frozen=True):
    season: Annotated[Count | None, Meta(description="Null for a campaign's")]
    places: list[PlaceShown]
    next: Cursor | None


def _page(reader: Reader, board: Board, cursor: str | None, limit: int) -> BoardPage:
    rank, start = (1, b"") if cursor is None else _placed(reader, board, cursor)
    found: list[PlaceShown] = []
    following = None
    for placed in standings.placed_from(reader, board, start):
        if len(found) == limit:
            following = f"{rank + len(found)}:{shown(placed.account)}"
            break
        row = standings.standing(reader, board, placed.account)
        found.append(
            PlaceShown(
                rank=rank + len(found),
                account=shown(placed.account),
                value=str(placed.value),
                works=row.works,
                missed=row.missed,
            )
        )
    return BoardPage(season=None if board.kind == CAMPAIGN_BOARD else board.of, places=found, next=following)


def _placed(reader: Reader, board: Board, cursor: str) -> tuple[int, bytes]:
    """Rank and place in a cursor, as ``rank:address``: where that account stands by now."""
    rank, _, text = cursor.partition(":")
    if not (rank.isascii() and rank.isdigit() and len(rank) < 19):
        raise bad_cursor(cursor)
    account = address_of(text)
    value = standings.standing(reader, board, account).value
    return int(rank), standings.place_key(Placed(account, value))


class LeaderboardParams(Params, frozen=True):
    role: RoleName = "contributor"
    season: Number | None = None
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


@TABLE.method("season.leaderboard")
def leaderboard(context: Context, params: LeaderboardParams) -> BoardPage:
    """A role's leaderboard in a season, the first place first."""
    reader = context.reader
    board = Board(Role[params.role.upper()], _number(reader, params.season))
    return _page(reader, board, params.cursor, params.limit)


class CampaignBoardParams(Params, frozen=True):
    campaign: TaskId
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


@TABLE.method("campaign.leaderboard")
def campaign_leaderboard(context: Context, params: CampaignBoardParams) -> BoardPage:
    """A campaign's contributors by what their accepted items earned, which competitions are split by."""
    campaign = CampaignId(number_of(params.campaign))
    campaign_row(context.reader, campaign)
    return _page(context.reader, standings.campaign_board(campaign), params.cursor, params.limit)


class StandingParams(Params, frozen=True):
    address: AddressText
    role: RoleName = "contributor"
    season: Number | None = None
    proof: WithProof = False


class StandingShown(Result, frozen=True):
    address: AddressText
    season: Count
    role: RoleName
    value: AmountText
    works: Count
    missed: Count
    participation: Annotated[AmountText, Meta(description="Rewards for taking part in this season")]
    rank: Annotated[
        Count | None, Meta(description=f"Its place; null without a score, or beyond place {RANKED_MAX}")
    ]
    proof: RowProof | UnsetType = UNSET


@TABLE.method("season.standing", heavy=True)
def season_standing(context: Context, params: StandingParams) -> StandingShown:
    """How an account stands in a season, with its place."""
    reader, address = context.reader, address_of(params.address)
    role, found = Role[params.role.upper()], _number(reader, params.season)
    board = Board(role, found)
    row = standings.standing(reader, board, address)
    rank = None
    if row.value:
        first = (placed.account for placed in standings.first(reader, board, RANKED_MAX))
        rank = next((place for place, who in enumerate(first, 1) if who == address), None)
    return StandingShown(
        address=params.address,
        season=found,
        role=params.role,
        value=str(row.value),
        works=row.works,
        missed=row.missed,
        participation=str(row.participation),
        rank=rank,
        proof=row_proof(reader, standing_key(role, found, address)) if params.proof else UNSET,
    )


class BadgesParams(Params, frozen=True):
    address: AddressText
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class BadgeShown(Result, frozen=True):
    badge: BadgeName
    of: Annotated[Count | None, Meta(description="The season or competition that it is for")]
    rank: Annotated[Count | None, Meta(description="The place that it is for")]
    height: Count


class BadgesShown(Result, frozen=True):
    address: AddressText
    items: Annotated[Count, Meta(description="Accepted items, settled for good, in its lifetime")]
    prizes: Annotated[AmountText, Meta(description="From seasons and competitions, in its lifetime")]
    participation: AmountText
    badges: list[BadgeShown]
    next: Cursor | None


@TABLE.method("account.badges")
def account_badges(context: Context, params: BadgesParams) -> BadgesShown:
    """An account's badges and prizes."""
    reader, address = context.reader, address_of(params.address)
    career, found = standings.career(reader, address), list[BadgeShown]()
    start, following = b"" if params.cursor is None else _badge_start(params.cursor), None
    for key, row in reader.scan(BADGES, address, start=start):
        kind, of = BadgeKind(number(key[:8])), number(key[8:])
        if len(found) == params.limit:
            following = f"{kind}:{of}"
            break
        is_of_something = kind >= BadgeKind.TOP_CONTRIBUTOR
        found.append(
            BadgeShown(
                badge=_badge_name(kind),
                of=of if is_of_something else None,
                rank=row.rank or None,
                height=row.height,
            )
        )
    return BadgesShown(
        address=params.address,
        items=career.items,
        prizes=str(career.prizes),
        participation=str(career.participation),
        badges=found,
        next=following,
    )


def _badge_start(cursor: str) -> bytes:
    kind, colon, of = cursor.partition(":")
    if not colon or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (kind, of)):
        raise bad_cursor(cursor)
    return int(kind).to_bytes(8, "big") + int(of).to_bytes(8, "big")


def _badge_name(kind: BadgeKind) -> BadgeName:
    return kind.label  # type: ignore[return-value] # the names of the enumeration, which a test holds to this type's


class CompetitionShown(Result, frozen=True):
    competition: Count
    campaign: Count
    sponsor: AddressText
    pool: AmountText
    rule: Literal["proportional", "ranks"]
    shares_bps: Annotated[list[Count], Meta(description="By place, for the rule ranks")]
    opened_at: Count
    paid: AmountText
    returned: Annotated[AmountText, Meta(description="To its sponsor, what nobody was due")]
    ended_at: Annotated[Count | None, Meta(description="Null until everything is paid")]
    proof: RowProof | UnsetType = UNSET


def _competition(reader: Reader, competition: int, row: Competition, proof: bool = False) -> CompetitionShown:
    return CompetitionShown(
        competition=competition,
        campaign=row.campaign,
        sponsor=shown(row.sponsor),
        pool=str(row.pool),
        rule="ranks" if row.rule == PrizeRule.RANKS else "proportional",
        shares_bps=list(row.shares_bps),
        opened_at=row.opened_at,
        paid=str(row.paid),
        returned=str(row.returned),
        ended_at=row.ended_at or None,
        proof=row_proof(reader, competition_key(competition)) if proof else UNSET,
    )


class CompetitionParams(Params, frozen=True):
    competition: Number
    proof: WithProof = False


@TABLE.method("competition.get")
def competition(context: Context, params: CompetitionParams) -> CompetitionShown:
    """A competition: its pool, how it is split, and what was paid."""
    row = context.reader.get(COMPETITIONS, params.competition)
    if row is None:
        raise not_found("competition", params.competition, "list them with: otensor-cli competition list")
    return _competition(context.reader, params.competition, row, params.proof)


class CompetitionsParams(Params, frozen=True):
    campaign: TaskId | None = None
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class CompetitionsPage(Result, frozen=True):
    competitions: list[CompetitionShown]
    next: Cursor | None


@TABLE.method("competition.list")
def competitions(context: Context, params: CompetitionsParams) -> CompetitionsPage:
    """Competitions, the newest first; those of a campaign."""
    reader, at = context.reader, number_cursor(params.cursor)
    start, found = b"\xff" * 8 if at is None else at.to_bytes(8, "big"), list[CompetitionShown]()
    if params.campaign is None:
        keys = (key for key, _ in reader.scan(COMPETITIONS, start=start, reverse=True))
    else:
        campaign = number_of(params.campaign)
        keys = (key for key, _ in reader.scan(COMPETITIONS_BY_CAMPAIGN, campaign, start=start, reverse=True))
    for key in keys:
        if len(found) == params.limit:
            return CompetitionsPage(competitions=found, next=str(number(key)))
        row = reader.get(COMPETITIONS, number(key))
        assert row is not None, "an index names what is there"
        found.append(_competition(reader, number(key), row))
    return CompetitionsPage(competitions=found, next=None)
