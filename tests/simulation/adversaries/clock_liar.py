"""As leader, dates its blocks before their parent or far ahead of time."""

from __future__ import annotations

from dataclasses import replace

from consensus.stake.effects import Build
from omnitensor.protocol.types import TimeMs
from tests.simulation.adversaries.hostile import Hostile

OFF_MS = 50_000


class ClockLiar(Hostile):
    byzantine = "clock_liar"

    def _build(self, order: Build, salt: int = 0) -> None:
        off_ms = self.world.random.choice((-OFF_MS, OFF_MS))
        super()._build(replace(order, timestamp_ms=TimeMs(order.timestamp_ms + off_ms)), salt)
