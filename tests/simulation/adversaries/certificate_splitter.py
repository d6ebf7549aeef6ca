"""Builds certificates that others can't, by withholding its votes, and shows each kind to another half of its peers."""

from __future__ import annotations

from typing import Any

from omnitensor.protocol.votes import Certificate, Vote, VoteKind
from tests.simulation.adversaries.hostile import Hostile


class CertificateSplitter(Hostile):
    byzantine = "certificate_splitter"

    def broadcast(self, message: Any) -> None:
        if not isinstance(message, Vote | Certificate):
            super().broadcast(message)
            return
        if isinstance(message, Vote) and self.world.random.random() < 0.5:
            return  # counted here, heard nowhere: only this node completes the certificate
        half = (message.view + (message.kind == VoteKind.SKIP)) % 2
        for peer in self.peers():
            if peer % 2 == half:
                self.send(peer, message)
