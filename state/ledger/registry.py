"""The table of what the ledger does: a handler for each kind of body, and the steps at the end of every block, in order.

A handler is given (view, context, sender, body) and returns events, or raises Rejected. A step is given (view, context), returns
events and never raises; its work in one block is bounded.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from omnitensor.protocol import bodies
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import Address
from state.ledger import (
    attendance,
    ballots,
    campaigns,
    clockwork,
    competitions,
    delegations,
    downtime,
    epochs,
    escalation,
    evidence,
    gold,
    jail,
    jobs,
    misconduct,
    multisig,
    parameters,
    plain_duplicates,
    privacy,
    prizes,
    proposals,
    removal,
    reports,
    rewards,
    seasons,
    seats,
    sessions,
    submissions,
    transfers,
    validators,
    vaults,
    work_clock,
    work_credit,
    work_fraud,
    work_judging,
    work_receipts,
    worker_sets,
    workers,
)
from state.ledger.context import BlockContext
from state.ledger.view import View

Handler = Callable[[View, BlockContext, Address, Any], tuple[Event, ...]]
Step = Callable[[View, BlockContext], tuple[Event, ...]]

HANDLERS: Final[dict[type[bodies.BodyBase], Handler]] = {
    bodies.Transfer: transfers.transfer,
    bodies.SessionKeyAdd: sessions.add,
    bodies.SessionKeyRemove: sessions.remove,
    bodies.ValidatorRegister: validators.register,
    bodies.ValidatorEdit: validators.edit,
    bodies.ValidatorUnjail: jail.unjail,
    bodies.StakeAdd: validators.add_stake,
    bodies.StakeWithdraw: validators.withdraw_stake,
    bodies.Delegate: delegations.delegate,
    bodies.Undelegate: delegations.undelegate,
    bodies.Redelegate: delegations.redelegate,
    bodies.RewardsClaim: rewards.claim,
    bodies.CampaignOpen: campaigns.open_campaign,
    bodies.CampaignFund: campaigns.fund_campaign,
    bodies.CampaignClose: campaigns.close_campaign,
    bodies.CampaignCancel: campaigns.cancel_campaign,
    bodies.GoldCommit: gold.commit,
    bodies.GoldReveal: gold.reveal,
    bodies.GoldRetire: gold.retire,
    bodies.ReadingKeySet: privacy.set_key,
    bodies.KeysGrant: privacy.grant,
    bodies.PlainDuplicate: plain_duplicates.show,
    bodies.SubmissionCommit: submissions.commit,
    bodies.SubmissionReveal: submissions.reveal,
    bodies.ItemAppeal: escalation.appeal,
    bodies.SeatAccept: seats.accept,
    bodies.SeatDecline: seats.decline,
    bodies.ReportCommit: reports.commit,
    bodies.ReportReveal: reports.reveal,
    bodies.ReportLeak: misconduct.leak,
    bodies.ReportContradiction: misconduct.contradiction,
    bodies.EvidenceSubmit: evidence.submit,
    bodies.ProposalSubmit: proposals.submit,
    bodies.ProposalDeposit: proposals.deposit,
    bodies.ProposalVote: ballots.vote,
    bodies.ProposalCancel: proposals.cancel,
    bodies.VaultGrant: vaults.grant,
    bodies.VaultWithdraw: vaults.withdraw,
    bodies.CompetitionOpen: competitions.open_competition,
    bodies.WorkerRegister: workers.register,
    bodies.WorkerBondAdd: workers.add_bond,
    bodies.WorkerLeave: workers.leave,
    bodies.WorkerEdit: workers.edit,
    bodies.JobPost: jobs.post,
    bodies.JobCancel: jobs.cancel,
    bodies.WorkJudge: work_judging.judge,
    bodies.WorkCommit: work_receipts.commit,
    bodies.WorkOutputs: work_receipts.show,
    bodies.WorkFraud: work_fraud.challenge,
}


def carry_out(view: View, ctx: BlockContext, sender: Address, body: bodies.BodyBase) -> tuple[Event, ...]:
    """Does what a body orders for its sender. Raises Rejected."""
    return HANDLERS[type(body)](view, ctx, sender, body)


HANDLERS[bodies.MultisigExecute] = partial(multisig.execute, carry_out)
HANDLERS[bodies.VaultExecute] = partial(vaults.execute, carry_out)

END_OF_BLOCK: Final[tuple[Step, ...]] = (
    attendance.count,
    worker_sets.charge_missed,
    work_credit.cut_missed,
    validators.pay_unbonded,
    delegations.mature,
    removal.carry_out,
    clockwork.run,
    work_clock.run,
    rewards.pay_epoch,
    work_credit.turn,
    downtime.judge,
    proposals.run,
    prizes.run,
    seasons.turn,
    parameters.turn,
    epochs.turn,
)
"""The epoch turns last: the next set is read from all that the boundary block did."""
