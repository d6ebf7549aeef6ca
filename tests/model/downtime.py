"""Absence and jail, after docs/specification/ledger.md. Part of the model; shares no code with the ledger."""

from __future__ import annotations

from typing import Any

from tests.model.ground import Ground, parts_of, refuse_if


class Downtime(Ground):
    """Who is absent, who is in jail, and until when."""

    def open(self) -> None:
        self.downtime = self.table()
        """By validator: epochs absent in a row, the last, lowest height to leave jail at (0: in none), weight in the bound."""

    def validator_unjail(self, sender: bytes, body: Any) -> None:
        row = self.registered(sender)
        refuse_if(not row.jailed, "not_jailed")
        refuse_if(self.height < self.downtime[sender][2], "jail_time")
        refuse_if(row.stake < self.p.validator_stake_min, "stake_min")
        row.jailed = False
        del self.downtime[sender]

    def judge_downtime(self) -> None:
        if self.height % self.p.epoch_blocks:
            return
        voters = self.sets[self.epoch][1]
        absent = []
        entries, tickets = self.worker_sets.get(self.epoch, ((), 0))
        by_work = tickets >= self.limits["tickets_min"] and any(credit for _, _, credit in entries)
        least = self.p.attendance_min_bps
        blocks, _ = self.attendance.get(self.epoch, (0, ()))
        if by_work and blocks:
            least = least * (blocks // 3) // blocks
        for place, (address, _, weight) in enumerate(voters):
            share = self.attended_bps(place)
            if share < least and not self.validators[address].jailed:
                count, last, _, _ = self.downtime.get(address, (0, -1, 0, 0))
                count = count + 1 if last == self.epoch - 1 else 1
                self.downtime[address] = (count, self.epoch, 0, 0)
                absent.append((share, address, weight, count))
        locked = 0
        for address in list(self.downtime):
            _, last, until, weight = self.downtime[address]
            over = not until and last < self.epoch
            if over or self.validators[address].removed:
                del self.downtime[address]
            elif until > self.height:
                locked += weight
        most = parts_of(sum(weight for _, _, weight in voters) + locked, self.p.jail_share_max_bps)
        for _, address, weight, count in sorted(absent):
            if count >= self.p.downtime_epochs and locked + weight <= most:
                locked += weight
                self._jail(address, count, weight)

    def _jail(self, address: bytes, count: int, weight: int) -> None:
        amount = self.slash(address, self.p.downtime_slash_bps, spare_held=True)
        burned = parts_of(amount, self.p.slash_burn_bps)
        self.move("stake", "burned", burned)
        self.move("stake", "reserve", amount - burned)
        self.note_payment(address, "penalty", amount, 0)
        self.validators[address].jailed = True
        self.downtime[address] = (count, self.epoch, self.height + self.p.jail_blocks, weight)
