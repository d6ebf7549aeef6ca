"""As leader, passes honest voters over: of the block below it names a bare quorum, always without the same ones. No lie in it."""

from __future__ import annotations

import dataclasses
from typing import Any

from msgspec.structs import replace

from consensus.stake.effects import Build
from omnitensor.protocol.attendance import certificate_of
from omnitensor.protocol.ballots import Attendance
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Hash
from omnitensor.protocol.votes import Vote
from tests.simulation.adversaries.hostile import Hostile


class SnubbingLeader(Hostile):
    byzantine = "snubbing_leader"

    def start(self) -> None:
        self._told: dict[Hash, dict[tuple[int, int], Vote]] = {}
        """Votes as they came, by candidate, then kind and signer: what is in a certificate already the core keeps no more."""
        super().start()

    def receive(self, sender: int, message: Any) -> None:
        if self.up and isinstance(message, Vote):
            votes = self._told.setdefault(Hash(message.candidate_id), {})
            votes.setdefault((message.kind, message.signer), message)
        super().receive(sender, message)

    def _build(self, order: Build, salt: int = 0) -> None:
        if order.attendance is not None:
            order = dataclasses.replace(order, attendance=self._without(order, order.attendance))
        super()._build(order, salt)

    def _without(self, order: Build, true: Attendance) -> Attendance:
        """What the header says less those of the lowest index that a quorum does not need; as it was where too few were heard."""
        table = self.epoch.table
        certificate = certificate_of(true, table.epoch, order.parent_hash)
        told = self._told.get(Hash(certificate.candidate_id), {})
        votes = {
            signer: told[kind, signer]
            for kind, signer in sorted(told)
            if kind == true.kind and self._is_genuine(told[kind, signer])
        }
        for signer in tuple(votes):
            rest = table.weight_of(frozenset(votes) - {signer})
            if self.epoch.members[signer] not in self.world.scenario.hostile and rest >= table.quorum_weight:
                del votes[signer]
        if table.weight_of(frozenset(votes)) < table.quorum_weight:
            return true
        total = self.world.scheme.new_sum()
        for vote in votes.values():
            total.add(vote.signature)
        return replace(true, signers=table.bitmap(frozenset(votes)), signature=total.signature())

    def _is_genuine(self, vote: Vote) -> bool:
        try:
            self.epoch.verifier.verify_vote(vote)
        except ProtocolError:
            return False
        return True
