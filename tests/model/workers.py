"""Workers and their bonds, and what is due about work, after docs/specification/jobs.md. Part of the model."""

from __future__ import annotations

from typing import Any

from tests.model.ground import Ground, Thing, parts_of, refuse_if

BOND = 6
NOTHING, NOBODY = bytes(32), bytes(33)


class Workers(Ground):
    """The register of workers."""

    def open(self) -> None:
        self.workers = self.table()
        self.work_due = self.table()
        """What to look at: height, kind, job, unit, worker."""

    def look(
        self, height: int, kind: int, job: bytes = NOTHING, unit: int = 0, worker: bytes = NOBODY
    ) -> None:
        self.work_due[height, kind, job, unit, worker] = True

    def worker(self, address: bytes) -> Thing:
        refuse_if(address not in self.workers, "worker_unknown")
        row: Thing = self.workers[address]
        return row

    def worker_register(self, sender: bytes, body: Any) -> None:
        refuse_if(sender in self.workers, "worker_exists")
        refuse_if(body.bond < self.p.worker_bond_min, "worker_bond")
        refuse_if(len(self.workers) >= self.limits["workers_max"], "worker_limit")
        self._own_key(sender, body)
        self.move(sender, "work bonds", body.bond)
        self.workers[sender] = self.thing(
            bond=body.bond,
            consensus_key=body.consensus_key,
            registered_at=self.height,
            leaves_at=0,
            held=0,
            good=0,
            bad=0,
            fees=0,
            pool=0,
            slashed=0,
        )
        self.counters["workers"] = len(self.workers)

    def _own_key(self, sender: bytes, body: Any) -> None:
        """A validator's own, or a new one."""
        if sender in self.validators:
            refuse_if(body.consensus_key != self.validators[sender].consensus_key, "worker_key")
            return
        self._check_key(body)
        self.keys_seen[body.consensus_key] = True

    def worker_bond_add(self, sender: bytes, body: Any) -> None:
        row = self.worker(sender)
        refuse_if(body.amount == 0, "amount")
        refuse_if(row.leaves_at > 0, "worker_leaves")
        self.move(sender, "work bonds", body.amount)
        row.bond += body.amount

    def worker_edit(self, sender: bytes, body: Any) -> None:
        row = self.worker(sender)
        refuse_if(body.consensus_key == row.consensus_key, "worker_key")
        self._own_key(sender, body)
        row.consensus_key = body.consensus_key

    def worker_leave(self, sender: bytes, body: Any) -> None:
        row = self.worker(sender)
        refuse_if(row.leaves_at > 0, "worker_leaves")
        row.leaves_at = self.height + self.p.unbonding_blocks + self.p.epoch_blocks
        self.look(row.leaves_at, BOND, worker=sender)

    def return_bond(self, address: bytes) -> None:
        row = self.workers[address]
        if row.held:
            self.look(self.height + self.p.epoch_blocks, BOND, worker=address)
            return
        self.move("work bonds", address, row.bond)
        del self.workers[address]
        self.counters["workers"] = len(self.workers)

    def whole(self, row: Thing) -> bool:
        return row.leaves_at == 0 and row.bond >= self.p.worker_bond_min

    def slash_worker(self, address: bytes, bps: int, finder: bytes | None = None) -> tuple[int, int]:
        """What was taken, and what of it the finder has."""
        row = self.workers[address]
        amount = min(row.bond, parts_of(self.p.worker_bond_min, bps))
        burned = parts_of(amount, self.p.slash_burn_bps)
        found = 0 if finder is None else min(parts_of(amount, self.p.work_finder_bps), amount - burned)
        self.move("work bonds", "burned", burned)
        if finder is not None:
            self.move("work bonds", finder, found)
        self.move("work bonds", "reserve", amount - burned - found)
        row.bond -= amount
        row.slashed += amount
        return amount, found
