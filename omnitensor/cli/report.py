"""Reports about people, as a table, JSON or CSV: report contributor, report reviewer. They read only."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
import msgspec

from omnitensor.cli.app import App, Group, pass_app
from omnitensor.cli.campaign_watch import percent
from omnitensor.cli.output import money, money_json, note, pairs, table
from omnitensor.protocol.keys import parse_address
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import FileError
from omnitensor.sdk.reports import ContributorReport, ContributorSum, ReviewerReport, ReviewerSum
from omnitensor.sdk.results import Item
from omnitensor.sdk.results_report import RecordLine

F = TypeVar("F", bound=Callable[..., Any])
Format = Literal["table", "json", "csv"]
ROWS_SHOWN = 50
"""Rows of a table for people; programs have all of them."""

_ITEM_AMOUNTS = ("reward", "paid", "bond", "bond_cost")
_SEAT_AMOUNTS = ("fee", "bond", "paid", "penalty")
_CONTRIBUTOR_AMOUNTS = ("rewarded", "paid", "pending", "bonds_held", "bonds_at_stake")
_REVIEWER_AMOUNTS = ("fees", "paid", "penalties", "bonds_held")
_ITEM_COLUMNS = (
    *("item", "campaign", "status", "height", "media_type", "size", "sha256", "tier", "category"),
    *("completeness", "accuracy", "relevance", "overall", "agreement_bps", "reasons", "reward", "paid"),
    *("bond", "bond_cost", "appeal_until", "appeal"),
)


def _options(command: F) -> F:
    for option in reversed(
        (
            click.option("--task-id", "task_id", metavar="ID", help="In one campaign alone."),
            click.option("--last", type=click.IntRange(min=1), metavar="N", help="The newest N rows alone."),
            click.option(
                "--format",
                "form",
                type=click.Choice(["table", "json", "csv"]),
                help="How  [default: table, json with --json]",
            ),
            click.option(
                "--out",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Into a new file, for json and csv.",
            ),
        )
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def report() -> None:
    """Reports about a contributor's items or a reviewer's seats."""


@report.command(name="contributor")
@click.option("--wallet", metavar="ADDRESS", help="Whose  [default: of whoever is logged in]")
@_options
@pass_app
def report_contributor(
    app: App, wallet: str | None, task_id: str | None, last: int | None, form: Format | None, out: Path | None
) -> None:
    """Say what became of a contributor's items: acceptance, reasons, pay, bonds, and what can be appealed."""
    address = parse_address(wallet or app.account())

    async def ask(client: AsyncClient) -> ContributorReport:
        return await client.contributor_report(address, campaign=task_id, items_max=last)

    found = app.run(ask, pinned=wallet is None)
    match _form(app, form, out):
        case "json":
            _put(_as_json(_contributor_json(found)), out)
        case "csv":
            _put(_as_csv(_ITEM_COLUMNS, [_item_row(item) for item in found.items]), out)
        case "table":
            _show_contributor(found)


@report.command(name="reviewer")
@click.option("--validator", metavar="ADDRESS", help="Whose  [default: of whoever is logged in]")
@_options
@pass_app
def report_reviewer(
    app: App,
    validator: str | None,
    task_id: str | None,
    last: int | None,
    form: Format | None,
    out: Path | None,
) -> None:
    """Say how a reviewer fared: agreement with verdicts, gold, standing, pay and penalties."""
    address = parse_address(validator or app.account())

    async def ask(client: AsyncClient) -> ReviewerReport:
        return await client.reviewer_report(address, campaign=task_id, seats_max=last)

    found = app.run(ask, pinned=validator is None)
    match _form(app, form, out):
        case "json":
            _put(_as_json(_reviewer_json(found)), out)
        case "csv":
            columns = RecordLine.__struct_fields__
            _put(_as_csv(columns, [_in_omnit(line.as_dict(), _SEAT_AMOUNTS) for line in found.record]), out)
        case "table":
            _show_reviewer(found)


def _form(app: App, form: Format | None, out: Path | None) -> Format:
    chosen = form or ("json" if app.as_json else "table")
    if out is not None and chosen == "table":
        raise click.UsageError("--out goes with --format csv or json")
    if out is not None and out.exists():
        raise FileError("the file is there already", value=out, remedy="name another, or move it away")
    return chosen


def _put(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
    else:
        with out.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
        note(f"written to {out}")


def _as_csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(row.get(name)) for name in columns} for row in rows)
    return file.getvalue()


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value[:1] in ("=", "+", "@", "\t", "\r"):
        return f"'{value}"
    return value


def _as_json(value: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def _in_omnit(plain: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return plain | {name: None if plain[name] is None else money_json(plain[name]) for name in names}


def _item_row(item: Item) -> dict[str, Any]:
    row = _in_omnit(item.as_dict(), _ITEM_AMOUNTS)
    row |= {"size": item.content.size, "sha256": item.content.sha256, **(item.scores or {})}
    row |= {
        "height": item.history[-1].height if item.history else None,
        "reasons": " ".join(item.reasons),
        "appeal": item.appeal.state if item.appeal else None,
    }
    return row


def _contributor_json(found: ContributorReport) -> dict[str, Any]:
    plain = _in_omnit(found.as_dict(), ("penalties",))
    plain["total"] = _in_omnit(plain["total"], _CONTRIBUTOR_AMOUNTS)
    plain["campaigns"] = {
        name: _in_omnit(each, _CONTRIBUTOR_AMOUNTS) for name, each in plain["campaigns"].items()
    }
    plain["appeals"] = [_in_omnit(each, ("bond",)) for each in plain["appeals"]]
    plain["items"] = [_in_omnit(each, _ITEM_AMOUNTS) for each in plain["items"]]
    for item in plain["items"]:
        if item["appeal"] is not None:
            item["appeal"] = _in_omnit(item["appeal"], ("bond",))
    return plain


def _reviewer_json(found: ReviewerReport) -> dict[str, Any]:
    plain = found.as_dict()
    plain["total"] = _in_omnit(plain["total"], _REVIEWER_AMOUNTS)
    plain["campaigns"] = {
        name: _in_omnit(each, _REVIEWER_AMOUNTS) for name, each in plain["campaigns"].items()
    }
    plain["record"] = [_in_omnit(each, _SEAT_AMOUNTS) for each in plain["record"]]
    return plain


def _show_contributor(found: ContributorReport) -> None:
    pairs(
        [
            ("contributor", found.address),
            *_contributor_rows(found.total),
            ("lost ever", f"{money(found.penalties)}, penalties of reviews included"),
        ]
    )
    if len(found.campaigns) > 1:
        table(
            ["campaign", "items", "accepted", "rejected", "accepted of judged", "paid OMNIT"],
            [
                (
                    *(name, each.submitted, each.accepted, each.rejected),
                    *(percent(each.acceptance_bps), money_json(each.paid)),
                )
                for name, each in found.campaigns.items()
            ],
        )
    if found.appeals:
        table(
            ["item", "campaign", "up to height", "points missing", "agreement", "bond OMNIT"],
            [
                (
                    *(each.item, each.campaign, each.until, each.points_missing),
                    *(percent(each.agreement_bps), money_json(each.bond)),
                )
                for each in found.appeals
            ],
            title="can be appealed (otensor-cli appeal ITEM)",
        )
    table(
        ["item", "campaign", "status", "score", "agreement", "reasons", "paid OMNIT", "bond OMNIT"],
        [
            (
                *(item.item, item.campaign, item.status, (item.scores or {}).get("overall")),
                *(percent(item.agreement_bps), " ".join(item.reasons)),
                *(money_json(item.paid), money_json(item.bond)),
            )
            for item in found.items[:ROWS_SHOWN]
        ],
    )
    _say_rest(len(found.items))


def _contributor_rows(total: ContributorSum) -> list[tuple[str, str]]:
    reasons = ", ".join(f"{name} {count}" for name, count in total.reasons.items())
    return [
        ("items", f"{total.submitted}, of which {total.waiting} wait"),
        ("accepted", f"{total.accepted} ({percent(total.acceptance_bps) or 'none judged'})"),
        ("rejected", f"{total.rejected}{f' ({reasons})' if reasons else ''}"),
        ("undecided", str(total.undecided)),
        ("paid", f"{money(total.paid)}, and {money(total.pending)} when challenge windows end"),
        ("bonds", f"{money(total.bonds_held)} held, of which {money(total.bonds_at_stake)} may be lost"),
    ]


def _show_reviewer(found: ReviewerReport) -> None:
    standing = "no validator" if found.standing_bps is None else percent(found.standing_bps)
    pairs([("reviewer", found.address), ("standing", standing), *_reviewer_rows(found.total)])
    table(
        [
            "batch",
            "round",
            "campaign",
            "state",
            "items",
            "agreed",
            "gold",
            "standing",
            "paid OMNIT",
            "penalty OMNIT",
        ],
        [
            (
                *(line.batch, line.round, line.campaign, line.state, line.items),
                f"{line.agreed} of {line.judged}",
                f"{line.gold_right} of {line.gold_bits}" if line.gold_bits else "",
                percent(line.quality_bps) if line.phase == "done" else line.phase,
                *(money_json(line.paid), money_json(line.penalty)),
            )
            for line in found.record[:ROWS_SHOWN]
        ],
    )
    _say_rest(len(found.record))


def _reviewer_rows(total: ReviewerSum) -> list[tuple[str, str]]:
    return [
        (
            "seats",
            f"{total.seats}: {total.revealed} reported, {total.open} open, {total.declined} declined, {total.missed} missed",
        ),
        (
            "agrees",
            f"{percent(total.agreement_bps) or 'nothing judged yet'} ({total.agreed} of {total.judged} items)",
        ),
        (
            "gold",
            f"{percent(total.gold_bps) or 'none met'} ({total.gold_right} of {total.gold_bits} answers)",
        ),
        ("paid", f"{money(total.paid)} of {money(total.fees)} at most"),
        ("penalties", money(total.penalties)),
        ("bonds held", money(total.bonds_held)),
    ]


def _say_rest(rows: int) -> None:
    if rows > ROWS_SHOWN:
        note(f"{rows - ROWS_SHOWN} more; --format csv has them all")
