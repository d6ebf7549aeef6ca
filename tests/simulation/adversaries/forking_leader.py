"""As leader, offers a block on the parent's parent, leaving out the newest notarized one, with what certificates it holds."""

from __future__ import annotations

from consensus.stake.effects import Build
from omnitensor.protocol.attendance import attendance_of
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Candidate, Certificate
from tests.simulation.adversaries.hostile import Hostile


class ForkingLeader(Hostile):
    byzantine = "forking_leader"

    def _build(self, order: Build, salt: int = 0) -> None:
        core = self.core
        assert core is not None
        left_out = core.find(order.parent_id)
        block = left_out.block if left_out is not None else None
        grandparent = self.chain.header(block.header.parent) if block is not None else None
        if left_out is None or grandparent is None or left_out.candidate.parent_view == 0:
            super()._build(order, salt)
            return
        parent_view = View(left_out.candidate.parent_view)
        parent_id = Hash(left_out.candidate.parent_id)
        held = core.certificates(parent_view, View(order.view - 1))
        parent = [c for c in held if c.candidate_id == parent_id]
        skips = {c.view: c for c in held if c.kind == 2 and c.view > parent_view}
        proof = next((e.proof for e in reversed(self.chain.committed) if e.proof is not None), None)
        if not parent and proof is not None and proof.candidate.id == parent_id:
            parent = [proof.certificate]
        if not parent:
            super()._build(order, salt)
            return
        justification: tuple[Certificate, ...] = (parent[0], *(skips[view] for view in sorted(skips)))
        below = core.find(parent_id)
        block = self.chain.make(
            grandparent.hash,
            self.address,
            self.now_ms(),
            left_out.candidate.epoch,
            salt=2,
            attendance=None if below is None else attendance_of(parent[0], below.candidate),
        )
        if block is None:
            super()._build(order, salt)
            return
        candidate = Candidate(left_out.candidate.epoch, order.view, parent_view, parent_id, block.hash)
        self.broadcast(self.proposal(candidate, block, justification[:16]))
