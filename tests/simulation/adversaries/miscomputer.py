"""An honest validator whose machine computes wrongly from some block on: it must halt, and nobody else must suffer."""

from __future__ import annotations

from node.driver import Checked
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.votes import Candidate
from tests.simulation.node import SimNode

WRONG_EVERY = 7


class Miscomputer(SimNode):
    byzantine = "miscomputer"
    obeys_rules = True

    def _judge(self, candidate: Candidate, block: Block) -> Checked | None:
        checked = super()._judge(candidate, block)
        wrong = checked == Checked(None) and block.header.height % WRONG_EVERY == 0
        return Checked("wrong sum") if wrong else checked
