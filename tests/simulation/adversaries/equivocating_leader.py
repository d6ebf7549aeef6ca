"""As leader, offers one half of its peers one block and the other half another, and votes for both."""

from __future__ import annotations

from consensus.stake.effects import Propose
from consensus.stake.events import VoteReceived
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Candidate, VoteKind
from tests.simulation.adversaries.hostile import Hostile

PASSED_ON = 0.3


class EquivocatingLeader(Hostile):
    byzantine = "equivocating_leader"

    def _offer(self, propose: Propose) -> None:
        assert self.core is not None
        if propose.block is None:
            super()._offer(propose)  # there is but one filler on a parent
            return
        candidate, header = propose.candidate, propose.block.header
        other_block = self.chain.make(
            Hash(header.parent),
            self.address,
            header.timestamp_ms,
            candidate.epoch,
            salt=1,
            attendance=header.attendance,
        )
        if other_block is None:
            return
        other = Candidate(
            candidate.epoch, candidate.view, candidate.parent_view, candidate.parent_id, other_block.hash
        )
        both = (
            self.proposal(candidate, propose.block, propose.justification),
            self.proposal(other, other_block, propose.justification),
        )
        for peer in self.peers():
            chosen = both[self.world.random.randrange(2)]
            self.send(peer, chosen)
            # Of a worker nothing but its proposals is looked at: some see both, as where nodes pass them on.
            if self.seat is None and self.world.random.random() < PASSED_ON:
                self.send(peer, both[0] if chosen is both[1] else both[1])
            for kind in (VoteKind.NOTARIZE, VoteKind.FINALIZE):
                self.send(peer, self.vote(kind, View(candidate.view), chosen.leader_vote.candidate_id))
        # Its own core believes in the first; peers hear only of their half, so that they find out as late as possible.
        self._handle(VoteReceived(self.now_ms(), None, both[0].leader_vote))
