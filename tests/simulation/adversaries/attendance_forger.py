"""As leader, says of the block below what is not so: voters who did not vote, none, too few, or what an older block said."""

from __future__ import annotations

import dataclasses

from msgspec.structs import replace

from consensus.stake.effects import Build
from omnitensor.protocol.attendance import certificate_of
from omnitensor.protocol.ballots import Attendance, VoteKind
from omnitensor.protocol.types import Hash, View
from tests.simulation.adversaries.hostile import Hostile


class AttendanceForger(Hostile):
    byzantine = "attendance_forger"
    _older: Attendance | None = None

    def _build(self, order: Build, salt: int = 0) -> None:
        true = order.attendance
        if true is not None:
            order = dataclasses.replace(order, attendance=self._forged(order, true))
            self._older = true
        super()._build(order, salt)

    def _forged(self, order: Build, true: Attendance) -> Attendance | None:
        table = self.epoch.table
        own = 0 if self.seat is None else self.seat  # a worker is in no bitmap
        candidate_id = Hash(certificate_of(true, table.epoch, order.parent_hash).candidate_id)
        alone = self.vote(true.kind, View(true.view), candidate_id)
        everybody = table.bitmap(tuple(range(len(table))))
        lies = (
            None,
            self._older,
            replace(true, signers=everybody),
            replace(true, signers=true.signers + b"\x01"),
            replace(true, signers=table.bitmap((own,)), signature=alone.signature),
            replace(true, view=true.view + 1),
            replace(true, kind=VoteKind.FINALIZE if true.kind == VoteKind.NOTARIZE else VoteKind.NOTARIZE),
            true,
        )
        return lies[self.world.random.randrange(len(lies))]
