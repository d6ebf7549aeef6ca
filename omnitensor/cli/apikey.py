"""Commands about API keys (session keys): create, list, revoke. A new key is shown once, or written to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Group, pass_app, read_secret_input
from omnitensor.cli.output import note, print_json, say, table
from omnitensor.protocol.bodies import Scope, SessionKeyAdd, SessionKeyRemove
from omnitensor.protocol.keys import SigningKey, format_api_key, parse_api_key
from omnitensor.protocol.private_files import write_private
from omnitensor.protocol.types import Height, PublicKey
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.results import AccountInfo, TransactionResult, hash_given

SCOPES = tuple(scope.name.lower() for scope in Scope)
VALID_FOR_BLOCKS = 7_776_000
"""Ninety days at a block a second."""


@click.group(cls=Group, name="api-key")
def api_key() -> None:
    """Keys that may do some things for the account, and never spend its money."""


@api_key.command(name="create")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What it may do  [default: review]"
)
@click.option(
    "--valid-for-blocks", type=click.IntRange(min=1), default=VALID_FOR_BLOCKS, show_default=True, metavar="N"
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it there, mode 0600, instead of showing it.",
)
@pass_app
def api_key_create(app: App, scopes: tuple[str, ...], valid_for_blocks: int, out: Path | None) -> None:
    """Make an API key and register it on chain."""
    wanted = tuple(dict.fromkeys(scopes or ("review",)))
    mask = sum(Scope[name.upper()] for name in wanted)
    key, wallet = SigningKey.generate(), app.wallet()
    if out is not None:  # on disk before it is on chain: no key is registered and lost
        write_private(out, format_api_key(key).encode() + b"\n")

    async def send(client: AsyncClient) -> tuple[TransactionResult, int]:
        until = (await client.status()).height + valid_for_blocks
        return await client.execute(wallet, SessionKeyAdd(key.public, mask, Height(until))), until

    try:
        found, until = app.run(send)
    except BaseException:
        if out is not None:
            note(f"note: whether the key in {out} counts is not known: see otensor-cli api-key list")
        raise
    if app.as_json:
        shown: dict[str, Any] = {"file": str(out)} if out is not None else {"api_key": format_api_key(key)}
        print_json({**shown, "key": key.public.hex(), "scopes": wanted, "valid_until": until, "tx": found.id})
        return
    say(
        f"API key for {', '.join(wanted)}, valid up to height {until};"
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
        print_json({"session_keys": [each.as_dict() for each in found.session_keys]})
    elif not found.session_keys:
        say("no API keys")
    else:
        table(
            ["key", "scopes", "valid up to height"],
            [(each.key, ", ".join(each.scopes), each.valid_until) for each in found.session_keys],
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
