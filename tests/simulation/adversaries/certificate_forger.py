"""Makes certificates that no quorum signed: its own vote many times over, and genuine ones under another kind or view."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import SKIP_ID, Certificate, Proposal, Vote, VoteKind
from tests.simulation.adversaries.hostile import Hostile


class CertificateForger(Hostile):
    byzantine = "certificate_forger"

    def receive(self, sender: int, message: Any) -> None:
        if self.core is not None and self.seat is not None and self.world.random.random() < 0.3:
            if isinstance(message, Proposal):
                self._show(self._multiplied(message.leader_vote))
            elif isinstance(message, Certificate) and message in self.world.genuine:
                # Not those of its fellows: many of them would never stop making new ones of each other's.
                self._show(self._relabelled(message))
        super().receive(sender, message)

    def _show(self, certificate: Certificate) -> None:
        for peer in self.peers():
            if self.world.random.random() < 0.5:
                self.send(peer, certificate)

    def _multiplied(self, vote: Vote) -> Certificate:
        """Its own vote in every bit that falls on its place when places are counted round, and once more than a table has."""
        kind = self.world.random.choice((VoteKind.NOTARIZE, VoteKind.FINALIZE))
        own = self.vote(kind, View(vote.view), Hash(vote.candidate_id))
        size, bits, total = len(self.epoch.table), 0, self.world.scheme.new_sum()
        places = range(own.signer, size * (size + 1), size)
        for place in places:
            bits |= 1 << place
            total.add(own.signature)
        signers = bits.to_bytes(places[-1] // 8 + 1, "little")
        return Certificate(kind, own.epoch, own.view, own.candidate_id, signers, total.signature())

    def _relabelled(self, certificate: Certificate) -> Certificate:
        draw = self.world.random.randrange(3)
        if draw == 0 and certificate.kind != VoteKind.SKIP:
            return replace(certificate, kind=VoteKind.FINALIZE)
        if draw == 1:
            return replace(certificate, kind=VoteKind.SKIP, candidate_id=SKIP_ID)
        return replace(certificate, view=certificate.view + 1)
