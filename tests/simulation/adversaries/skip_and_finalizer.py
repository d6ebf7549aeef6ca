"""Says SKIP wherever it says FINALIZE and FINALIZE wherever it says SKIP, some peers hear the one, some the other, some both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Proposal, Vote, VoteKind
from tests.simulation.adversaries.hostile import Hostile
from tests.simulation.application import Application

if TYPE_CHECKING:
    from tests.simulation.world import World


class SkipAndFinalizer(Hostile):
    byzantine = "skip_and_finalizer"

    def __init__(self, world: World, index: int, chain: Application) -> None:
        super().__init__(world, index, chain)
        self._offered: dict[tuple[int, int], Hash] = {}

    def receive(self, sender: int, message: Any) -> None:
        if isinstance(message, Proposal):
            place = (message.candidate.epoch, message.candidate.view)
            self._offered[place] = Hash(message.leader_vote.candidate_id)
        super().receive(sender, message)

    def broadcast(self, message: Any) -> None:
        if not isinstance(message, Vote) or message.kind == VoteKind.NOTARIZE:
            super().broadcast(message)
            return
        other = self._contrary(message)
        for peer in self.peers():
            part = (peer + message.view) % 3
            if part != 0 or other is None:
                self.send(peer, message)
            if part != 1 and other is not None:
                self.send(peer, other)

    def _contrary(self, vote: Vote) -> Vote | None:
        if vote.kind == VoteKind.FINALIZE:
            return self.vote(VoteKind.SKIP, View(vote.view))
        offered = self._offered.get((vote.epoch, vote.view))
        return None if offered is None else self.vote(VoteKind.FINALIZE, View(vote.view), offered)
