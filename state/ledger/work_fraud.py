"""Objections: for an epoch after a receipt was found good anybody can show with a bond that one row is wrong."""

from typing import Final

from msgspec.structs import replace

from omnitensor.protocol import merkle
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies.work import WorkFraud
from omnitensor.protocol.params import SPECS
from omnitensor.protocol.seasons import Role
from omnitensor.protocol.types import Address, Height
from omnitensor.protocol.work import FraudProof, JobKind, outputs_root
from state.ledger import jobs, standings, workers
from state.ledger.accounts import Pot, move
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.view import View
from state.ledger.work_rows import Due, Key, drop_receipt, look_at, put_receipt
from state.records_work import Challenge, Job, ReceiptState, WorkReceipt
from state.schema import CHALLENGES, JOBS, WORK_RECEIPTS

_ANCHOR_BLOCKS_MAX: Final = int(SPECS["work_anchor_blocks_max"].high)
"""The most that a vote could make of it."""


def challenge(view: View, ctx: BlockContext, sender: Address, body: WorkFraud) -> tuple[Event, ...]:
    """Takes the bond, and has the receipt judged anew. The row must be one of the outputs that the receipt named."""
    proof = body.proof
    key = (proof.job, proof.unit, proof.worker)
    row = view.get(WORK_RECEIPTS, *key)
    if row is None or row.state != ReceiptState.GOOD or row.kind == JobKind.SYNTHETIC:
        raise Rejected(
            "fraud_receipt",
            "there is no such receipt that was found good and has outputs",
            value=proof.unit,
            remedy="while a receipt is judged its validators find what is wrong with it",
        )
    if ctx.height > row.settled_at + ctx.params.epoch_blocks:
        raise Rejected(
            "fraud_late",
            "the receipt was found good more than an epoch ago",
            value=row.settled_at,
            remedy="nothing can be done any more",
        )
    if sender == proof.worker:
        raise Rejected(
            "fraud_own", "the receipt is one's own", value=sender, remedy="others may object to it"
        )
    job = view.get(JOBS, proof.job)
    assert job is not None, "a receipt with outputs is of a job"
    _check_row(proof, row, job)
    bond = ctx.params.work_fraud_bond
    move(view, sender, Pot.WORK_BONDS, bond)
    view.put(CHALLENGES, Challenge(sender, bond, proof), *key)
    until = Height(ctx.height + ctx.params.work_judge_blocks)
    put_receipt(view, key, replace(row, state=ReceiptState.CHALLENGED, judged_until=until))
    look_at(view, until, Due.JUDGED, *key)
    return (
        event(
            "work.challenged",
            job=proof.job,
            unit=proof.unit,
            worker=proof.worker,
            challenger=sender,
            row=proof.row,
            bond=bond,
        ),
    )


def _check_row(proof: FraudProof, row: WorkReceipt, job: Job) -> None:
    """Raises Rejected unless the row is one of the receipt's outputs. Whether it is wrong is for the validators to say."""
    rows, inclusion = job.rows_of(proof.unit), proof.inclusion
    root = None
    if (
        proof.row < rows
        and (inclusion.index, inclusion.size) == (proof.row, rows)
        and len(proof.output) == job.layers[-1].outputs
    ):
        root = merkle.root_by_inclusion(
            merkle.leaf_hash(proof.output), inclusion.index, inclusion.size, inclusion.path
        )
    if root is None or outputs_root(proof.worker, root) != row.receipt.outputs_root:
        raise Rejected(
            "fraud_row",
            "the row is none of the outputs that the receipt named",
            value=proof.row,
            remedy="show a row of them, with its path to their root",
        )


def end_window(view: View, ctx: BlockContext, key: Key) -> tuple[Event, ...]:
    """A receipt can be challenged no more: it is paid, and holds no bond any longer. One of synthetic work is forgotten."""
    row = view.get(WORK_RECEIPTS, *key)
    if row is None or row.state == ReceiptState.CHALLENGED:
        return ()  # it is looked at again when the challenge is settled
    events: tuple[Event, ...] = ()
    if row.held:
        workers.hold(view, key[2], -1)
        row = replace(row, held=False)
        put_receipt(view, key, row)
        events = _pay(view, ctx, key) if row.kind != JobKind.SYNTHETIC else ()
    if row.kind == JobKind.SYNTHETIC:
        # Its unit must not be committed anew while a block of its epoch can still be an anchor.
        last = row.receipt.anchor + ctx.params.epoch_blocks + _ANCHOR_BLOCKS_MAX
        if ctx.height <= last:
            look_at(view, last + 1, Due.SETTLED, *key)
        else:
            drop_receipt(view, key, row)
    return events


def _pay(view: View, ctx: BlockContext, key: Key) -> tuple[Event, ...]:
    """A receipt of a job stands for good: its fee is its worker's."""
    name, unit, worker = key
    job = view.get(JOBS, name)
    assert job is not None, "jobs are never deleted"
    events: tuple[Event, ...] = ()
    if job.fee_unit:
        workers.hold(view, worker, 0, fees=job.fee_unit)
        # A poster that is its own worker has the fee back, but not what burns: no more than that counts for the season.
        scored = min(job.fee_unit, job.burn_unit)
        standings.score(view, standings.board_of(view, Role.WORKER), worker, scored, works=1)
    if job.cost:
        paid = event("work.paid", job=name, unit=unit, worker=worker, fee=job.fee_unit, burned=job.burn_unit)
        events = (paid,)
    job = jobs.receipt_stood(view, job, worker)
    return (*events, *jobs.receipt_done(view, ctx, name, job))
