"""One key on two machines: each an honest node with a safety store of its own, neither hearing the other."""

from __future__ import annotations

from typing import Any

from consensus.stake.core import Core
from consensus.stake.effects import Build
from tests.simulation.node import SimNode

SALT = 10


class Twin(SimNode):
    byzantine = "twin"
    obeys_rules = True

    def receive(self, sender: int, message: Any) -> None:
        """It may still find its own signature, which it has not made, in a certificate; then it halts."""
        if self.world.validator_of[sender] != self.validator:
            super().receive(sender, message)

    def _build(self, order: Build, salt: int = 0) -> None:
        """Two machines build two blocks."""
        super()._build(order, SALT + self.index)


class ShamelessTwin(Twin):
    """A twin that goes on when it finds its key's votes that it has not cast, and hears whoever it can."""

    byzantine = "shameless_twin"

    def core_kind(self) -> type[Core]:
        return type("Shameless", (super().core_kind(),), {"_not_mine": lambda *_: None})

    def receive(self, sender: int, message: Any) -> None:
        SimNode.receive(self, sender, message)
