"""Commands of private campaigns, for contributors and sponsors: private list, give, watch, read, duplicates."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from omnitensor.cli.app import App, Group, pass_app, read_secret_file
from omnitensor.cli.output import note, pairs, print_json, say, table
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import FileError
from omnitensor.sdk.private import AsyncPrivate, Given, PrivateMoment, Watch
from omnitensor.sdk.private_duplicates import AsyncDuplicates, Repeat
from omnitensor.sdk.results_private import PrivateItemInfo, WantedSeat
from omnitensor.sdk.wallet import Wallet

api_key_file_option = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with the API key of scope upload that handed the items in  [default: the account logged in with]",
)


@click.group(cls=Group)
def private() -> None:
    """Private items: give their keys to drawn reviewers, read one's own. Somebody has to be there when seats are drawn."""


@private.command(name="list")
@api_key_file_option
@pass_app
def private_list(app: App, api_key_file: Path | None) -> None:
    """List the seats that wait for keys which one can give."""
    wallet = _wallet(app, api_key_file)

    async def ask(client: AsyncClient) -> list[WantedSeat]:
        return await AsyncPrivate(wallet, client=client).wanted()

    found = app.run(ask)
    if app.as_json:
        print_json({"seats": [msgspec.to_builtins(seat) for seat in found]})
    elif not found:
        say("no seat waits for keys of yours")
    else:
        table(
            ("campaign", "batch", "round", "validator", "items", "up to height"),
            [
                (
                    str(seat.campaign),
                    str(seat.batch),
                    str(seat.round),
                    seat.validator,
                    str(len(seat.items)),
                    str(seat.grant_until),
                )
                for seat in found
            ],
        )


@private.command(name="give")
@api_key_file_option
@pass_app
def private_give(app: App, api_key_file: Path | None) -> None:
    """Give every key that is asked for now, once."""
    wallet = _wallet(app, api_key_file)

    async def send(client: AsyncClient) -> list[Given]:
        return await AsyncPrivate(wallet, client=client).give(watch=_teller(app))

    found = app.run(send)
    if app.as_json:
        print_json({"given": [msgspec.to_builtins(each) for each in found]})
    elif not found:
        say("nothing was given: no seat waits for keys of yours")


@private.command(name="watch")
@api_key_file_option
@click.option(
    "--until-settled", metavar="ID", help="Stop when nothing of one's own in this campaign is open any more."
)
@pass_app
def private_watch(app: App, api_key_file: Path | None, until_settled: str | None) -> None:
    """Give keys whenever seats are drawn, until Ctrl-C. Started again, here or elsewhere with the same key, it goes on.

    A contributor gives at once; a sponsor what a contributor has not given by half of the time.
    """
    wallet = _wallet(app, api_key_file)

    async def work(client: AsyncClient) -> int:
        acting = AsyncPrivate(wallet, client=client)
        if not app.as_json:
            note("giving keys as seats are drawn; Ctrl-C stops")
        return await acting.watch(until_settled=until_settled, watch=_teller(app))

    keys = app.run(work)
    if app.as_json:
        print_json({"keys": keys})
    else:
        say(f"{keys} keys given")


@private.command(name="read")
@click.argument("item", type=click.IntRange(min=1))
@click.option(
    "--to", "target", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A new file."
)
@api_key_file_option
@pass_app
def private_read(app: App, item: int, target: Path, api_key_file: Path | None) -> None:
    """Fetch and decrypt an item, as its contributor or as the campaign's sponsor. The file is for its owner alone."""
    if target.exists():
        raise FileError("there is a file already", value=target, remedy="name another")
    wallet = _wallet(app, api_key_file)

    async def ask(client: AsyncClient) -> PrivateItemInfo:
        return await AsyncPrivate(wallet, client=client).read(item, target)

    found = app.run(ask)
    if app.as_json:
        print_json({"item": item, "file": str(target), "size": target.stat().st_size, "checked": True})
        return
    say(f"item {item} is in {target}, as it was declared")
    pairs([("campaign", str(found.campaign)), ("contributor", found.contributor)])


@private.command(name="duplicates")
@click.option("--task-id", required=True, metavar="ID", help="The campaign, which one sponsors.")
@click.option("--reject", is_flag=True, help="Show them to the chain, which rejects the later of two.")
@click.option("--watch", is_flag=True, help="Go on looking and rejecting until the campaign has ended.")
@pass_app
def private_duplicates(app: App, task_id: str, reject: bool, watch: bool) -> None:
    """Find items with the same plain bytes, as the sponsor: encrypted they look different to everybody else.

    Every item is fetched and decrypted once, without writing its plain bytes down.
    """
    wallet = app.wallet()

    async def look_on(client: AsyncClient) -> int:
        return await AsyncDuplicates(wallet, client=client).reject_loop(task_id, watch=_teller(app))

    if watch:
        if not app.as_json:
            note("looking for repeated files until the campaign has ended; Ctrl-C stops")
        rejected = app.run(look_on)
        if app.as_json:
            print_json({"rejected": rejected})
        else:
            say(f"{rejected} items rejected")
        return

    async def work(client: AsyncClient) -> list[Repeat]:
        acting = AsyncDuplicates(wallet, client=client)
        found = await acting.find(task_id, watch=_teller(app))
        for repeat in found if reject else ():
            await acting.reject(repeat)
        return found

    found = app.run(work)
    if app.as_json:
        shown = [{"item": each.item, "of": each.of, "status": each.status} for each in found]
        print_json({"duplicates": shown, "rejected": reject})
    elif not found:
        say("no item that can still be rejected has the plain bytes of an earlier one")
    else:
        table(
            ("item", "status", "repeats item"),
            [(str(each.item), each.status, str(each.of)) for each in found],
        )
        if reject:
            say("each of them is rejected, at once or at its verdict")
        else:
            say(f"have them rejected: otensor-cli private duplicates --task-id {task_id} --reject")


def _wallet(app: App, api_key_file: Path | None) -> Wallet:
    return app.wallet() if api_key_file is None else Wallet.from_api_key(read_secret_file(api_key_file))


def _teller(app: App) -> Watch:
    def tell(moment: PrivateMoment) -> None:
        if app.as_json:
            click.echo(msgspec.json.encode(moment).decode(), err=True)
        elif moment.kind == "given":
            say(f"campaign {moment.campaign}, batch {moment.batch}: {moment.text}")
        elif moment.kind == "rejected":
            say(moment.text)
        else:
            note(f"{moment.kind}: {moment.text}")

    return tell
