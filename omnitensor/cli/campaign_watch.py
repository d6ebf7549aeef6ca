"""Commands that show how a campaign fares: campaign watch, spend, agreement. They read only, and need no account."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from omnitensor.cli.app import App, Command, pass_app
from omnitensor.cli.output import console, money, money_json, note, pairs, print_json, printable, table
from omnitensor.protocol.types import BPS
from omnitensor.sdk.agreement import Coefficient
from omnitensor.sdk.agreements import AgreementReport
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError, NotFoundError, SdkError
from omnitensor.sdk.results import Campaign
from omnitensor.sdk.spend import Spend
from omnitensor.sdk.watching import EVERY_S, CampaignWatcher, Snapshot

_AMOUNTS = (
    *("funded", "penalties", "contributors", "reviewers", "first_rounds", "second_rounds", "appeals"),
    *("unattributed", "returned", "reviewers_charged"),
)


@click.command(cls=Command, name="watch")
@click.argument("id")
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=EVERY_S,
    show_default=True,
    metavar="SECONDS",
    help="Least time between two looks.",
)
@click.option("--updates", type=click.IntRange(min=1), metavar="N", help="End after so many updates.")
@pass_app
def campaign_watch(app: App, id: str, every: float, updates: int | None) -> None:
    """Follow a campaign until it is over: items, batches, seats, money, pace.

    One screen at a terminal; else one JSON object a line, each time that something has changed.
    """
    at_terminal = sys.stdout.isatty() and not app.as_json

    async def follow(client: AsyncClient) -> None:
        await client.campaign(id)  # an unknown one is told at once, and not waited for
        watcher = CampaignWatcher(client, id)
        if at_terminal:
            with Live(console=console(), auto_refresh=False) as live:
                await _follow(
                    watcher, every, updates, lambda found: live.update(_screen(found), refresh=True)
                )
        else:
            await _follow(watcher, every, updates, _print_line)

    app.run(follow, pinned=False)


async def _follow(watcher: CampaignWatcher, every: float, updates: int | None, show: Any) -> None:
    """Shows each change; what a node fails at is said once, and tried again."""
    last: Snapshot | None = None
    trouble, shown = "", 0
    while True:
        try:
            async for found in watcher.each(every):
                trouble = ""
                if show is not _print_line or not found.same_as(last):
                    show(found)
                    shown += 1
                last = found
                if updates is not None and shown >= updates:
                    return
            return
        except (InputError, NotFoundError):
            raise
        except SdkError as error:
            if str(error) != trouble:
                trouble = str(error)
                note(f"{error}; trying again")
            await watcher.pause(every)


def _print_line(found: Snapshot) -> None:
    plain = found.as_dict()
    plain["spend"] = spend_json(found.spend)
    sys.stdout.write(msgspec.json.encode(plain).decode() + "\n")
    sys.stdout.flush()


def _screen(found: Snapshot) -> Group:
    """The whole state in one screen."""
    pace, spend = found.pace, found.spend
    head = Text(printable(f"campaign {found.campaign}  {found.title}"), style="bold")
    where = f"{found.status}, height {found.height}"
    if pace.closes_in_ms is not None:
        where += f", closes in {span(pace.closes_in_ms)}"
    items = "  ".join(f"{name} {number}" for name, number in found.items.items() if number) or "none yet"
    if found.unrevealed:
        items += f"  (and {found.unrevealed} submissions to be shown)"
    speed = "no verdict yet" if pace.judged_per_hour is None else f"{pace.judged_per_hour:g} verdicts an hour"
    if pace.eta_ms is not None:
        speed += f"; what waits ({pace.waiting}) takes about {span(pace.eta_ms)}"
    rows = [
        ("", where),
        ("items", items),
        ("pace", speed),
        ("batches", "  ".join(f"{name} {number}" for name, number in found.batches.items()) or "none yet"),
        ("open seats", "  ".join(f"{name} {number}" for name, number in found.seats.items()) or "none"),
        *((f"target {each.name}", f"{each.items} of {each.target}") for each in found.targets if each.target),
        *spend_rows(spend),
    ]
    if found.asks_for_gold:
        rows.append(("asks for gold", ", ".join(f"batch {number}" for number in found.asks_for_gold)))
    shown = Table(show_header=False, show_edge=False, pad_edge=False, box=None)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in rows:
        shown.add_row(printable(name), Text(printable(value)))
    return Group(head, shown)


def span(ms: int) -> str:
    """A length of time for people."""
    seconds = ms // 1_000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds} s"


@click.command(cls=Command, name="spend")
@click.argument("id")
@pass_app
def campaign_spend(app: App, id: str) -> None:
    """Say where a campaign's money is and went, to the unit."""

    async def ask(client: AsyncClient) -> Spend:
        return await client.spend(id)

    found = app.run(ask, pinned=False)
    if app.as_json:
        print_json(spend_json(found))
    else:
        pairs([("campaign", f"{found.campaign} ({found.status})"), *spend_rows(found)])


def spend_json(found: Spend) -> dict[str, Any]:
    """With amounts in OMNIT."""
    plain = found.as_dict()
    for name in _AMOUNTS:
        plain[name] = money_json(plain[name])
    for inner in ("held", "gold"):
        plain[inner] = {name: money_json(amount) for name, amount in plain[inner].items()}
    return plain


def spend_rows(found: Spend) -> list[tuple[str, str]]:
    """For people; what is nothing is left out."""
    held, gold = found.held, found.gold
    reviews = [
        f"first rounds {money(found.first_rounds)}",
        f"second {money(found.second_rounds)}",
        *([f"appeals {money(found.appeals)}"] if found.appeals else []),
        *([f"not attributed yet {money(found.unattributed)}"] if found.unattributed else []),
    ]
    rows = [
        ("paid in", money(found.funded)),
        ("forfeited to it", money(found.penalties)),
        ("available", money(held.available)),
        (
            "reserved",
            f"{money(held.reward)} pay, {money(held.review)} reviews, {money(held.escalation)} second rounds",
        ),
        ("contributors", money(found.contributors)),
        ("reviewers", f"{money(found.reviewers)} ({', '.join(reviews)})"),
        ("returned", money(found.returned)),
    ]
    if gold.laid:
        rows.append(
            (
                "gold's bonds",
                f"{money(gold.laid)} ({money(gold.held)} held, {money(gold.returned)} returned, {money(gold.burned)} burned)",
            )
        )
    return rows


@click.command(cls=Command, name="agreement")
@click.argument("id")
@click.option(
    "--round",
    "round_",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="Reports of first rounds, or of second ones.",
)
@pass_app
def campaign_agreement(app: App, id: str, round_: int) -> None:
    """Say how well a campaign's reviewers agree beyond chance, from the reports that they revealed.

    Krippendorff's alpha and Gwet's AC1 with 95 % intervals: 1 is perfect, 0 is what chance gives. Where nearly all
    items are good, alpha is low even of careful reviewers, and AC1 is not.
    """

    async def ask(client: AsyncClient) -> tuple[AgreementReport, Campaign]:
        return await client.agreement(id, round_=round_), await client.campaign(id)

    found, campaign = app.run(ask, pinned=False)
    if app.as_json:
        print_json(found.as_dict())
        return
    bars = dict(zip(("completeness", "accuracy", "relevance"), campaign.spec.thresholds, strict=True))
    table(
        ["question", "items", "ratings", "say the same", "alpha", "AC1", "alpha of the scores"],
        [
            (
                f"{each.name} (at {bars[each.name]})" if each.name in bars else each.name,
                each.units,
                each.reports,
                "" if each.same is None else f"{100 * each.same:.1f} %",
                _coefficient(each.alpha),
                _coefficient(each.ac1),
                "" if each.alpha_scores is None else _coefficient(each.alpha_scores),
            )
            for each in found.agreements
        ],
        title=f"campaign {found.campaign}, round {found.round}: {found.batches} batches",
    )


def _coefficient(found: Coefficient) -> str:
    if found.value is None:
        return "not defined"
    reach = "" if found.low is None or found.high is None else f" ({found.low:.2f} to {found.high:.2f})"
    return f"{found.value:.3f}{reach}"


def percent(bps: int | None) -> str:
    """A share for people."""
    return "" if bps is None else f"{100 * bps / BPS:.1f} %"
