"""Votes for everything that it sees: every candidate, and SKIP and FINALIZE in every view, to random peers each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Proposal, Vote, VoteKind
from tests.simulation.adversaries.hostile import Hostile
from tests.simulation.application import Application

if TYPE_CHECKING:
    from tests.simulation.world import World


class DoubleVoter(Hostile):
    byzantine = "double_voter"

    def __init__(self, world: World, index: int, chain: Application) -> None:
        super().__init__(world, index, chain)
        self._supported: set[Hash] = set()

    def receive(self, sender: int, message: Any) -> None:
        if isinstance(message, Proposal | Vote) and self.core is not None and self.lead is not None:
            vote = message.leader_vote if isinstance(message, Proposal) else message
            if vote.kind != VoteKind.SKIP and vote.candidate_id not in self._supported:
                self._supported.add(Hash(vote.candidate_id))
                self._support(View(vote.view), Hash(vote.candidate_id))
        super().receive(sender, message)

    def _support(self, view: View, candidate_id: Hash) -> None:
        for vote, chance in (
            (self.vote(VoteKind.NOTARIZE, view, candidate_id), 0.85),
            (self.vote(VoteKind.FINALIZE, view, candidate_id), 0.85),
            (self.vote(VoteKind.SKIP, view), 0.3),
        ):
            for peer in self.peers():
                if self.world.random.random() < chance:
                    self.send(peer, vote)
