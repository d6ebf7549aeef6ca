"""Commands about locked money: vault grant, list, show, withdraw, order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, get_args

import click

from omnitensor.cli.account import show_final, transaction_json
from omnitensor.cli.app import App, Group, pass_app
from omnitensor.cli.output import moment, money, money_json, pairs, print_json, say, table
from omnitensor.protocol.amounts import format_omnit, parse_omnit
from omnitensor.protocol.bodies import VaultExecute, VaultGrant, VaultOrder, VaultWithdraw
from omnitensor.protocol.keys import format_address, parse_address
from omnitensor.protocol.types import Amount, TimeMs
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.forms import body_from, values_of
from omnitensor.sdk.results import TransactionResult
from omnitensor.sdk.results_account import VaultInfo

ORDERS: Final = tuple(kind.KIND for kind in get_args(VaultOrder))


@click.group(cls=Group)
def vault() -> None:
    """Money that opens by a schedule: lock some for somebody, see it, take out what has vested."""


@vault.command(name="grant")
@click.option("--to", required=True, metavar="ADDRESS", help="Who gets it.")
@click.option("--amount", required=True, metavar="OMNIT", help="How much is locked.")
@click.option(
    "--start",
    required=True,
    metavar="TIME",
    help="When it begins to vest, as 2027-01-01 or 2027-01-01T12:00 (UTC).",
)
@click.option("--end", required=True, metavar="TIME", help="When all has vested.")
@click.option("--cliff", metavar="TIME", help="Nothing vests before  [default: the start]")
@pass_app
def vault_grant(app: App, to: str, amount: str, start: str, end: str, cliff: str | None) -> None:
    """Lock money for an account, for good: nobody can take it back."""
    begin, over = time_of(start), time_of(end)
    body = VaultGrant(
        parse_address(to), parse_omnit(amount), begin, begin if cliff is None else time_of(cliff), over
    )
    if not body.start_ms <= body.cliff_ms <= body.end_ms or body.start_ms == body.end_ms:
        raise InputError("start, cliff and end are not in order", value=f"{start}, {cliff or start}, {end}")
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, body)

    done = app.run(send)
    address = next(
        (event["vault"] for event in (done.receipt.events if done.receipt else []) if "vault" in event), ""
    )
    if app.as_json:
        print_json(transaction_json(done) | {"vault": address})
    else:
        say(f"{format_omnit(body.amount)} locked for {to} in {address} (height {done.height})")


@vault.command(name="list")
@click.option("--wallet", metavar="ADDRESS", help="The holder  [default: the account logged in with]")
@pass_app
def vault_list(app: App, wallet: str | None) -> None:
    """List a holder's vaults, and what can be taken out."""
    holder = wallet or app.account()

    async def ask(client: AsyncClient) -> list[VaultInfo]:
        return await client.vaults(holder)

    found = app.run(ask)
    sums = {
        "locked": sum(each.locked for each in found),
        "withdrawable": sum(each.withdrawable for each in found),
    }
    if app.as_json:
        shown = {name: money_json(amount) for name, amount in sums.items()}
        print_json({"holder": holder, "vaults": [_vault_json(each) for each in found], **shown})
        return
    if not found:
        say("no vaults")
        return
    table(
        ["vault", "total OMNIT", "vested OMNIT", "withdrawn OMNIT", "to withdraw OMNIT", "ends"],
        [
            (
                each.vault,
                money_json(each.total),
                money_json(each.vested),
                money_json(each.withdrawn),
                money_json(each.withdrawable),
                moment(each.end_ms),
            )
            for each in found
        ],
    )
    say(f"locked {money(sums['locked'])}, to withdraw now {money(sums['withdrawable'])}")


@vault.command(name="show")
@click.argument("address")
@pass_app
def vault_show(app: App, address: str) -> None:
    """Show one vault."""

    async def ask(client: AsyncClient) -> VaultInfo:
        return await client.vault(address)

    found = app.run(ask)
    if app.as_json:
        print_json(_vault_json(found))
        return
    pairs(
        [
            ("vault", found.vault),
            ("holder", found.holder),
            ("granted by", found.granter or "genesis"),
            ("total", money(found.total)),
            ("from, to", f"{moment(found.start_ms)}, {moment(found.end_ms)} UTC"),
            ("nothing before", f"{moment(found.cliff_ms)} UTC"),
            ("vested", money(found.vested)),
            ("withdrawn", money(found.withdrawn)),
            ("in it now", money(found.balance)),
            ("to withdraw", money(found.withdrawable)),
        ]
    )


@vault.command(name="withdraw")
@click.argument("address")
@click.option("--amount", metavar="OMNIT", help="How much  [default: all that can be]")
@pass_app
def vault_withdraw(app: App, address: str, amount: str | None) -> None:
    """Take out of a vault what has vested."""
    target, wanted = parse_address(address), None if amount is None else parse_omnit(amount)
    wallet = app.wallet()
    taken: list[int] = []

    async def send(client: AsyncClient) -> TransactionResult:
        free = (await client.vault(target)).withdrawable
        taken.append(free if wanted is None else wanted)
        if not 0 < taken[0] <= free:
            raise InputError(
                f"{format_omnit(free)} can be withdrawn now",
                value=format_address(target),
                remedy="see its schedule with: otensor-cli vault show",
            )
        return await client.execute(wallet, VaultWithdraw(target, Amount(taken[0])))

    done = app.run(send)
    show_final(app, done, f"{format_omnit(taken[0])} withdrawn from {address}")


@vault.command(name="order")
@click.argument("address")
@click.argument("kind", type=click.Choice(ORDERS))
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@pass_app
def vault_order(app: App, address: str, kind: str, values: tuple[str, ...]) -> None:
    """Stake what is in a vault, or take it back into it, as: order <vault> delegate validator=omnit1… amount=100."""
    target, order = parse_address(address), body_from(kind, values_of(values))
    assert isinstance(order, get_args(VaultOrder)), "only these kinds are offered"
    body, wallet = VaultExecute(target, order), app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, body)

    show_final(app, app.run(send), f"{kind} of {address} is done")


def time_of(text: str) -> TimeMs:
    """A date, or date and time, in UTC. Raises InputError."""
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(
            "not a time", value=text, remedy="write it like 2027-01-01 or 2027-01-01T12:00"
        ) from None
    if read.tzinfo is None:
        read = read.replace(tzinfo=UTC)
    made = int(read.timestamp()) * 1_000
    if made < 0:
        raise InputError("a time before 1970", value=text, remedy="give a later one")
    return TimeMs(made)


def _vault_json(found: VaultInfo) -> dict[str, Any]:
    amounts = ("total", "vested", "withdrawn", "balance", "withdrawable", "locked")
    return found.as_dict() | {name: money_json(getattr(found, name)) for name in amounts}
