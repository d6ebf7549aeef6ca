"""Commands of sponsors about gold: gold commit, reveal, retire, show; and the appeal of a verdict by anybody."""

from __future__ import annotations

from pathlib import Path

import click

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Command, Group, pass_app
from omnitensor.cli.output import money, money_json, note, pairs, print_json, say
from omnitensor.protocol.amounts import parse_omnit
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.gold import AsyncGold
from omnitensor.sdk.objections import AsyncObjector
from omnitensor.sdk.results import Campaign, TransactionResult

task_id_option = click.option("--task-id", "task_id", required=True, metavar="ID", help="The campaign.")


@click.group(cls=Group)
def gold() -> None:
    """Items whose answers one knows: commit to them, hand them in as any, say them when a batch asks."""


@gold.command(name="commit")
@task_id_option
@click.option(
    "--answers",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Columns path, completeness, accuracy, relevance: 1 passes, 0 does not.",
)
@click.option("--bond", metavar="OMNIT", help="Bond of each piece  [default: the least]")
@pass_app
def gold_commit(app: App, task_id: str, answers: Path, bond: str | None) -> None:
    """Bind a campaign to answers, once, before their files are handed in. Keeps them in the home: do not lose it."""
    wallet = app.wallet()
    each = None if bond is None else int(parse_omnit(bond))

    async def send(client: AsyncClient) -> TransactionResult:
        return await AsyncGold(wallet, client=client).commit(task_id, answers, bond_each=each)

    show_final(app, app.run(send), f"campaign {task_id} is bound to the answers")


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
