"""Commands about who did what no honest one does: evidence list, submit."""

from __future__ import annotations

from typing import Any

import click

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Group, pass_app
from omnitensor.cli.output import money_json, print_json, say, short, table
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.results import EvidencePage, TransactionResult, WorkerConviction

ID_DIGITS = 64


@click.group(cls=Group)
def evidence() -> None:
    """Who did what no honest one does: look at evidence, submit it and be paid."""


@evidence.command(name="list")
@pass_app
def evidence_list(app: App) -> None:
    """List evidence that the node holds, and the validators and workers that were convicted."""

    async def ask(client: AsyncClient) -> EvidencePage:
        return await client.evidence()

    found = app.run(ask)
    if app.as_json:
        print_json(as_plain(found))
        return
    show(found)


def show(found: EvidencePage) -> None:
    """Prints what was found, in tables."""
    if not found.pool and not found.convictions and not found.workers:
        say("nobody was convicted, and nobody contradicted itself, as far as this node knows")
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
            title="validators, on chain",
        )
    if found.workers:
        table(
            ["worker", "kind", "of", "height", "slashed OMNIT", "reward OMNIT", "reporter"],
            [
                (
                    each.worker,
                    each.kind.replace("_", " "),
                    _about(each),
                    each.height,
                    money_json(each.slashed),
                    money_json(each.reward),
                    each.reporter or "",
                )
                for each in found.workers
            ],
            title="workers, on chain",
        )


def _about(found: WorkerConviction) -> str:
    if found.job is None:
        return f"view {found.view} of epoch {found.epoch}"
    return f"unit {found.unit} of job {short(found.job)}"


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


def as_plain(found: EvidencePage) -> dict[str, Any]:
    """What was found as plain values, amounts as text in OMNIT."""
    plain = found.as_dict()
    plain.pop("next")
    for row in (*plain["convictions"], *plain["workers"]):
        row |= {name: money_json(row[name]) for name in ("slashed", "burned", "reward") if name in row}
    return plain
