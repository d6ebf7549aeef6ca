"""Commands of data validators: review run, list, show, batch."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import click
import msgspec

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Group, is_terminal, pass_app, read_secret_file
from omnitensor.cli.output import money_json, note, print_json, printable, say, table
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.reviews import Flag
from omnitensor.sdk import checks
from omnitensor.sdk.batches import DataBatch, Judgement, ValidationResults
from omnitensor.sdk.checks import Scorer
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.objections import AsyncObjector, report_bytes
from omnitensor.sdk.previews import Preview, preview_batch, preview_item
from omnitensor.sdk.private import AsyncPrivate
from omnitensor.sdk.results import Assignment, TransactionResult, hash_of
from omnitensor.sdk.seats import Submitted
from omnitensor.sdk.validator import AsyncValidator, ReviewMoment
from omnitensor.sdk.wallet import Wallet

TEXT_SHOWN_CHARS = 1_500

api_key_file_option = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with an API key of scope review  [default: the account logged in with]",
)
scorer_option = click.option(
    "--scorer", metavar="FILE.py:FUNCTION", help="Own judge: called with each item, returns its scores."
)
language_option = click.option(
    "--language", default="", metavar="CODE", help="Language asked for where a campaign names none."
)


@click.group(cls=Group)
def review() -> None:
    """Judge data: on one's own, with the built-in checks, or with an own scorer."""


@review.command(name="run")
@api_key_file_option
@click.option(
    "--task-id", "task_ids", multiple=True, metavar="ID", help="Only in this campaign; may be repeated."
)
@click.option("--auto", is_flag=True, help="Commit what checks and scorer say without asking.")
@click.option(
    "--batches", type=click.IntRange(min=1), metavar="N", help="Stop after so many revealed reports."
)
@scorer_option
@language_option
@pass_app
def review_run(
    app: App,
    api_key_file: Path | None,
    task_ids: tuple[str, ...],
    auto: bool,
    batches: int | None,
    scorer: str | None,
    language: str,
) -> None:
    """Review whatever one is drawn for, until Ctrl-C. Interrupted, it goes on when it is started again."""
    if not auto:
        raise InputError(
            "review run commits scores without asking",
            remedy="say so with --auto; or score yourself: otensor-cli review batch",
        )
    wallet, judge = _wallet(app, api_key_file), _scorer(scorer)

    def watch(moment: ReviewMoment) -> None:
        if app.as_json:
            click.echo(msgspec.json.encode(moment).decode())
        elif moment.kind == "fault":
            note(f"fault: {moment.text}; trying again")
        else:
            say(f"campaign {moment.campaign}, batch {moment.batch}, round {moment.round}: {moment.text}")

    async def work(client: AsyncClient) -> int:
        reviewer = AsyncValidator(scorer=judge, wallet=wallet, client=client, language=language)
        return await reviewer.review_loop(task_ids or None, batches=batches, watch=watch)

    done = app.run(work)
    if not app.as_json:
        say(f"{done} report{'s' if done != 1 else ''} revealed")


@review.command(name="list")
@api_key_file_option
@click.option("--all", "everything", is_flag=True, help="Seats that are over, too.")
@click.option(
    "--wallet", "address", metavar="ADDRESS", help="The validator  [default: the account logged in with]"
)
@pass_app
def review_list(app: App, api_key_file: Path | None, everything: bool, address: str | None) -> None:
    """List the seats one was drawn for."""

    async def ask(client: AsyncClient) -> list[Assignment]:
        whose = address
        if whose is None and api_key_file is not None:
            bound = await client.bind(Wallet.from_api_key(read_secret_file(api_key_file)))
            whose = format_address(bound.address)
        return await client.assignments(whose or app.account(), open_only=not everything)

    found = app.run(ask)
    if app.as_json:
        plain = [
            {
                **each.as_dict(),
                **{name: money_json(getattr(each, name)) for name in ("fee", "bond", "paid", "penalty")},
            }
            for each in found
        ]
        print_json({"assignments": plain})
    elif not found:
        say("no seats")
    else:
        table(
            [
                "batch",
                "round",
                "campaign",
                "state",
                "phase",
                "items",
                "commit up to height",
                "reveal up to height",
                "fee OMNIT",
            ],
            [
                (
                    each.batch,
                    each.round,
                    each.campaign,
                    each.state,
                    each.phase,
                    each.items,
                    each.commit_until or "",
                    each.reveal_until or "",
                    money_json(each.fee),
                )
                for each in found
            ],
        )


@review.command(name="show")
@click.argument("batch", type=click.IntRange(min=0))
@click.option(
    "--round",
    "round_",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Which round of the batch.",
)
@api_key_file_option
@pass_app
def review_show(app: App, batch: int, round_: int, api_key_file: Path | None) -> None:
    """Fetch a batch one was drawn for, and write previews of its items: pictures, sounds, heads of texts and tables."""
    wallet = _wallet(app, api_key_file)

    async def look(client: AsyncClient) -> tuple[DataBatch, list[Preview]]:
        reviewer = AsyncValidator(wallet=wallet, client=client)
        fetched = await reviewer.fetch(await reviewer.seat(batch, round_))
        return fetched, await asyncio.to_thread(preview_batch, fetched)

    fetched, shown = app.run(look)
    if app.as_json:
        print_json({"folder": str(fetched.folder), "items": msgspec.to_builtins(shown, enc_hook=str)})
        return
    for item, each in zip(fetched, shown, strict=True):
        say(
            f"item {item.item}, {item.media_type}, {item.size} bytes: {item.path or 'no node could serve it'}"
        )
        _show(each)


@review.command(name="decline")
@click.argument("batch", type=click.IntRange(min=0))
@click.option(
    "--round",
    "round_",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Which round of the batch.",
)
@api_key_file_option
@pass_app
def review_decline(app: App, batch: int, round_: int, api_key_file: Path | None) -> None:
    """Give a seat back at no cost; another validator is drawn for it."""
    wallet = _wallet(app, api_key_file)

    async def send(client: AsyncClient) -> str:
        return await AsyncValidator(wallet=wallet, client=client).decline(batch, round_)

    found = app.run(send)
    if app.as_json:
        print_json({"batch": batch, "round": round_, "tx": found})
    else:
        say(f"the seat in batch {batch}, round {round_} is given back")


@review.command(name="leak")
@click.argument("batch", type=click.IntRange(min=0))
@click.option(
    "--round",
    "round_",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Which round of the batch.",
)
@click.option("--validator", required=True, metavar="ADDRESS", help="Whose report it is.")
@click.option("--salt", required=True, metavar="HEX", help="Salt of its commitment.")
@click.option("--report", required=True, metavar="HEX", help="Four bytes an item.")
@pass_app
def review_leak(app: App, batch: int, round_: int, validator: str, salt: str, report: str) -> None:
    """Open another's committed report before its time: its seat's bond is lost, and half of it is yours."""
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        objector = AsyncObjector(wallet, client=client)
        return await objector.show_leak(batch, round_, validator, hash_of(salt), report_bytes(report))

    show_final(app, app.run(send), f"the report in batch {batch}, round {round_} is shown")


@review.command(name="contradiction")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@pass_app
def review_contradiction(app: App, first: Path, second: Path) -> None:
    """Show two signed transactions that commit one seat to different reports; files of their bytes, or hexadecimal."""
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await AsyncObjector(wallet, client=client).show_contradiction(first, second)

    show_final(app, app.run(send), "the contradiction is shown")


@review.command(name="key")
@api_key_file_option
@click.option("--show", is_flag=True, help="Say which key is registered, and send nothing.")
@pass_app
def review_key(app: App, api_key_file: Path | None, show: bool) -> None:
    """Register the key with which one reads private items: only who has one is drawn for private campaigns.

    It is made from the key that reviews. With another API key, register anew: seats that are open keep the key of before.
    """
    wallet = _wallet(app, api_key_file)

    async def work(client: AsyncClient) -> tuple[str | None, str]:
        acting = AsyncPrivate(wallet, client=client)
        own = (await acting.wallet()).reading_key(await client.chain_id()).public.hex()
        if not show:
            return await acting.register_key(), own
        return (await client.reading_key((await acting.wallet()).address)).key, own

    registered, own = app.run(work)
    if app.as_json:
        print_json({"registered": registered, "own": own})
    elif registered is None:
        say("no reading key is registered: this validator is drawn for no private campaign")
    elif registered == own:
        say(f"this key reads the private items that one is drawn for from now on: {own}")
    else:
        say(f"another key is registered: {registered}; register this one with: otensor-cli review key")


@review.command(name="batch")
@click.option("--task-id", required=True, metavar="ID", help="The campaign.")
@api_key_file_option
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON: a list of [completeness, accuracy, relevance, flags, repeated item] in the batch's order.",
)
@click.option("--timeout", "timeout_s", type=float, metavar="S", help="How long to wait to be drawn.")
@scorer_option
@language_option
@pass_app
def review_batch(
    app: App,
    task_id: str,
    api_key_file: Path | None,
    scores: Path | None,
    timeout_s: float | None,
    scorer: str | None,
    language: str,
) -> None:
    """Score one batch: shows each item with what the checks found, and asks for scores on a terminal."""
    wallet, judge = _wallet(app, api_key_file), _scorer(scorer)
    given = _scores_of(scores) if scores is not None else None

    async def work(client: AsyncClient) -> tuple[ValidationResults, Submitted]:
        reviewer = AsyncValidator(scorer=judge, wallet=wallet, client=client, language=language)
        note(f"waiting to be drawn in campaign {task_id}; Ctrl-C stops")
        batch = await reviewer.get_data_batch(task_id, timeout_s=timeout_s)
        found = await asyncio.to_thread(checks.validate, batch, judge, language=language)
        if given is not None:
            found = _with_given(found, given)
        elif is_terminal() and not app.as_json:
            found = await asyncio.to_thread(_ask_scores, batch, found)
        note("committing; the report is revealed when all have committed. Keep this running")
        return found, await reviewer.submit_results(found)

    found, submitted = app.run(work)
    if app.as_json:
        plain = msgspec.to_builtins(found.judgements)
        print_json({**msgspec.to_builtins(submitted), "judgements": plain})
        return
    _judgements_table(found)
    say(f"report on batch {submitted.batch} revealed (height {submitted.height})")


def _judgements_table(found: ValidationResults) -> None:
    table(
        ["item", "completeness", "accuracy", "relevance", "flags", "why"],
        [
            (
                each.item,
                each.completeness,
                each.accuracy,
                each.relevance,
                " ".join(each.flag_names),
                "; ".join(each.reasons),
            )
            for each in found
        ],
    )


def _wallet(app: App, api_key_file: Path | None) -> Wallet:
    return Wallet.from_api_key(read_secret_file(api_key_file)) if api_key_file is not None else app.wallet()


def _scorer(text: str | None) -> Scorer | None:
    """The function named by FILE.py:FUNCTION. Raises InputError."""
    if text is None:
        return None
    path, _, name = text.rpartition(":")
    spec = importlib.util.spec_from_file_location("omnitensor_scorer", path) if path.endswith(".py") else None
    if spec is None or spec.loader is None:
        raise InputError("not a scorer", value=text, remedy="write it like judge.py:score")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found = getattr(module, name)
    except Exception as error:  # the user's code may raise anything
        raise InputError(
            f"the scorer can't be loaded ({type(error).__name__}: {error})", value=text
        ) from error
    if not callable(found):
        raise InputError("the scorer is no function", value=text)
    judge: Scorer = found
    return judge


def _scores_of(path: Path) -> list[tuple[int, ...]]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[tuple[int, ...]])
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(
            f"the scores can't be read ({error})", value=path, remedy="write [[90, 80, 85, 0], ...]"
        ) from error


def _with_given(found: ValidationResults, given: list[tuple[int, ...]]) -> ValidationResults:
    if len(given) != len(found) or any(len(each) not in (3, 4, 5) for each in given):
        raise InputError(
            "scores for each item of the batch are needed", value=f"{len(given)} for {len(found)} items"
        )
    for position, (completeness, accuracy, relevance, *more) in enumerate(given):
        repeated = more[1] if len(more) > 1 else found.judgements[position].duplicate_of
        found = found.with_scores(
            position,
            completeness=completeness,
            accuracy=accuracy,
            relevance=relevance,
            flags=more[0] if more else 0,
            reasons=("scored by hand",),
            duplicate_of=repeated,
        )
    return found


def _ask_scores(batch: DataBatch, found: ValidationResults) -> ValidationResults:
    """Go through the items on the terminal; Enter keeps what the checks say."""
    click.echo(f"\n{batch.title}\n{batch.instructions}\n")
    click.echo("Enter keeps the scores shown; or three numbers 0..100, and flags by name.\n")
    for position, item in enumerate(batch):
        judged = found.judgements[position]
        click.echo(
            f"[{position + 1}/{len(batch)}] item {item.item}, {item.media_type}, {item.size} bytes: {item.path}"
        )
        _show(preview_item(item, batch.folder))
        for reason in judged.reasons:
            click.echo(f"  checks: {reason}")
        found = found.with_scores(position, **_asked(judged))
    return found


def _asked(judged: Judgement) -> dict[str, Any]:
    flags = " ".join(judged.flag_names)
    default = f"{judged.completeness} {judged.accuracy} {judged.relevance} {flags}".strip()
    while True:
        words = click.prompt("  completeness accuracy relevance", default=default, err=True).split()
        try:
            numbers = [int(word) for word in words[:3]]
            mask = sum(Flag[word.upper()] for word in words[3:])
        except (ValueError, KeyError):
            numbers = []
            mask = 0
        if len(numbers) == 3 and all(0 <= number <= 100 for number in numbers):
            names = ("completeness", "accuracy", "relevance")
            kept = words == default.split()
            reasons = judged.reasons if kept else ("scored by hand",)
            return {**dict(zip(names, numbers, strict=True)), "flags": mask, "reasons": reasons}
        click.echo(
            f"  three numbers from 0 to 100; flags are {', '.join((flag.name or '').lower() for flag in Flag)}",
            err=True,
        )


def _show(shown: Preview) -> None:
    """An item's facts, the beginning of its text, and where its previews are."""
    click.echo(f"  {printable(shown.summary)}")
    for path in shown.files:
        click.echo(f"  preview: {path}")
    if shown.text:
        click.echo(printable(shown.text[:TEXT_SHOWN_CHARS]))
