"""Commands of contributors: upload-data, check-status, check-rewards; and download-data, of whoever wants an item's bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from omnitensor.cli.app import App, Command, is_terminal, pass_app
from omnitensor.cli.output import moment, money, money_json, note, pairs, print_json, say, share, table
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.content import download_file
from omnitensor.sdk.contributor import AsyncContributor, Job, Moment, Submission, Watch
from omnitensor.sdk.errors import WaitTimeout
from omnitensor.sdk.orders import POLL_S
from omnitensor.sdk.private import AsyncPrivate, PrivateMoment
from omnitensor.sdk.results import Campaign, Item, Rewards
from omnitensor.sdk.wallet import Wallet

BYTES_MOVE = {"upload": "uploaded", "download": "downloaded"}
"""Stages that have a progress, and how one says that they are over."""
CRITERIA = ("completeness", "accuracy", "relevance")


@click.command(cls=Command, name="upload-data")
@click.option("--task-id", required=True, metavar="ID", help="The campaign.")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A file or folder; may be repeated.",
)
@click.option(
    "--tier", type=int, metavar="N", help="Complexity tier, by its number  [default: that of complexity 1.0]"
)
@click.option("--category", metavar="NAME", help="Category, by name or number  [default: the first]")
@click.option("--media-type", metavar="TYPE", help="Declare this media type  [default: found from the bytes]")
@click.option(
    "--follow",
    is_flag=True,
    help="Stay until every item is judged, and give the keys of private ones meanwhile.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    default=3_600.0,
    show_default=True,
    metavar="S",
    help="Patience of --follow.",
)
@pass_app
def upload_data(
    app: App,
    task_id: str,
    files: tuple[Path, ...],
    tier: int | None,
    category: str | None,
    media_type: str | None,
    follow: bool,
    timeout_s: float,
) -> None:
    """Submit files to a campaign: check, upload, commit, reveal.

    Interrupted anywhere, the same command goes on where it stopped; nothing is submitted or paid twice.
    """
    if not files:
        raise click.UsageError("no file was given: name one with --file")
    wallet = app.wallet()

    async def submit(client: AsyncClient) -> tuple[list[Submission], list[Item], bool]:
        contributor = AsyncContributor(wallet, client=client)
        with _progress(quiet=app.as_json) as watch:
            done = await contributor.upload(
                task_id, files, tier=tier, category=category, media_type=media_type, watch=_warning(watch)
            )
        items = await _items_of(contributor, task_id, done)
        is_private = (await client.campaign(task_id)).spec.is_private
        if follow:
            async with _giving_keys(app, wallet, client) if is_private else nullcontext():
                items = await _follow(app, contributor, task_id, done, timeout_s)
        return done, items, is_private

    done, items, is_private = app.run(submit)
    if app.as_json:
        print_json({"submissions": [_submission_json(each, items) for each in done], "private": is_private})
        return
    for each in done:
        say(
            f"{len(each.items)} item{'s' if len(each.items) != 1 else ''} submitted to campaign {each.campaign}"
            f" at height {each.height}; fees {money(each.fees)}"
        )
    _items_table(items, _names(done))
    if is_private:
        note(
            f"campaign {task_id} is private. Keep this running, here or on any machine with this key, until all are settled:\n"
            f"  otensor-cli private watch --until-settled {task_id}\n"
            "It gives the keys of your items to the reviewers that are drawn. An item whose key one of them is not given in time"
            " is rejected, at the cost of its bond."
        )
    if not follow:
        say(f"see what becomes of them: otensor-cli check-status --task-id {task_id}")


@click.command(cls=Command, name="download-data")
@click.option("--item", type=click.IntRange(min=1), required=True, metavar="N", help="The item.")
@click.option(
    "--to", "target", required=True, metavar="PATH", type=click.Path(path_type=Path), help="A new file."
)
@pass_app
def download_data(app: App, item: int, target: Path) -> None:
    """Bring the bytes of an item, checked against the chain.

    The node gets them from its peers where it has to. Interrupted anywhere, the same command goes on where it stopped; the file
    has its name only when it is whole.
    """
    if target.exists():
        raise click.UsageError(f"there is something at {target} already: name a new file")

    async def bring(client: AsyncClient) -> tuple[Item, bool]:
        found = await client.item(item)
        is_private = (await client.campaign(found.campaign)).spec.is_private
        with _progress(quiet=app.as_json) as watch:

            def progress(done: int, total: int) -> None:
                watch(Moment("download", target.name, str(target), done, total))

            await download_file(client.transport, found.content.content_id(), target, progress)
        return found, is_private

    found, is_private = app.run(bring)
    if app.as_json:
        print_json(
            {"item": item, "file": str(target), "size": found.content.size, "sha256": found.content.sha256}
            | {"encrypted": is_private}
        )
        return
    if is_private:
        note(
            f"the campaign is private: the file is encrypted; its sponsor reads it with: otensor-cli private read {item}"
        )
    say(
        f"item {item} of campaign {found.campaign} is in {target}: {found.content.size} bytes, {found.media_type}"
    )


@asynccontextmanager
async def _giving_keys(app: App, wallet: Wallet, client: AsyncClient) -> AsyncIterator[None]:
    """Gives the keys of private items while something else is waited for."""

    def tell(moment: PrivateMoment) -> None:
        if not app.as_json:
            note(f"campaign {moment.campaign}, batch {moment.batch}: {moment.text}")

    task = asyncio.create_task(AsyncPrivate(wallet, client=client).watch(watch=tell), name="omnitensor-keys")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@click.command(cls=Command, name="check-status")
@click.option("--task-id", required=True, metavar="ID", help="The campaign.")
@click.option("--all", "everybody", is_flag=True, help="Items of all contributors, not one's own alone.")
@pass_app
def check_status(app: App, task_id: str, everybody: bool) -> None:
    """Show what became of submitted items, with the reasons."""
    account = app.home.profile().account

    async def ask(client: AsyncClient) -> tuple[Campaign, list[Item], int]:
        campaign = await client.campaign(task_id)
        whose = None if everybody or not account else account
        waiting = await client.wanted_keys(account) if campaign.spec.is_private and account else []
        seats = sum(seat.campaign == campaign.campaign for seat in waiting)
        return campaign, await client.items(campaign.campaign, contributor=whose), seats

    campaign, items, seats = app.run(ask)
    unfinished = [
        job
        for job in _jobs(app)
        if (job.campaign, job.account) == (campaign.campaign, account) and job.stage != "revealed"
    ]
    if app.as_json:
        print_json(
            {
                "campaign": campaign.campaign,
                "title": campaign.spec.title,
                "status": campaign.status,
                "counts": campaign.counts,
                "items": [item_json(item) for item in items],
                "seats_without_keys": seats,
                "unfinished": [
                    {"stage": job.stage, "files": [item.path for item in job.items]} for job in unfinished
                ],
            }
        )
        return
    say(f"campaign {campaign.campaign}: {campaign.spec.title} ({campaign.status})")
    if items:
        _items_table(items, _names(_jobs(app)))
    else:
        say("no items" if everybody or not account else "no items of yours")
    if seats:
        say(f"{seats} reviewers wait for keys of yours: otensor-cli private watch --until-settled {task_id}")
    for job in unfinished:
        say(
            f"unfinished: {len(job.items)} items are {job.stage}, not revealed;"
            f" repeat upload-data with the same files to go on ({job.items[0].path})"
        )


@click.command(cls=Command, name="check-rewards")
@click.option("--wallet", metavar="ADDRESS", help="The account  [default: the one logged in with]")
@pass_app
def check_rewards(app: App, wallet: str | None) -> None:
    """Show what an account has earned."""
    address = wallet or app.account()

    async def ask(client: AsyncClient) -> Rewards:
        return await client.rewards(address)

    found = app.run(ask)
    if app.as_json:
        print_json(_rewards_json(found))
        return
    pairs(
        [
            ("wallet", found.address),
            ("balance", money(found.balance)),
            ("earned", money(found.total)),
            *((f"  by {kind}", money(amount)) for kind, amount in sorted(found.earned.items())),
            ("pending", money(found.pending)),
            ("penalties", money(found.penalties)),
            ("items", ", ".join(f"{number} {status}" for status, number in found.items.items()) or "none"),
        ]
    )
    if found.recent:
        table(
            ["height", "kind", "OMNIT", "campaign", "item"],
            [
                (entry.height, entry.kind, money_json(entry.amount), entry.campaign or "", entry.item or "")
                for entry in found.recent
            ],
            title="latest",
        )


def item_json(item: Item) -> dict[str, Any]:
    """An item for programs, amounts in OMNIT."""
    plain = item.as_dict()
    plain["paid"] = money_json(item.paid)
    plain["reward"] = money_json(item.reward) if item.reward is not None else None
    plain["bond"], plain["bond_cost"] = money_json(item.bond), money_json(item.bond_cost)
    if item.appeal is not None:
        plain["appeal"]["bond"] = money_json(item.appeal.bond)
    return plain


def scores_text(item: Item) -> str:
    """Median scores: completeness, accuracy, relevance, and the weighted whole."""
    if not item.scores:
        return ""
    three = "/".join(str(item.scores.get(name, "")) for name in CRITERIA)
    return f"{three} = {item.scores['overall']}" if "overall" in item.scores else three


def _names(given: Iterable[Job | Submission]) -> dict[tuple[str, str], str]:
    """Names of files by submission and content: the same bytes may be handed in once more under another name."""
    return {(each.commitment, item.chunk_root): Path(item.path).name for each in given for item in each.items}


def _items_table(items: Sequence[Item], names: dict[tuple[str, str], str]) -> None:
    table(
        [
            "item",
            "file",
            "type",
            "status",
            "since height",
            "time (UTC)",
            "scores",
            "agreed",
            "paid OMNIT",
            "reasons",
        ],
        [
            (
                item.item,
                names.get((item.submission, item.content.chunk_root), item.content.chunk_root[:12]),
                item.media_type,
                item.status,
                item.history[-1].height if item.history else "",
                moment(item.history[-1].timestamp_ms) if item.history else "",
                scores_text(item),
                share(item.agreement_bps),
                money_json(item.paid),
                _reasons_text(item),
            )
            for item in items
        ],
    )


def _submission_json(submission: Submission, items: Sequence[Item]) -> dict[str, Any]:
    known = {item.content.chunk_root: item for item in items}
    return {
        "campaign": submission.campaign,
        "commitment": submission.commitment,
        "commit_tx": submission.commit_tx,
        "reveal_tx": submission.reveal_tx,
        "height": submission.height,
        "fees": money_json(submission.fees),
        "items": [
            {
                "file": item.path,
                "cid": cid,
                "chunk_root": item.chunk_root,
                "size": item.size,
                "media_type": item.media_type,
                "item": known[item.chunk_root].item if item.chunk_root in known else None,
                "status": known[item.chunk_root].status if item.chunk_root in known else None,
                "reasons": known[item.chunk_root].reasons if item.chunk_root in known else [],
            }
            for item, cid in zip(submission.items, submission.cids(), strict=True)
        ],
    }


def _reasons_text(item: Item) -> str:
    """Why it was rejected or is judged again, and until when it can be appealed."""
    told = list(item.reasons)
    if item.status == "escalated":
        told.append(f"second round after {item.escalation}")
    elif item.status == "rejected" and item.appeal_until is not None:
        told.append(f"appeal up to height {item.appeal_until}")
    return ", ".join(told)


def _rewards_json(found: Rewards) -> dict[str, Any]:
    return {
        "wallet": found.address,
        "balance": money_json(found.balance),
        "earned": {kind: money_json(amount) for kind, amount in found.earned.items()},
        "total": money_json(found.total),
        "pending": money_json(found.pending),
        "penalties": money_json(found.penalties),
        "items": found.items,
        "recent": [{**entry.as_dict(), "amount": money_json(entry.amount)} for entry in found.recent],
    }


async def _items_of(contributor: AsyncContributor, task_id: str, done: Sequence[Submission]) -> list[Item]:
    # By submission as well as by content: somebody may submit the bytes of an earlier item once more.
    wanted = {(each.commitment, item.chunk_root) for each in done for item in each.items}
    items = await contributor.items(task_id)
    return [item for item in items if (item.submission, item.content.chunk_root) in wanted]


async def _follow(
    app: App, contributor: AsyncContributor, task_id: str, done: Sequence[Submission], timeout_s: float
) -> list[Item]:
    """Wait until every item is judged, saying each change."""
    until = time.monotonic() + timeout_s
    said: dict[int, str] = {}
    while True:
        items = await _items_of(contributor, task_id, done)
        for item in items:
            if said.get(item.item) != item.status:
                said[item.item] = item.status
                if not app.as_json:
                    reasons = f": {', '.join(item.reasons)}" if item.reasons else ""
                    note(f"item {item.item} is {item.status}{reasons}")
        if items and all(item.judged for item in items):
            return items
        if time.monotonic() > until:
            raise WaitTimeout(
                f"not all items are judged after {timeout_s:g} s",
                value=task_id,
                remedy=f"look again: otensor-cli check-status --task-id {task_id}",
            )
        await contributor.client.ticker.tick(POLL_S)


def _jobs(app: App) -> list[Job]:
    """Submissions that this folder knows, finished or not."""
    folder = app.home.folder / "work" / "submissions"
    found = (
        app.home.read(path, Job) for path in (sorted(folder.glob("*/*.json")) if folder.is_dir() else ())
    )
    return [job for job in found if job is not None]


def _warning(watch: Watch) -> Watch:
    """The same, which says in a sentence what could not be looked into, also to programs: it may cost a bond."""

    def tell(moment: Moment) -> None:
        if moment.stage == "unread":
            note(
                f"warning: {moment.text}; facts of {moment.done} of {moment.total} files aren't computed,"
                " and what is broken in them costs their bonds"
            )
        else:
            watch(moment)

    return tell


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Moment], None]]:
    """Bars on a terminal, a line a step elsewhere, nothing when JSON was asked for; all on standard error."""
    if quiet:
        yield lambda _: None
        return
    if not is_terminal():
        yield _line_by_line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as bars:
        tasks: dict[str, TaskID] = {}

        def watch(moment: Moment) -> None:
            if moment.stage not in BYTES_MOVE:
                bars.console.print(moment.text)
                return
            if moment.path not in tasks:
                tasks[moment.path] = bars.add_task(moment.text, total=moment.total)
            bars.update(tasks[moment.path], completed=moment.done)

        yield watch


def _line_by_line(moment: Moment) -> None:
    if moment.stage not in BYTES_MOVE:
        note(moment.text)
    elif moment.done == moment.total:
        note(f"{BYTES_MOVE[moment.stage]} {moment.text} ({moment.total} bytes)")
