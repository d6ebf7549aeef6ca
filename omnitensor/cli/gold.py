"""Commands of sponsors about gold: gold check, commit, run, reveal, retire, show; and the appeal of a verdict by anybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Command, Group, pass_app, read_secret_file
from omnitensor.cli.output import money, money_json, note, pairs, print_json, say
from omnitensor.protocol.amounts import parse_omnit
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.gold import AsyncGold, bond_min, pieces_from
from omnitensor.sdk.gold_book import Piece
from omnitensor.sdk.gold_files import ALL_PASS, CRITERIA
from omnitensor.sdk.gold_run import GoldMoment, GoldRun, GoldRunner
from omnitensor.sdk.home import Home
from omnitensor.sdk.objections import AsyncObjector
from omnitensor.sdk.results import Campaign, TransactionResult
from omnitensor.sdk.wallet import Wallet

F = TypeVar("F", bound=Callable[..., Any])

task_id_option = click.option("--task-id", "task_id", required=True, metavar="ID", help="The campaign.")


@click.group(cls=Group)
def gold() -> None:
    """Items whose answers one knows: commit to them, hand them in as any, say them when a batch asks."""


answers_option = click.option(
    "--answers",
    "sidecar",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Answers of the folder's files: CSV, JSON, JSONL or TOML  [default: answers.* in it, or its sub-folders]",
)
bond_option = click.option("--bond", metavar="OMNIT", help="Bond of each piece  [default: the least]")


def hand_in_options(command: F) -> F:
    """Who hands gold in."""
    homes = click.option(
        "--hand-in-home",
        "homes",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Home of another account that hands files in (made with: otensor-cli login --home FOLDER); may be repeated.",
    )
    api_keys = click.option(
        "--hand-in-api-key-file",
        "api_keys",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="API key of scope upload of such an account; may be repeated.",
    )
    return homes(api_keys(command))


def source_option(*, required: bool) -> Callable[[F], F]:
    return click.option(
        "--from",
        "source",
        required=required,
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Folder of files with answers, or with sub-folders pass and fail; or a file of answers.",
    )


@gold.command(name="check")
@task_id_option
@source_option(required=True)
@answers_option
@pass_app
def gold_check(app: App, task_id: str, source: Path, sidecar: Path | None) -> None:
    """Look whether files and answers would do as a campaign's gold, and what they lay down; signs nothing."""

    async def ask(client: AsyncClient) -> tuple[list[Piece], Campaign]:
        found = await client.campaign(task_id)
        return await asyncio.to_thread(pieces_from, found, source, sidecar), found

    pieces, campaign = app.run(ask, pinned=False)
    passing = [sum(piece.bits >> place & 1 for piece in pieces) for place in range(len(CRITERIA))]
    whole = sum(piece.bits == ALL_PASS for piece in pieces)
    bond = bond_min(campaign.spec)
    if app.as_json:
        print_json(
            {
                "pieces": len(pieces),
                "pass": whole,
                "passing": dict(zip(CRITERIA, passing, strict=True)),
                "bond_each": money_json(bond),
                "bonds": money_json(bond * len(pieces)),
            }
        )
    else:
        pairs(
            [
                ("pieces", f"{len(pieces)}, of which {whole} pass"),
                *((f"{name} passes", count) for name, count in zip(CRITERIA, passing, strict=True)),
                ("bonds", f"{money(bond * len(pieces))} ({money(bond)} each at least), which return"),
            ]
        )
    if not len(pieces) <= 4 * whole <= 3 * len(pieces):
        note("note: gold tells most where good and bad pieces are about as many")


@gold.command(name="commit")
@task_id_option
@source_option(required=False)
@answers_option
@bond_option
@hand_in_options
@pass_app
def gold_commit(
    app: App,
    task_id: str,
    source: Path | None,
    sidecar: Path | None,
    bond: str | None,
    homes: tuple[Path, ...],
    api_keys: tuple[Path, ...],
) -> None:
    """Bind a campaign to answers, once, before their files are handed in. Keeps them in the home: do not lose it.

    In a private campaign name the accounts that will hand them in: each file is bound as one of them encrypts it, and that one
    has to hand it in (gold run does so by itself).
    """
    if source is None and sidecar is None:
        raise InputError("no answers are named", remedy="give a folder with --from, or a file with --answers")
    wallet = app.wallet()
    by = _helpers(app, homes, api_keys)
    each = None if bond is None else int(parse_omnit(bond))

    async def send(client: AsyncClient) -> TransactionResult:
        acting = AsyncGold(wallet, client=client)
        if source is None:
            assert sidecar is not None
            return await acting.commit(task_id, sidecar, bond_each=each, by=by)
        return await acting.commit(task_id, source, sidecar=sidecar, bond_each=each, by=by)

    show_final(app, app.run(send), f"campaign {task_id} is bound to the answers")


@gold.command(name="run")
@task_id_option
@source_option(required=False)
@answers_option
@bond_option
@hand_in_options
@click.option(
    "--share",
    type=click.FloatRange(0, 100, min_open=True),
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    help="Gold among the items; pieces are handed in as the campaign grows, at 100 all at once.",
)
@pass_app
def gold_run(
    app: App,
    task_id: str,
    source: Path | None,
    sidecar: Path | None,
    bond: str | None,
    homes: tuple[Path, ...],
    api_keys: tuple[Path, ...],
    share: float,
) -> None:
    """Do everything about a campaign's gold until it is over: bind, hand in, answer each batch, open the rest.

    Leave it running. Stopped or killed anywhere, the same command goes on where it was.
    """
    wallet = app.wallet()
    by = _helpers(app, homes, api_keys)
    each = None if bond is None else int(parse_omnit(bond))

    def watch(moment: GoldMoment) -> None:
        note(moment.text)

    async def send(client: AsyncClient) -> GoldRun:
        runner = GoldRunner(wallet, client, task_id, by=by, share_bps=round(share * 100), watch=watch)
        return await runner.run(source, sidecar=sidecar, bond_each=each)

    found = app.run(send)
    if app.as_json:
        print_json(found.as_dict())
        return
    pairs(
        [
            ("pieces", found.pieces),
            ("handed in", found.handed_in),
            ("batches answered", found.answered),
            ("opened unused", found.retired),
            ("bonds returned", found.returned),
            ("bonds burned", found.burned),
        ]
    )


def _helpers(app: App, homes: tuple[Path, ...], api_keys: tuple[Path, ...]) -> list[Wallet]:
    """Wallets of the accounts that hand gold in."""
    found = [_wallet_of(app, folder) for folder in homes]
    return found + [Wallet.from_api_key(read_secret_file(path)) for path in api_keys]


def _wallet_of(app: App, folder: Path) -> Wallet:
    """The wallet of another home. Raises InputError where nobody is logged in there."""
    home = Home(folder)
    profile = home.profile()
    if not profile.account:
        raise InputError(
            "nobody is logged in there", value=folder, remedy=f"run otensor-cli login --home {folder} first"
        )
    password = app.passphrase(f"Passphrase of {folder}: ") if profile.protected else ""
    return Wallet.from_keystore(home.keystore, password)


@gold.command(name="reveal")
@task_id_option
@click.option("--watch", is_flag=True, help="Go on until the campaign has ended.")
@pass_app
def gold_reveal(app: App, task_id: str, watch: bool) -> None:
    """Say which items were gold, in every batch that asks now."""
    wallet = app.wallet()

    async def send(client: AsyncClient) -> list[int]:
        acting = AsyncGold(wallet, client=client)
        if watch:
            note("answering until the campaign has ended; Ctrl-C stops")
            return [await acting.reveal_loop(task_id)]
        return await acting.reveal(task_id)

    found = app.run(send)
    if app.as_json:
        print_json({"answered": found[0]} if watch else {"batches": found})
    elif watch:
        say(f"{found[0]} batches answered")
    else:
        say(f"answered: {', '.join(map(str, found)) or 'no batch asks'}")


@gold.command(name="retire")
@task_id_option
@pass_app
def gold_retire(app: App, task_id: str) -> None:
    """Open gold that was never handed in, to have its bonds back; 64 pieces a time."""
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult | None:
        return await AsyncGold(wallet, client=client).retire(task_id)

    found = app.run(send)
    if found is None:
        raise InputError("all gold was handed in", value=task_id, remedy="it returns as batches are judged")
    show_final(app, found, "unused gold is opened")


@gold.command(name="show")
@task_id_option
@pass_app
def gold_show(app: App, task_id: str) -> None:
    """Show how much of a campaign's gold is accounted for."""

    async def ask(client: AsyncClient) -> Campaign:
        return await client.campaign(task_id)

    found = app.run(ask).gold
    if app.as_json:
        shown = None if found is None else found.as_dict() | {"bond_each": money_json(found.bond_each)}
        print_json({"gold": shown})
    elif found is None:
        say("the campaign has no gold")
    else:
        left = found.count - found.returned - found.taken
        pairs(
            [
                ("pieces", str(found.count)),
                ("bond of each", money(found.bond_each)),
                ("committed at", f"height {found.committed_at}"),
                ("returned", str(found.returned)),
                ("burned", str(found.taken)),
                ("held", f"{left} ({money(left * found.bond_each)})"),
            ]
        )


@click.command(cls=Command, name="appeal")
@click.argument("item", type=click.IntRange(min=1))
@click.option("--dry-run", is_flag=True, help="Say what it lays down, and send nothing.")
@pass_app
def appeal(app: App, item: int, dry_run: bool) -> None:
    """Ask for a second round about a verdict: of one's own item that was rejected, or another's that was accepted.

    It lays down what a second round costs at most; that returns if the verdict turns.
    """
    wallet = app.wallet()

    async def bond_of(client: AsyncClient) -> int:
        return await AsyncObjector(wallet, client=client).appeal_bond(item)

    async def send(client: AsyncClient) -> TransactionResult:
        return await AsyncObjector(wallet, client=client).appeal(item)

    if dry_run:
        bond = app.run(bond_of)
        if app.as_json:
            print_json({"item": item, "bond": money_json(bond)})
        else:
            say(f"an appeal of item {item} lays down {money(bond)}")
        return
    show_final(app, app.run(send), f"item {item} goes to a second round")
