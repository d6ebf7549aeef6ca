"""As leader, waits for no pace, and dates its blocks before their parent, at this instant, or far ahead of time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consensus.stake.core import Core
from consensus.stake.effects import Build
from consensus.stake.knowledge import Settings
from omnitensor.protocol.types import TimeMs
from tests.simulation.adversaries.hostile import Hostile

OFF_MS = 50_000


class ClockLiar(Hostile):
    byzantine = "clock_liar"

    def core_kind(self) -> type[Core]:
        kind = super().core_kind()

        def hasty(core: Core, settings: Settings, *rest: Any) -> None:
            kind.__init__(core, replace(settings, block_interval_ms=0), *rest)

        return type("Hasty", (kind,), {"__init__": hasty})

    def _build(self, order: Build, salt: int = 0) -> None:
        off_ms = self.world.random.choice((-OFF_MS, 0, OFF_MS))
        super()._build(replace(order, timestamp_ms=TimeMs(order.timestamp_ms + off_ms)), salt)
