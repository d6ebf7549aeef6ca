"""Accuses honest validators with what they did say: two votes, or two certificates, that are allowed together or are forged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from omnitensor.protocol.bodies import EvidenceSubmit
from omnitensor.protocol.evidence import ConflictingVotes, NoConflict
from omnitensor.protocol.types import BlsSignature
from omnitensor.protocol.votes import Certificate, Proposal, Vote
from tests.simulation.adversaries.hostile import Hostile
from tests.simulation.application import Application
from tests.simulation.messages import EvidenceGiven

if TYPE_CHECKING:
    from tests.simulation.world import World

REMEMBERED = 64
SUBMITTED_MAX = 6


class FalseAccuser(Hostile):
    byzantine = "false_accuser"

    def __init__(self, world: World, index: int, chain: Application) -> None:
        super().__init__(world, index, chain)
        self._heard: list[Vote | Certificate] = []
        self._submitted = 0

    def receive(self, sender: int, message: Any) -> None:
        said = message.leader_vote if isinstance(message, Proposal) else message
        if isinstance(said, Vote | Certificate):
            if self.world.random.random() < 0.15:
                self._accuse_with(said)
            self._heard = [*self._heard[-REMEMBERED:], said]
        super().receive(sender, message)

    def _submit(self, first: Vote, second: Vote) -> None:
        """On chain, too, where it costs the fee."""
        try:
            evidence = ConflictingVotes(first, second)
        except NoConflict:
            return
        if self._submitted < SUBMITTED_MAX and self.world.load is not None:
            self._submitted += 1
            self.world.load.give_for(self, EvidenceSubmit(evidence))

    def _accuse_with(self, said: Vote | Certificate) -> None:
        alike = [
            old
            for old in self._heard
            if type(old) is type(said)
            and old.epoch == said.epoch
            and getattr(old, "signer", 0) == getattr(said, "signer", 0)
        ]
        in_view = [old for old in alike if old.view == said.view and old != said] or alike
        other = in_view[-1] if in_view else said
        draw = self.world.random.randrange(4)
        if draw == 0:
            other = replace(said, candidate_id=bytes(range(32)))
        elif draw == 1:
            other = replace(said, candidate_id=bytes(range(32)), signature=BlsSignature(b"\xc0" + bytes(95)))
        tag = 1 if isinstance(said, Vote) else 2
        first, second = sorted((said, other), key=lambda each: (each.kind, each.candidate_id))
        if self.errands is not None and isinstance(first, Vote) and isinstance(second, Vote) and draw < 2:
            self._submit(first, second)
        peer = self.peers()[self.world.random.randrange(len(self.peers()))]
        self.send(peer, EvidenceGiven(msgspec.msgpack.encode([tag, first, second])))
