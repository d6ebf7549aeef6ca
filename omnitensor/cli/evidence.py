"""Commands about validators that contradicted themselves: evidence list, submit."""

from __future__ import annotations

from typing import Any

import click

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Group, pass_app
from omnitensor.cli.output import money_json, print_json, say, short, table
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.results import EvidencePage, TransactionResult

ID_DIGITS = 64


@click.group(cls=Group)
def evidence() -> None:
    """Validators that contradicted themselves: look at evidence, submit it and be paid."""


@evidence.command(name="list")
@pass_app
def evidence_list(app: App) -> None:
    """List evidence that the node holds, and validators that were convicted."""

    async def ask(client: AsyncClient) -> EvidencePage:
        return await client.evidence()

    found = app.run(ask)
    if app.as_json:
        print_json(_json(found))
        return
    if not found.pool and not found.convictions:
        say("no validator contradicted itself, as far as this node knows")
    if found.pool:
        table(
            ["evidence", "fault", "epoch", "view", "against"],
            [(each.id, each.fault, each.epoch, each.view, ", ".join(each.validators)) for each in found.pool],
            title="waits to be submitted",
        )
    if found.convictions:
        table(
            ["validator", "fault", "epoch", "view", "height", "slashed OMNIT", "reward OMNIT", "evidence"],
            [
                (
                    each.validator,
                    each.fault,
                    each.epoch,
                    each.view,
                    each.height,
                    money_json(each.slashed),
                    money_json(each.reward),
                    short(each.evidence),
                )
                for each in found.convictions
            ],
            title="on chain",
        )


@evidence.command(name="submit")
@click.argument("evidence_given", metavar="ID|HEX")
@pass_app
def evidence_submit(app: App, evidence_given: str) -> None:
    """Submit evidence: one that the node holds, by its id (or the first digits), or any as hexadecimal bytes."""
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.submit_evidence(wallet, await _bytes_of(client, evidence_given))

    show_final(app, app.run(send), "the evidence is on chain; its reward is in the account")


async def _bytes_of(client: AsyncClient, given: str) -> bytes:
    """The canonical bytes of evidence. Raises InputError."""
    try:
        whole = bytes.fromhex(given)
    except ValueError:
        whole = b""
    if len(given) > ID_DIGITS and whole:
        return whole
    pool = (await client.evidence()).pool
    fitting = [each for each in pool if given and each.id.startswith(given.lower())]
    if len(fitting) != 1:
        raise InputError(
            "the node holds no such evidence" if not fitting else "several pieces of evidence begin so",
            value=given,
            remedy="see their ids with: otensor-cli evidence list",
        )
    return bytes.fromhex(fitting[0].encoded)


def _json(found: EvidencePage) -> dict[str, Any]:
    plain = found.as_dict()
    plain.pop("next")
    for row in plain["convictions"]:
        row |= {name: money_json(row[name]) for name in ("slashed", "burned", "reward")}
    return plain
