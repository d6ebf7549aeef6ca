"""What all hostile validators share: they run the real core to keep up, and are bound by nothing that it asks for."""

from __future__ import annotations

from typing import Any

from consensus.stake.core import Core
from consensus.stake.effects import Cast, Propose
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import SKIP_ID, Candidate, Certificate, Proposal, Vote, VoteKind
from tests.simulation.application import CHAIN_ID
from tests.simulation.node import SimNode


class Hostile(SimNode):
    """A node without a conscience: its safety store records nothing that could stop it."""

    byzantine = "hostile"

    def core_kind(self) -> type[Core]:
        """The core, but without minding that it is seen to have signed what it did not ask for."""
        kind = super().core_kind()
        deaf = {} if self.seat is not None else {"_not_mine": lambda *_: None}
        return type("Shameless", (kind,), {"_remembers": lambda *_: True, **deaf})

    def _recorded(self, effect: Cast | Propose) -> bool:
        return True

    def vote(self, kind: VoteKind, view: View, candidate_id: Hash = SKIP_ID) -> Vote:
        """A worker signs as well, under its index, and nobody is to count it."""
        assert self.lead is not None, "only who may lead signs"
        blank = Cast(kind, self.epoch.table.epoch, view, candidate_id, self.lead)
        return blank.signed(self.sign(blank.message(CHAIN_ID)))

    def proposal(self, candidate: Candidate, block: Any, justification: tuple[Certificate, ...]) -> Proposal:
        vote = self.vote(VoteKind.NOTARIZE, View(candidate.view), candidate.id)
        return Proposal(candidate, block, justification, vote)

    def peers(self) -> list[int]:
        return [index for index in range(self.world.network.size) if index != self.index]
