"""Commands of delegators: stake delegate, undelegate, redelegate, claim, status, apr."""

from __future__ import annotations

from typing import Any

import click

from omnitensor.cli.account import show_final, transaction_json
from omnitensor.cli.app import App, pass_app
from omnitensor.cli.output import money, money_json, pairs, print_json, say, share, table
from omnitensor.cli.stake import stake as stake
from omnitensor.protocol.amounts import format_omnit, parse_omnit
from omnitensor.protocol.keys import parse_address
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.results import TransactionResult
from omnitensor.sdk.staking import (
    AprInfo,
    DelegationInfo,
    RedelegationInfo,
    StakeRewards,
    UndelegationInfo,
)

VALIDATOR = click.option(
    "--validator", required=True, metavar="ADDRESS", help="The validator; see: validator list."
)


def _amount(amount: str | None, everything: bool) -> int | None:
    """nanoOMNIT, or None for everything. Raises InputError unless one of both was said."""
    if (amount is None) != everything:
        raise InputError("how much?", remedy="give --amount, or --all for everything")
    return None if amount is None else parse_omnit(amount)


@stake.command(name="delegate")
@VALIDATOR
@click.option("--amount", required=True, metavar="OMNIT", help="How much.")
@pass_app
def delegate(app: App, validator: str, amount: str) -> None:
    """Stake with a validator: it earns from the next epoch on, and can be slashed."""
    target, nano, wallet = parse_address(validator), parse_omnit(amount), app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.delegate(wallet, target, nano)

    show_final(app, app.run(send), f"{format_omnit(nano)} delegated to {validator}")


@stake.command(name="undelegate")
@VALIDATOR
@click.option("--amount", metavar="OMNIT", help="How much.")
@click.option("--all", "everything", is_flag=True, help="Everything that is delegated to it.")
@pass_app
def undelegate(app: App, validator: str, amount: str | None, everything: bool) -> None:
    """Take stake back from a validator; it is paid after the unbonding time."""
    target, nano, wallet = parse_address(validator), _amount(amount, everything), app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.undelegate(wallet, target, nano)

    done = app.run(send)
    said = _event(done, "stake.undelegated")
    show_final(
        app,
        done,
        f"{money(int(said.get('amount', 0)))} is on its way back, and paid at height {said.get('due', '?')}",
    )


@stake.command(name="redelegate")
@click.option("--from", "source", required=True, metavar="ADDRESS", help="The validator that it leaves.")
@click.option("--to", "target", required=True, metavar="ADDRESS", help="The validator that it goes to.")
@click.option("--amount", metavar="OMNIT", help="How much.")
@click.option("--all", "everything", is_flag=True, help="Everything that may be moved.")
@pass_app
def redelegate(app: App, source: str, target: str, amount: str | None, everything: bool) -> None:
    """Move stake to another validator at once; for the unbonding time it answers for both."""
    first, second = parse_address(source), parse_address(target)
    nano, wallet = _amount(amount, everything), app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.redelegate(wallet, first, second, nano)

    done = app.run(send)
    said = _event(done, "stake.redelegated")
    show_final(
        app,
        done,
        f"{money(int(said.get('amount', 0)))} moved to {target}; it lands at height {said.get('due', '?')}",
    )


@stake.command(name="claim")
@click.option(
    "--validator",
    "validators",
    multiple=True,
    metavar="ADDRESS",
    help="Of this validator alone; may be repeated  [default: of all, as a validator too]",
)
@pass_app
def claim(app: App, validators: tuple[str, ...]) -> None:
    """Have rewards paid out to your account."""
    named, wallet = [parse_address(each) for each in validators], app.wallet()

    async def send(client: AsyncClient) -> list[TransactionResult]:
        return await client.claim_rewards(wallet, named or None)

    done = app.run(send)
    total = sum(
        int(event["amount"])
        for each in done
        for event in (each.receipt.events if each.receipt else [])
        if event.get("kind") == "reward.claimed"
    )
    if app.as_json:
        print_json({"claimed": money_json(total), "transactions": [transaction_json(each) for each in done]})
    else:
        say(f"{format_omnit(total)} of rewards came to {wallet.text} (height {done[-1].height})")


@stake.command(name="status")
@click.option("--wallet", metavar="ADDRESS", help="The account  [default: the one logged in with]")
@pass_app
def status(app: App, wallet: str | None) -> None:
    """Show what an account delegates, what is on its way, and the rewards that it can claim."""
    account = wallet or app.account()
    parse_address(account)

    async def ask(
        client: AsyncClient,
    ) -> tuple[list[DelegationInfo], list[UndelegationInfo], list[RedelegationInfo], StakeRewards]:
        return (
            await client.delegations(account),
            await client.undelegations(account),
            await client.redelegations(account),
            await client.stake_rewards(account),
        )

    held, leaving, moving, rewards = app.run(ask)
    if app.as_json:
        print_json(
            {
                "account": account,
                "delegations": [_plain(each, "amount", "joining", "under_way", "rewards") for each in held],
                "undelegations": [_plain(each, "amount") for each in leaving],
                "redelegations": [_plain(each, "amount") for each in moving],
                "rewards": money_json(rewards.total),
                "rewards_as_validator": money_json(rewards.validator),
            }
        )
        return
    if not held and not leaving and not rewards.total:
        say(f"{account} delegates nothing; choose a validator with: otensor-cli validator list")
        return
    if held:
        table(
            ["validator", "amount OMNIT", "joining OMNIT", "under way OMNIT", "rewards OMNIT"],
            [
                (
                    each.validator,
                    money_json(each.amount),
                    money_json(each.joining),
                    money_json(each.under_way),
                    money_json(each.rewards),
                )
                for each in held
            ],
        )
    for each in leaving:
        say(f"{money(each.amount)} comes back from {each.validator} at height {each.due}")
    for one in moving:
        say(f"{money(one.amount)} moved from {one.source} to {one.target} and lands at height {one.due}")
    say(f"rewards to claim: {money(rewards.total)}")


@stake.command(name="apr")
@click.option("--validator", metavar="ADDRESS", help="Behind this validator, after its commission.")
@pass_app
def apr(app: App, validator: str | None) -> None:
    """Show what stake earns a year, and what it is paid from."""
    named = None if validator is None else parse_address(validator)

    async def ask(client: AsyncClient) -> AprInfo:
        return await client.apr(named)

    found = app.run(ask)
    if app.as_json:
        print_json(_plain(found, "active", "reserve", "unclaimed"))
        return
    pairs(
        [
            ("active stake earns", share(found.base_bps)),
            ("more at full attendance", share(found.votes_bps)),
            ("more for faultless reviews", share(found.reviews_bps)),
            ("commission", share(found.commission_bps)),
            (
                "to a delegator",
                f"{share(found.delegator_min_bps)} to {share(found.delegator_max_bps)} a year",
            ),
            ("earning now", money(found.active)),
            ("reserve", money(found.reserve)),
            ("not claimed yet", money(found.unclaimed)),
        ]
    )


def _event(done: TransactionResult, kind: str) -> dict[str, Any]:
    events = done.receipt.events if done.receipt else []
    return next((event for event in events if event.get("kind") == kind), {})


def _plain(
    found: DelegationInfo | UndelegationInfo | RedelegationInfo | AprInfo, *amounts: str
) -> dict[str, Any]:
    """For programs: amounts in OMNIT."""
    return found.as_dict() | {name: money_json(getattr(found, name)) for name in amounts}
