"""Commands of sponsors: campaign open, list, show, fund, close, cancel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Group, pass_app
from omnitensor.cli.output import money, money_json, pairs, print_json, say, table
from omnitensor.protocol.amounts import format_omnit, parse_omnit
from omnitensor.protocol.types import BPS
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.results import Campaign, TransactionResult
from omnitensor.sdk.specs import PRESETS, CampaignDraft, draft_from, draft_from_toml
from omnitensor.sdk.sponsor import AsyncSponsor, Opened

STATUSES = ("open", "closing", "closed", "expired", "cancelled")


@click.group(cls=Group)
def campaign() -> None:
    """Open campaigns and look after them."""


@campaign.command(name="open")
@click.option(
    "--file",
    "--from",
    "toml",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="TOML file with the campaign; other options go before it.",
)
@click.option("--title", metavar="TEXT", help="What is wanted, in a line.")
@click.option("--instructions", metavar="TEXT", help="What reviewers hold items against; @FILE reads a file.")
@click.option("--specification-file", metavar="FILE", help="A longer document.")
@click.option(
    "--media",
    multiple=True,
    metavar="TYPE",
    help="Accepted media type, as text/plain or image/*; may be repeated.",
)
@click.option("--licence", metavar="SPDX", help="Licence under which items are given.")
@click.option(
    "--unit-price", metavar="OMNIT", help="Highest pay of an item at complexity and importance 1.0."
)
@click.option("--review-fee", metavar="OMNIT", help="Pay of one reviewer for one item.")
@click.option("--item-bond", metavar="OMNIT", help="What a contributor lays down for each item.")
@click.option("--budget", metavar="OMNIT", help="What is paid in now; the unspent rest returns.")
@click.option("--preset", type=click.Choice(list(PRESETS)), help="Size of the committees.")
@click.option("--seats", "first_seats", type=int, metavar="N", help="Reviewers of an item.")
@click.option(
    "--agree-min", "agree_min_bps", type=int, metavar="BPS", help="Agreement below which there is no verdict."
)
@click.option(
    "--category",
    "categories",
    multiple=True,
    metavar="NAME[:IMPORTANCE[:TARGET]]",
    help="Kind of data; may be repeated.",
)
@click.option(
    "--tier", "tiers", type=int, multiple=True, metavar="BPS", help="Complexity tier; may be repeated."
)
@click.option("--item-bytes-max", type=int, metavar="N", help="Largest file.")
@click.option("--closes-in-blocks", type=int, metavar="N", help="How long submissions are taken.")
@pass_app
def campaign_open(app: App, /, toml: Path | None, **options: Any) -> None:
    """Open a campaign and pay in its budget; prints its id, which contributors give as --task-id."""
    draft = _draft(toml, options)
    wallet = app.wallet()

    async def send(client: AsyncClient) -> Opened:
        return await AsyncSponsor(wallet, client=client).open(draft)

    found = app.run(send)
    if app.as_json:
        print_json(
            {
                "campaign": found.campaign,
                "tx": found.tx,
                "height": found.height,
                "budget": money_json(found.budget),
            }
        )
    else:
        say(
            f"campaign {found.campaign} is open with a budget of {money(found.budget)} (height {found.height})"
        )


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


def _draft(toml: Path | None, options: dict[str, Any]) -> CampaignDraft:
    """The draft of a file, of options, or of a file with options put over it."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value not in (None, ())}
    for name in ("media", "tiers"):
        if name in given:
            given[name] = list(given[name])
    if "categories" in given:
        given["categories"] = [_category(text) for text in given["categories"]]
    if str(given.get("instructions", "")).startswith("@"):
        given["instructions"] = _text_of(Path(given["instructions"][1:]))
    if toml is not None:
        base = draft_from_toml(toml)
        return draft_from({**_plain(base), **given}, str(toml))
    missing = [name for name in ("title", "unit_price", "review_fee", "budget") if name not in given]
    if missing:
        options_missing = ", ".join("--" + name.replace("_", "-") for name in missing)
        raise InputError(
            "options are missing", value=options_missing, remedy="give them, or a TOML file with --file"
        )
    return draft_from(given, "the options")


def _plain(draft: CampaignDraft) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(draft)
    return plain


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the file can't be read as text ({error})", value=path) from error


def _category(text: str) -> dict[str, Any]:
    name, *rest = text.split(":")
    try:
        return {
            "name": name,
            "importance": float(rest[0]) if rest else 1.0,
            "target": int(rest[1]) if len(rest) > 1 else 0,
        }
    except ValueError as error:
        raise InputError(
            "not a category", value=text, remedy="write it like news, news:1.5 or news:1.5:100"
        ) from error


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
