"""What validators find of jobs and receipts, and what it brings, after docs/specification/jobs.md. Part of the model."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import Any

from tests.model.ground import BPS, Thing, parts_of, refuse_if
from tests.model.seasons import WORKER, split_by_address
from tests.model.trees import climbed, keyed_root, tree
from tests.model.work import (
    BAD,
    CHALLENGED,
    GOOD,
    HINT,
    HINTS_FROM,
    JUDGED,
    OPEN,
    POSTED,
    PRINTS,
    REFUSED,
    SCORES,
    SETTLED,
    SHOWN,
    SYNTHETIC,
    VOID,
    Work,
)

Key = tuple[bytes, int, bytes]
YEAR_MS = Fraction(36525 * 24 * 3600 * 1000, 100)


class WorkVerdicts(Work):
    """Votes, verdicts, credit and the compute pool."""

    def open(self) -> None:
        self.findings = self.table()
        """By receipt: what each validator found."""
        self.challenges = self.table()
        self.fingerprints = self.table()
        self.item_scores = self.table()
        self.work_credit = self.table()
        self.work_epochs = self.table()
        self.worker_sets = self.table()

    def sums(self) -> Thing:
        """Of the epoch under way."""
        if self.epoch not in self.work_epochs:
            self.work_epochs[self.epoch] = self.thing(
                receipts=0, credit=0, useful=0, macs=0, judged=(), pool=0, block=0, in_block=0
            )
        row: Thing = self.work_epochs[self.epoch]
        return row

    # -- votes

    def judging_weights(self) -> dict[bytes, int]:
        return {address: weight for address, _, weight in self.sets[self.epoch][1]}

    def agreed(self, votes: dict[bytes, Any]) -> Any:
        """What more than two thirds of the stake says alike; None where it does not."""
        weights = self.judging_weights()
        for said in votes.values():
            alike = sum(weights.get(who, 0) for who, other in votes.items() if other == said)
            if alike > 2 * sum(weights.values()) // 3:
                return said
        return None

    def with_vote(self, held: tuple[Any, ...], sender: bytes, said: Any) -> tuple[Any, ...] | None:
        """Votes with one more, without those of whoever votes no longer; None where it says nothing new."""
        votes = dict(held)
        if votes.get(sender) == said:
            return None
        weights = self.judging_weights()
        votes = {who: other for who, other in votes.items() if who in weights}
        votes[sender] = said
        return tuple(sorted(votes.items()))

    def note_judges(self, judges: list[bytes]) -> None:
        sums = self.sums()
        voters = [address for address, _, _ in self.sets[self.epoch][1]]
        counts = list(sums.judged) or [0] * len(voters)
        for place, address in enumerate(voters):
            counts[place] += address in judges
        sums.judged = tuple(counts)

    def work_judge(self, sender: bytes, body: Any) -> None:
        refuse_if(sender not in self.judging_weights(), "judge_unknown")
        heard = sum(self.hear_of_job(sender, vote) for vote in body.jobs)
        heard += sum(self.hear_of_receipt(sender, vote) for vote in body.receipts)
        refuse_if(heard == 0, "judge_nothing")

    def hear_of_job(self, sender: bytes, vote: Any) -> bool:
        job = self.jobs.get(vote.job)
        if job is None or job.status != POSTED or job.available:
            return False
        votes = self.with_vote(self.attests.get(vote.job, ()), sender, vote.available)
        if votes is None:
            return False
        self.attests[vote.job] = votes
        outcome = self.agreed(dict(votes))
        if outcome is None:
            return True
        self.note_judges([who for who, said in votes if said == outcome])
        if outcome:
            job.available = True
            del self.attests[vote.job]
            self.look(self.height + 1, OPEN, vote.job)
        else:
            self.close_job(vote.job, REFUSED)
        return True

    def hear_of_receipt(self, sender: bytes, vote: Any) -> bool:
        key = (vote.job, vote.unit, vote.worker)
        row = self.work_receipts.get(key)
        if row is None or row.state not in (SHOWN, CHALLENGED) or vote.worker == sender:
            return False
        if not vote.good and vote.macs:
            return False
        votes = self.with_vote(self.findings.get(key, ()), sender, (vote.good, vote.macs))
        if votes is None:
            return False
        self.findings[key] = votes
        self.settle_if_agreed(key)
        return True

    def settle_if_agreed(self, key: Key) -> bool:
        votes = dict(self.findings.get(key, ()))
        verdict = self.agreed(votes)
        if verdict is None:
            return False
        self.note_judges([who for who, said in votes.items() if said == verdict])
        self.settle_receipt(key, verdict)
        return True

    def end_judgement(self, key: Key) -> None:
        row = self.work_receipts.get(key)
        if row is None or row.state not in (SHOWN, CHALLENGED) or self.height < row.judged_until:
            return
        if not self.settle_if_agreed(key):
            self.settle_receipt(key, None)

    # -- verdicts

    def settle_receipt(self, key: Key, verdict: tuple[bool, int] | None) -> None:
        self.findings.drop(key)
        row = self.work_receipts[key]
        if row.state == CHALLENGED:
            self.settle_challenge(key, verdict)
        elif verdict is None:
            self.fall(key, VOID)
        elif verdict[0]:
            self.found_good(key, verdict[1])
        else:
            slashed, _ = self.slash_worker(key[2], BPS)
            self.fall(key, BAD, slashed)

    def found_good(self, key: Key, macs: int) -> None:
        name, unit, address = key
        row, worker, p = self.work_receipts[key], self.workers[address], self.p
        job = None if row.kind == SYNTHETIC else self.jobs[name]
        share = self.share_that_counts(job, unit)
        credit = floor(macs * (Fraction(p.work_discount_bps, BPS) * (1 - share) + share))
        useful = floor(macs * share)
        row.state, row.settled_at, row.macs, row.credit = GOOD, self.height, macs, credit
        mine = self.credit_row(address)
        sums = self.sums()
        for kept in (mine, sums):
            kept.credit += credit
            kept.useful += useful
            kept.macs += macs
        mine.tickets += len(row.receipt.tickets)
        sums.receipts += 1
        worker.good += 1
        self.look(self.height + p.epoch_blocks, SETTLED, *key)
        if job is None:
            return
        waiting, good, _, _ = self.units[name, unit]
        self.unit_goes(name, unit, waiting - 1, good + 1)
        self.keep_proven(key, job)
        self.see_whether_done(name)
        self.give_back_what_is_free(name)

    def share_that_counts(self, job: Thing | None, unit: int) -> Fraction:
        """In whole basis points."""
        if job is None:
            return Fraction(0)
        if job.kind in (PRINTS, SCORES):
            return Fraction(1)
        side = job.tile  # whole squares: what fills them up is proven, and counts, as everything else
        wide = sum(
            ceil(Fraction(each.inputs, side)) * ceil(Fraction(each.outputs, side)) for each in job.layers
        )
        squares = ceil(Fraction(self.rows_in(job, unit), side)) * wide
        price = ceil(Fraction(squares * side**3 * self.p.work_base_price, 2**30))
        paid = BPS if job.burn_unit >= price else job.burn_unit * BPS // price
        return Fraction(paid, BPS)

    def credit_row(self, address: bytes) -> Thing:
        if (self.epoch, address) not in self.work_credit:
            self.work_credit[self.epoch, address] = self.thing(credit=0, tickets=0, useful=0, macs=0)
        row: Thing = self.work_credit[self.epoch, address]
        return row

    def score_work(self, address: bytes, amount: int, works: int) -> None:
        row = self.standing(WORKER, self.season, address)
        row.value += amount
        row.works += works

    def keep_proven(self, key: Key, job: Thing) -> None:
        if job.kind not in (PRINTS, SCORES):
            return
        shown = self.shown_outputs[key][1]
        width = self.width(job)
        for place, item in enumerate(self.items_in(job, key[1])):
            output = shown[place * width : place * width + width]
            if job.kind == SCORES:
                self.item_scores[item] = output
            elif (self.batches[job.batch].campaign, item) not in self.fingerprints:
                self.fingerprints[self.batches[job.batch].campaign, item] = signs(output)
                self.look(HINTS_FROM + self.height, HINT, unit=item)

    def take_back_proven(self, key: Key) -> None:
        """What no good receipt of the unit says any more: the earliest that is left says it, or nobody does."""
        job = self.jobs[key[0]]
        if job.kind not in (PRINTS, SCORES):
            return
        left = [
            (row.settled_at, of[2])
            for of, row in self.work_receipts.items()
            if of[:2] == key[:2] and row.state in (GOOD, CHALLENGED)
        ]
        width, campaign = self.width(job), self.batches[job.batch].campaign
        for place, item in enumerate(self.items_in(job, key[1])):
            said = [
                self.shown_outputs[(*key[:2], who)][1][place * width : place * width + width]
                for _, who in sorted(left)
            ]
            table, at = (
                (self.item_scores, item) if job.kind == SCORES else (self.fingerprints, (campaign, item))
            )
            rows = said if job.kind == SCORES else [signs(output) for output in said]
            if at not in table or table[at] in rows:
                continue
            if not rows:
                del table[at]
                continue
            table[at] = rows[0]
            if job.kind == PRINTS:
                self.look(HINTS_FROM + self.height, HINT, unit=item)

    def items_in(self, job: Thing, unit: int) -> tuple[int, ...]:
        first = unit * job.unit_rows
        found: tuple[int, ...] = tuple(self.batches[job.batch].items[first : first + self.rows_in(job, unit)])
        return found

    # -- objections

    def work_fraud(self, sender: bytes, body: Any) -> None:
        proof = body.proof
        key = (proof.job, proof.unit, proof.worker)
        row = self.work_receipts.get(key)
        refuse_if(row is None or row.state != GOOD or row.kind == SYNTHETIC, "fraud_receipt")
        assert row is not None
        refuse_if(self.height > row.settled_at + self.p.epoch_blocks, "fraud_late")
        refuse_if(sender == proof.worker, "fraud_own")
        job, path = self.jobs[proof.job], proof.inclusion
        rows = self.rows_in(job, proof.unit)
        wrong = proof.row >= rows or path.index != proof.row or path.size != rows
        refuse_if(wrong or len(proof.output) != self.width(job), "fraud_row")
        root = climbed(tree([proof.output]), proof.row, rows, tuple(path.path))
        refuse_if(root is None or keyed_root(proof.worker, root) != row.receipt.outputs_root, "fraud_row")
        self.move(sender, "work bonds", self.p.work_fraud_bond)
        self.challenges[key] = self.thing(challenger=sender, bond=self.p.work_fraud_bond, proof=proof)
        row.state, row.judged_until = CHALLENGED, self.height + self.p.work_judge_blocks
        self.look(row.judged_until, JUDGED, *key)

    def settle_challenge(self, key: Key, verdict: tuple[bool, int] | None) -> None:
        row, said = self.work_receipts[key], self.challenges[key]
        del self.challenges[key]
        if verdict is not None and not verdict[0]:
            self.move("work bonds", said.challenger, said.bond)
            row.slashed, row.reward = self.slash_worker(key[2], BPS, said.challenger)
            row.finder, row.settled_at, row.judged_until = said.challenger, self.height, 0
            worker = self.workers[key[2]]
            worker.held -= 1
            worker.bad += 1
            row.state, row.held = BAD, False
            mine = self.work_credit.get((self.epoch, key[2]))
            if mine is not None:
                mine.credit = max(0, mine.credit - row.credit)
            self.take_back_proven(key)
            self.open_again(key[0], key[1])
            return
        row.state, row.judged_until = GOOD, 0
        self.look(max(self.height + 1, row.settled_at + self.p.epoch_blocks), SETTLED, *key)
        if verdict is None:
            self.move("work bonds", said.challenger, said.bond)
        else:
            burned = parts_of(said.bond, self.p.slash_burn_bps)
            self.move("work bonds", "burned", burned)
            self.move("work bonds", "reserve", said.bond - burned)

    # -- the boundary

    def turn_work(self) -> None:
        if self.height % self.p.epoch_blocks:
            return
        mine = {who: row for (epoch, who), row in sorted(self.work_credit.items()) if epoch == self.epoch}
        self.pay_work(mine)
        able = [
            (-row.credit, who)
            for who, row in mine.items()
            if row.credit and who in self.workers and self.whole(self.workers[who])
            if who not in self.convictions
        ]
        chosen = sorted(who for _, who in sorted(able)[:64])
        if chosen:
            keys = {who: (self.validators if who in self.validators else self.workers)[who] for who in chosen}
            self.worker_sets[self.epoch + 2] = (
                tuple((who, keys[who].consensus_key, mine[who].credit) for who in chosen),
                sum(mine[who].tickets for who in chosen),
            )
        listed = tuple(sorted(who for who, row in self.workers.items() if self.whole(row)))
        if listed:
            self.worker_lists[self.epoch + 1] = listed
        for key in [key for key in self.work_credit if key[0] < self.epoch]:
            del self.work_credit[key]
        self.worker_lists.drop(self.epoch - 1)
        self.work_epochs.drop(self.epoch - 256)

    def pay_work(self, mine: dict[bytes, Thing]) -> None:
        p, sums = self.p, self.work_epochs.get(self.epoch)
        voters = self.sets[self.epoch][1]
        stake = sum(weight for _, _, weight in voters) * 10**9
        years = Fraction(p.epoch_blocks * p.block_interval_ms) / YEAR_MS
        pool = min(floor(stake * Fraction(p.compute_bps, BPS) * years), self.pots["reserve"])
        judges = parts_of(pool, p.work_judges_bps)
        counts = sums.judged if sums is not None else ()
        worked = split_by_address(pool - judges, {who: row.credit for who, row in mine.items() if row.credit})
        agreed = {voters[place][0]: count for place, count in enumerate(counts) if count}
        judged = split_by_address(judges, agreed)
        for who, amount in worked.items():
            self.move("reserve", who, amount)
            if who in self.workers:
                self.workers[who].pool += amount
            if amount:
                self.score_work(who, amount, 0)
        for who, amount in judged.items():
            self.move("reserve", who, amount)
        if sums is not None:
            sums.judged, sums.pool = (), sum(worked.values()) + sum(judged.values())


def signs(output: bytes) -> bytes:
    """Which outputs are above zero, the lowest bit of a byte first."""
    found = 0
    for bit, each in enumerate(output):
        found |= (0 < each < 128) << bit
    return found.to_bytes(32, "little")
