"""Says nothing at all."""

from __future__ import annotations

from typing import Any

from tests.simulation.adversaries.hostile import Hostile


class Silent(Hostile):
    byzantine = "silent"

    def broadcast(self, message: Any) -> None:
        """Nothing leaves."""

    def send(self, receiver: int, message: Any) -> None:
        """Nothing leaves."""
