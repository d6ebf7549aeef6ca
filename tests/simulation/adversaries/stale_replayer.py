"""Sends again what it heard long ago: certificates, votes and proposals of earlier views and epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from omnitensor.protocol.votes import Certificate, Proposal, Vote
from tests.simulation.adversaries.hostile import Hostile
from tests.simulation.application import Application

if TYPE_CHECKING:
    from tests.simulation.world import World

REMEMBERED = 200


class StaleReplayer(Hostile):
    byzantine = "stale_replayer"

    def __init__(self, world: World, index: int, chain: Application) -> None:
        super().__init__(world, index, chain)
        self._heard: list[Vote | Certificate | Proposal] = []

    def receive(self, sender: int, message: Any) -> None:
        random = self.world.random
        if isinstance(message, Vote | Certificate | Proposal):
            if len(self._heard) < REMEMBERED:
                self._heard.append(message)
            elif random.random() < 0.2:
                self._heard[random.randrange(REMEMBERED)] = message
            if random.random() < 0.25:
                self.send(self._somebody(), self._stale())
        super().receive(sender, message)

    def _stale(self) -> Any:
        """Something old, unchanged; or an old certificate as if it were of the epoch of now."""
        random = self.world.random
        old = self._heard[random.randrange(len(self._heard))]
        if isinstance(old, Certificate) and random.random() < 0.3:
            return replace(old, epoch=self.epoch.table.epoch)
        return old
