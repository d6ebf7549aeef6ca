"""As leader, offers blocks that break a rule or stand above the boundary, block and header consistent otherwise."""

from __future__ import annotations

from consensus.stake.effects import Propose
from omnitensor.protocol.types import Hash
from omnitensor.protocol.votes import Candidate
from tests.simulation.adversaries.hostile import Hostile


class PoisoningLeader(Hostile):
    byzantine = "poisoning_leader"

    def _offer(self, propose: Propose) -> None:
        old = propose.candidate
        # Above the boundary the poison is that there is a block at all.
        filler = propose.block is None
        parent = Hash(old.block_hash if propose.block is None else propose.block.header.parent)
        attendance = None if propose.block is None else propose.block.header.attendance
        block = self.chain.make(
            parent, self.address, self.now_ms(), old.epoch, salt=0, attendance=attendance, poison=not filler
        )
        if block is None:
            return
        candidate = Candidate(old.epoch, old.view, old.parent_view, old.parent_id, block.hash)
        self.broadcast(self.proposal(candidate, block, propose.justification))
