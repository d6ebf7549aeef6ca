"""As leader, offers blocks that break a rule, block and header consistent otherwise."""

from __future__ import annotations

from consensus.stake.effects import Propose
from omnitensor.protocol.votes import Candidate
from tests.simulation.adversaries.hostile import Hostile
from tests.simulation.application import make_block


class PoisoningLeader(Hostile):
    byzantine = "poisoning_leader"

    def _offer(self, propose: Propose) -> None:
        parent = self.chain.header(propose.block.header.parent)
        old = propose.candidate
        if parent is None:
            return
        block = make_block(parent, self.address, propose.block.header.timestamp_ms, poison=True)
        candidate = Candidate(old.epoch, old.view, old.parent_view, old.parent_id, block.hash)
        self.broadcast(self.proposal(candidate, block, propose.justification))
