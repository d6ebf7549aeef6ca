"""Gives blocks, asked or not, of a chain of its own making, under the finality certificate of the true one."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from omnitensor.protocol.votes import Certificate, FinalityProof
from tests.simulation.adversaries.hostile import Hostile
from tests.simulation.application import make_block
from tests.simulation.messages import BlocksGiven


class SyncLiar(Hostile):
    byzantine = "sync_liar"

    def receive(self, sender: int, message: Any) -> None:
        super().receive(sender, message)
        if self.core is not None and isinstance(message, Certificate) and self.world.random.random() < 0.1:
            self._give_blocks(sender, len(self.chain.committed) - 1)  # nobody asked

    def send(self, receiver: int, message: Any) -> None:
        if isinstance(message, BlocksGiven):
            message = self._forged(message)
        super().send(receiver, message)

    def _forged(self, given: BlocksGiven) -> BlocksGiven:
        """The last block is another; or the proof is that of the block before, or is cut off."""
        last, draw = given.blocks[-1], self.world.random.randrange(3)
        if draw == 0:
            return BlocksGiven(given.blocks[:-1] or given.blocks, given.proof)
        if draw == 1:
            return BlocksGiven(
                (*given.blocks[:-1], replace(last, header=replace(last.header, base_fee=7))), given.proof
            )
        parent = self.chain.committed[last.header.height - 1].block.header
        block = make_block(parent, self.address, last.header.timestamp_ms, last.header.epoch, salt=4)
        candidate = replace(given.proof.candidate, block_hash=block.hash)
        return BlocksGiven((*given.blocks[:-1], block), FinalityProof(candidate, given.proof.certificate))
