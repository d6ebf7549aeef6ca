"""Sends each message to a random half of its peers, and answers no requests."""

from __future__ import annotations

from typing import Any

from tests.simulation.adversaries.hostile import Hostile
from tests.simulation.messages import BlocksGiven, CandidateGiven, CertificatesGiven


class SelectiveSender(Hostile):
    byzantine = "selective_sender"

    def broadcast(self, message: Any) -> None:
        for peer in self.peers():
            if self.world.random.random() < 0.5:
                self.send(peer, message)

    def send(self, receiver: int, message: Any) -> None:
        if not isinstance(message, BlocksGiven | CandidateGiven | CertificatesGiven):
            super().send(receiver, message)
