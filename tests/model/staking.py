"""Validators, their stake, and who votes in an epoch, after docs/specification/ledger.md and consensus.md. Part of the model."""

from __future__ import annotations

from typing import Any

from tests.model.ground import Ground, Thing, refuse_if

NANO = 10**9


class Staking(Ground):
    """The register, stake on its way back, and the sets of epochs."""

    def open(self) -> None:
        self.validators = self.table()
        self.keys_seen = self.table()
        self.unbonding = self.table()
        """Amount by (height of payment, validator, number)."""
        self.sets = self.table()
        """By epoch: seed, and (address, key, weight) of each voter by address."""

    def validator_register(self, sender: bytes, body: Any) -> None:
        if sender in self.validators:
            refuse_if(self.validators[sender].removed, "validator_removed")
            refuse_if(True, "validator_exists")
        refuse_if(body.stake < self.p.validator_stake_min, "stake_min")
        closed = self.p.validator_admission == 1 and sender not in self.admitted
        refuse_if(closed, "validator_not_admitted")
        self._check_key(body)
        self.move(sender, "stake", body.stake)
        self.enter_validator(sender, body.stake, body.consensus_key, body.commission_bps, body.name)

    def enter_validator(self, address: bytes, stake: int, key: bytes, commission: int, name: str) -> None:
        self.keys_seen[key] = True
        self.count("validators", 0)
        self.validators[address] = self.thing(
            stake=stake,
            held=0,
            unbonding=0,
            unbonding_count=0,
            consensus_key=key,
            commission_bps=commission,
            name=name,
            jailed=False,
            registered_at=self.height,
            removed=False,
            commission_raised_at=self.height,
            delegated=0,
            shares=0,
            leaving=0,
            leaving_count=0,
        )

    def validator_edit(self, sender: bytes, body: Any) -> None:
        row = self.registered(sender)
        if body.consensus_key is not None:
            self._check_key(body)
            self.keys_seen[body.consensus_key] = True
            row.consensus_key = body.consensus_key
        if body.commission_bps is not None:
            if body.commission_bps > row.commission_bps:
                refuse_if(
                    body.commission_bps > row.commission_bps + self.p.commission_step_bps, "commission_step"
                )
                refuse_if(
                    self.height < row.commission_raised_at + self.p.commission_wait_blocks, "commission_wait"
                )
                row.commission_raised_at = self.height
            row.commission_bps = body.commission_bps
        if body.name is not None:
            row.name = body.name

    def _check_key(self, body: Any) -> None:
        refuse_if(body.consensus_key in self.keys_seen, "consensus_key_taken")
        proof = body.proof_of_possession
        refuse_if(proof is None or not self.scheme.pop_verify(body.consensus_key, proof), "possession")

    def registered(self, sender: bytes) -> Thing:
        refuse_if(sender not in self.validators, "validator_unknown")
        row: Thing = self.validators[sender]
        refuse_if(row.removed, "validator_removed")
        return row

    def stake_add(self, sender: bytes, body: Any) -> None:
        row = self.registered(sender)
        refuse_if(body.amount == 0, "amount")
        refuse_if(row.stake + body.amount < self.p.validator_stake_min, "stake_min")
        self.move(sender, "stake", body.amount)
        row.stake += body.amount

    def stake_withdraw(self, sender: bytes, body: Any) -> None:
        row = self.registered(sender)
        refuse_if(body.amount == 0 or body.amount > row.stake - row.held, "stake")
        refuse_if(0 < row.stake - body.amount < self.p.validator_stake_min, "stake_min")
        refuse_if(row.unbonding_count >= self.limits["unbonding_per_validator_max"], "unbonding_limit")
        self.unbond(sender, body.amount)

    def unbond(self, address: bytes, amount: int) -> None:
        row = self.validators[address]
        self.move("stake", "unbonding", amount)
        key = (self.height + self.p.unbonding_blocks, address, self.count("unbonding", 0))
        self.unbonding[key] = amount
        row.stake -= amount
        row.unbonding += amount
        row.unbonding_count += 1

    def pay_unbonded(self) -> None:
        due = sorted(key for key in self.unbonding if key[0] <= self.height)
        for key in due[: self.limits["unbonding_paid_per_block_max"]]:
            amount, row = self.unbonding[key], self.validators[key[1]]
            del self.unbonding[key]
            self.move("unbonding", key[1], amount)
            row.unbonding -= amount
            row.unbonding_count -= 1

    def chosen(self) -> tuple[tuple[bytes, bytes, int], ...]:
        """The largest validators by power, of equal ones the lower address; by the parameters of the epoch that begins."""
        able = [
            (-row.stake - row.delegated, address)
            for address, row in self.validators.items()
            if not row.jailed and not row.removed and row.stake >= max(self.now.validator_stake_min, NANO)
        ]
        largest = sorted(able)[: self.now.validators_max]
        return tuple(
            (address, self.validators[address].consensus_key, self.power(address) // NANO)
            for address in sorted(address for _, address in largest)
        )

    def power(self, address: bytes) -> int:
        row = self.validators[address]
        return int(row.stake + row.delegated)

    def turn_epoch(self) -> None:
        if self.height % self.p.epoch_blocks:
            return
        voters = self.chosen() or self.sets[self.epoch][1]
        self.sets[self.epoch + 1] = (self.beacon, voters)
        self.begin_epoch(self.epoch + 1)
        for epoch in sorted(self.sets)[:4]:  # old ones, a few at a time
            if epoch < self.epoch + 1 - self.now.evidence_epochs:
                del self.sets[epoch]
                self.attendance.drop(epoch)
                self.worker_sets.drop(epoch)
