"""Commands about API keys (session keys): create, list, revoke. A new key is shown once, or written to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Group, pass_app, read_secret_input
from omnitensor.cli.output import money, money_json, note, print_json, say, table
from omnitensor.protocol.amounts import parse_omnit
from omnitensor.protocol.bodies import Scope, SessionKeyRemove
from omnitensor.protocol.keys import SigningKey, format_api_key, parse_api_key
from omnitensor.protocol.private_files import write_private
from omnitensor.protocol.types import PublicKey
from omnitensor.sdk.client import SESSION_ALLOWANCE, SESSION_VALID_FOR_BLOCKS, AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.results import AccountInfo, TransactionResult, hash_given

SCOPES = tuple(scope.name.lower() for scope in Scope)


@click.group(cls=Group, name="api-key")
def api_key() -> None:
    """Keys that may do some things for the account, at no more cost to it than their allowance."""


@api_key.command(name="create")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What it may do  [default: review]"
)
@click.option(
    "--valid-for-blocks",
    type=click.IntRange(min=1),
    default=SESSION_VALID_FOR_BLOCKS,
    show_default=True,
    metavar="N",
    help="For how many blocks it can be used.",
)
@click.option(
    "--allowance",
    default=money_json(SESSION_ALLOWANCE),
    show_default=True,
    metavar="OMNIT",
    help="What it may spend of the account's money in all: fees, tips, and the bonds of what it submits or appeals (whether or"
    " not they return). Whoever steals the key can't take more out of the account's balance.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it there, mode 0600, instead of showing it.",
)
@pass_app
def api_key_create(
    app: App, scopes: tuple[str, ...], valid_for_blocks: int, allowance: str, out: Path | None
) -> None:
    """Make an API key and register it on chain."""
    wanted = tuple(dict.fromkeys(scopes or ("review",)))
    mask = sum(Scope[name.upper()] for name in wanted)
    spendable = parse_omnit(allowance)
    key, wallet = SigningKey.generate(), app.wallet()
    if out is not None:  # on disk before it is on chain: no key is registered and lost
        write_private(out, format_api_key(key).encode() + b"\n")

    async def send(client: AsyncClient) -> tuple[TransactionResult, int]:
        return await client.add_session_key(
            wallet, key.public, mask, allowance=spendable, valid_for_blocks=valid_for_blocks
        )

    try:
        found, until = app.run(send)
    except BaseException:
        if out is not None:
            note(f"note: whether the key in {out} counts is not known: see otensor-cli api-key list")
        raise
    if app.as_json:
        shown: dict[str, Any] = {"file": str(out)} if out is not None else {"api_key": format_api_key(key)}
        made = {"key": key.public.hex(), "scopes": wanted, "valid_until": until}
        print_json({**shown, **made, "allowance": money_json(spendable), "tx": found.id})
        return
    say(
        f"API key for {', '.join(wanted)}, valid up to height {until}, may spend {money(spendable)};"
        f" revoke it with: otensor-cli api-key revoke {key.public.hex()}"
    )
    if out is not None:
        say(f"it is in {out}")
    else:
        say("it is shown this once; whoever has it can act in its scopes:")
        click.echo(format_api_key(key))


@api_key.command(name="list")
@pass_app
def api_key_list(app: App) -> None:
    """List the account's API keys."""
    account = app.account()

    async def ask(client: AsyncClient) -> AccountInfo:
        return await client.account(account)

    found = app.run(ask)
    if app.as_json:
        keys = [{**each.as_dict(), "allowance": money_json(each.allowance)} for each in found.session_keys]
        print_json({"session_keys": keys})
    elif not found.session_keys:
        say("no API keys")
    else:
        table(
            ["key", "scopes", "valid up to height", "may still spend"],
            [
                (each.key, ", ".join(each.scopes), each.valid_until, money(each.allowance))
                for each in found.session_keys
            ],
        )


@api_key.command(name="revoke")
@click.argument("key")
@pass_app
def api_key_revoke(app: App, key: str) -> None:
    """Take an API key's rights away. KEY is its public key, as api-key list shows it; - reads the API key from standard input."""
    public = _public(key)
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, SessionKeyRemove(public))

    show_final(app, app.run(send), f"API key {public.hex()} is revoked")


def _public(text: str) -> PublicKey:
    if text == "-":
        return parse_api_key(read_secret_input()).public
    if text.lower().startswith("otk1"):
        return parse_api_key(text).public
    try:
        return PublicKey(bytes.fromhex(hash_given(text)))
    except ValueError as error:
        raise InputError("not a public key", value=text) from error
