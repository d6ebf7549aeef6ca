"""Votes for everything that it sees: every candidate, and SKIP and FINALIZE in every view, to random peers each."""

from __future__ import annotations

from typing import Any

from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Proposal, Vote, VoteKind
from tests.simulation.adversaries.hostile import Hostile


class DoubleVoter(Hostile):
    byzantine = "double_voter"

    def receive(self, sender: int, message: Any) -> None:
        if isinstance(message, Proposal | Vote) and self.core is not None:
            self._support(message)
        super().receive(sender, message)

    def _support(self, message: Proposal | Vote) -> None:
        vote = message.leader_vote if isinstance(message, Proposal) else message
        view = View(vote.view)
        if vote.kind == VoteKind.SKIP:
            return
        for kind in (VoteKind.NOTARIZE, VoteKind.FINALIZE):
            own = self.vote(kind, view, Hash(vote.candidate_id))
            for peer in self.peers():
                if self.world.random.random() < 0.6:
                    self.send(peer, own)
        self.network_skip(view)

    def network_skip(self, view: View) -> None:
        skip = self.vote(VoteKind.SKIP, view)
        for peer in self.peers():
            if self.world.random.random() < 0.3:
                self.send(peer, skip)
