"""Jobs and receipts, after docs/specification/jobs.md. Part of the model; shares no code with the ledger.

What is due is looked at in the order of its height, kind, job, unit and worker.
"""

from __future__ import annotations

from typing import Any

from tests.model.ground import Thing, refuse_if, tagged
from tests.model.trees import keyed_root, tree
from tests.model.workers import BOND, NOTHING, Workers

OPEN, DEADLINE, OUTPUTS, JUDGED, SETTLED, FORGET, _, HINT = range(8)
HINTS_FROM = 2**62
"""Hints wait in a line behind all else."""
POSTED, TAKES, CLOSING, DONE, EXPIRED, CANCELLED, REFUSED = range(7)
PEOPLES, PRINTS, SCORES, SYNTHETIC = range(4)
COMMITTED, SHOWN, GOOD, BAD, VOID, WITHHELD, CHALLENGED = range(7)
MIB = 2**20
PRINT_ROOT = bytes.fromhex("bfe1e8fe7a957d4fc6d0a3009a26bad1969b95c9df206717eb69021f9190d9d5")
INLINE_BYTES = 8_192
UNIT_ITEMS = 32
ANCHOR_BLOCKS_MOST = 1_000


def eight(number: int) -> bytes:
    return int(number).to_bytes(8, "big")


class Work(Workers):
    """Who asks for what, who runs it, and what becomes of it."""

    def open(self) -> None:
        self.worker_lists = self.table()
        self.jobs = self.table()
        self.units = self.table()
        """By job and unit: receipts under way, those found good, until when they wait for others, whether any was shown."""
        self.work_receipts = self.table()
        self.shown_outputs = self.table()
        self.attests = self.table()
        """By job: what each validator said."""
        self.models_seen = self.table()
        self.signer = bytes(32)

    # -- jobs

    def job_name(self, kind: int, number: int) -> bytes:
        return tagged("work-job", self.chain_id.encode(), eight(kind), eight(number))

    def job_post(self, sender: bytes, body: Any) -> None:
        shapes = [(each.inputs, each.outputs) for each in body.layers]
        chained = all(shapes[place][1] == shapes[place + 1][0] for place in range(len(shapes) - 1))
        refuse_if(body.tile not in (16, 32, 64, 128) or not chained, "job_shape")
        size = body.rows * shapes[0][0]
        refuse_if(body.data.size != size, "job_data")
        refuse_if(size > 256 * MIB or body.model.size > 16 * MIB, "job_size")
        units = -(-body.rows // body.unit_rows)
        refuse_if(units > 4_096, "job_units")
        refuse_if(body.fee_unit == body.burn_unit == 0, "job_fee")
        late = body.deadline <= self.height or body.deadline > self.height + self.p.work_job_blocks_max
        refuse_if(late, "job_deadline")
        mine = self.jobs_of(sender)
        full = mine >= self.limits["jobs_open_per_account_max"] or self.counters.get("open jobs", 0) >= 256
        refuse_if(full, "job_limit")
        place = self.place_of(body.deadline - self.height)
        refuse_if(place > body.place_max, "job_place")
        self.move(sender, "burned", place)
        paid = units * body.replicas * (body.fee_unit + body.burn_unit)
        self.move(sender, "work", paid)
        self.counters["open jobs"] = self.counters.get("open jobs", 0) + 1
        name = self.job_name(PEOPLES, self.count("job", 1))
        self.new_job(
            name,
            PEOPLES,
            body.layers,
            body.tile,
            body.rows,
            body.unit_rows,
            body.replicas,
            body.deadline,
            poster=sender,
            model=body.model,
            model_root=body.model_root,
            data=body.data,
            fee_unit=body.fee_unit,
            burn_unit=body.burn_unit,
            escrow=paid,
        )
        self.see_model(body.model_root)

    def place_of(self, ahead: int) -> int:
        """What burns for one more place: the price of a block rises with each place beyond the free ones."""
        beyond = self.counters.get("open jobs", 0) + 1 - self.limits["jobs_places_free"]
        longest = (
            ahead + self.p.work_outputs_blocks + self.p.work_judge_blocks
        )  # the last receipt is found good,
        longest += (
            self.p.epoch_blocks + self.p.work_judge_blocks + 1
        )  # objected to at the end of its time, and judged
        return int(max(beyond, 0) * longest * self.p.work_place_price)

    def jobs_of(self, account: bytes) -> int:
        """Of an account, those that have not ended."""
        return sum(row.poster == account and row.status < DONE for row in self.jobs.values())

    def see_model(self, root: bytes) -> None:
        if root not in self.models_seen:
            self.models_seen[root] = self.epoch

    def new_job(
        self,
        name: bytes,
        kind: int,
        layers: Any,
        tile: int,
        rows: int,
        unit_rows: int,
        replicas: int,
        deadline: int,
        **more: Any,
    ) -> None:
        told = {
            "kind": kind,
            "poster": b"",
            "model": None,
            "model_root": NOTHING,
            "data": None,
            "batch": 0,
            "layers": layers,
            "tile": tile,
            "rows": rows,
            "unit_rows": unit_rows,
            "replicas": replicas,
            "fee_unit": 0,
            "burn_unit": 0,
            "status": POSTED,
            "outcome": POSTED,
            "available": False,
            "posted_at": self.height,
            "opened_at": 0,
            "opened_epoch": 0,
            "beacon": NOTHING,
            "deadline": deadline,
            "ended_at": 0,
            "escrow": 0,
            "under_way": 0,
            "done": 0,
            "paid": 0,
            "burned": 0,
            "refunded": 0,
        }
        self.jobs[name] = self.thing(**(told | more))
        self.look(deadline, DEADLINE, name)

    def jobs_for_batch(self, batch: int, items: int, model: Any) -> None:
        """The chain's own, of a first round, where the epoch's list has a worker."""
        listed = self.worker_lists.get(self.epoch, ())
        if not listed:
            return
        replicas = min(self.p.work_chain_replicas, len(listed))
        until = self.height + self.p.work_chain_job_blocks
        at_once = min(items, UNIT_ITEMS)
        self.new_job(
            self.job_name(PRINTS, batch),
            PRINTS,
            (),  # the shape of `fingerprint-v1`
            64,
            items,
            at_once,
            replicas,
            until,
            model_root=PRINT_ROOT,
            batch=batch,
        )
        if model is not None:
            self.new_job(
                self.job_name(SCORES, batch),
                SCORES,
                model.layers,
                model.tile,
                items,
                at_once,
                replicas,
                until,
                model=model.content,
                model_root=model.root,
                batch=batch,
            )

    def units_in(self, job: Thing) -> int:
        return -(-int(job.rows) // int(job.unit_rows))

    def width(self, job: Thing) -> int:
        """Outputs of a row."""
        return 256 if job.kind == PRINTS else int(job.layers[-1].outputs)

    def rows_in(self, job: Thing, unit: int) -> int:
        return min(int(job.unit_rows), int(job.rows) - unit * int(job.unit_rows))

    def job_cancel(self, sender: bytes, body: Any) -> None:
        refuse_if(body.job not in self.jobs, "job_unknown")
        job = self.jobs[body.job]
        refuse_if(job.poster != sender, "job_poster")
        refuse_if(job.status > TAKES, "job_ended")
        self.close_job(body.job, CANCELLED)

    def try_to_open(self, name: bytes) -> None:
        job = self.jobs[name]
        if job.status != POSTED:
            return
        if self.models_seen.get(job.model_root, -1) >= self.epoch:
            self.look((self.epoch + 1) * self.p.epoch_blocks + 1, OPEN, name)
            return
        job.status, job.opened_at, job.opened_epoch, job.beacon = TAKES, self.height, self.epoch, self.beacon

    def close_job(self, name: bytes, outcome: int) -> None:
        job = self.jobs[name]
        job.status, job.outcome = CLOSING, outcome
        self.attests.drop(name)
        self.give_back_what_is_free(name)
        if not job.under_way:
            self.end_job(name)

    def give_back_what_is_free(self, name: bytes) -> None:
        """While a job closes. One that is done may have to run a unit again, so its money waits for the end."""
        job = self.jobs[name]
        if job.status == CLOSING and (job.under_way == 0 or job.outcome != DONE):
            self.give_back(job, job.escrow - job.under_way * (job.fee_unit + job.burn_unit))

    def give_back(self, job: Thing, amount: int) -> None:
        if amount:
            self.move("work", job.poster, amount)
        job.escrow -= amount
        job.refunded += amount

    def end_job(self, name: bytes) -> None:
        job = self.jobs[name]
        assert job.escrow == 0, "a job ends with nothing left"
        job.status, job.ended_at = job.outcome, self.height
        kept = self.p.work_keep_blocks if job.kind == PEOPLES else 0
        self.look(self.height + max(self.p.epoch_blocks, kept) + 1, FORGET, name)
        if job.poster:
            self.counters["open jobs"] -= 1

    def one_less(self, name: bytes) -> None:
        """The money of one receipt of the job is nobody's question any more."""
        job = self.jobs[name]
        job.under_way -= 1
        self.see_whether_done(name)
        self.give_back_what_is_free(name)
        if job.status == CLOSING and not job.under_way:
            self.end_job(name)

    def see_whether_done(self, name: bytes) -> None:
        """Every unit has an answer, and nothing that could be another: by the deadline, or by what was under way then."""
        job = self.jobs[name]
        if job.done < self.units_in(job):
            return
        if job.status == TAKES:
            job.status = CLOSING
            job.outcome = DONE
        elif (job.status, job.outcome) == (CLOSING, EXPIRED):
            job.outcome = DONE

    def unit_goes(self, name: bytes, unit: int, waiting: int, good: int) -> None:
        """A unit has other receipts than before. With none it is as if nobody had ever come."""
        _, _, hold, was_shown = self.units[name, unit]
        self.units[name, unit] = (waiting, good, hold, was_shown) if waiting or good else (0, 0, 0, False)
        job = self.jobs[name]
        counts = [row for (of, _), row in self.units.items() if of == name]
        job.done = sum(each[0] == 0 and each[1] > 0 for each in counts)

    def pay_receipt(self, key: tuple[bytes, int, bytes]) -> None:
        """Nobody showed a wrong row of it in time."""
        name, _, address = key
        job = self.jobs[name]
        self.move("work", address, job.fee_unit)
        self.move("work", "burned", job.burn_unit)
        self.workers[address].fees += job.fee_unit
        if job.fee_unit:
            self.score_work(address, min(job.fee_unit, job.burn_unit), 1)
        job.escrow -= job.fee_unit + job.burn_unit
        job.paid += job.fee_unit
        job.burned += job.burn_unit
        self.one_less(name)

    def open_again(self, name: bytes, unit: int) -> None:
        """A good receipt of the unit is none."""
        job = self.jobs[name]
        waiting, good, _, _ = self.units[name, unit]
        self.unit_goes(name, unit, waiting, good - 1)
        if (job.status, job.outcome) == (CLOSING, DONE) and waiting == 0 and good == 1:
            if self.height < job.deadline:
                job.status, job.outcome = TAKES, POSTED
            else:
                job.outcome = EXPIRED
        self.one_less(name)

    # -- receipts

    def work_commit(self, sender: bytes, body: Any) -> None:
        made = body.receipt
        refuse_if(made.worker != sender, "receipt_worker")
        row = self.worker(sender)
        refuse_if(row.leaves_at > 0, "worker_leaves")
        refuse_if(not self.whole(row), "worker_bond")
        refuse_if(len(self.bytes_of(made)) > 256, "receipt_size")
        oldest = self.height - self.p.work_anchor_blocks_max
        refuse_if(made.anchor < oldest or made.anchor >= self.height, "receipt_anchor")
        key = (made.job, made.unit, sender)
        refuse_if(key in self.work_receipts, "receipt_known")
        tickets = tuple((each.layer, each.row, each.column, each.piece) for each in made.tickets)
        signed = tagged(
            "work-receipt",
            self.chain_id.encode(),
            self.bytes_of((made.job, made.unit, made.anchor, made.worker, made.outputs_root, tickets)),
        )
        good = self.scheme.verify_key(self.signer, signed, made.signature)
        refuse_if(not good, "receipt_signature")
        sums = self.sums()
        so_far = sums.in_block if sums.block == self.height else 0
        refuse_if(so_far >= self.p.work_receipts_per_block_max, "receipt_limit")
        epoch = max(0, made.anchor - 1) // self.p.epoch_blocks
        if made.job == self.job_name(SYNTHETIC, epoch):
            refuse_if(made.unit >= self.p.synthetic_units_max, "receipt_unit")
            refuse_if(made.outputs_root != NOTHING or not made.tickets, "receipt_synthetic")
            self.new_receipt(key, made, SYNTHETIC)
            self.begin_judgement(key)
        else:
            self.commit_unit(key, made)
        sums.block, sums.in_block = self.height, so_far + 1

    def commit_unit(self, key: tuple[bytes, int, bytes], made: Any) -> None:
        name, unit, worker = key
        refuse_if(name not in self.jobs, "job_unknown")
        job = self.jobs[name]
        refuse_if(job.status != TAKES or self.height > job.deadline, "job_not_open")
        refuse_if(made.anchor < job.opened_at, "receipt_anchor")
        refuse_if(unit >= self.units_in(job), "receipt_unit")
        waiting, good, hold, was_shown = self.units.get((name, unit), (0, 0, 0, False))
        refuse_if(waiting + good >= job.replicas, "unit_full")
        refuse_if(was_shown, "unit_shown")
        drawn = self.drawn(name, job, unit)
        refuse_if(drawn is not None and worker not in drawn, "unit_assigned")
        self.new_receipt(key, made, job.kind)
        if not hold:  # the first: it waits for those who were asked, and then for anybody
            hold = max(job.opened_at + self.p.work_assigned_blocks, self.height) + self.p.work_outputs_blocks
            hold = min(hold, job.deadline + 1)
        self.units[name, unit] = (waiting + 1, good, hold, False)
        job.under_way += 1
        is_last = waiting + good + 1 == job.replicas
        begins = self.height + 1 if is_last else max(self.height + 1, hold)
        self.look(begins - 1 + self.p.work_outputs_blocks, OUTPUTS, *key)

    def drawn(self, name: bytes, job: Thing, unit: int) -> list[bytes] | None:
        """Whose a unit is for now: places in the epoch's list, changed about by the beacon of the block that opened the job."""
        listed = list(self.worker_lists.get(job.opened_epoch, ()))
        if not listed or self.height > job.opened_at + self.p.work_assigned_blocks:
            return None
        seed = tagged("work-assign", job.beacon, name, eight(unit))
        for place in range(min(job.replicas, len(listed))):
            point = int.from_bytes(tagged("draw", seed, eight(place)), "big")
            other = place + point % (len(listed) - place)
            listed[place], listed[other] = listed[other], listed[place]
        return listed[: job.replicas]

    def new_receipt(self, key: tuple[bytes, int, bytes], made: Any, kind: int) -> None:
        self.work_receipts[key] = self.thing(
            receipt=made,
            kind=kind,
            state=COMMITTED,
            committed_at=self.height,
            shown_at=0,
            judged_until=0,
            settled_at=0,
            macs=0,
            credit=0,
            held=True,
            slashed=0,
            reward=0,
            finder=b"",
        )
        self.workers[key[2]].held += 1

    def begin_judgement(self, key: tuple[bytes, int, bytes]) -> None:
        row = self.work_receipts[key]
        row.state, row.shown_at = SHOWN, self.height
        row.judged_until = self.height + self.p.work_judge_blocks
        self.look(row.judged_until, JUDGED, *key)

    def work_outputs(self, sender: bytes, body: Any) -> None:
        key = (body.job, body.unit, sender)
        refuse_if(key not in self.work_receipts, "receipt_unknown")
        row = self.work_receipts[key]
        refuse_if(row.state != COMMITTED, "outputs_shown")
        refuse_if(row.committed_at == self.height, "outputs_early")
        job = self.jobs[body.job]
        waiting, good, hold, was_shown = self.units[body.job, body.unit]
        others_may_come = job.status == TAKES and not was_shown and waiting + good != job.replicas
        refuse_if(others_may_come and hold > self.height, "outputs_early")
        width = self.width(job)
        size = self.rows_in(job, body.unit) * width
        if size <= INLINE_BYTES:
            refuse_if(body.content is not None or len(body.outputs) != size, "outputs_size")
            rows = [body.outputs[at : at + width] for at in range(0, size, width)]
            refuse_if(keyed_root(sender, tree(rows)) != row.receipt.outputs_root, "outputs_root")
        else:
            refuse_if(
                body.content is None or body.content.size != size or body.outputs != b"", "outputs_size"
            )
        self.shown_outputs[key] = (body.content, body.outputs)
        self.units[body.job, body.unit] = (waiting, good, hold, True)
        self.begin_judgement(key)

    def withheld(self, key: tuple[bytes, int, bytes]) -> None:
        if key in self.work_receipts and self.work_receipts[key].state == COMMITTED:
            slashed, _ = self.slash_worker(key[2], self.p.work_withheld_slash_bps)
            self.fall(key, WITHHELD, slashed)

    def fall(self, key: tuple[bytes, int, bytes], state: int, slashed: int = 0) -> None:
        """A receipt does not stand."""
        row, worker = self.work_receipts[key], self.workers[key[2]]
        row.state, row.settled_at, row.held, row.slashed = state, self.height, False, slashed
        worker.held -= 1
        worker.bad += state == BAD
        if row.kind == SYNTHETIC:
            self.look(self.height + self.p.epoch_blocks, SETTLED, *key)
            return
        waiting, good, _, _ = self.units[key[:2]]
        self.unit_goes(key[0], key[1], waiting - 1, good)
        self.one_less(key[0])

    def window_over(self, key: tuple[bytes, int, bytes]) -> None:
        """It can be challenged no more."""
        row = self.work_receipts.get(key)
        if row is None or row.state == CHALLENGED:
            return
        if row.held:
            row.held = False
            self.workers[key[2]].held -= 1
            if row.kind != SYNTHETIC:
                self.pay_receipt(key)
        if row.kind == SYNTHETIC:
            last = row.receipt.anchor + self.p.epoch_blocks + ANCHOR_BLOCKS_MOST
            if self.height > last:
                self.forget_receipt(key)
            else:
                self.look(last + 1, SETTLED, *key)

    def forget_receipt(self, key: tuple[bytes, int, bytes]) -> None:
        for table in (self.work_receipts, self.shown_outputs, self.findings, self.challenges):
            table.drop(key)

    def forget_job(self, name: bytes) -> None:
        for key in sorted(key for key in self.work_receipts if key[0] == name):
            row = self.work_receipts[key]
            if row.held:
                self.look(max(self.height, row.judged_until) + 1, FORGET, name)
                return
            self.forget_receipt(key)
            self.units.drop(key[:2])

    # -- the end of a block

    def run_work(self) -> None:
        for line in (0, HINTS_FROM):
            self.run_line(line)

    def run_line(self, line: int) -> None:
        for entry in sorted(entry for entry in self.work_due if line <= entry[0] <= line + self.height):
            del self.work_due[entry]
            _, kind, *rest = entry
            key: Any = tuple(rest)
            if kind == OPEN:
                self.try_to_open(key[0])
            elif kind == DEADLINE and self.jobs[key[0]].status <= TAKES:
                self.close_job(key[0], EXPIRED)
            elif kind == OUTPUTS:
                self.withheld(key)
            elif kind == JUDGED:
                self.end_judgement(key)
            elif kind == SETTLED:
                self.window_over(key)
            elif kind == FORGET:
                self.forget_job(key[0])
            elif kind == BOND:
                self.return_bond(key[2])
