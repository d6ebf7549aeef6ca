"""Evidence: who is convicted of what, what it costs, and how a removed validator leaves. Part of the model."""

from __future__ import annotations

from typing import Any

from tests.model.ground import Ground, Refused, packed, parts_of, refuse_if, tagged

NOTARIZE, SKIP, FINALIZE = 1, 2, 3
NOBODY = bytes(32)


def vote_message(chain_id: str, epoch: int, kind: int, view: int, candidate: bytes) -> bytes:
    return tagged("vote", packed((chain_id, epoch, int(kind), view, bytes(candidate))))


class Evidence(Ground):
    """Convictions, and validators on their way out."""

    def open(self) -> None:
        self.convictions = self.table()
        self.removals = self.table()

    def evidence_submit(self, sender: bytes, body: Any) -> None:
        first, second = body.evidence.first, body.evidence.second
        refuse_if(first.epoch > self.epoch, "evidence_epoch")
        refuse_if(first.epoch not in self.sets, "evidence_old")
        voters = self.sets[first.epoch][1]
        named = [voters[index][0] for index in self._both(first, second) if index < len(voters)]
        new = [address for address in named if address not in self.convictions]
        refuse_if(not new, "evidence_known")
        signers = [self._signers(message, voters) for message in (first, second)]
        for message, indexes in zip((first, second), signers, strict=True):
            text = vote_message(
                self.chain_id, message.epoch, message.kind, message.view, message.candidate_id
            )
            keys = [voters[index][1] for index in indexes]
            if not self.scheme.fast_aggregate_verify(keys, text, message.signature):
                raise Refused("evidence_signature")
        if first.kind == second.kind:
            fault = 1 if first.kind == NOTARIZE else 2
        else:
            fault = 3
        for address in new:
            self._convict(address, sender, fault, first)

    def _both(self, first: Any, second: Any) -> list[int]:
        if not hasattr(first, "signers"):
            return [first.signer]
        bits = int.from_bytes(first.signers, "little") & int.from_bytes(second.signers, "little")
        return [index for index in range(bits.bit_length()) if bits >> index & 1]

    def _signers(self, message: Any, voters: Any) -> list[int]:
        """Indexes of those who are said to have signed."""
        refuse_if(message.view == 0, "evidence_form")
        refuse_if((message.kind == SKIP) != (message.candidate_id == NOBODY), "evidence_form")
        if not hasattr(message, "signers"):
            refuse_if(message.signer >= len(voters), "evidence_signer")
            return [message.signer]
        bits = int.from_bytes(message.signers, "little")
        refuse_if(len(message.signers) != -(-len(voters) // 8), "evidence_bitmap")
        refuse_if(bits >> len(voters) > 0, "evidence_bitmap")
        found = [index for index in range(len(voters)) if bits >> index & 1]
        total, weight = sum(each[2] for each in voters), sum(voters[index][2] for index in found)
        refuse_if(weight <= total * 2 // 3, "evidence_quorum")
        return found

    def _convict(self, address: bytes, reporter: bytes, fault: int, message: Any) -> None:
        row = self.validators[address]
        had = row.stake + row.unbonding
        amount = self.slash(address, self.p.double_vote_slash_bps)
        own = had - row.stake - row.unbonding
        burned = parts_of(amount, self.p.slash_burn_bps)
        rest = own - parts_of(own, self.p.slash_burn_bps)
        reward = parts_of(rest, self.p.reporter_share_bps) if reporter != address else 0
        self.move("stake", "burned", burned)
        self.move("stake", reporter, reward)
        self.move("stake", "reserve", amount - burned - reward)
        self.note_payment(address, "penalty", own, 0)
        self.convictions[address] = {
            "fault": fault,
            "epoch": message.epoch,
            "view": message.view,
            "height": self.height,
            "reporter": reporter,
            "slashed": amount,
            "burned": burned,
            "reward": reward,
        }
        row = self.validators[address]
        row.jailed = True
        row.removed = True
        self.removals[address] = True

    def slash(self, address: bytes, bps: int, spare_held: bool = False) -> int:
        """Takes a share of stake and of each withdrawal that waits; what it takes is in the pot of stakes afterwards."""
        row = self.validators[address]
        taken = parts_of(row.stake, bps)
        if spare_held:
            taken = max(0, min(taken, row.stake - row.held))
        row.stake -= taken
        for key in [key for key in self.unbonding if key[1] == address]:
            cut = parts_of(self.unbonding[key], bps)
            self.unbonding[key] -= cut
            self.move("unbonding", "stake", cut)
            row.unbonding -= cut
            taken += cut
        return int(taken) + self.slash_delegated(address, bps)

    def carry_out_removals(self) -> None:
        room = self.limits["seats_released_per_block_max"]
        for address in sorted(self.removals):
            for number, round_ in sorted(self.open_seats_of(address)):
                if not room:
                    return
                room -= 1
                self.release_seat(number, round_, address)
            del self.removals[address]
            if self.validators[address].stake:
                self.unbond(address, self.validators[address].stake)
