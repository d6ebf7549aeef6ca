"""What all hostile validators share: they run the real core to keep up, and are bound by nothing that it asks for."""

from __future__ import annotations

from typing import Any

from consensus.stake.effects import Cast, Propose
from omnitensor.protocol.types import Epoch, Hash, View
from omnitensor.protocol.votes import SKIP_ID, Candidate, Certificate, Proposal, Vote, VoteKind
from tests.simulation.application import CHAIN_ID
from tests.simulation.node import SimNode


class Hostile(SimNode):
    """A node without a conscience: its safety store records nothing that could stop it."""

    byzantine = "hostile"

    def _recorded(self, effect: Cast | Propose) -> bool:
        return True

    def vote(self, kind: VoteKind, view: View, candidate_id: Hash = SKIP_ID) -> Vote:
        blank = Cast(kind, Epoch(0), view, candidate_id, self.index)
        return blank.signed(self.sign(blank.message(CHAIN_ID)))

    def proposal(self, candidate: Candidate, block: Any, justification: tuple[Certificate, ...]) -> Proposal:
        vote = self.vote(VoteKind.NOTARIZE, View(candidate.view), candidate.id)
        return Proposal(candidate, block, justification, vote)

    def peers(self) -> list[int]:
        return [index for index in range(len(self.world.table)) if index != self.index]
