"""An honest validator whose machine computes wrongly from some block on: it must halt, and nobody else must suffer."""

from __future__ import annotations

from omnitensor.protocol.blocks import Block
from tests.simulation.node import SimNode

WRONG_EVERY = 7


class Miscomputer(SimNode):
    byzantine = "miscomputer"
    obeys_rules = True

    def _judge(self, block: Block) -> str | None:
        fault = super()._judge(block)
        return "wrong sum" if fault is None and block.header.height % WRONG_EVERY == 0 else fault
