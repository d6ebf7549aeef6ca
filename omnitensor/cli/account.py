"""Commands about one's own key and account: login, logout, whoami, transfer, tx, status."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import click

from omnitensor.cli.app import (
    PROGRAM,
    App,
    Command,
    Group,
    is_terminal,
    pass_app,
    read_secret_file,
    read_secret_input,
)
from omnitensor.cli.output import console, money, money_json, note, pairs, print_json, say, table
from omnitensor.protocol import keystore
from omnitensor.protocol.amounts import format_omnit, parse_omnit
from omnitensor.protocol.keys import format_address, generate_mnemonic
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import ConnectionFailed, InputError
from omnitensor.sdk.home import Home, Profile
from omnitensor.sdk.results import AccountInfo, Status, TransactionResult
from omnitensor.sdk.transport import Retry, check_endpoint
from omnitensor.sdk.wallet import Wallet

UNPROTECTED_SCRYPT_N: Final = 2**10
"""Cost of a keystore without a passphrase: there is nothing to guess."""


class LoginCommand(Command):
    """Login, whose mistakes are never repeated on the screen: one of the words may be a key."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if ctx.resilient_parsing:
                raise
            raise click.UsageError("login takes options only, and not what was given", ctx) from error


@click.command(cls=LoginCommand)
@click.option(
    "--key",
    metavar="KEY",
    help="Private key (64 hex digits, omsk1..., or a mnemonic); - reads standard input.",
)
@click.option(
    "--key-file",
    metavar="FILE",
    help="File with the private key, readable by its owner alone; - reads standard input.",
)
@click.option("--mnemonic", is_flag=True, help="Ask for 12 to 24 words and their passphrase.")
@click.option("--new", "is_new", is_flag=True, help="Make a new account, and show its 24 words once.")
@click.option("--no-passphrase", is_flag=True, help="Keep the key without a passphrase: for unattended use.")
@pass_app
def login(
    app: App, key: str | None, key_file: str | None, mnemonic: bool, is_new: bool, no_passphrase: bool
) -> None:
    """Keep a private key on this machine, encrypted, and use it from now on.

    On a terminal a passphrase is asked for. Elsewhere it comes from --passphrase-file or OMNITENSOR_PASSPHRASE_FILE; without
    either the key is kept without one, readable by this user alone (mode 0600), and a line says so.
    """
    if sum((key is not None, key_file is not None, mnemonic, is_new)) > 1:
        raise InputError("several keys were given", remedy="give one of --key, --key-file, --mnemonic, --new")
    words = generate_mnemonic() if is_new else ""
    wallet = Wallet.from_secret(words) if is_new else _given_wallet(key, key_file, mnemonic)
    password = _new_passphrase(app, no_passphrase)
    endpoint = check_endpoint(app.endpoint) if app.endpoint else app.home.profile().endpoint
    kept = _keep(app.home, wallet, password, endpoint)
    chain = _meet_node(app, endpoint)
    if key is not None and key != "-":
        note(
            "warning: a shell may remember the key in its history; --key-file, or --key - with standard input, leaves no trace"
        )
    if not password:
        note("note: the key is kept without a passphrase; only its file's mode (0600) protects it")
    if kept is not None:
        note(f"note: the key of the former account is kept in {kept}")
    shown = {
        "address": wallet.text,
        "keystore": str(app.home.keystore),
        "protected": bool(password),
        "chain_id": chain.chain_id if chain else None,
    }
    if app.as_json:
        print_json({**shown, **({"mnemonic": words} if words else {})})
        return
    if words:
        say("Write these words down and keep them where nobody sees them; whoever has them has the account:")
        console().print(f"\n  {words}\n", soft_wrap=True)
    say(f"logged in as {wallet.text}")
    if chain is None:
        say("no node answered yet: name one with --endpoint or OMNITENSOR_RPC when you need it")


@click.command(cls=Command)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def logout(app: App, yes: bool) -> None:
    """Remove the key from this machine."""
    account = app.account()
    if not yes:
        if not is_terminal():
            raise InputError(
                "logging out removes the key from this machine", value=account, remedy="repeat with --yes"
            )
        click.confirm(
            f"Remove the key of {account} from this machine? Have a copy of it", abort=True, err=True
        )
    endpoint = app.home.profile().endpoint
    app.home.remove_profile()
    if endpoint:
        app.home.save_profile(Profile(endpoint))
    if app.as_json:
        print_json({"address": account, "removed": True})
    else:
        say(f"the key of {account} is removed from this machine")


@click.command(cls=Command)
@pass_app
def whoami(app: App) -> None:
    """Show the account logged in with."""
    account, profile = app.account(), app.home.profile()

    async def ask(client: AsyncClient) -> tuple[str, Status, AccountInfo]:
        return client.endpoint, await client.status(), await client.account(account)

    endpoint, status, found = app.run(ask)
    if app.as_json:
        print_json(
            {
                "address": account,
                "balance": money_json(found.balance),
                "stake": money_json(found.stake),
                "nonce": found.nonce,
                "chain_id": status.chain_id,
                "endpoint": endpoint,
                "protected": profile.protected,
                "session_keys": len(found.session_keys),
            }
        )
        return
    pairs(
        [
            ("address", account),
            ("balance", money(found.balance)),
            ("stake", money(found.stake)),
            ("chain", status.chain_id),
            ("node", endpoint),
            ("keystore", f"{app.home.keystore} ({'passphrase' if profile.protected else 'no passphrase'})"),
        ]
    )


@click.command(cls=Command)
@click.option("--to", required=True, metavar="ADDRESS", help="Who gets it.")
@click.option("--amount", required=True, metavar="OMNIT", help="How much.")
@pass_app
def transfer(app: App, to: str, amount: str) -> None:
    """Send OMNIT to another account, and wait until that is final."""
    nano = parse_omnit(amount)
    if nano <= 0:
        raise InputError("an amount above zero is needed", value=amount, remedy="write it like 12.5")
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.transfer(wallet, to, nano)

    show_final(app, app.run(send), f"{format_omnit(nano)} sent to {to}")


@click.group(cls=Group)
def tx() -> None:
    """Look at transactions."""


@tx.command(name="show")
@click.argument("id")
@pass_app
def tx_show(app: App, id: str) -> None:
    """Show what became of a transaction."""

    async def ask(client: AsyncClient) -> TransactionResult:
        return await client.transaction(id)

    found = app.run(ask)
    if app.as_json:
        print_json(transaction_json(found))
    else:
        rows: list[tuple[str, Any]] = [("id", found.id), ("status", found.status)]
        if found.kind:
            rows += [("kind", found.kind), ("sender", found.sender)]
        if found.height is not None:
            rows += [("height", found.height)]
        if found.receipt is not None:
            rows += [
                ("result", found.receipt.code),
                ("fee", money(found.receipt.fee)),
                ("tip", money(found.receipt.tip)),
            ]
            if found.receipt.reason:
                rows += [("reason", found.receipt.reason)]
        pairs(rows)
        if found.receipt is not None and found.receipt.events:
            table(
                ["event", "values"],
                [
                    (
                        event.get("kind", ""),
                        ", ".join(f"{name}={value}" for name, value in event.items() if name != "kind"),
                    )
                    for event in found.receipt.events
                ],
            )


@click.command(cls=Command)
@pass_app
def status(app: App) -> None:
    """Show the node and its chain."""

    async def ask(client: AsyncClient) -> tuple[str, Status]:
        return client.endpoint, await client.status()

    endpoint, found = app.run(ask, pinned=False)
    if app.as_json:
        print_json({"endpoint": endpoint, **found.as_dict(), "checkpoint": found.checkpoint})
        return
    behind = (
        f"catching up, {found.sync_target - found.height} blocks behind" if found.syncing else "up to date"
    )
    pairs(
        [
            ("node", f"{endpoint} (version {found.version})"),
            ("chain", found.chain_id),
            ("genesis", found.genesis_hash),
            ("height", f"{found.height} ({behind})"),
            ("block", found.block_hash),
            ("base fee", f"{found.base_fee} nanoOMNIT a unit of weight"),
            ("checkpoint", f"{found.checkpoint} (to verify from, if you trust this node)"),
        ]
    )


def show_final(app: App, found: TransactionResult, sentence: str) -> None:
    """A transaction that is final and did what it ordered."""
    if app.as_json:
        print_json(transaction_json(found))
    else:
        say(f"{sentence} (height {found.height}, transaction {found.id})")


def transaction_json(found: TransactionResult) -> dict[str, Any]:
    """A transaction for programs, its fee and tip in OMNIT."""
    plain = found.as_dict()
    if found.receipt is not None:
        plain["receipt"] |= {"fee": money_json(found.receipt.fee), "tip": money_json(found.receipt.tip)}
    return plain


def _given_wallet(key: str | None, key_file: str | None, mnemonic: bool) -> Wallet:
    """The wallet of whatever was given. Raises KeyFormatError, which never repeats the secret."""
    if mnemonic:
        words = click.prompt("Words", hide_input=True, err=True) if is_terminal() else read_secret_input()
        extra = ""
        if is_terminal():
            extra = click.prompt(
                "Passphrase of the words (none: Enter)",
                hide_input=True,
                err=True,
                default="",
                show_default=False,
            )
        return Wallet.from_secret(words, extra)
    if key is not None and key != "-":
        return Wallet.from_secret(key)
    if key_file is not None and key_file != "-":
        return Wallet.from_secret(read_secret_file(Path(key_file)))
    if key is None and key_file is None and is_terminal():
        return Wallet.from_secret(click.prompt("Private key", hide_input=True, err=True))
    text = read_secret_input()
    if not text:
        raise InputError(
            "no key was given",
            remedy=f"{PROGRAM} login --key KEY, or --key-file FILE, or a key on standard input",
        )
    return Wallet.from_secret(text)


def _new_passphrase(app: App, none_wanted: bool) -> str:
    if none_wanted:
        return ""
    if (found := app.passphrase_from_file()) is not None:
        if not found:
            raise InputError("the passphrase's file is empty", remedy="use --no-passphrase if that is meant")
        return found
    if not is_terminal():
        return ""
    asked: str = click.prompt(
        "New passphrase for this machine (none: Enter)",
        hide_input=True,
        confirmation_prompt="Once more",
        err=True,
        default="",
        show_default=False,
    )
    return asked


def _keep(home: Home, wallet: Wallet, password: str, endpoint: str) -> Path | None:
    """Write keystore and profile. Another account's keystore is moved aside, never overwritten; returns where to."""
    home.ensure(home.folder)
    kept = None
    if home.keystore.exists():
        former = format_address(keystore.account_address(home.keystore.read_bytes()))
        if former != wallet.text:
            kept = home.folder / f"keystore-{former}.json"
            home.keystore.replace(kept)
    cost = keystore.SCRYPT_N if password else UNPROTECTED_SCRYPT_N
    wallet.save(home.keystore, password, replace=True, scrypt_n=cost)
    home.save_profile(Profile(endpoint, wallet.text, bool(password)))
    return kept


def _meet_node(app: App, endpoint: str) -> Status | None:
    """The node's status, its chain remembered as this account's; None when no node answers, which is no fault here."""

    async def ask() -> Status | None:
        async with AsyncClient(
            app.endpoint or None, retry=Retry(attempts=1, timeout_s=3), home=app.home
        ) as client:
            try:
                return await client.status()
            except ConnectionFailed:
                return None

    found = asyncio.run(ask())
    if found is not None:
        profile = app.home.profile()
        app.home.save_profile(
            Profile(endpoint, profile.account, profile.protected, found.chain_id, found.genesis_hash)
        )
    return found
