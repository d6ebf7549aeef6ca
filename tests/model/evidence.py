"""Evidence: who is convicted of what, what it costs, and how a removed validator leaves. Part of the model."""

from __future__ import annotations

from typing import Any

from tests.model.ground import BPS, Ground, Refused, packed, parts_of, refuse_if, tagged

NOTARIZE, SKIP, FINALIZE = 1, 2, 3
NOBODY = bytes(32)


def vote_message(chain_id: str, epoch: int, kind: int, view: int, candidate: bytes) -> bytes:
    return tagged("vote", packed((chain_id, epoch, int(kind), view, bytes(candidate))))


class Evidence(Ground):
    """Convictions, and validators on their way out."""

    def open(self) -> None:
        self.convictions = self.table()
        self.worker_convictions = self.table()
        """By worker and the epoch of its fault."""
        self.removals = self.table()

    def evidence_submit(self, sender: bytes, body: Any) -> None:
        first, second = body.evidence.first, body.evidence.second
        refuse_if(first.epoch > self.epoch, "evidence_epoch")
        refuse_if(first.epoch not in self.sets, "evidence_old")
        voters = self.sets[first.epoch][1]
        workers = self.leading_workers(first.epoch)
        leaders = voters + workers
        named = [leaders[index][0] for index in self._both(first, second, voters, leaders)]
        new = [address for address in named if not self._is_convicted(address, voters, first.epoch)]
        refuse_if(not new, "evidence_known")
        signers = [self._signers(message, voters, workers) for message in (first, second)]
        for message, indexes in zip((first, second), signers, strict=True):
            text = vote_message(
                self.chain_id, message.epoch, message.kind, message.view, message.candidate_id
            )
            keys = [leaders[index][1] for index in indexes]
            if not self.scheme.fast_aggregate_verify(keys, text, message.signature):
                raise Refused("evidence_signature")
        if first.kind == second.kind:
            fault = 1 if first.kind == NOTARIZE else 2
        else:
            fault = 3
        for address in new:
            if address in [voter[0] for voter in voters]:
                self._convict(address, sender, fault, first)
            else:
                self._convict_worker(address, sender, fault, first)

    def leading_workers(self, epoch: int) -> tuple[Any, ...]:
        """Who leads in an epoch by its work and does not vote: address and key, by address."""
        entries, tickets = self.worker_sets.get(epoch, ((), 0))
        if tickets < self.limits["tickets_min"] or not sum(credit for _, _, credit in entries):
            return ()
        voters = [address for address, _, _ in self.sets[epoch][1]]
        return tuple((who, key, credit) for who, key, credit in sorted(entries) if who not in voters)

    def _is_convicted(self, address: bytes, voters: Any, epoch: int) -> bool:
        if address in [voter[0] for voter in voters]:
            return address in self.convictions
        return (address, epoch) in self.worker_convictions

    def _both(self, first: Any, second: Any, voters: Any, leaders: Any) -> list[int]:
        """Places of those whom both messages name: of a vote any leader, of a certificate voters alone."""
        if not hasattr(first, "signers"):
            return [first.signer] if first.signer < len(leaders) else []
        bits = int.from_bytes(first.signers, "little") & int.from_bytes(second.signers, "little")
        return [index for index in range(len(voters)) if bits >> index & 1]

    def _signers(self, message: Any, voters: Any, workers: Any) -> list[int]:
        """Indexes of those who are said to have signed."""
        refuse_if(message.view == 0, "evidence_form")
        refuse_if((message.kind == SKIP) != (message.candidate_id == NOBODY), "evidence_form")
        if not hasattr(message, "signers"):
            by_worker = len(voters) <= message.signer < len(voters) + len(workers)
            refuse_if(by_worker and message.kind != NOTARIZE, "evidence_form")
            refuse_if(message.signer >= len(voters) + len(workers), "evidence_signer")
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
        self.lead_no_more(address)

    def _convict_worker(self, address: bytes, reporter: bytes, fault: int, message: Any) -> None:
        """Its bond, as far as a worker needs one, and the credit that nobody draws from yet. It stays a worker."""
        amount, reward = 0, 0
        if address in self.workers:
            finder = reporter if reporter != address else None
            amount, reward = self.slash_worker(address, BPS, finder)
        self.worker_convictions[address, message.epoch] = {
            "fault": fault,
            "epoch": message.epoch,
            "view": message.view,
            "height": self.height,
            "reporter": reporter,
            "slashed": amount,
            "burned": parts_of(amount, self.p.slash_burn_bps),
            "reward": reward,
        }
        if (self.epoch, address) in self.work_credit:
            self.work_credit[self.epoch, address].credit = 0
        self.lead_no_more(address)

    def lead_no_more(self, address: bytes) -> None:
        """In the set that is fixed and not in use yet."""
        if self.epoch + 1 in self.worker_sets:
            entries, tickets = self.worker_sets[self.epoch + 1]
            left = tuple((who, key, 0 if who == address else credit) for who, key, credit in entries)
            self.worker_sets[self.epoch + 1] = (left, tickets)

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
