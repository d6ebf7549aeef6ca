"""A small chain in memory that governs itself: parameters and validator sets are rows, read for each block from the one below."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from omnitensor.protocol.bodies import Content, ProposalSubmit, ProposalVote, TextOnly, VoteOption
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import ZERO_HASH, Amount, Epoch, ProposalId
from state.ledger import epochs, parameters
from state.ledger.accounts import account
from state.ledger.ballots import proposal_of
from state.ledger.context import BlockContext
from state.overlay import Overlay
from state.records_governance import Proposal, ProposalStatus
from state.schema import PARAMS, PROPOSALS
from tests.ledger.world import OMNIT, QUICK, World, address_of

GOVERNED = replace(
    QUICK,
    epoch_blocks=10,
    evidence_epochs=2,
    unbonding_blocks=60,
    proposal_deposit_min=Amount(100 * OMNIT),
    proposal_deposit_blocks=6,
    proposal_voting_blocks=8,
    proposal_timelock_blocks=4,
)
TEXT = TextOnly()
YES, NO, ABSTAIN, VETO = VoteOption


@dataclass
class Governed(World):
    """A world whose validators vote on proposals."""

    params: Params = field(default_factory=lambda: GOVERNED)
    validators: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        overlay = Overlay(self.base)
        overlay.put(PARAMS, self.params, b"")
        epochs.begin(overlay, Epoch(0), ZERO_HASH, epochs.choose(overlay, self.params))
        self.base.apply(overlay)
        self.genesis = dict(self.base.encoded)
        self.view = Overlay(self.base)

    @property
    def in_force(self) -> Params:
        found = self.view.get(PARAMS, parameters.IN_FORCE)
        assert found is not None
        return found

    def context(self, height: int) -> BlockContext:
        return replace_ctx(super().context(height), self.in_force)

    # -- what people do

    def propose(self, content: Content = TEXT, who: str = "ann", deposit: int | None = None) -> int:
        """A proposal with its whole deposit, so that its vote begins at once; its number."""
        amount = self.in_force.proposal_deposit_min if deposit is None else deposit
        receipt = self.do(who, ProposalSubmit("Title", "Summary", content, Amount(amount)))
        assert receipt.ok, receipt.reason
        return int(dict(receipt.events[0].fields)["proposal"])

    def vote(self, who: str, number: int, option: VoteOption = YES) -> None:
        receipt = self.do(who, ProposalVote(ProposalId(number), option))
        assert receipt.ok, receipt.reason

    def all_vote(self, number: int, option: VoteOption = YES) -> None:
        for name in self.validator_names:
            self.send(name, ProposalVote(ProposalId(number), option))
        assert all(receipt.ok for receipt in self.block().result.receipts)

    def proposal(self, number: int) -> Proposal:
        return proposal_of(self.view, number)

    def status(self, number: int) -> ProposalStatus:
        return ProposalStatus(self.proposal(number).status)

    def to_height(self, height: int) -> None:
        self.blocks(max(0, height - self.height))

    def to_end(self, number: int) -> ProposalStatus:
        """Goes on until a proposal has ended."""
        for _ in range(200):
            if self.proposal(number).ended_at:
                return self.status(number)
            self.block()
        raise AssertionError("a proposal ends")

    def enact(self, content: Content) -> ProposalStatus:
        """A proposal that everybody is for, to its end."""
        number = self.propose(content)
        self.all_vote(number)
        return self.to_end(number)

    def nonce_of(self, who: str) -> int:
        return account(self.view, address_of(who)).nonce

    def proposals(self) -> int:
        return sum(1 for _ in self.view.scan(PROPOSALS))


def replace_ctx(ctx: BlockContext, params: Params) -> BlockContext:
    return BlockContext(
        chain_id=ctx.chain_id,
        height=ctx.height,
        epoch=ctx.epoch,
        timestamp_ms=ctx.timestamp_ms,
        proposer=ctx.proposer,
        beacon=ctx.beacon,
        params=params,
        base_fee=max(1, params.base_fee_min),
        scheme=ctx.scheme,
    )
