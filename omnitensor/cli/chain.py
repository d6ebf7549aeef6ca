"""Commands that believe no node: chain verify, account, tx, events."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from omnitensor.cli.app import App, Group, pass_app
from omnitensor.cli.output import moment, money, money_json, note, pairs, print_json
from omnitensor.cli.trusting import run_trusting, trust_options
from omnitensor.light import Checkpoint
from omnitensor.protocol.blocks import Event, Receipt
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.rows import Account
from omnitensor.protocol.types import ADDRESS_BYTES, Address
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.epochs import Verified
from omnitensor.sdk.proven import Proven

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

CHECKPOINT: Final = "OMNITENSOR_CHECKPOINT"
DAY_S: Final = 86_400
STALE_S: Final = 600
"""A last block older than this is pointed out: a node that is behind, or cut off, still tells nothing that is untrue."""


@click.group(cls=Group)
def chain() -> None:
    """Verify what a node says, by the signatures of the chain's validators.

    Verifying begins with a block that you trust, and goes on from the last one that was verified on this machine.
    """


@chain.command()
@trust_options
@pass_app
def verify(app: App, checkpoint: str | None, trust_days: float | None) -> None:
    """Verify the chain up to its last block, and show the checkpoint to write down."""
    found = run_trusting(app, checkpoint, trust_days, lambda client: client.verified_head())
    header, epoch = found.header, found.point.epoch
    if app.as_json:
        print_json(
            {
                "chain_id": header.chain_id,
                "height": header.height,
                "hash": header.hash.hex(),
                "timestamp_ms": header.timestamp_ms,
                "epoch": epoch,
                "validators": len(found.point.table),
                "checkpoint": str(found.checkpoint),
            }
        )
        return
    pairs(
        [
            ("chain", header.chain_id),
            ("verified height", header.height),
            ("block", header.hash.hex()),
            ("made at", f"{moment(header.timestamp_ms)} UTC"),
            ("epoch", f"{epoch} ({len(found.point.table)} validators)"),
            ("checkpoint", found.checkpoint),
        ]
    )
    _point_out_age(found)


@chain.command()
@click.argument("address", required=False)
@trust_options
@pass_app
def account(app: App, address: str | None, checkpoint: str | None, trust_days: float | None) -> None:
    """Show the balance and nonce of an account (by default the one logged in with), proven."""
    whose = address or app.account()

    async def ask(client: AsyncClient) -> Proven[Account]:
        return await client.proven_account(whose)

    found = run_trusting(app, checkpoint, trust_days, ask)
    if app.as_json:
        print_json(
            {
                "address": whose,
                "balance": money_json(found.value.balance),
                "nonce": found.value.nonce,
                "proven_at": str(Checkpoint(found.header.height, found.header.hash)),
            }
        )
        return
    pairs(
        [
            ("address", whose),
            ("balance", money(found.value.balance)),
            ("nonce", found.value.nonce),
            ("proven at height", f"{found.height}, {moment(found.header.timestamp_ms)} UTC"),
        ]
    )


@chain.command()
@click.argument("id")
@trust_options
@pass_app
def tx(app: App, id: str, checkpoint: str | None, trust_days: float | None) -> None:
    """Show what became of a final transaction, proven."""

    async def ask(client: AsyncClient) -> Proven[Receipt]:
        return await client.proven_receipt(id)

    found = run_trusting(app, checkpoint, trust_days, ask)
    receipt = found.value
    if app.as_json:
        print_json(
            {
                "id": receipt.transaction_id.hex(),
                "code": receipt.code,
                "reason": receipt.reason,
                "fee": money_json(receipt.fee),
                "tip": money_json(receipt.tip),
                "height": found.height,
                "proven_at": str(Checkpoint(found.header.height, found.header.hash)),
            }
        )
        return
    pairs(
        [
            ("id", receipt.transaction_id.hex()),
            ("result", receipt.code if receipt.ok else f"{receipt.code}: {receipt.reason}"),
            ("fee", money(receipt.fee)),
            *([("tip", money(receipt.tip))] if receipt.tip else []),
            ("proven at height", f"{found.height}, {moment(found.header.timestamp_ms)} UTC"),
        ]
    )


@chain.command()
@click.argument("height", type=click.IntRange(min=0))
@trust_options
@pass_app
def events(app: App, height: int, checkpoint: str | None, trust_days: float | None) -> None:
    """Show what happened at the end of a block (draws, verdicts, pay), proven."""

    async def ask(client: AsyncClient) -> Proven[tuple[Event, ...]]:
        return await client.proven_events(height)

    found = run_trusting(app, checkpoint, trust_days, ask)
    if app.as_json:
        print_json(
            {
                "height": found.height,
                "events": [
                    {"kind": event.kind, **{name: _value(value) for name, value in event.fields}}
                    for event in found.value
                ],
                "proven_at": str(Checkpoint(found.header.height, found.header.hash)),
            }
        )
        return
    for event in found.value:
        pairs([("event", event.kind), *[(name, _value(value)) for name, value in event.fields]])
    pairs(
        [
            ("events", len(found.value)),
            ("proven at height", f"{found.height}, {moment(found.header.timestamp_ms)} UTC"),
        ]
    )


def _value(value: int | str | bytes) -> int | str:
    """An event's value for people: addresses as text, other bytes as hexadecimal."""
    if not isinstance(value, bytes):
        return value
    return format_address(Address(value)) if len(value) == ADDRESS_BYTES else value.hex()


def _point_out_age(found: Verified) -> None:
    age_s = int(time.time()) - found.header.timestamp_ms // 1_000
    if age_s > STALE_S:
        note(f"note: this block is {age_s // 60} minutes old; a node that is behind shows no newer one")
