"""Passes on mangled copies of all it sees: wrong bitmaps, signers, views, signatures, blocks under another's candidate."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from omnitensor.protocol.types import BlsSignature
from omnitensor.protocol.votes import Certificate, Proposal, Vote, VoteKind
from tests.simulation.adversaries.hostile import Hostile


class Garbage(Hostile):
    byzantine = "garbage"

    def receive(self, sender: int, message: Any) -> None:
        if isinstance(message, Vote | Certificate | Proposal) and self.world.random.random() < 0.3:
            peer = self.peers()[self.world.random.randrange(len(self.peers()))]
            self.send(peer, self._mangled(message))
        super().receive(sender, message)

    def _mangled(self, message: Vote | Certificate | Proposal) -> Any:
        draw = self.world.random.randrange(6)
        if isinstance(message, Proposal):
            if draw < 2:
                return replace(message, justification=message.justification[1:])
            if draw < 4:
                return replace(message, leader_vote=self._mangled(message.leader_vote))
            if message.block is None:
                return replace(
                    message, candidate=replace(message.candidate, parent_view=message.candidate.view)
                )
            header = replace(message.block.header, base_fee=7)
            return replace(message, block=replace(message.block, header=header))
        if isinstance(message, Vote):
            return (
                replace(message, view=message.view + 1),
                replace(message, signer=message.signer + 1),
                replace(message, signer=60_000),
                replace(message, kind=VoteKind.FINALIZE if message.kind == 1 else VoteKind.SKIP),
                replace(message, signature=BlsSignature(bytes(96))),
                replace(message, epoch=9, view=2**62),
            )[draw]
        return (
            replace(message, signers=b"\xff" * len(message.signers)),
            replace(message, signers=message.signers + b"\x01"),
            replace(message, signers=bytes(len(message.signers))),
            replace(message, view=message.view + 1),
            replace(message, candidate_id=bytes(range(32))),
            replace(message, signature=BlsSignature(b"\xc0" + bytes(95))),
        )[draw]
