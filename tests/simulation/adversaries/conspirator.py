"""Hostile validators with one plan: each half of the honest ones is shown another world, by all conspirators alike.

A leader of theirs offers each half a block of its own, and all conspirators vote for both, each to its half. Of an honest
leader's view they finalize to one half and skip to the other. Certificates go to the half that they are of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consensus.stake.effects import Propose
from consensus.stake.events import VoteReceived
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Candidate, Certificate, Proposal, Vote, VoteKind
from tests.simulation.adversaries.hostile import Hostile
from tests.simulation.application import Application

if TYPE_CHECKING:
    from tests.simulation.world import World

TWIN_SALT = 3


class Conspirator(Hostile):
    byzantine = "conspirator"

    def __init__(self, world: World, index: int, chain: Application) -> None:
        super().__init__(world, index, chain)
        scenario = world.scenario
        owners = world.validator_of
        self._fellows = [peer for peer in self.peers() if scenario.kind_of(owners[peer]) == self.byzantine]
        honest = [peer for peer in range(scenario.size) if peer not in scenario.byzantine]
        self._halves = (frozenset(honest[0::2]), frozenset(honest[1::2]))
        self._served: set[Hash] = set()

    def _offer(self, propose: Propose) -> None:
        block, candidate = propose.block, propose.candidate
        twin = None
        if block is not None:
            header = block.header
            twin = self.chain.make(
                Hash(header.parent),
                self.address,
                header.timestamp_ms,
                candidate.epoch,
                salt=TWIN_SALT,
                attendance=header.attendance,
            )
        if block is None or twin is None:
            super()._offer(propose)
            return
        self.world.agreed.add(twin.hash)
        other = Candidate(
            candidate.epoch, candidate.view, candidate.parent_view, candidate.parent_id, twin.hash
        )
        offers = (
            self.proposal(candidate, block, propose.justification),
            self.proposal(other, twin, propose.justification),
        )
        for half, offer in zip(self._halves, offers, strict=True):
            for peer in sorted(half):
                self.send(peer, offer)
            self._serve(half, View(candidate.view), Hash(offer.leader_vote.candidate_id))
            for fellow in self._fellows:
                self.send(fellow, offer)
        self._handle(VoteReceived(self.now_ms(), None, offers[0].leader_vote))

    def receive(self, sender: int, message: Any) -> None:
        if isinstance(message, Proposal) and self.core is not None and self.seat is not None:
            view, candidate_id = View(message.candidate.view), Hash(message.leader_vote.candidate_id)
            if message.candidate.epoch == self.epoch.table.epoch and candidate_id not in self._served:
                self._join(sender, message, view, candidate_id)
        super().receive(sender, message)

    def _join(self, leader: int, message: Proposal, view: View, candidate_id: Hash) -> None:
        """Play the part in the plan for a view."""
        if leader in self._fellows:
            self._serve(self._halves[self._half_of(message)], view, candidate_id)
            return
        half = view % 2
        self._serve(self._halves[half], view, candidate_id)
        skip = self.vote(VoteKind.SKIP, view)
        for peer in sorted(self._halves[1 - half]):
            self.send(peer, skip)

    def _half_of(self, message: Proposal) -> int:
        """They have agreed on whose the twin of a block is."""
        return int(message.block is not None and message.block.hash in self.world.agreed)

    def _serve(self, half: frozenset[int], view: View, candidate_id: Hash) -> None:
        """Vote for a candidate, before one half; a worker leaves that to its fellows that hold stake."""
        self._served.add(candidate_id)
        if self.seat is None:
            return
        for kind in (VoteKind.NOTARIZE, VoteKind.FINALIZE):
            vote = self.vote(kind, view, candidate_id)
            for peer in sorted(half):
                self.send(peer, vote)

    def broadcast(self, message: Any) -> None:
        """Its core's own votes stay at home; certificates go to the half of their view."""
        if isinstance(message, Certificate):
            for peer in sorted(self._halves[message.view % 2]):
                self.send(peer, message)
        elif not isinstance(message, Vote):
            super().broadcast(message)
