"""Votes on proposals, and their count: all stake of the epoch's voters, each unit once, wherever it moved while votes came in.

A validator votes with its own stake and for all who delegated to it and don't vote themselves; who does votes with what it
delegated. So for each validator the state keeps how many of its *shares* voted by themselves and how. Slashing changes what a
share is worth and not whose it is, and ``moved`` follows every change of a delegation. Counting multiplies once, at the end.
"""

from typing import Final

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import ProposalVote, VoteOption
from omnitensor.protocol.types import BPS, Address, Amount, Epoch
from state.ledger import epochs
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.pay import largest_remainder
from state.ledger.view import ReadView, View
from state.records import UNIT, Validator
from state.records_governance import Overrides, Proposal, ProposalStatus, Tally, Vote
from state.schema import (
    DELEGATIONS,
    OPEN_PROPOSALS,
    OVERRIDES,
    PROPOSALS,
    VALIDATORS,
    VOTES,
    VOTES_BY_VOTER,
    number,
)

_INHERITED: Final = b"\xff"
"""Key, in the split of a validator's delegated stake, of what nobody voted with but the validator."""


def proposal_of(view: ReadView, number_: int) -> Proposal:
    """A proposal. Raises Rejected (``proposal_unknown``)."""
    row = view.get(PROPOSALS, number_)
    if row is None:
        raise Rejected(
            "proposal_unknown",
            "there is no such proposal",
            value=number_,
            remedy="list them with: otensor-cli governance list",
        )
    return row


def vote(view: View, ctx: BlockContext, sender: Address, body: ProposalVote) -> tuple[Event, ...]:
    """Takes or replaces the sender's vote, with all that it delegated and, if it is a validator, its own stake."""
    proposal = proposal_of(view, body.proposal)
    if proposal.status != ProposalStatus.VOTING or ctx.height > proposal.voting_until:
        raise Rejected(
            "proposal_not_voting",
            "the proposal is not being voted on",
            value=f"{body.proposal}, {ProposalStatus(proposal.status).label}",
            remedy="look when its vote begins and ends with: otensor-cli governance show",
        )
    if body.option not in VoteOption._value2member_map_:
        raise Rejected(
            "vote_option",
            "there is no such option",
            value=body.option,
            remedy="0 yes, 1 no, 2 abstain, 3 veto",
        )
    delegations = list(view.scan(DELEGATIONS, sender))
    if not delegations and view.get(VALIDATORS, sender) is None:
        raise Rejected(
            "vote_without_stake",
            "the account is no validator and delegates nothing",
            value=sender,
            remedy="delegate stake first; it counts if it stays until the vote ends",
        )
    before = view.get(VOTES, body.proposal, sender)
    for validator, row in delegations:
        if before is not None:
            _add(view, body.proposal, Address(validator), before.option, -row.shares)
        _add(view, body.proposal, Address(validator), body.option, row.shares)
    view.put(VOTES, Vote(body.option, ctx.height), body.proposal, sender)
    view.put(VOTES_BY_VOTER, UNIT, sender, body.proposal)
    said = event(
        "proposal.voted", proposal=body.proposal, voter=sender, option=VoteOption(body.option).name.lower()
    )
    return (said,)


def moved(view: View, delegator: Address, validator: Address, before: int, after: int) -> None:
    """A delegation has another number of shares: what its owner voted with follows, in every vote under way."""
    for key, _ in view.scan(OPEN_PROPOSALS, ProposalStatus.VOTING):
        given = view.get(VOTES, number(key), delegator)
        if given is not None:
            _add(view, number(key), validator, given.option, after - before)


def _add(view: View, proposal: int, validator: Address, option: int, shares: int) -> None:
    held = list((view.get(OVERRIDES, proposal, validator) or Overrides()).shares)
    held[option] += shares
    assert held[option] >= 0, "no more shares leave a vote than came"
    view.put(OVERRIDES, Overrides((held[0], held[1], held[2], held[3])), proposal, validator)


def count(view: ReadView, epoch: Epoch, number_: int) -> Tally:
    """The votes on a proposal as the stake is now: that of the epoch's voters who are not jailed, each unit once."""
    row = view.get(PROPOSALS, number_)
    assert row is not None, "only a proposal is counted"
    votes = [0, 0, 0, 0]
    power = 0
    set_ = epochs.validator_set(view, epoch)
    for entry in set_.entries if set_ else ():
        validator = view.get(VALIDATORS, entry.address)
        if validator is None or validator.jailed:
            continue
        power += validator.stake + validator.delegated
        own = view.get(VOTES, number_, entry.address)
        parts, inherited = _parts(view, number_, entry.address, validator)
        for option, amount in enumerate(parts):
            votes[option] += amount
        if own is not None:
            votes[own.option] += validator.stake + inherited
    yes, no, abstain, veto = map(Amount, votes)
    return Tally(yes, no, abstain, veto, Amount(power))


def _parts(
    view: ReadView, proposal: int, address: Address, validator: Validator
) -> tuple[tuple[int, ...], int]:
    """What is delegated to a validator: by the option that its owners voted for, and what follows the validator."""
    overrides = view.get(OVERRIDES, proposal, address)
    if overrides is None or not any(overrides.shares):
        return (0, 0, 0, 0), validator.delegated
    following = validator.shares - sum(overrides.shares)
    assert following >= 0, "nobody votes with shares that are not there"
    weights = [(bytes([option]), shares) for option, shares in enumerate(overrides.shares)]
    split, _ = largest_remainder(validator.delegated, [*weights, (_INHERITED, following)])
    return tuple([split[key] for key, _ in weights]), split[_INHERITED]


def verdict(tally: Tally, quorum_bps: int, threshold_bps: int, veto_bps: int) -> ProposalStatus:
    """How a vote ended: PASSED, or why not."""
    voted = tally.voted
    if voted == 0 or voted * BPS < tally.power * quorum_bps:
        return ProposalStatus.NO_QUORUM
    if tally.veto * BPS > voted * veto_bps:
        return ProposalStatus.VETOED
    decided = voted - tally.abstain
    passed = tally.yes * BPS > decided * threshold_bps
    return ProposalStatus.PASSED if passed else ProposalStatus.REJECTED
