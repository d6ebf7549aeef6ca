"""The life of a proposal: deposit, vote, timelock, execution, and what becomes of the deposits. Knows no content.

Who votes with what is ``ballots``' to say, what an execution does ``enactment``'s.
"""

from typing import Final

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import ProposalCancel, ProposalDeposit, ProposalSubmit
from omnitensor.protocol.types import BPS, Address, Amount, Height, ProposalId
from state.ledger import ballots, enactment
from state.ledger.accounts import Pot, burn, move, next_number
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.records import UNIT
from state.records_governance import BURNING, NEVER_VOTED_ON, Deposit, Proposal, ProposalStatus, Tally
from state.schema import DEPOSITS, OPEN_PROPOSALS, PROPOSALS, PROPOSALS_DUE, number

PROPOSAL_COUNTER: Final = b"proposal"
DEPOSIT_PARTS_MAX: Final = 20
"""A deposit is brought together in so many parts at most: none but the last is less than its share."""


def submit(view: View, ctx: BlockContext, sender: Address, body: ProposalSubmit) -> tuple[Event, ...]:
    """Makes a proposal, with the first part of its deposit; with all of it the vote begins at once."""
    enactment.check(view, ctx, body.content)
    wanted = ctx.params.proposal_deposit_min
    first = wanted * ctx.params.proposal_deposit_first_bps // BPS
    if not max(1, first) <= body.deposit <= wanted:
        raise Rejected(
            "deposit",
            f"a proposal comes with a deposit of {format_omnit(max(1, first))} to {format_omnit(wanted)}",
            value=format_omnit(body.deposit),
            remedy="change the deposit",
        )
    if body.deposit < wanted:
        _check_room(view, ProposalStatus.DEPOSIT)
    number_ = ProposalId(next_number(view, PROPOSAL_COUNTER, 1))
    until = Height(ctx.height + ctx.params.proposal_deposit_blocks)
    proposal = Proposal(
        proposer=sender,
        title=body.title,
        summary=body.summary,
        content=body.content,
        status=int(ProposalStatus.DEPOSIT),
        submitted_at=ctx.height,
        deposit=Amount(0),
        deposit_wanted=wanted,
        deposit_until=until,
        voting_until=Height(0),
        executes_at=Height(0),
        ended_at=Height(0),
        tally=Tally(),
        reason="",
    )
    _enter(view, number_, proposal, until)
    said = event(
        "proposal.submitted", proposal=number_, proposer=sender, content=body.content.KIND, title=body.title
    )
    return (said, *_put_down(view, ctx, number_, proposal, sender, body.deposit))


def deposit(view: View, ctx: BlockContext, sender: Address, body: ProposalDeposit) -> tuple[Event, ...]:
    """Adds to a proposal's deposit, at most what is missing; with the last of it the vote begins."""
    proposal = ballots.proposal_of(view, body.proposal)
    _check_pending(body.proposal, proposal)
    if ctx.height > proposal.deposit_until:
        raise Rejected(
            "proposal_not_pending",
            "the time for its deposit is over",
            value=f"{body.proposal}, {proposal.deposit_until}",
            remedy="propose it again",
        )
    lacks = proposal.deposit_wanted - proposal.deposit
    least = min(lacks, -(-proposal.deposit_wanted // DEPOSIT_PARTS_MAX))
    if not least <= body.amount <= lacks:
        raise Rejected(
            "deposit",
            f"{format_omnit(lacks)} of the deposit is missing, and a part of it is at least {format_omnit(least)}",
            value=format_omnit(body.amount),
            remedy="change the amount",
        )
    return _put_down(view, ctx, body.proposal, proposal, sender, body.amount)


def cancel(view: View, ctx: BlockContext, sender: Address, body: ProposalCancel) -> tuple[Event, ...]:
    """Takes a proposal back, by its proposer, before its vote; everybody gets the deposit back."""
    proposal = ballots.proposal_of(view, body.proposal)
    if sender != proposal.proposer:
        raise Rejected(
            "proposer", "only its proposer takes a proposal back", value=sender, remedy="vote no instead"
        )
    _check_pending(body.proposal, proposal)
    return _end(view, ctx, body.proposal, proposal, ProposalStatus.CANCELLED)


def run(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """At the end of a block: proposals whose time has come, in order of it, at most ``proposals_handled_per_block_max``."""
    events: list[Event] = []
    for handled, (key, _) in enumerate(view.scan(PROPOSALS_DUE)):
        height, status, id_ = map(number, PROPOSALS_DUE.split(key))
        if height > ctx.height or handled == limits.proposals_handled_per_block_max:
            break
        number_ = ProposalId(id_)
        proposal = view.get(PROPOSALS, number_)
        assert proposal is not None and proposal.status == status, "a proposal that moved has no old date"
        match ProposalStatus(status):
            case ProposalStatus.DEPOSIT:
                events += _end(view, ctx, number_, proposal, ProposalStatus.EXPIRED)
            case ProposalStatus.VOTING:
                events += _count(view, ctx, number_, proposal)
            case ProposalStatus.PASSED:
                events += _execute(view, ctx, number_, proposal)
    return tuple(events)


# -- steps of a life


def _put_down(
    view: View, ctx: BlockContext, number_: ProposalId, proposal: Proposal, sender: Address, amount: int
) -> tuple[Event, ...]:
    """Takes money for a deposit; with the last of it the vote begins."""
    together = proposal.deposit + amount
    complete = together == proposal.deposit_wanted
    if complete:
        _check_room(view, ProposalStatus.VOTING)
    move(view, sender, Pot.DEPOSITS, amount)
    before = view.get(DEPOSITS, number_, sender)
    view.put(DEPOSITS, Deposit(Amount(amount + (before.amount if before else 0))), number_, sender)
    said = event("proposal.deposited", proposal=number_, depositor=sender, amount=amount, deposit=together)
    _leave(view, number_, proposal, proposal.deposit_until)
    if not complete:
        _enter(
            view, number_, proposal.moved(ProposalStatus.DEPOSIT, deposit=together), proposal.deposit_until
        )
        return (said,)
    until = Height(ctx.height + ctx.params.proposal_voting_blocks)
    _enter(view, number_, proposal.moved(ProposalStatus.VOTING, deposit=together, voting_until=until), until)
    return said, event("proposal.voting", proposal=number_, until=until)


def _count(view: View, ctx: BlockContext, number_: ProposalId, proposal: Proposal) -> tuple[Event, ...]:
    """The vote is over: counts it."""
    tally = ballots.count(view, ctx.epoch, number_)
    params = ctx.params
    found = ballots.verdict(
        tally, params.proposal_quorum_bps, params.proposal_threshold_bps, params.proposal_veto_bps
    )
    said = event(
        "proposal.counted",
        proposal=number_,
        status=found.label,
        yes=tally.yes,
        no=tally.no,
        abstain=tally.abstain,
        veto=tally.veto,
        power=tally.power,
    )
    counted = proposal.moved(ProposalStatus.VOTING, tally=tally)
    if found is not ProposalStatus.PASSED:
        return (said, *_end(view, ctx, number_, counted, found))
    _leave(view, number_, proposal, proposal.voting_until)
    at = Height(ctx.height + ctx.params.proposal_timelock_blocks)
    _enter(view, number_, counted.moved(ProposalStatus.PASSED, executes_at=at), at)
    return (said, *_give_back(view, number_, burning=False))


def _execute(view: View, ctx: BlockContext, number_: ProposalId, proposal: Proposal) -> tuple[Event, ...]:
    try:
        done = enactment.enact(view, ctx, number_, proposal.content)
    except Rejected as refusal:
        reason = str(refusal)[: limits.reason_chars_max]
        said = event("proposal.failed", proposal=number_, code=refusal.code, reason=reason)
        return (said, *_end(view, ctx, number_, proposal, ProposalStatus.FAILED, reason))
    said = event("proposal.executed", proposal=number_, content=proposal.content.KIND)
    return (said, *done, *_end(view, ctx, number_, proposal, ProposalStatus.EXECUTED))


def _end(
    view: View,
    ctx: BlockContext,
    number_: ProposalId,
    proposal: Proposal,
    status: ProposalStatus,
    reason: str = "",
) -> tuple[Event, ...]:
    """A proposal's end, with what becomes of its deposits."""
    _leave(view, number_, proposal, _due_at(proposal))
    summary = "" if status in NEVER_VOTED_ON else proposal.summary
    view.put(PROPOSALS, proposal.moved(status, ended_at=ctx.height, reason=reason, summary=summary), number_)
    events = _give_back(view, number_, burning=status in BURNING)
    return (*events, event("proposal.ended", proposal=number_, status=status.label))


def _give_back(view: View, number_: ProposalId, *, burning: bool) -> tuple[Event, ...]:
    events: list[Event] = []
    for key, row in view.scan(DEPOSITS, number_):
        depositor = Address(key)
        if burning:
            burn(view, Pot.DEPOSITS, row.amount)
        else:
            move(view, Pot.DEPOSITS, depositor, row.amount)
        view.delete(DEPOSITS, number_, depositor)
        kind = "deposit.burned" if burning else "deposit.returned"
        events.append(event(kind, proposal=number_, depositor=depositor, amount=row.amount))
    return tuple(events)


def _enter(view: View, number_: ProposalId, proposal: Proposal, due: Height) -> None:
    """Writes a proposal that is under way, and when it is to be looked at."""
    view.put(PROPOSALS, proposal, number_)
    view.put(OPEN_PROPOSALS, UNIT, proposal.status, number_)
    view.put(PROPOSALS_DUE, UNIT, due, proposal.status, number_)


def _leave(view: View, number_: ProposalId, proposal: Proposal, due: Height) -> None:
    view.delete(OPEN_PROPOSALS, proposal.status, number_)
    view.delete(PROPOSALS_DUE, due, proposal.status, number_)


def _due_at(proposal: Proposal) -> Height:
    match ProposalStatus(proposal.status):
        case ProposalStatus.DEPOSIT:
            return proposal.deposit_until
        case ProposalStatus.VOTING:
            return proposal.voting_until
        case _:
            return proposal.executes_at


def _check_pending(number_: ProposalId, proposal: Proposal) -> None:
    if proposal.status != ProposalStatus.DEPOSIT:
        raise Rejected(
            "proposal_not_pending",
            "the proposal does not wait for a deposit",
            value=f"{number_}, {ProposalStatus(proposal.status).label}",
        )


def _check_room(view: ReadView, status: ProposalStatus) -> None:
    most = limits.proposals_voting_max if status is ProposalStatus.VOTING else limits.proposals_pending_max
    if sum(1 for _ in view.scan(OPEN_PROPOSALS, status)) >= most:
        doing = "are voted on" if status is ProposalStatus.VOTING else "wait for their deposit"
        raise Rejected(
            "proposals_open",
            f"as many proposals {doing} as may be at once",
            value=most,
            remedy="wait until one ends"
            if status is ProposalStatus.VOTING
            else "bring the whole deposit at once, or wait until one ends",
        )
