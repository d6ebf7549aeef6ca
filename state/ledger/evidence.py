"""Evidence on chain: a validator that contradicted itself is slashed once, removed for good, and whoever showed it is paid.

What convicts is the protocol's to say (``omnitensor.protocol.evidence`` and ``conviction``); here it meets stake and money.
A validator is convicted once: what it signed twice in further views has the same cause, mostly one second process, and would
otherwise take the stake of a careless operator whole.
"""

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import EvidenceSubmit
from omnitensor.protocol.conviction import EvidenceError, convicted
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.types import Address, Amount, CampaignId
from omnitensor.protocol.votes import ValidatorTable
from state.ledger import earnings, epochs, removal, slashing
from state.ledger.accounts import Pot, burn, move
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.records import Conviction
from state.schema import CONVICTIONS, VALIDATORS


def submit(view: View, ctx: BlockContext, sender: Address, body: EvidenceSubmit) -> tuple[Event, ...]:
    """Convicts everybody whom the evidence names and who was not convicted before. Raises Rejected where that is nobody."""
    evidence = body.evidence
    table = _table(view, ctx, evidence)
    if not open_culprits(view, evidence, table):
        raise Rejected(
            "evidence_known",
            "everybody whom this evidence names is convicted already, or is no validator of its epoch",
            value=evidence.id,
            remedy="see what is on chain with: otensor-cli evidence list",
        )
    try:
        convicted(evidence, ctx.chain_id, table, ctx.scheme)
    except EvidenceError as error:
        raise Rejected(error.code, error.reason, error.value, error.remedy) from error
    events: list[Event] = []
    for address in open_culprits(view, evidence, table):
        events.append(_convict(view, ctx, address, sender, evidence))
    return tuple(events)


def open_culprits(view: ReadView, evidence: Evidence, table: ValidatorTable) -> tuple[Address, ...]:
    """Validators whom the evidence names and who are not convicted yet, ascending. Verifies nothing."""
    addresses = (table.entries[index].address for index in evidence.culprits if index < len(table))
    return tuple(address for address in addresses if view.get(CONVICTIONS, address) is None)


def _table(view: View, ctx: BlockContext, evidence: Evidence) -> ValidatorTable:
    table = epochs.table_of(view, evidence.epoch)
    if table is not None and evidence.epoch <= ctx.epoch:
        return table
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
