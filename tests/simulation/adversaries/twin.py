"""One key on two machines: each an honest node with a safety store of its own, neither hearing the other."""

from __future__ import annotations

from typing import Any

from tests.simulation.node import SimNode


class Twin(SimNode):
    byzantine = "twin"
    obeys_rules = True

    def receive(self, sender: int, message: Any) -> None:
        """It may still find its own signature, which it has not made, in a certificate; then it halts."""
        if self.world.validator_of[sender] != self.validator:
            super().receive(sender, message)
