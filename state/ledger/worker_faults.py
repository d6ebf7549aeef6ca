"""What it costs a worker to offer two blocks in one view: its bond, and all credit that is not in use.

Whether it did is ``evidence``'s to say. There is no stake behind a worker, and its vote counted for nothing, so it is not
removed: it works again once its bond is whole.
"""

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.types import BPS, Address, Amount
from state.ledger import worker_sets, workers
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.view import View
from state.records import Conviction
from state.schema import WORK_CREDIT, WORKER_CONVICTIONS, WORKERS


def convict(view: View, ctx: BlockContext, address: Address, reporter: Address, evidence: Evidence) -> Event:
    """Takes the bond, as far as a worker needs one, and the credit that nobody draws from yet; pays the reporter.

    Once an epoch of the fault. The set in use never changes.
    """
    finder = None if reporter == address else reporter  # nobody is paid for its own fault
    amount, reward = (
        (0, 0) if view.get(WORKERS, address) is None else workers.slash(view, ctx, address, BPS, finder)
    )
    burned = amount * ctx.params.slash_burn_bps // BPS
    _drop_credit(view, ctx, address)
    row = Conviction(
        fault=evidence.fault,
        epoch=evidence.epoch,
        view=evidence.view,
        evidence=evidence.id,
        height=ctx.height,
        reporter=reporter,
        slashed=Amount(amount),
        burned=Amount(burned),
        reward=Amount(reward),
    )
    view.put(WORKER_CONVICTIONS, row, address, evidence.epoch)
    return event(
        "worker.convicted",
        worker=address,
        fault=evidence.fault.label,
        epoch=evidence.epoch,
        view=evidence.view,
        evidence=evidence.id,
        amount=amount,
        burned=burned,
        reward=reward,
        reporter=reporter,
    )


def _drop_credit(view: View, ctx: BlockContext, address: Address) -> None:
    """Of the epoch under way, and in the next epoch's set, whose seed nobody knows yet."""
    credit = view.get(WORK_CREDIT, ctx.epoch, address)
    if credit is not None:
        view.put(WORK_CREDIT, replace(credit, credit=0), ctx.epoch, address)
    worker_sets.lead_no_more(view, ctx, address)
