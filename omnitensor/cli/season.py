"""Commands about doing well: leaderboard, season, badges, competition open, list and show."""

from __future__ import annotations

from typing import Any

import click

from omnitensor.cli.account import transaction_json
from omnitensor.cli.app import App, Group, pass_app
from omnitensor.cli.app import Command as CliCommand
from omnitensor.cli.output import money, money_json, pairs, print_json, say, share, table
from omnitensor.protocol.amounts import format_omnit, parse_omnit
from omnitensor.protocol.bodies import CompetitionOpen
from omnitensor.protocol.limits import competition_ranks_max
from omnitensor.protocol.seasons import PrizeRule, Role
from omnitensor.protocol.types import BPS, CampaignId
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.reads import campaign_number
from omnitensor.sdk.results import TransactionResult
from omnitensor.sdk.results_season import Badges, CompetitionInfo, Place, SeasonInfo

ROLES = tuple(role.label for role in Role)


@click.command(cls=CliCommand)
@click.option("--role", type=click.Choice(ROLES), default=ROLES[0], show_default=True, help="Whose places.")
@click.option(
    "--season", type=click.IntRange(0), metavar="N", help="Which season  [default: the one that runs]"
)
@click.option("--campaign", metavar="ID", help="The contributors of a campaign instead.")
@click.option(
    "--top",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    metavar="N",
    help="How many places to show.",
)
@pass_app
def leaderboard(app: App, role: str, season: int | None, campaign: str | None, top: int) -> None:
    """Show who earned most by accepted work, in a season or a campaign."""

    async def ask(client: AsyncClient) -> list[Place]:
        if campaign is not None:
            return await client.campaign_leaderboard(campaign, limit=top)
        return await client.leaderboard(role, season=season, limit=top)

    found = app.run(ask)
    if app.as_json:
        print_json({"places": [each.as_dict() | {"value": money_json(each.value)} for each in found]})
        return
    if not found:
        say("nobody has scored yet")
        return
    table(
        ["place", "account", "earned OMNIT", "works"],
        [(each.rank, each.account, money_json(each.value), each.works) for each in found],
    )


@click.command(cls=CliCommand)
@click.option(
    "--number", type=click.IntRange(0), metavar="N", help="Which season  [default: the one that runs]"
)
@pass_app
def season(app: App, number: int | None) -> None:
    """Show a season: its epochs, its pools and what was paid."""

    async def ask(client: AsyncClient) -> SeasonInfo:
        return await client.season(number)

    found = app.run(ask)
    if app.as_json:
        amounts = {"paid": money_json(found.paid), "participation": money_json(found.participation)}
        pools = {role: money_json(amount) for role, amount in found.pools.items()}
        print_json(found.as_dict() | amounts | {"pools": pools})
        return
    if found.closed_at is None:
        state = f"runs, up to the end of epoch {found.ends_after_epoch}"
    else:
        state = f"ended at height {found.closed_at}"
    pairs(
        [
            ("season", f"{found.season}, {state}"),
            ("from epoch", found.first_epoch),
            *((f"pool of {role}s", money(amount)) for role, amount in found.pools.items()),
            ("places paid", found.places),
            ("paid", money(found.paid)),
            ("for taking part", money(found.participation)),
        ]
    )


@click.command(cls=CliCommand)
@click.option("--wallet", metavar="ADDRESS", help="Whose  [default: the account logged in with]")
@pass_app
def badges(app: App, wallet: str | None) -> None:
    """Show an account's badges and prizes."""
    address = wallet or app.account()

    async def ask(client: AsyncClient) -> Badges:
        return await client.badges(address)

    found = app.run(ask)
    amounts = {"prizes": found.prizes, "participation": found.participation}
    if app.as_json:
        print_json(found.as_dict() | {name: money_json(amount) for name, amount in amounts.items()})
        return
    if found.badges:
        table(
            ["badge", "of", "place", "at height"],
            [(each.badge, each.of, each.rank, each.height) for each in found.badges],
        )
    say(
        f"{len(found.badges)} badges, {found.items} items accepted for good,"
        f" {format_omnit(found.prizes)} of prizes, {format_omnit(found.participation)} for taking part"
    )


@click.group(cls=Group)
def competition() -> None:
    """Put up a pool for a campaign's contributors; look at competitions."""


@competition.command(name="open")
@click.option("--campaign", required=True, metavar="ID", help="Whose contributors compete.")
@click.option("--pool", required=True, metavar="OMNIT", help="What is split when the campaign has ended.")
@click.option(
    "--share",
    "shares",
    multiple=True,
    type=click.IntRange(1, BPS),
    metavar="BPS",
    help="Share of the next place, 10,000 in all; repeat it. Without: in proportion to what each earned.",
)
@pass_app
def competition_open(app: App, campaign: str, pool: str, shares: tuple[int, ...]) -> None:
    """Put up a pool. It stays until the campaign has ended; what nobody is due returns then."""
    amount, number = parse_omnit(pool), campaign_number(campaign)
    if shares and (sum(shares) != BPS or len(shares) > competition_ranks_max):
        raise InputError(
            f"the shares come to {sum(shares)} for {len(shares)} places",
            remedy=f"give up to {competition_ranks_max} shares, {BPS} in all",
        )
    rule = PrizeRule.RANKS if shares else PrizeRule.PROPORTIONAL
    body, wallet = CompetitionOpen(CampaignId(number), amount, rule, shares), app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, body)

    done = app.run(send)
    opened = next(
        (
            int(event["competition"])
            for event in (done.receipt.events if done.receipt else [])
            if "competition" in event
        ),
        0,
    )
    if app.as_json:
        print_json(transaction_json(done) | {"competition": opened})
    else:
        say(f"competition {opened} is open with a pool of {format_omnit(amount)} (height {done.height})")


@competition.command(name="list")
@click.option("--campaign", metavar="ID", help="Only those of a campaign.")
@pass_app
def competition_list(app: App, campaign: str | None) -> None:
    """List competitions, the newest first."""

    async def ask(client: AsyncClient) -> list[CompetitionInfo]:
        return await client.competitions(campaign)

    found = app.run(ask)
    if app.as_json:
        print_json({"competitions": [_competition_json(each) for each in found]})
        return
    if not found:
        say("no competitions")
        return
    table(
        ["competition", "campaign", "pool OMNIT", "split", "paid OMNIT", "ended at height"],
        [
            (
                each.competition,
                each.campaign,
                money_json(each.pool),
                each.rule,
                money_json(each.paid),
                each.ended_at,
            )
            for each in found
        ],
    )


@competition.command(name="show")
@click.argument("number", type=click.IntRange(0))
@pass_app
def competition_show(app: App, number: int) -> None:
    """Show a competition, and how its campaign's contributors stand."""

    async def ask(client: AsyncClient) -> tuple[CompetitionInfo, list[Place]]:
        found = await client.competition(number)
        return found, await client.campaign_leaderboard(found.campaign, limit=max(10, len(found.shares_bps)))

    found, places = app.run(ask)
    if app.as_json:
        shown = [each.as_dict() | {"value": money_json(each.value)} for each in places]
        print_json(_competition_json(found) | {"places": shown})
        return
    split = ", ".join(str(share(bps)) for bps in found.shares_bps) or "in proportion to what each earned"
    pairs(
        [
            ("competition", found.competition),
            ("campaign", found.campaign),
            ("sponsor", found.sponsor),
            ("pool", money(found.pool)),
            ("split", split),
            ("paid", money(found.paid)),
            ("returned", money(found.returned)),
            ("ended", f"at height {found.ended_at}" if found.ended_at else "when the campaign has ended"),
        ]
    )
    if places:
        table(
            ["place", "account", "earned OMNIT"],
            [(each.rank, each.account, money_json(each.value)) for each in places],
        )


def _competition_json(found: CompetitionInfo) -> dict[str, Any]:
    amounts = ("pool", "paid", "returned")
    return found.as_dict() | {name: money_json(getattr(found, name)) for name in amounts}
