"""Evidence on chain: a validator that contradicted itself is slashed once, removed for good, and whoever showed it is paid.

A worker that offered two blocks in one view loses its bond and its credit.

What convicts is the protocol's to say (``omnitensor.protocol.evidence`` and ``conviction``); here it meets stake and money.
A validator is convicted once: what it signed twice in further views has the same cause, mostly one second process, and would
otherwise take the stake of a careless operator whole.
"""

from consensus.schedule.leaders import LeaderSchedule
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import EvidenceSubmit
from omnitensor.protocol.conviction import EvidenceError, convicted
from omnitensor.protocol.evidence import ConflictingVotes, Evidence
from omnitensor.protocol.types import ZERO_HASH, Address, Amount, CampaignId
from state.ledger import earnings, removal, slashing, worker_faults, worker_sets
from state.ledger.accounts import Pot, burn, move
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.records import Conviction
from state.schema import CONVICTIONS, VALIDATORS, WORKER_CONVICTIONS


def submit(view: View, ctx: BlockContext, sender: Address, body: EvidenceSubmit) -> tuple[Event, ...]:
    """Convicts everybody whom the evidence names and who was not convicted before. Raises Rejected where that is nobody."""
    evidence = body.evidence
    leaders = _leaders(view, ctx, evidence)
    if not open_culprits(view, evidence, leaders):
        raise Rejected(
            "evidence_known",
            "everybody whom this evidence names is convicted already, or neither votes nor leads in its epoch",
            value=evidence.id,
            remedy="see what is on chain with: otensor-cli evidence list",
        )
    try:
        convicted(evidence, ctx.chain_id, leaders.table, ctx.scheme, leaders.worker_keys)
    except EvidenceError as error:
        raise Rejected(error.code, error.reason, error.value, error.remedy) from error
    events: list[Event] = []
    for address in open_culprits(view, evidence, leaders):
        votes = leaders.table.index_of(address) is not None
        convict = _convict if votes else worker_faults.convict
        events.append(convict(view, ctx, address, sender, evidence))
    return tuple(events)


def culprits_of(view: ReadView, evidence: Evidence) -> tuple[Address, ...]:
    """Whom the evidence names, convicted or not: validators, or a worker that leads. Verifies nothing."""
    leaders = leaders_of(view, evidence)
    return () if leaders is None else _named(evidence, leaders)


def open_culprits(view: ReadView, evidence: Evidence, leaders: LeaderSchedule) -> tuple[Address, ...]:
    """Whom the evidence names, and who are not convicted yet, ascending by index. Verifies nothing."""
    return tuple(
        address
        for address in _named(evidence, leaders)
        if not _is_convicted(view, evidence, address, leaders.table.index_of(address) is not None)
    )


def _named(evidence: Evidence, leaders: LeaderSchedule) -> tuple[Address, ...]:
    """No bitmap has a worker in it: whatever bits it has beyond the table are nobody's."""
    known = len(leaders) if isinstance(evidence, ConflictingVotes) else len(leaders.table)
    return tuple(leaders.address(index) for index in evidence.culprits if index < known)


def _is_convicted(view: ReadView, evidence: Evidence, address: Address, votes: bool) -> bool:
    if votes:
        return view.get(CONVICTIONS, address) is not None
    return view.get(WORKER_CONVICTIONS, address, evidence.epoch) is not None


def leaders_of(view: ReadView, evidence: Evidence) -> LeaderSchedule | None:
    """Who votes and who leads in the epoch of evidence; None where that is forgotten, or has not begun."""
    return worker_sets.leaders_of(view, evidence.epoch, ZERO_HASH)  # whose turn it was does not matter


def _leaders(view: View, ctx: BlockContext, evidence: Evidence) -> LeaderSchedule:
    leaders = leaders_of(view, evidence)
    if leaders is not None and evidence.epoch <= ctx.epoch:
        return leaders
    if evidence.epoch > ctx.epoch:
        raise Rejected(
            "evidence_epoch",
            f"the evidence is of an epoch that has not begun; this is epoch {ctx.epoch}",
            value=evidence.epoch,
            remedy="look whether it is of this chain",
        )
    raise Rejected(
        "evidence_old",
        "the evidence is older than the evidence window: the validators of its epoch are forgotten",
        value=evidence.epoch,
        remedy="submit evidence as soon as it is seen",
    )


def _convict(view: View, ctx: BlockContext, address: Address, reporter: Address, evidence: Evidence) -> Event:
    before = _own(view, address)
    amount = slashing.slash(view, ctx, address, ctx.params.double_vote_slash_bps)
    own = before - _own(view, address)
    burned, _, _ = slashing.split(amount, ctx.params)
    # Of its own loss alone: else whoever has little stake and much delegated would earn by a report of its own fault, made by a
    # second account, what its delegators lose.
    _, reward, _ = slashing.split(own, ctx.params)
    if reporter == address:  # nobody is paid for its own fault
        reward = 0
    burn(view, Pot.STAKE, burned)
    move(view, Pot.STAKE, reporter, reward)
    move(view, Pot.STAKE, Pot.RESERVE, amount - burned - reward)
    earnings.record(view, ctx, address, earnings.PENALTY, own, CampaignId(0))
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
    view.put(CONVICTIONS, row, address)
    removal.begin(view, address)
    worker_sets.lead_no_more(view, ctx, address)
    return event(
        "validator.slashed",
        validator=address,
        fault=evidence.fault.label,
        epoch=evidence.epoch,
        view=evidence.view,
        evidence=evidence.id,
        amount=amount,
        burned=burned,
        reward=reward,
        reporter=reporter,
    )


def _own(view: ReadView, address: Address) -> int:
    """What a validator has at stake itself, withdrawals included."""
    row = view.get(VALIDATORS, address)
    assert row is not None, "whoever is convicted is in the register"
    return row.stake + row.unbonding
