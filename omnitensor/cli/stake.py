"""Commands of validators about their stake: stake add, withdraw, show; validator register, edit, unjail, list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Group, pass_app, read_secret_file
from omnitensor.cli.output import money, money_json, pairs, print_json, share, table
from omnitensor.protocol import bls, keystore
from omnitensor.protocol.amounts import format_omnit, parse_omnit
from omnitensor.protocol.bodies import (
    StakeAdd,
    StakeWithdraw,
    ValidatorEdit,
    ValidatorRegister,
    ValidatorUnjail,
)
from omnitensor.protocol.limits import name_chars_max
from omnitensor.protocol.private_files import read_private
from omnitensor.protocol.types import BlsPublicKey, BlsSignature
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.results import TransactionResult, ValidatorInfo

PASSWORD_SUFFIX = ".password"


@click.group(cls=Group)
def stake() -> None:
    """Delegate stake to a validator and claim what it earns; add to an own validator's stake, take from it."""


@stake.command(name="add")
@click.option("--amount", required=True, metavar="OMNIT", help="How much.")
@pass_app
def stake_add(app: App, amount: str) -> None:
    """Add to the own validator's stake."""
    nano, wallet = parse_omnit(amount), app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, StakeAdd(nano))

    show_final(app, app.run(send), f"{format_omnit(nano)} added to the stake of {wallet.text}")


@stake.command(name="withdraw")
@click.option("--amount", required=True, metavar="OMNIT", help="How much.")
@pass_app
def stake_withdraw(app: App, amount: str) -> None:
    """Take stake out; it is paid after the unbonding time."""
    nano, wallet = parse_omnit(amount), app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, StakeWithdraw(nano))

    show_final(app, app.run(send), f"{format_omnit(nano)} is on its way out of the stake of {wallet.text}")


@stake.command(name="show")
@click.option("--wallet", metavar="ADDRESS", help="The validator  [default: the account logged in with]")
@pass_app
def stake_show(app: App, wallet: str | None) -> None:
    """Show a validator's stake."""
    address = wallet or app.account()

    async def ask(client: AsyncClient) -> ValidatorInfo:
        return await client.validator(address)

    found = app.run(ask)
    if app.as_json:
        print_json(_validator_json(found))
        return
    pairs(
        [
            ("validator", f"{found.name} {found.address}".strip()),
            ("stake", money(found.stake)),
            ("held by seats", money(found.held)),
            ("delegated to it", money(found.delegated)),
            ("power", money(found.power)),
            ("rewards to claim", money(found.rewards)),
            *((f"unbonding at height {each.height}", money(each.amount)) for each in found.unbonding),
            ("reputation", found.reputation),
            (
                "commission",
                f"{share(found.commission_bps)}, may rise from height {found.commission_raise_from}",
            ),
            ("jailed", _jail(found)),
            *(
                (
                    f"attendance in epoch {each['epoch']}",
                    f"{share(each['share_bps'])} of {each['blocks']} blocks",
                )
                for each in found.attendance
            ),
            *([("absent", f"in {found.absent_epochs} epochs in a row")] if found.absent_epochs else []),
            *([("removed", "for good: it contradicted itself")] if found.removed else []),
        ]
    )


@click.group(cls=Group)
def validator() -> None:
    """Register as a validator; list validators."""


@validator.command(name="register")
@click.option(
    "--stake",
    "amount",
    required=True,
    metavar="OMNIT",
    help="Own stake; at least 32,000 OMNIT on the main chain.",
)
@click.option("--name", required=True, metavar="TEXT", help="Name for people.")
@click.option(
    "--commission",
    "commission_bps",
    type=click.IntRange(0, 10_000),
    default=500,
    show_default=True,
    metavar="BPS",
    help="Share of what others' stake earns that is yours, in basis points.",
)
@click.option(
    "--consensus-keystore",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The node's consensus.json (EIP-2335).",
)
@click.option(
    "--consensus-password-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its password  [default: the file .password beside it]",
)
@click.option(
    "--consensus-key",
    metavar="HEX",
    help="The node's public consensus key, as omnitensor-node keys prints it.",
)
@click.option("--proof", metavar="HEX", help="Its proof of possession.")
@pass_app
def validator_register(
    app: App,
    amount: str,
    name: str,
    commission_bps: int,
    consensus_keystore: Path | None,
    consensus_password_file: Path | None,
    consensus_key: str | None,
    proof: str | None,
) -> None:
    """Become a validator: stake, and name the key that the node votes with."""
    if len(name) > name_chars_max:
        raise InputError("the name is too long", value=name, remedy=f"at most {name_chars_max} characters")
    key, possession = consensus_key_given(consensus_keystore, consensus_password_file, consensus_key, proof)
    body = ValidatorRegister(parse_omnit(amount), key, possession, commission_bps, name)
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, body)

    show_final(app, app.run(send), f"{wallet.text} is a validator with {format_omnit(body.stake)}")


@validator.command(name="edit")
@click.option("--name", help="Another name for people.")
@click.option(
    "--commission",
    "commission_bps",
    type=click.IntRange(0, 10_000),
    metavar="BPS",
    help="Another commission, in basis points.",
)
@click.option(
    "--consensus-keystore",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The new key's consensus.json (EIP-2335).",
)
@click.option(
    "--consensus-password-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its password  [default: the file .password beside it]",
)
@click.option(
    "--consensus-key", metavar="HEX", help="The new public consensus key, as omnitensor-node keys prints it."
)
@click.option("--proof", metavar="HEX", help="Its proof of possession.")
@pass_app
def validator_edit(
    app: App,
    name: str | None,
    commission_bps: int | None,
    consensus_keystore: Path | None,
    consensus_password_file: Path | None,
    consensus_key: str | None,
    proof: str | None,
) -> None:
    """Change your validator's name, commission or consensus key; a new key votes from the next epoch on."""
    if name is not None and len(name) > name_chars_max:
        raise InputError("the name is too long", value=name, remedy=f"at most {name_chars_max} characters")
    key, possession = None, None
    if consensus_keystore is not None or consensus_key is not None or proof is not None:
        key, possession = consensus_key_given(
            consensus_keystore, consensus_password_file, consensus_key, proof
        )
    if key is None and name is None and commission_bps is None:
        raise InputError("nothing to change", remedy="give --name, --commission or a new key")
    body = ValidatorEdit(key, possession, commission_bps, name)
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, body)

    when = "; the new key votes from the next epoch on" if key is not None else ""
    show_final(app, app.run(send), f"{wallet.text} is changed{when}")


@validator.command(name="unjail")
@pass_app
def validator_unjail(app: App) -> None:
    """Leave jail; the validator votes again from the next epoch on."""
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, ValidatorUnjail())

    show_final(app, app.run(send), f"{wallet.text} is out of jail; it can vote again from the next epoch on")


@validator.command(name="list")
@pass_app
def validator_list(app: App) -> None:
    """List registered validators, the most power first."""

    async def ask(client: AsyncClient) -> list[ValidatorInfo]:
        return await client.validators()

    found = sorted(app.run(ask), key=lambda each: (-each.power, each.address))
    if app.as_json:
        print_json({"validators": [_validator_json(each) for each in found]})
        return
    table(
        ["validator", "name", "stake OMNIT", "delegated OMNIT", "commission", "votes", "jailed"],
        [
            (
                each.address,
                each.name,
                money_json(each.stake),
                money_json(each.delegated),
                share(each.commission_bps),
                "yes" if each.votes else "no",
                "removed" if each.removed else "yes" if each.jailed else "no",
            )
            for each in found
        ],
    )


def consensus_key_given(
    file: Path | None, password_file: Path | None, key: str | None, proof: str | None
) -> tuple[BlsPublicKey, BlsSignature]:
    """The public consensus key and its proof of possession, checked. Raises InputError or KeystoreError."""
    if file is not None:
        password = read_secret_file(password_file or file.with_suffix(PASSWORD_SUFFIX))
        secret = keystore.decrypt_bls(read_private(file), password)
        return bls.sk_to_pk(secret), bls.pop_prove(secret)
    if key is None or proof is None:
        raise InputError(
            "no consensus key was given",
            remedy="name the node's keystore with --consensus-keystore, or give --consensus-key and --proof",
        )
    public, possession = _hex(key, 48, "consensus key"), _hex(proof, 96, "proof of possession")
    if not bls.pop_verify(public, possession):
        raise InputError(
            "the proof of possession is not of this key",
            value=key,
            remedy="copy both from omnitensor-node keys",
        )
    return BlsPublicKey(public), BlsSignature(possession)


def _hex(text: str, length: int, what: str) -> bytes:
    try:
        found = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != length:
        raise InputError(f"not a {what}", value=text, remedy=f"it has {2 * length} hexadecimal digits")
    return found


def _jail(found: ValidatorInfo) -> str:
    """Whether a validator is in jail, and how it comes out."""
    if not found.jailed:
        return "no"
    if found.jailed_until is None:
        return "yes"
    return f"yes; from height {found.jailed_until} on it may leave with: otensor-cli validator unjail"


def _validator_json(found: ValidatorInfo) -> dict[str, Any]:
    plain = found.as_dict()
    amounts = ("stake", "held", "delegated", "power", "leaving", "rewards")
    plain |= {name: money_json(getattr(found, name)) for name in amounts}
    plain["unbonding"] = [
        {"amount": money_json(each.amount), "height": each.height} for each in found.unbonding
    ]
    return plain
