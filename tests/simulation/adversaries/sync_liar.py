"""Claims heights that it has not, takes them back, and gives a chain of its own making under the signatures of the true one."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from omnitensor.protocol.blocks import Block
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.types import Height
from omnitensor.protocol.votes import FinalityProof
from p2p.messages import BlocksResponse
from tests.simulation.adversaries.hostile import Hostile
from tests.simulation.messages import BlocksGiven, HeadTold


class SyncLiar(Hostile):
    byzantine = "sync_liar"

    def broadcast(self, message: Any) -> None:
        draw = self.world.random.random()
        if isinstance(message, HeadTold) and draw < 0.4:
            height = message.height + self.world.random.randint(1, 5) if draw < 0.3 else message.height // 2
            message = HeadTold(message.life, message.number, height)
        super().broadcast(message)

    def send(self, receiver: int, message: Any) -> None:
        if isinstance(message, BlocksGiven) and message.response is not None:
            message = BlocksGiven(message.life, message.ticket, self._forged(message.response))
        super().send(receiver, message)

    def _forged(self, given: BlocksResponse) -> BlocksResponse:
        """The end is cut off, or changed, or replaced, or something stands on it: the proof is of none of these."""
        last, draw = decode(Block, given.blocks[-1]), self.world.random.randrange(5)
        if draw == 0:
            return BlocksResponse(given.blocks[:-1] or given.blocks, given.links, given.proof)
        if draw in (1, 4):
            # Under the true header, where there are transactions to leave out.
            header = last.header if last.transactions and draw == 4 else replace(last.header, base_fee=7)
            changed = Block(header, last.transactions[:-1] if draw == 4 else last.transactions)
            return BlocksResponse((*given.blocks[:-1], encode(changed)), given.links, given.proof)
        header = replace(last.header, weight_used=7)
        if draw == 2:
            header = replace(header, parent=last.hash, height=Height(header.height + 1))
        forged = Block(header, last.transactions)
        candidate = replace(given.proof.candidate, block_hash=forged.hash)
        kept = given.blocks if draw == 2 else given.blocks[:-1]
        certificate = given.proof.certificate
        if self.world.random.random() < 0.5:
            certificate = replace(certificate, candidate_id=candidate.id)
        proof = FinalityProof(candidate, certificate)
        return BlocksResponse((*kept, encode(forged)), (), proof)
