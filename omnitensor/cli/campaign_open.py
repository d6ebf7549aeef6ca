"""Commands of sponsors before there is a campaign: campaign open and estimate, with every check before anything is signed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from omnitensor.cli.app import App, Command, is_terminal, pass_app
from omnitensor.cli.output import money, money_json, note, pairs, print_json, say, table
from omnitensor.protocol.types import BPS
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.estimates import Assumptions, Estimate
from omnitensor.sdk.spec_checks import Path as Place
from omnitensor.sdk.specs import PRESETS, CampaignDraft, draft_from, fields_in_toml, template
from omnitensor.sdk.sponsor import AsyncSponsor, Opened, estimate_of

F = TypeVar("F", bound=Callable[..., Any])
SECONDS_A_DAY = 86_400

_OPTIONS = (
    click.option(
        "--file",
        "--from",
        "toml",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="TOML file with the campaign; other options go before it.",
    ),
    click.option("--title", metavar="TEXT", help="What is wanted, in a line."),
    click.option(
        "--instructions", metavar="TEXT", help="What reviewers hold items against; @FILE reads a file."
    ),
    click.option("--specification-file", metavar="FILE", help="A longer document."),
    click.option(
        "--model-file", metavar="FILE", help="A model that scores items, of model export --of-contents."
    ),
    click.option(
        "--media",
        multiple=True,
        metavar="TYPE",
        help="Accepted media type, as text/plain or image/*; may be repeated.",
    ),
    click.option("--licence", metavar="SPDX", help="Licence under which items are given."),
    click.option(
        "--unit-price", metavar="OMNIT", help="Highest pay of an item at complexity and importance 1.0."
    ),
    click.option("--review-fee", metavar="OMNIT", help="Pay of one reviewer for one item."),
    click.option("--item-bond", metavar="OMNIT", help="What a contributor lays down for each item."),
    click.option("--budget", metavar="OMNIT", help="What is paid in now; the unspent rest returns."),
    click.option("--preset", type=click.Choice(list(PRESETS)), help="Size of the committees."),
    click.option("--seats", "first_seats", type=int, metavar="N", help="Reviewers of an item."),
    click.option(
        "--agree-min",
        "agree_min_bps",
        type=int,
        metavar="BPS",
        help="Agreement below which there is no verdict.",
    ),
    click.option(
        "--category",
        "categories",
        multiple=True,
        metavar="NAME[:IMPORTANCE[:TARGET]]",
        help="Kind of data; may be repeated.",
    ),
    click.option(
        "--tier", "tiers", type=int, multiple=True, metavar="BPS", help="Complexity tier; may be repeated."
    ),
    click.option("--item-bytes-max", type=int, metavar="N", help="Largest file."),
    click.option("--closes-in-blocks", type=int, metavar="N", help="How long submissions are taken."),
)
_ASSUMED = (
    click.option(
        "--good",
        type=click.FloatRange(0, 100),
        default=70.0,
        show_default=True,
        metavar="PERCENT",
        help="Items that will probably be accepted.",
    ),
    click.option(
        "--accuracy",
        type=click.FloatRange(50, 100),
        default=85.0,
        show_default=True,
        metavar="PERCENT",
        help="Reviews that are probably right.",
    ),
    click.option(
        "--score",
        type=click.IntRange(0, 100),
        default=80,
        show_default=True,
        metavar="SCORE",
        help="Probable overall score of an accepted item.",
    ),
)


def _with(options: tuple[Callable[[F], F], ...]) -> Callable[[F], F]:
    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.command(cls=Command, name="open")
@_with(_OPTIONS)
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@pass_app
def campaign_open(app: App, /, toml: Path | None, yes: bool, **options: Any) -> None:
    """Open a campaign and pay in its budget; prints its id, which contributors give as --task-id.

    Checks everything and shows what it will cost, then asks before it signs.
    """
    draft = draft_of(toml, options)
    if not yes and not is_terminal():
        raise InputError(
            "opening was not confirmed, and there is no terminal to ask at",
            value=draft.title,
            remedy="look at what it costs with campaign estimate, then repeat with --yes",
        )
    wallet = app.wallet()
    if not yes:

        async def look(client: AsyncClient) -> Estimate:
            sponsor = AsyncSponsor(wallet, client=client)
            await sponsor.check_affordable(draft)
            return await estimate_of(client, draft)

        _show(app.run(look), draft, note)
        click.confirm(f"Open it, and pay in {money(draft.budget_nano)}?", abort=True, err=True)

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


@click.command(cls=Command, name="estimate")
@_with(_OPTIONS)
@_with(_ASSUMED)
@pass_app
def campaign_estimate(
    app: App, /, toml: Path | None, good: float, accuracy: float, score: int, **options: Any
) -> None:
    """Check a campaign, and say what it will cost; signs nothing, and needs no account."""
    draft = draft_of(toml, options)
    assumed = Assumptions(good_bps=round(good * 100), accuracy_bps=round(accuracy * 100), score=score)

    async def ask(client: AsyncClient) -> Estimate:
        return await estimate_of(client, draft, assumptions=assumed)

    found = app.run(ask, pinned=False)
    if app.as_json:
        print_json(_as_json(found))
    else:
        _show(found, draft, say)


@click.command(cls=Command, name="template")
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="standard",
    show_default=True,
    help="Size of the committees.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Into a new file.")
@pass_app
def campaign_template(app: App, preset: str, out: Path | None) -> None:
    """Print a campaign's TOML file to fill in, with every key."""
    text = template(preset)
    if out is not None:
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise InputError("the file is there already", value=out, remedy="name another") from error
    if app.as_json:
        print_json({"template": text, "written": None if out is None else str(out)})
    elif out is None:
        click.echo(text, nl=False)
    else:
        say(f"written to {out}; fill it in, then: otensor-cli campaign estimate --file {out}")


def _as_json(found: Estimate) -> dict[str, Any]:
    plain = found.as_dict()
    amounts = (
        "budget",
        "targets_cost",
        "item_bond",
        "seat_bond",
        "gold_bond_each",
        "gold_bonds",
        "opening_fee",
    )
    for name in amounts:
        plain[name] = None if plain[name] is None else money_json(plain[name])
    of_kind = ("reward_least", "reward_most", "first_round", "second_round", "reserved", "most", "probable")
    for kind in plain["kinds"]:
        for name in of_kind:
            kind[name] = money_json(kind[name])
    return plain


def _show(found: Estimate, draft: CampaignDraft, tell: Callable[[str], None]) -> None:
    """The estimate for people: on standard output where it is the result, else on standard error."""
    to_error = tell is note
    table(
        [
            *("tier", "category", "pay OMNIT", "first round OMNIT", "second OMNIT", "reserved OMNIT"),
            *("probably OMNIT", "at most OMNIT", "sure items", "probable items"),
        ],
        [
            (
                f"{kind.tier} ({kind.tier_bps / BPS:g}x)",
                kind.category,
                f"{money_json(kind.reward_least)} to {money_json(kind.reward_most)}",
                money_json(kind.first_round),
                money_json(kind.second_round),
                money_json(kind.reserved),
                money_json(kind.probable),
                money_json(kind.most),
                kind.items_sure,
                kind.items_probable,
            )
            for kind in found.kinds
        ],
        title="What an item costs",
        to_error=to_error,
    )
    assumed = found.assumptions
    rows = [
        ("budget", money(found.budget)),
        ("covers for sure", f"{found.items_sure} items, were all of the dearest kind and judged twice"),
        (
            "covers probably",
            f"{found.items_probable_least} to {found.items_probable_most} items, by their kind",
        ),
        (
            "assuming",
            f"{assumed.good_bps / 100:g} % accepted with {assumed.score} points, {assumed.accuracy_bps / 100:g} % of"
            f" reviews right: {found.second_round_bps / 100:g} % of the items go to a second round,"
            f" {found.reviews_milli / 1000:g} reviews an item",
        ),
        ("bond of an item", f"{money(found.item_bond)}, its contributor's"),
        ("bond of a seat", f"{money(found.seat_bond)} an item at most, its reviewer's"),
        (
            "gold, advised",
            f"{found.gold_pieces} pieces (one item in ten), {money(found.gold_bonds)} of bonds that return"
            f" ({money(found.gold_bond_each)} each)",
        ),
        ("fee of opening", f"{money(found.opening_fee)} at most"),
        ("closes", _closes(draft)),
    ]
    if found.targets_cost is not None:
        rows.insert(3, ("all targets", f"about {money(found.targets_cost)}"))
    pairs(rows, to_error=to_error)
    for advice in found.advice:
        note(f"note: {advice}")


def _closes(draft: CampaignDraft) -> str:
    if draft.closes_at is not None:
        return f"at height {draft.closes_at}"
    return f"{draft.closes_in_blocks} blocks from now ({draft.closes_in_blocks / SECONDS_A_DAY:.1f} days at a block a second)"


def draft_of(toml: Path | None, options: Mapping[str, Any]) -> CampaignDraft:
    """The draft of a file, of options, or of a file with options put over it. Raises SpecError, InputError."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value not in (None, ())}
    for name in ("media", "tiers"):
        if name in given:
            given[name] = list(given[name])
    if "categories" in given:
        given["categories"] = [_category(text) for text in given["categories"]]
    if str(given.get("instructions", "")).startswith("@"):
        given["instructions"] = _text_of(Path(given["instructions"][1:]))
    if toml is not None:
        fields, lines = fields_in_toml(toml)
        kept = {place: line for place, line in lines.items() if place[0] not in given}
        options_given: dict[Place, int] = {(name,): 0 for name in given}
        return draft_from({**fields, **given}, str(toml), {**kept, **options_given})
    missing = [name for name in ("title", "unit_price", "review_fee", "budget") if name not in given]
    if missing:
        options_missing = ", ".join("--" + name.replace("_", "-") for name in missing)
        raise InputError(
            "options are missing", value=options_missing, remedy="give them, or a TOML file with --file"
        )
    return draft_from(given, "the options")


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
