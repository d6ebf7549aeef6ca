"""Commands about accounts of several keys: multisig create, order, show, sign, combine, send."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from omnitensor.cli.account import transaction_json
from omnitensor.cli.app import App, Group, is_terminal, pass_app
from omnitensor.cli.output import money, money_json, pairs, print_json, say
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.multisig import Policy
from omnitensor.protocol.types import Height
from omnitensor.sdk.client import MULTISIG_VALID_FOR_BLOCKS, AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.forms import KINDS, body_from, fields_of, values_of
from omnitensor.sdk.multisig import (
    ORDER_FORMAT,
    MultisigOrder,
    account_from,
    account_json,
    member_texts,
    policy_from,
    read_file,
)
from omnitensor.sdk.results import AccountInfo, TransactionResult
from omnitensor.sdk.results_account import MultisigInfo

FILE = click.Path(path_type=Path)


@click.group(cls=Group)
def multisig() -> None:
    """Accounts of several keys: members pass files around and sign; anybody sends."""


@multisig.command(name="create")
@click.option("--threshold", type=int, required=True, metavar="K", help="How many members must sign.")
@click.option(
    "--member",
    "members",
    multiple=True,
    required=True,
    metavar="ADDRESS",
    help="A member's own address; repeat it.",
)
@click.option("--out", type=FILE, required=True, metavar="FILE", help="Where the account file goes.")
@pass_app
def multisig_create(app: App, threshold: int, members: tuple[str, ...], out: Path) -> None:
    """Work out the account of these members and write its file. Asks no node: the account is there at once."""
    policy = policy_from(threshold, members)
    _write(out, account_json(policy))
    if app.as_json:
        print_json(_policy_json(policy) | {"file": str(out)})
    else:
        say(f"{policy.threshold} of {len(policy.members)} members sign for {format_address(policy.address)}")
        say(f"its file is {out}: every member and whoever makes its orders needs a copy")


@multisig.command(name="order")
@click.argument("account", type=FILE)
@click.argument("kind", type=click.Choice(sorted(KINDS)))
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--out", type=FILE, required=True, metavar="FILE", help="Where the order file goes.")
@click.option(
    "--valid-for",
    type=click.IntRange(1, 100_000_000),
    default=MULTISIG_VALID_FOR_BLOCKS,
    show_default=True,
    metavar="BLOCKS",
    help="How long members have to sign and somebody to send.",
)
@click.option(
    "--sequence", type=click.IntRange(0), metavar="N", help="Its number  [default: the account's next]"
)
@click.option("--chain-id", metavar="ID", help="With --sequence and --valid-until no node is asked.")
@click.option("--valid-until", type=click.IntRange(0), metavar="HEIGHT", help="Instead of --valid-for.")
@pass_app
def multisig_order(
    app: App,
    account: Path,
    kind: str,
    values: tuple[str, ...],
    out: Path,
    valid_for: int,
    sequence: int | None,
    chain_id: str | None,
    valid_until: int | None,
) -> None:
    """Write an order of an account of several keys for its members to sign, as: order acc.json transfer to=omnit1… amount=5."""
    policy, body = account_from(read_file(account)), body_from(kind, values_of(values))
    if chain_id is not None and sequence is not None and valid_until is not None:
        made = MultisigOrder(chain_id, policy, sequence, Height(valid_until), body)
    else:

        async def ask(client: AsyncClient) -> MultisigOrder:
            return await client.multisig_order(policy, body, valid_for_blocks=valid_for, sequence=sequence)

        made = app.run(ask)
        if valid_until is not None:
            made = msgspec.structs.replace(made, valid_until=Height(valid_until))
    _write(out, made.to_json())
    _show_order(app, made, out)


@multisig.command(name="show")
@click.argument("what", metavar="FILE|ADDRESS")
@pass_app
def multisig_show(app: App, what: str) -> None:
    """Show an account or an order from its file, without asking a node, or an account on chain by its address."""
    path = Path(what)
    if path.exists():
        text = read_file(path)
        if ORDER_FORMAT.encode() in text:
            _show_order(app, MultisigOrder.from_json(text))
        else:
            _show_policy(app, account_from(text))
        return

    async def ask(client: AsyncClient) -> tuple[MultisigInfo, AccountInfo]:
        return await client.multisig(what), await client.account(what)

    found, holding = app.run(ask)
    if app.as_json:
        print_json(
            found.as_dict() | {"balance": money_json(holding.balance), "stake": money_json(holding.stake)}
        )
        return
    known = "hidden until its first order" if found.members is None else ", ".join(found.members)
    pairs(
        [
            ("account", found.address),
            ("balance", money(holding.balance)),
            ("stake", money(holding.stake)),
            ("next order", found.sequence),
            ("must sign", "" if found.threshold is None else found.threshold),
            ("members", known),
        ]
    )


@multisig.command(name="sign")
@click.argument("order", type=FILE)
@click.option(
    "--out", type=FILE, metavar="FILE", help="Where the signed order goes  [default: the same file]"
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def multisig_sign(app: App, order: Path, out: Path | None, yes: bool) -> None:
    """Sign an order with the key logged in with, which must be a member's. Asks no node."""
    found = MultisigOrder.from_json(read_file(order))
    if not app.as_json:
        _show_order(app, found)
    if not yes:
        if not is_terminal():
            raise InputError(
                "signing was not confirmed", value=order, remedy="look at it with show, repeat with --yes"
            )
        click.confirm("Sign this order?", abort=True, err=True)
    made = found.sign(app.wallet())
    _write(out or order, made.to_json(), replace=out is None)
    if app.as_json:
        print_json(_order_json(made) | {"file": str(out or order)})
    else:
        left = f"{made.missing} more must sign" if made.missing else "it can be sent"
        say(f"signed in {out or order}: {left}")


@multisig.command(name="combine")
@click.argument("orders", type=FILE, nargs=-1, required=True)
@click.option("--out", type=FILE, required=True, metavar="FILE", help="Where the whole goes.")
@pass_app
def multisig_combine(app: App, orders: tuple[Path, ...], out: Path) -> None:
    """Put the signatures of several files of one order together."""
    first, *others = [MultisigOrder.from_json(read_file(path)) for path in orders]
    made = first.combined(others)
    _write(out, made.to_json())
    _show_order(app, made, out)


@multisig.command(name="send")
@click.argument("order", type=FILE)
@pass_app
def multisig_send(app: App, order: Path) -> None:
    """Send an order that enough members signed; the account logged in with pays the fee. Waits until it is final."""
    found = MultisigOrder.from_json(read_file(order))
    found.body()  # complains of missing signatures before a passphrase is asked for
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.send_multisig(wallet, found)

    done = app.run(send)
    if app.as_json:
        print_json(transaction_json(done))
    else:
        say(
            f"{found.order.KIND} of {format_address(found.account)} is done (height {done.height}, transaction {done.id})"
        )


def _show_policy(app: App, policy: Policy) -> None:
    if app.as_json:
        print_json(_policy_json(policy))
        return
    pairs(
        [
            ("account", format_address(policy.address)),
            ("must sign", f"{policy.threshold} of {len(policy.members)}"),
            *(("member", text) for text in member_texts(policy)),
        ]
    )


def _show_order(app: App, order: MultisigOrder, out: Path | None = None) -> None:
    if app.as_json:
        print_json(_order_json(order) | ({"file": str(out)} if out else {}))
        return
    signed = order.signed_by()
    pairs(
        [
            ("account", format_address(order.account)),
            ("chain", order.chain_id),
            ("order", f"number {order.sequence}, valid up to height {order.valid_until}"),
            ("kind", order.order.KIND),
            *((f"  {name}", value) for name, value in fields_of(order.order).items()),
            ("signed", f"{len(signed)} of {order.policy.threshold} needed"),
            *(("  by", text) for text in signed),
            *([("file", str(out))] if out else []),
        ]
    )


def _policy_json(policy: Policy) -> dict[str, Any]:
    return {
        "account": format_address(policy.address),
        "threshold": policy.threshold,
        "members": member_texts(policy),
    }


def _order_json(order: MultisigOrder) -> dict[str, Any]:
    return _policy_json(order.policy) | {
        "chain_id": order.chain_id,
        "sequence": order.sequence,
        "valid_until": order.valid_until,
        "kind": order.order.KIND,
        "values": fields_of(order.order),
        "signed_by": order.signed_by(),
        "missing": order.missing,
    }


def _write(path: Path, text: str, *, replace: bool = False) -> None:
    if path.exists() and not replace:
        raise InputError("there is a file of this name", value=path, remedy="choose another, or remove it")
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"the file can't be written ({error.strerror})", value=path) from error
