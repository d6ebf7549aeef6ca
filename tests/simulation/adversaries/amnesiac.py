"""Crashes again and again, and starts each time without any memory of what it has signed."""

from __future__ import annotations

from tests.simulation.adversaries.hostile import Hostile


class Amnesiac(Hostile):
    """A hostile node's store records no votes, so that nothing is left to remember."""

    byzantine = "amnesiac"

    def start(self) -> None:
        super().start()
        if self.core is not None and not self.world.healed:
            self._later(self.world.random.randint(300, 2_000), self._forget)

    def _forget(self) -> None:
        self.crash()
        self.world.restart_later(self)
