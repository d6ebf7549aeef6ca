"""Pays what seasons and competitions owe, oldest first, at the end of blocks and in bounded work.

Splits are worked out anew in every block from boards that do not move any more, and the rows say how far payment has come:
so it ends with the last unit, whenever it is interrupted. Knows no rule by which anybody scores.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.seasons import STEADFAST_REPORTS, TOP_PLACES, BadgeKind, PrizeRule, Role
from omnitensor.protocol.types import Address, Amount, CampaignId
from state.ledger import badges, earnings, standings
from state.ledger.accounts import Pot, lifetime_sum, move
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.pay import largest_remainder
from state.ledger.standings import Board, Placed
from state.ledger.view import ReadView, View
from state.records_season import Competition, Payout
from state.schema import (
    CAREERS,
    COMPETITIONS,
    COMPETITIONS_BY_CAMPAIGN,
    PAYOUTS,
    SEASONS,
    STANDINGS,
    number,
)

READ_WORK: Final = 3
"""Units, about a microsecond each, for reading a row of a board."""
PAYMENT_WORK: Final = 100
"""Units for a prize or a badge, what committing to its rows takes included."""
PLACES_PER_STEP: Final = 32
"""Places paid before the work is reckoned."""
ROWS_PER_STEP: Final = 64
PLAIN: Final = Payout(0, 0, b"")
BADGE_OF: Final = {
    Role.CONTRIBUTOR: BadgeKind.TOP_CONTRIBUTOR,
    Role.VALIDATOR: BadgeKind.TOP_VALIDATOR,
    Role.WORKER: BadgeKind.TOP_WORKER,
}


class PayoutKind(IntEnum):
    """What is paid out; the id is the season's or the campaign's."""

    SEASON = 0
    CAMPAIGN = 1


Step = tuple[Payout | None, int, tuple[Event, ...]]
"""How far a payout has come (None: to its end), the work that took, and what was said."""


def pay_season(view: View, ctx: BlockContext, season: int) -> None:
    """Has a closed season paid."""
    view.put(PAYOUTS, PLAIN, ctx.height, PayoutKind.SEASON, season)


def pay_competitions(view: View, ctx: BlockContext, campaign: CampaignId) -> None:
    """Has the competitions of a campaign paid that has ended, if there are any."""
    for _ in view.scan(COMPETITIONS_BY_CAMPAIGN, campaign):
        view.put(PAYOUTS, PLAIN, ctx.height, PayoutKind.CAMPAIGN, campaign)
        return


def run(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """Pays what is owed, up to a bound of work; at least one step, if there is any."""
    events: list[Event] = []
    work = 0
    for key, row in view.scan(PAYOUTS):
        _, kind, of = map(number, PAYOUTS.split(key))
        following: Payout | None = row
        while following is not None and work < limits.prize_work_per_block_max:
            if kind == PayoutKind.SEASON:
                following, took, said = _season_step(view, ctx, of, following)
            else:
                following, took, said = _campaign_step(view, ctx, CampaignId(of), following)
            work += took
            events += said
        if following is not None:
            view.put(PAYOUTS, following, key)
            break
        view.delete(PAYOUTS, key)
    return tuple(events)


def rank_weights(count: int) -> list[int]:
    """Weights of the places of a season's leaderboard: the first of ``count`` has ``count``, the last one."""
    return list(range(count, 0, -1))


def season_shares(pool: int, placed: Sequence[Placed]) -> list[int]:
    """A role's pool by place, to the last unit."""
    weights = rank_weights(len(placed))
    shares, _ = largest_remainder(
        pool, [(one.account, weight) for one, weight in zip(placed, weights, strict=True)]
    )
    return [shares[one.account] for one in placed]


def competition_shares(row: Competition, placed: Sequence[Placed]) -> list[int]:
    """A competition's pool by place, as far as there are places; what they leave returns to its sponsor."""
    if row.rule == PrizeRule.PROPORTIONAL:
        shares, _ = largest_remainder(row.pool, [(one.account, one.value) for one in placed])
        return [shares[one.account] for one in placed]
    by_place, _ = largest_remainder(
        row.pool, [(place.to_bytes(2, "big"), share) for place, share in enumerate(row.shares_bps)]
    )
    return [by_place[place.to_bytes(2, "big")] for place in range(min(len(placed), len(by_place)))]


def _season_step(view: View, ctx: BlockContext, season: int, row: Payout) -> Step:
    """Pays some places of a role's leaderboard; behind the last role, looks at some validators for their badge."""
    if row.part >= len(Role):
        return _steadfast_step(view, ctx, season, row)
    role, found = Role(row.part), view.get(SEASONS, season)
    assert found is not None, "a season that is paid was closed"
    placed = standings.first(view, Board(role, season), max(found.places, TOP_PLACES))
    shares = season_shares(found.pools[role], placed[: found.places]) if found.pools[role] else []
    events: list[Event] = []
    end = min(len(placed), row.place + PLACES_PER_STEP)
    for place in range(row.place, end):
        account, amount = placed[place].account, shares[place] if place < len(shares) else 0
        if place < TOP_PLACES:
            events += badges.give(view, ctx, account, BADGE_OF[role], season, place + 1)
        if amount:
            found = replace(found, paid=Amount(found.paid + amount))
            _pay(view, ctx, Pot.SEASONS, account, amount, CampaignId(0))
            events.append(
                event(
                    "season.paid", season=season, role=role.label, rank=place + 1, to=account, amount=amount
                )
            )
    view.put(SEASONS, found, season)
    following = Payout(row.part, end, b"") if end < len(placed) else Payout(row.part + 1, 0, b"")
    return following, READ_WORK * len(placed) + PAYMENT_WORK * (1 + end - row.place), tuple(events)


def _steadfast_step(view: View, ctx: BlockContext, season: int, row: Payout) -> Step:
    """Looks at some validators of a season: reports, and no missed seat."""
    events: list[Event] = []
    seen, after = 0, row.after
    for key, found in view.scan(STANDINGS, Role.VALIDATOR, season, start=row.after):
        if key == row.after:
            continue
        if seen == ROWS_PER_STEP:
            return Payout(row.part, 0, after), READ_WORK * seen + PAYMENT_WORK * len(events), tuple(events)
        seen, after = seen + 1, key
        if found.works >= STEADFAST_REPORTS and not found.missed:
            events += badges.give(view, ctx, Address(key), BadgeKind.STEADFAST, season)
    return None, READ_WORK * (1 + seen) + PAYMENT_WORK * len(events), tuple(events)


def _campaign_step(view: View, ctx: BlockContext, campaign: CampaignId, row: Payout) -> Step:
    """Pays some places of a campaign's competition, and behind the last returns the rest; then comes the next one."""
    competition, found = _next_competition(view, campaign, row)
    if found is None:
        return None, READ_WORK, ()
    place = row.place if competition == row.part else 0
    placed = standings.first(view, standings.campaign_board(campaign), _places(found))
    shares = competition_shares(found, placed)
    events: list[Event] = []
    end = min(len(shares), place + PLACES_PER_STEP)
    for rank in range(place, end):
        account, amount = placed[rank].account, shares[rank]
        if rank == 0:
            events += badges.give(view, ctx, account, BadgeKind.WINNER, competition, 1)
        if amount:
            found = replace(found, paid=Amount(found.paid + amount))
            _pay(view, ctx, Pot.COMPETITIONS, account, amount, campaign)
            events.append(
                event("competition.paid", competition=competition, rank=rank + 1, to=account, amount=amount)
            )
    following = Payout(competition, end, b"")
    if end == len(shares):
        found, said = _end_competition(view, ctx, competition, found)
        events += said
        following = Payout(competition + 1, 0, b"")
    view.put(COMPETITIONS, found, competition)
    return following, READ_WORK * len(placed) + PAYMENT_WORK * (1 + end - place), tuple(events)


def _next_competition(view: ReadView, campaign: CampaignId, row: Payout) -> tuple[int, Competition | None]:
    """The campaign's first competition from a number on."""
    for key, _ in view.scan(COMPETITIONS_BY_CAMPAIGN, campaign, start=row.part.to_bytes(8, "big")):
        found = view.get(COMPETITIONS, number(key))
        assert found is not None and not found.ended_at, "each competition is paid once"
        return number(key), found
    return 0, None


def _places(row: Competition) -> int:
    return limits.competition_places_max if row.rule == PrizeRule.PROPORTIONAL else len(row.shares_bps)


def _end_competition(
    view: View, ctx: BlockContext, competition: int, row: Competition
) -> tuple[Competition, tuple[Event, ...]]:
    rest = row.pool - row.paid
    move(view, Pot.COMPETITIONS, row.sponsor, rest)
    earnings.record(view, ctx, row.sponsor, earnings.REFUND, rest, row.campaign)
    ended = replace(row, returned=Amount(rest), ended_at=ctx.height)
    return ended, (event("competition.ended", competition=competition, to=row.sponsor, amount=rest),)


def _pay(
    view: View, ctx: BlockContext, source: Pot, account: Address, amount: int, campaign: CampaignId
) -> None:
    """Moves a prize, and notes it in its winner's record."""
    move(view, source, account, amount)
    row = standings.career(view, account)
    view.put(CAREERS, replace(row, prizes=lifetime_sum(row.prizes, amount)), account)
    earnings.record(view, ctx, account, earnings.PRIZE, amount, campaign)
