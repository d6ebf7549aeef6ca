"""Methods governance.*: proposals, votes and their count, parameters with their bounds, planned upgrades. Reads only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies import Content, VoteOption
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.params import DEFAULTS, SPECS
from omnitensor.protocol.params import Params as ChainParams
from omnitensor.protocol.types import Address, Epoch, Height
from rpc import present
from rpc.cursors import bad_cursor
from rpc.errors import not_found
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    AmountText,
    Count,
    Cursor,
    Limit,
    Number,
    address_of,
    number_cursor,
)
from rpc.jsonrpc import INVALID_PARAMS, standard_error
from rpc.table import TABLE, Context, NoParams, Params, Result
from state.ledger import ballots, parameters, upgrades
from state.reader import Reader
from state.records_governance import Proposal, ProposalStatus, Tally
from state.schema import DEPOSITS, PARAMETER_ORIGINS, PROPOSALS, UPGRADES, VOTES, VOTES_BY_VOTER, number

StatusText = Literal[
    "deposit",
    "voting",
    "passed",
    "executed",
    "failed",
    "rejected",
    "vetoed",
    "no_quorum",
    "expired",
    "cancelled",
]
OptionText = Literal["yes", "no", "abstain", "veto"]
ValueText = Annotated[str, Meta(description="A whole number as decimal text; a ratio as `7/8`")]


class TallyShown(Result, frozen=True):
    yes: AmountText
    no: AmountText
    abstain: AmountText
    veto: AmountText
    voted: AmountText
    power: Annotated[AmountText, Meta(description="Stake of all voters, nanoOMNIT")]


class Counted(TallyShown, frozen=True):
    final: Annotated[
        bool, Meta(description="Whether the vote is over and this its count; else as if it ended now")
    ]
    quorum_bps: Count
    threshold_bps: Count
    veto_bps: Count
    outcome: Annotated[StatusText, Meta(description="What the proposal is, or would be, with this count")]


class DepositShown(Result, frozen=True):
    depositor: AddressText
    amount: AmountText


class ProposalLine(Result, frozen=True):
    proposal: Count
    status: StatusText
    title: str
    proposer: AddressText
    kind: Annotated[str, Meta(description="What it would do: parameters, spend, admission, upgrade, …")]
    submitted_at: Count
    deposit: AmountText
    deposit_wanted: AmountText
    deposit_until: Count
    voting_until: Annotated[Count | None, Meta(description="The last height at which votes count")]
    executes_at: Count | None
    ended_at: Count | None


class ProposalShown(ProposalLine, frozen=True):
    summary: str
    content: Annotated[dict[str, Any], Meta(description="What it does, by its kind")]
    deposits: Annotated[list[DepositShown], Meta(description="Those that are held")]
    tally: Counted | None
    reason: Annotated[str, Meta(description="Why it failed")]


class ProposalsParams(Params, frozen=True):
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT
    status: StatusText | None = None


class ProposalsPage(Result, frozen=True):
    proposals: list[ProposalLine]
    next: Cursor | None


@TABLE.method("governance.proposals", heavy=True)
def proposals(context: Context, params: ProposalsParams) -> ProposalsPage:
    """Proposals, the newest first; those of a status."""
    at = number_cursor(params.cursor)
    start = b"\xff" * 8 if at is None else at.to_bytes(8, "big")
    found: list[ProposalLine] = []
    for seen, (key, row) in enumerate(context.reader.scan(PROPOSALS, start=start, reverse=True)):
        if len(found) == params.limit or seen == limits.rpc_scan_rows_max:
            return ProposalsPage(proposals=found, next=str(number(key)))
        if params.status is None or ProposalStatus(row.status).label == params.status:
            found.append(ProposalLine(**_line(number(key), row)))
    return ProposalsPage(proposals=found, next=None)


class ProposalParams(Params, frozen=True):
    proposal: Number


@TABLE.method("governance.proposal", heavy=True)
def proposal(context: Context, params: ProposalParams) -> ProposalShown:
    """A proposal in full: what it would do, its deposits, its votes so far or as they were counted."""
    reader = context.reader
    row = _row(reader, params.proposal)
    return ProposalShown(
        **_line(params.proposal, row),
        summary=row.summary,
        content=content_shown(row.content),
        deposits=[
            DepositShown(depositor=present.address_text(Address(key)), amount=str(held.amount))
            for key, held in reader.scan(DEPOSITS, params.proposal)
        ],
        tally=_counted(reader, params.proposal, row),
        reason=row.reason,
    )


@TABLE.method("governance.tally", heavy=True)
def tally(context: Context, params: ProposalParams) -> Counted:
    """The votes on a proposal: as they were counted, or as they would be if the vote ended now."""
    counted = _counted(context.reader, params.proposal, _row(context.reader, params.proposal))
    if counted is None:
        raise not_found("tally", params.proposal, "its vote has not begun, or never did")
    return counted


class VotesParams(Params, frozen=True):
    proposal: Annotated[Number | None, Meta(description="The votes on it, by voter")] = None
    voter: Annotated[AddressText | None, Meta(description="Its votes, the newest proposal first")] = None
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class VoteShown(Result, frozen=True):
    proposal: Count
    voter: AddressText
    option: OptionText
    height: Count


class VotesPage(Result, frozen=True):
    votes: list[VoteShown]
    next: Cursor | None


@TABLE.method("governance.votes", heavy=True)
def votes(context: Context, params: VotesParams) -> VotesPage:
    """Votes on a proposal, or of an account."""
    if (params.proposal is None) == (params.voter is None):
        raise standard_error(INVALID_PARAMS, "params", "give either proposal or voter")
    return _votes_of(context.reader, params) if params.proposal is None else _votes_on(context.reader, params)


def _votes_on(reader: Reader, params: VotesParams) -> VotesPage:
    assert params.proposal is not None, "the caller looked"
    _row(reader, params.proposal)
    start = b"" if params.cursor is None else _address_cursor(params.cursor)
    found: list[VoteShown] = []
    for key, row in reader.scan(VOTES, params.proposal, start=start):
        if len(found) == params.limit:
            return VotesPage(votes=found, next=key.hex())
        found.append(_vote(params.proposal, key, row.option, row.height))
    return VotesPage(votes=found, next=None)


def _votes_of(reader: Reader, params: VotesParams) -> VotesPage:
    assert params.voter is not None, "the caller looked"
    voter = address_of(params.voter)
    at = number_cursor(params.cursor)
    start = b"\xff" * 8 if at is None else at.to_bytes(8, "big")
    found: list[VoteShown] = []
    for key, _ in reader.scan(VOTES_BY_VOTER, voter, start=start, reverse=True):
        if len(found) == params.limit:
            return VotesPage(votes=found, next=str(number(key)))
        row = reader.get(VOTES, number(key), voter)
        assert row is not None, "an index names what is there"
        found.append(_vote(number(key), voter, row.option, row.height))
    return VotesPage(votes=found, next=None)


class ParameterShown(Result, frozen=True):
    name: str
    value: Annotated[ValueText, Meta(description="In force in the next block")]
    next_epoch: Annotated[ValueText | None, Meta(description="From the next epoch on, where that differs")]
    default: ValueText
    low: Annotated[str, Meta(description="The least that genesis or a vote may set, as decimal text")]
    high: str
    step: Annotated[Count | None, Meta(description="A vote may at most multiply or divide it by this")]
    unit: str
    area: str
    takes_effect: Literal["next block", "next epoch", "fixed"]
    fixed_because: str | None
    about: str
    proposal: Annotated[
        Count | None, Meta(description="The last proposal that changed it; null: genesis set it")
    ]
    in_force_from: Annotated[Count | None, Meta(description="Height from which that change counts")]


@TABLE.method("governance.params")
def governed(context: Context, params: NoParams) -> list[ParameterShown]:
    """Every parameter: value, bounds, when a change takes effect, and which proposal set it."""
    reader = context.reader
    now = reader.params()
    later = parameters.next_epoch(reader, now)
    return [_parameter(reader, name, now, later) for name in SPECS]


def _parameter(reader: Reader, name: str, now: ChainParams, later: ChainParams) -> ParameterShown:
    spec, origin = SPECS[name], reader.get(PARAMETER_ORIGINS, name.encode())
    value, next_value = getattr(now, name), getattr(later, name)
    return ParameterShown(
        name=name,
        value=value_text(value),
        next_epoch=None if next_value == value else value_text(next_value),
        default=value_text(getattr(DEFAULTS, name)),
        low=str(spec.low),
        high=str(spec.high),
        step=spec.step or None,
        unit=spec.unit,
        area=spec.area.value,
        takes_effect=spec.takes.value,
        fixed_because=spec.fixed_because or None,
        about=spec.about,
        proposal=origin.proposal if origin else None,
        in_force_from=origin.in_force_from if origin else None,
    )


class UpgradeShown(Result, frozen=True):
    name: str
    version: Annotated[str, Meta(description="What to install")]
    height: Annotated[Count, Meta(description="The first block that needs it")]
    proposal: Count
    known: Annotated[bool, Meta(description="Whether this node's software knows it")]
    active: bool


@TABLE.method("governance.upgrades")
def planned(context: Context, params: NoParams) -> list[UpgradeShown]:
    """Software upgrades that were agreed on, past and to come, and whether this node is ready for them."""
    above = context.reader.head.height + 1
    return [
        UpgradeShown(
            name=row.name,
            version=row.version,
            height=number(key),
            proposal=row.proposal,
            known=row.name in upgrades.KNOWN,
            active=number(key) <= above,
        )
        for key, row in context.reader.scan(UPGRADES)
    ]


# -- shapes


def content_shown(content: Content) -> dict[str, Any]:
    """What a proposal does: its kind, then its fields."""
    return {"kind": content.KIND, **present.record(content)}


def value_text(value: int | tuple[int, int]) -> str:
    """A parameter's value as text."""
    return f"{value[0]}/{value[1]}" if isinstance(value, tuple) else str(value)


def _row(reader: Reader, key: int) -> Proposal:
    row = reader.get(PROPOSALS, key)
    if row is None:
        raise not_found("proposal", key, "list them with: otensor-cli governance list")
    return row


def _line(key: int, row: Proposal) -> dict[str, Any]:
    return {
        "proposal": key,
        "status": ProposalStatus(row.status).label,
        "title": row.title,
        "proposer": present.address_text(row.proposer),
        "kind": row.content.KIND,
        "submitted_at": row.submitted_at,
        "deposit": str(row.deposit),
        "deposit_wanted": str(row.deposit_wanted),
        "deposit_until": row.deposit_until,
        "voting_until": row.voting_until or None,
        "executes_at": row.executes_at or None,
        "ended_at": row.ended_at or None,
    }


def _counted(reader: Reader, key: int, row: Proposal) -> Counted | None:
    """The count of a vote that is over, or as it would be now; None where no vote began."""
    if not row.voting_until:
        return None
    params, status = reader.params(), ProposalStatus(row.status)
    quorum, threshold, veto = (
        params.proposal_quorum_bps,
        params.proposal_threshold_bps,
        params.proposal_veto_bps,
    )
    final = status is not ProposalStatus.VOTING
    tally = row.tally if final else _tally_now(reader, key, params)
    outcome = status if final else ballots.verdict(tally, quorum, threshold, veto)
    return Counted(
        yes=str(tally.yes),
        no=str(tally.no),
        abstain=str(tally.abstain),
        veto=str(tally.veto),
        voted=str(tally.voted),
        power=str(tally.power),
        final=final,
        quorum_bps=quorum,
        threshold_bps=threshold,
        veto_bps=veto,
        outcome=outcome.label,  # type: ignore[arg-type]  # one of the ten
    )


def _tally_now(reader: Reader, key: int, params: ChainParams) -> Tally:
    return ballots.count(reader, Epoch(epoch_of(Height(reader.head.height + 1), params)), key)


def _vote(proposal: int, voter: bytes, option: int, height: int) -> VoteShown:
    return VoteShown(
        proposal=proposal,
        voter=present.address_text(Address(voter)),
        option=VoteOption(option).name.lower(),  # type: ignore[arg-type]  # one of the four
        height=height,
    )


def _address_cursor(cursor: str) -> bytes:
    try:
        found = bytes.fromhex(cursor)
    except ValueError:
        found = b""
    if len(found) != 33:
        raise bad_cursor(cursor)
    return found
