"""Commands of sponsors: campaign list, show, fund, close, cancel; see also `campaign_open` and `campaign_watch`."""

from __future__ import annotations

from typing import Any

import click

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Group, pass_app
from omnitensor.cli.campaign_open import campaign_estimate, campaign_open, campaign_template
from omnitensor.cli.campaign_watch import campaign_agreement, campaign_spend, campaign_watch
from omnitensor.cli.output import money, money_json, pairs, print_json, say, table
from omnitensor.protocol.amounts import format_omnit, parse_omnit
from omnitensor.protocol.types import BPS
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.results import Campaign, TransactionResult
from omnitensor.sdk.sponsor import AsyncSponsor

STATUSES = ("open", "closing", "closed", "expired", "cancelled")


@click.group(cls=Group)
def campaign() -> None:
    """Open campaigns and look after them."""


campaign.add_command(campaign_open)
campaign.add_command(campaign_template)
campaign.add_command(campaign_estimate)
campaign.add_command(campaign_watch)
campaign.add_command(campaign_spend)
campaign.add_command(campaign_agreement)


@campaign.command(name="list")
@click.option("--status", type=click.Choice(STATUSES), help="Only those of a status.")
@pass_app
def campaign_list(app: App, status: str | None) -> None:
    """List campaigns."""

    async def ask(client: AsyncClient) -> list[Campaign]:
        return await client.campaigns(status=status)

    found = app.run(ask)
    if app.as_json:
        print_json({"campaigns": [_campaign_json(each) for each in found]})
        return
    if not found:
        say("no campaigns")
        return
    table(
        ["id", "status", "title", "media", "unit price OMNIT", "left OMNIT", "closes at height"],
        [
            (
                each.campaign,
                each.status,
                each.spec.title,
                " ".join(each.spec.media),
                money_json(each.spec.unit_price),
                money_json(each.escrow.available),
                each.spec.closes_at,
            )
            for each in found
        ],
    )


@campaign.command(name="show")
@click.argument("id")
@pass_app
def campaign_show(app: App, id: str) -> None:
    """Show a campaign in full."""

    async def ask(client: AsyncClient) -> Campaign:
        return await client.campaign(id)

    found = app.run(ask)
    if app.as_json:
        print_json(_campaign_json(found))
        return
    spec = found.spec
    pairs(
        [
            ("campaign", f"{found.campaign} ({found.status})"),
            ("title", spec.title),
            ("sponsor", found.sponsor),
            ("media", " ".join(spec.media)),
            ("licence", spec.licence),
            ("unit price", money(spec.unit_price)),
            ("review fee", money(spec.review_fee)),
            ("item bond", money(spec.item_bond)),
            ("tiers", ", ".join(f"{index} ({tier / BPS:g}x)" for index, tier in enumerate(spec.tier_bps))),
            (
                "categories",
                ", ".join(f"{each.name} ({each.importance_bps / BPS:g}x)" for each in spec.categories),
            ),
            ("thresholds", f"{'/'.join(map(str, spec.thresholds))}, overall {spec.overall_threshold}"),
            (
                "reviewers",
                f"{spec.first_seats}, agreement at least {spec.agree_min_bps / 100:g} %; second round"
                f" {spec.second_seats}, audits {spec.audit_bps / 100:g} %",
            ),
            ("private", "yes: items are encrypted for sponsor and reviewers" if spec.is_private else "no"),
            ("model", f"scores items; root {spec.model.root}" if spec.model else "none"),
            ("largest file", f"{spec.item_bytes_max} bytes"),
            ("closes at", f"height {spec.closes_at}"),
            ("money left", money(found.escrow.available)),
            ("reserved", f"{money(found.escrow.reward)} pay, {money(found.escrow.review)} reviews"),
            ("items", ", ".join(f"{number} {name}" for name, number in found.counts.items()) or "none"),
        ]
    )
    if spec.instructions:
        say(f"\n{spec.instructions}")


@campaign.command(name="fund")
@click.argument("id")
@click.option("--amount", required=True, metavar="OMNIT", help="How much.")
@pass_app
def campaign_fund(app: App, id: str, amount: str) -> None:
    """Add to a campaign's budget."""
    nano = parse_omnit(amount)
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await AsyncSponsor(wallet, client=client).fund(id, int(nano))

    show_final(app, app.run(send), f"{format_omnit(nano)} added to campaign {id}")


@campaign.command(name="close")
@click.argument("id")
@pass_app
def campaign_close(app: App, id: str) -> None:
    """Take no further submissions; the unspent rest returns when nothing is under way."""
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await AsyncSponsor(wallet, client=client).close_campaign(id)

    show_final(app, app.run(send), f"campaign {id} takes no more submissions")


@campaign.command(name="cancel")
@click.argument("id")
@pass_app
def campaign_cancel(app: App, id: str) -> None:
    """Take nothing in any more, not even what is committed and not shown; what was shown is judged and paid."""
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await AsyncSponsor(wallet, client=client).cancel_campaign(id)

    show_final(app, app.run(send), f"campaign {id} takes nothing in any more")


def _campaign_json(found: Campaign) -> dict[str, Any]:
    plain = found.as_dict()
    plain["escrow"] = {name: money_json(amount) for name, amount in found.escrow.as_dict().items()}
    for name in ("funded", "paid_contributors", "paid_reviewers", "penalties", "refunded"):
        plain[name] = money_json(getattr(found, name))
    for name in ("unit_price", "review_fee", "item_bond"):
        plain["spec"][name] = money_json(getattr(found.spec, name))
    if found.gold is not None:
        plain["gold"]["bond_each"] = money_json(found.gold.bond_each)
    return plain
