"""Commands about work on models: worker register, bond, edit, leave, show, list; job list, show, cancel; compute run, status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Group, is_terminal, pass_app
from omnitensor.cli.output import money, money_json, note, pairs, print_json, say, share, short, table
from omnitensor.cli.stake import consensus_key_given
from omnitensor.cli.trusting import run_trusting, trust_options
from omnitensor.protocol import limits
from omnitensor.protocol.amounts import format_omnit, parse_omnit
from omnitensor.protocol.bodies import (
    JobCancel,
    Order,
    WorkerBondAdd,
    WorkerEdit,
    WorkerLeave,
    WorkerRegister,
)
from omnitensor.protocol.types import Hash
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.computing import (
    DEADLINE_BLOCKS,
    UNIT_ROWS,
    AsyncCompute,
    Computed,
    ComputeMoment,
    Plan,
)
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.results import TransactionResult, hash_given
from omnitensor.sdk.work_reads import JobInfo, WorkerInfo, WorkStatusInfo, WorkSumsInfo

MONEY_OF_WORKER = ("bond", "fees", "pool", "slashed")
MONEY_OF_JOB = ("fee_unit", "burn_unit", "escrow", "paid", "burned", "refunded")


@click.group(cls=Group)
def worker() -> None:
    """Work for the chain: register a worker, look at it, leave. Units are computed by `omnitensor-node worker`."""


def _key_options(command: Any) -> Any:
    path = click.Path(path_type=Path)
    for option in (
        click.option("--proof", metavar="HEX", help="Its proof of possession."),
        click.option(
            "--consensus-key",
            metavar="HEX",
            help="The node's public consensus key, as omnitensor-node keys prints it.",
        ),
        click.option(
            "--consensus-password-file",
            type=path,
            metavar="FILE",
            help="Its password  [default: the file .password beside it]",
        ),
        click.option(
            "--consensus-keystore", type=path, metavar="FILE", help="The node's consensus.json (EIP-2335)."
        ),
    ):
        command = option(command)
    return command


@worker.command(name="register")
@click.option(
    "--bond", "amount", required=True, metavar="OMNIT", help="What false work can cost; returns on leaving."
)
@_key_options
@pass_app
def worker_register(
    app: App,
    amount: str,
    consensus_keystore: Path | None,
    consensus_password_file: Path | None,
    consensus_key: str | None,
    proof: str | None,
) -> None:
    """Become a worker: leave a bond, and name the key that the node leads blocks with."""
    key, possession = consensus_key_given(consensus_keystore, consensus_password_file, consensus_key, proof)
    body = WorkerRegister(parse_omnit(amount), key, possession)
    _send(app, body, f"is a worker with a bond of {format_omnit(body.bond)}")


@worker.command(name="bond")
@click.option("--amount", required=True, metavar="OMNIT", help="What to add.")
@pass_app
def worker_bond(app: App, amount: str) -> None:
    """Add to the bond, as after a loss: with less than the least there is no work."""
    body = WorkerBondAdd(parse_omnit(amount))
    _send(app, body, f"has added {format_omnit(body.amount)} to its bond")


@worker.command(name="edit")
@_key_options
@pass_app
def worker_edit(
    app: App,
    consensus_keystore: Path | None,
    consensus_password_file: Path | None,
    consensus_key: str | None,
    proof: str | None,
) -> None:
    """Name another key that the node leads blocks with: it does so from the epoch after the next on."""
    key, possession = consensus_key_given(consensus_keystore, consensus_password_file, consensus_key, proof)
    _send(app, WorkerEdit(key, possession), "leads with another key, from the epoch after the next on")


@worker.command(name="leave")
@pass_app
def worker_leave(app: App) -> None:
    """Take no more work; the bond returns after the unbonding time."""
    _send(app, WorkerLeave(), "takes no more work; its bond returns after the unbonding time")


def _send(app: App, body: Order, what: str) -> None:
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, body)

    show_final(app, app.run(send), f"{wallet.text} {what}")


@worker.command(name="show")
@click.option("--wallet", metavar="ADDRESS", help="The worker  [default: the account logged in with]")
@pass_app
def worker_show(app: App, wallet: str | None) -> None:
    """Show a worker: its bond, what became of its receipts, what it earned, what draws its leads."""
    address = wallet or app.account()

    async def ask(client: AsyncClient) -> WorkerInfo:
        return await client.worker(address)

    found = app.run(ask)
    if app.as_json:
        print_json(_worker_json(found))
        return
    pairs(
        [
            ("worker", found.worker),
            ("works", "yes" if found.works else "no: the bond is too small, or it leaves"),
            ("bond", money(found.bond)),
            *([("bond returns", f"at height {found.leaves_at}")] if found.leaves_at else []),
            ("receipts", f"{found.good} good, {found.bad} bad, {found.held} that can still cost the bond"),
            ("fees of jobs", money(found.fees)),
            ("from the compute pool", money(found.pool)),
            ("lost", money(found.slashed)),
            ("credit of this epoch", f"{found.credit:,} multiply-accumulates, {found.tickets} tickets"),
            ("credit that leads now", f"{found.leads:,}"),
            ("and in the next epoch", f"{found.leads_next:,}"),
        ]
    )


@worker.command(name="list")
@pass_app
def worker_list(app: App) -> None:
    """List workers, the most credit of this epoch first."""

    async def ask(client: AsyncClient) -> list[WorkerInfo]:
        return await client.workers()

    found = sorted(app.run(ask), key=lambda each: (-each.credit, each.worker))
    if app.as_json:
        print_json({"workers": [_worker_json(each) for each in found]})
        return
    table(
        ["worker", "bond OMNIT", "works", "good", "bad", "earned OMNIT", "credit"],
        [
            (
                each.worker,
                money_json(each.bond),
                "yes" if each.works else "no",
                each.good,
                each.bad,
                money_json(each.fees + each.pool),
                f"{each.credit:,}",
            )
            for each in found
        ],
    )


def _worker_json(found: WorkerInfo) -> dict[str, Any]:
    return found.as_dict() | {name: money_json(getattr(found, name)) for name in MONEY_OF_WORKER}


@click.group(cls=Group)
def job() -> None:
    """Look at jobs: models to be run over rows by the chain's workers. `compute run` posts one."""


@job.command(name="list")
@click.option(
    "--status",
    metavar="NAME",
    help="posted, open, closing, done, expired, cancelled or refused  [default: open]",
)
@click.option("--mine", is_flag=True, help="Those that the account logged in with posted, of any status.")
@pass_app
def job_list(app: App, status: str | None, mine: bool) -> None:
    """List jobs."""
    poster = app.account() if mine else None

    async def ask(client: AsyncClient) -> list[JobInfo]:
        return await client.jobs(status=status, poster=poster)

    found = app.run(ask)
    if app.as_json:
        print_json({"jobs": [_job_json(each) for each in found]})
        return
    if not found:
        say("there are none")
        return
    table(
        ["job", "kind", "status", "units", "stand", "fee OMNIT", "deadline"],
        [
            (
                each.job,
                each.kind,
                each.status,
                each.units,
                each.done,
                money_json(each.fee_unit),
                each.deadline,
            )
            for each in found
        ],
    )


@job.command(name="show")
@click.argument("job_id", metavar="JOB")
@pass_app
def job_show(app: App, job_id: str) -> None:
    """Show a job: what is to be run, for what pay, and how far it is."""

    async def ask(client: AsyncClient) -> JobInfo:
        return await client.job(job_id)

    found = app.run(ask)
    if app.as_json:
        print_json(_job_json(found))
        return
    pairs(
        [
            ("job", found.job),
            ("kind", found.kind + (f", of batch {found.batch}" if found.batch else "")),
            ("status", found.status),
            *([("posted by", found.poster)] if found.poster else []),
            ("model", found.model_root),
            ("layers", " -> ".join(str(width) for width in _widths(found))),
            ("rows", f"{found.rows} in {found.units} units, each to {found.replicas} workers at most"),
            ("units that stand", f"{found.done}, with {found.under_way} receipts under way"),
            ("fee and burn", f"{money(found.fee_unit)} and {money(found.burn_unit)} a receipt that stands"),
            ("held for it", money(found.escrow)),
            ("paid, burned, returned", ", ".join(map(money, (found.paid, found.burned, found.refunded)))),
            ("deadline", f"height {found.deadline}"),
        ]
    )


@job.command(name="cancel")
@click.argument("job_id", metavar="JOB")
@pass_app
def job_cancel(app: App, job_id: str) -> None:
    """Take no more receipts for a job of yours; what is not spent returns."""
    _send(app, JobCancel(Hash(bytes.fromhex(hash_given(job_id)))), f"has ended job {short(job_id)}")


def _widths(found: JobInfo) -> list[int]:
    return [found.layers[0].inputs, *(layer.outputs for layer in found.layers)]


def _job_json(found: JobInfo) -> dict[str, Any]:
    return found.as_dict() | {name: money_json(getattr(found, name)) for name in MONEY_OF_JOB}


@click.group(cls=Group)
def compute() -> None:
    """Have a model run by the chain's workers."""


@compute.command(name="run")
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="As `model export` writes it.",
)
@click.option(
    "--input", "rows", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Rows one after the other, a signed byte a number.",
)  # fmt: skip
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where outputs go, likewise.",
)
@click.option(
    "--fee", metavar="OMNIT", default="0.001", show_default=True, help="For each receipt that stands."
)
@click.option(
    "--burn", metavar="OMNIT", help="Burned with each  [default: what makes the work count in full]"
)
@click.option(
    "--replicas",
    type=click.IntRange(1, limits.job_replicas_max),
    default=1,
    show_default=True,
    help="Workers for each unit.",
)
@click.option(
    "--unit-rows",
    type=click.IntRange(1, limits.unit_rows_max),
    default=UNIT_ROWS,
    show_default=True,
    help="Rows of a unit.",
)
@click.option(
    "--deadline",
    type=click.IntRange(2),
    default=DEADLINE_BLOCKS,
    show_default=True,
    metavar="BLOCKS",
    help="From now.",
)
@click.option("--yes", is_flag=True, help="Don't ask before paying.")
@trust_options
@pass_app
def compute_run(
    app: App,
    model: Path,
    rows: Path,
    output: Path,
    fee: str,
    burn: str | None,
    replicas: int,
    unit_rows: int,
    deadline: int,
    yes: bool,
    checkpoint: str | None,
    trust_days: float | None,
) -> None:
    """Post a job, wait for its outputs, check them against the chain, and write them to a file.

    Started again after an interruption, the same command goes on with the same job.
    """
    fee_unit = parse_omnit(fee)
    burn_unit = None if burn is None else parse_omnit(burn)
    wallet = app.wallet()

    async def work(client: AsyncClient) -> Computed:
        actor = AsyncCompute(wallet, client=client)
        plan = await actor.plan(
            model,
            rows,
            fee_unit=fee_unit,
            burn_unit=burn_unit,
            replicas=replicas,
            unit_rows=unit_rows,
            deadline_blocks=deadline,
        )
        _agree(plan, yes)
        return await actor.run(plan, output, _tell if not app.as_json else None)

    found = run_trusting(app, checkpoint, trust_days, work)
    if app.as_json:
        print_json(
            {
                "job": found.job,
                "output": str(found.output),
                "rows": found.rows,
                "units": found.units,
                "paid": money_json(found.paid),
                "burned": money_json(found.burned),
                "refunded": money_json(found.refunded),
            }
        )
        return
    say(
        f"{found.output} has {found.rows} rows of outputs; {format_omnit(found.paid)} are paid for them and"
        f" {format_omnit(found.burned)} burn, and {format_omnit(found.refunded)} have returned or return, as soon as nobody"
        " can object any more"
    )


def _agree(plan: Plan, yes: bool) -> None:
    """Says what a job costs, and asks. Raises InputError where nobody can be asked."""
    note(
        f"{plan.rows} rows in {plan.units} units, {plan.macs:,} multiply-accumulates, {plan.replicas} replicas:"
        f" up to {format_omnit(plan.escrow)} ({format_omnit(plan.fee_unit)} paid and {format_omnit(plan.burn_unit)}"
        " burned for each receipt that stands)"
    )
    if plan.place_max:
        note(
            f"beside the jobs that are open its place burns {format_omnit(plan.place)} now and"
            f" {format_omnit(plan.place_max)} at most, whatever becomes of it; less with an earlier --deadline"
        )
    if yes:
        return
    if not is_terminal():
        raise InputError("this pays for a job, and there is no terminal to ask", remedy="give --yes to agree")
    click.confirm("Post it?", abort=True, err=True)


def _tell(moment: ComputeMoment) -> None:
    if moment.stage == "upload":
        if moment.done == moment.total:
            note(f"{moment.text} is with the node")
        return
    if moment.stage != "fetched" or moment.done == moment.total:
        note(moment.text if moment.stage != "fetched" else f"{moment.total} units fetched and checked")


def useful_line(sums: WorkSumsInfo) -> str:
    """The useful share of all that is kept, in a sentence. A share that is small is not rounded to nothing."""
    return (
        f"useful share: {sums.useful_bps / 100:.3g} % ({sums.useful:,} of {sums.macs:,} multiply-accumulates in"
        f" {sums.receipts} receipts of {sums.epochs} epochs were for jobs)"
    )


@compute.command(name="status")
@pass_app
def compute_status(app: App) -> None:
    """Show how much work the chain counts, and how much of it is useful."""

    async def ask(client: AsyncClient) -> WorkStatusInfo:
        return await client.work_status()

    found = app.run(ask)
    if app.as_json:
        epochs = [each.as_dict() | {"pool": money_json(each.pool)} for each in found.epochs]
        print_json(found.as_dict() | {"place_price": money_json(found.place_price), "epochs": epochs})
        return
    leads = "two views in three are led by work" if found.leads_by_work else "all views are led by stake"
    say(
        f"epoch {found.epoch}: {found.workers} workers; {leads} ({found.tickets} tickets, {found.leaders} leaders)"
    )
    say(
        f"{found.jobs_open} of {found.jobs_open_max} places for jobs are taken; the next one burns"
        f" {format_omnit(found.place_price)} a block"
    )
    if found.sums.receipts:
        say(useful_line(found.sums))
    table(
        ["epoch", "receipts", "multiply-accumulates", "credit", "useful", "pool OMNIT"],
        [
            (
                each.epoch,
                each.receipts,
                f"{each.macs:,}",
                f"{each.credit:,}",
                share(each.useful_bps),
                money_json(each.pool),
            )
            for each in found.epochs
        ],
    )
