"""Governance: proposals, votes and parameters as a node shows them, typed. Reads only; what is written is in ``proposals``."""

from __future__ import annotations

from typing import Any

import msgspec

from omnitensor.protocol.types import Address
from omnitensor.sdk.reads import PAGE_ITEMS, PAGES_MAX, Reads, address_text
from omnitensor.sdk.results import Cursor, Result


class TallyInfo(Result, frozen=True):
    """Stake by what it voted for, nanoOMNIT; ``final`` once the vote is over."""

    yes: int
    no: int
    abstain: int
    veto: int
    voted: int
    power: int
    final: bool
    outcome: str
    quorum_bps: int = 0
    threshold_bps: int = 0
    veto_bps: int = 0


class HeldDeposit(Result, frozen=True):
    depositor: str
    amount: int


class ProposalInfo(Result, frozen=True):
    """A proposal; what `governance.proposal` alone tells is empty in a list."""

    proposal: int
    status: str
    title: str
    proposer: str
    kind: str
    submitted_at: int
    deposit: int
    deposit_wanted: int
    deposit_until: int
    voting_until: int | None = None
    executes_at: int | None = None
    ended_at: int | None = None
    summary: str = ""
    content: dict[str, Any] = msgspec.field(default_factory=dict)
    deposits: list[HeldDeposit] = msgspec.field(default_factory=list)
    tally: TallyInfo | None = None
    reason: str = ""

    @property
    def lacking(self) -> int:
        """What of the deposit is missing, nanoOMNIT."""
        return self.deposit_wanted - self.deposit


class ProposalPage(Result, frozen=True):
    proposals: list[ProposalInfo]
    next: Cursor = None


class VoteInfo(Result, frozen=True):
    proposal: int
    voter: str
    option: str
    height: int


class VotePage(Result, frozen=True):
    votes: list[VoteInfo]
    next: Cursor = None


class ParameterInfo(Result, frozen=True):
    """A parameter with its bounds; values are text, a ratio as ``7/8``."""

    name: str
    value: str
    default: str
    low: str
    high: str
    unit: str
    area: str
    takes_effect: str
    about: str
    next_epoch: str | None = None
    step: int | None = None
    fixed_because: str | None = None
    proposal: int | None = None
    in_force_from: int | None = None


class UpgradeInfo(Result, frozen=True):
    name: str
    version: str
    height: int
    proposal: int
    known: bool
    active: bool


class GovernanceReads(Reads):
    """What a client can ask about governance."""

    async def proposals(self, *, status: str | None = None) -> list[ProposalInfo]:
        """Proposals, the newest first."""
        found: list[ProposalInfo] = []
        cursor: Cursor = None
        for _ in range(PAGES_MAX):
            page = await self._ask(
                ProposalPage, "governance.proposals", cursor=cursor, limit=PAGE_ITEMS, status=status
            )
            found += page.proposals
            cursor = page.next
            if cursor is None:
                break
        return found

    async def proposal(self, proposal: int) -> ProposalInfo:
        """A proposal in full. Raises NotFoundError."""
        return await self._ask(ProposalInfo, "governance.proposal", proposal=proposal)

    async def tally(self, proposal: int) -> TallyInfo:
        """The votes on a proposal, as counted or as they are now. Raises NotFoundError before its vote."""
        return await self._ask(TallyInfo, "governance.tally", proposal=proposal)

    async def votes(
        self, proposal: int | None = None, *, voter: Address | str | None = None
    ) -> list[VoteInfo]:
        """The votes on a proposal, by voter; or those of an account, the newest proposal first."""
        found: list[VoteInfo] = []
        cursor: Cursor = None
        who = None if voter is None else address_text(voter)
        for _ in range(PAGES_MAX):
            page = await self._ask(
                VotePage, "governance.votes", proposal=proposal, voter=who, cursor=cursor, limit=PAGE_ITEMS
            )
            found += page.votes
            cursor = page.next
            if cursor is None:
                break
        return found

    async def parameters(self) -> list[ParameterInfo]:
        """Every parameter, with its bounds and where its value comes from."""
        return await self._ask(list[ParameterInfo], "governance.params")

    async def upgrades(self) -> list[UpgradeInfo]:
        """Software upgrades agreed on."""
        return await self._ask(list[UpgradeInfo], "governance.upgrades")
