"""As leader, sends some peers a block's candidate alone, and fillers with the boundary block: the candidate is the same."""

from __future__ import annotations

from msgspec.structs import replace

from consensus.stake.effects import Propose
from tests.simulation.adversaries.hostile import Hostile


class BlockTwister(Hostile):
    byzantine = "block_twister"

    def _offer(self, propose: Propose) -> None:
        assert self.core is not None
        proposal = self.proposal(propose.candidate, propose.block, propose.justification)
        twisted = None
        if propose.block is None:
            boundary = self.core.find(propose.candidate.parent_id)
            twisted = boundary.block if boundary is not None else None
        for peer in self.peers():
            straight = self.world.random.random() < 0.5
            self.send(peer, proposal if straight else replace(proposal, block=twisted))
        self._speak(proposal.leader_vote)
