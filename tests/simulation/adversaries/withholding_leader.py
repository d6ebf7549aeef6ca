"""As leader, lets few have its block and the others only know of it, and gives it to nobody who asks."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from consensus.stake.effects import Propose
from tests.simulation.adversaries.hostile import Hostile
from tests.simulation.messages import BlocksGiven, CandidateGiven


class WithholdingLeader(Hostile):
    byzantine = "withholding_leader"

    def _offer(self, propose: Propose) -> None:
        proposal = self.proposal(propose.candidate, propose.block, propose.justification)
        few = 1 + self.world.random.randrange(2)
        for place, peer in enumerate(self.world.random.sample(self.peers(), len(self.peers()))):
            self.send(peer, proposal if place < few else replace(proposal, block=None))
        self._speak(proposal.leader_vote)

    def send(self, receiver: int, message: Any) -> None:
        if not isinstance(message, CandidateGiven | BlocksGiven):
            super().send(receiver, message)
