"""Gives blocks, asked or not, of a chain of its own making, under the finality certificate of the true one."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from omnitensor.protocol.votes import FinalityProof
from tests.simulation.adversaries.hostile import Hostile
from tests.simulation.application import make_block
from tests.simulation.messages import BlocksGiven


class SyncLiar(Hostile):
    byzantine = "sync_liar"

    def receive(self, sender: int, message: Any) -> None:
        before = len(self.chain.committed)
        super().receive(sender, message)
        if self.core is not None and len(self.chain.committed) > before:
            for peer in self.peers():
                if self.world.random.random() < 0.3:
                    self._give_blocks(peer, len(self.chain.committed) - 1)  # nobody asked

    def send(self, receiver: int, message: Any) -> None:
        if isinstance(message, BlocksGiven):
            message = self._forged(message)
        super().send(receiver, message)

    def _forged(self, given: BlocksGiven) -> BlocksGiven:
        """The end is cut off, or changed, or replaced, or something stands on it: the proof is of none of these."""
        last, draw = given.blocks[-1], self.world.random.randrange(4)
        if draw == 0:
            return BlocksGiven(given.blocks[:-1] or given.blocks, given.proof)
        if draw == 1:
            changed = replace(last, header=replace(last.header, base_fee=7))
            return BlocksGiven((*given.blocks[:-1], changed), given.proof)
        parent = last.header if draw == 2 else self.chain.committed[last.header.height - 1].block.header
        forged = make_block(parent, self.address, last.header.timestamp_ms, last.header.epoch, salt=4)
        candidate = replace(given.proof.candidate, block_hash=forged.hash)
        kept = given.blocks if draw == 2 else given.blocks[:-1]
        return BlocksGiven((*kept, forged), FinalityProof(candidate, given.proof.certificate))
