"""Seats and reports, and the clock of a batch, after docs/specification/data-validation.md. Part of the model."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

from tests.model.ground import BPS, Ground, Thing, packed, parts_of, refuse_if, tagged
from tests.model.submissions import COMMIT, DONE, FROZEN, REVEAL

SEATED, TAKEN, COMMITTED, REVEALED, DECLINED, MISSED, WITHHELD, RELEASED, LEAKED, CONTRADICTED = range(10)
GOLD_PHASE, SECOND = 4, 5
PENDING, VERDICT, NO_QUORUM, NOBODY = range(4)


def report_commitment(
    chain_id: str, batch: int, round_: int, sender: bytes, salt: bytes, report: bytes
) -> bytes:
    return tagged("report", packed((chain_id, batch, round_, sender, salt, report)))


def log2_of(number: int) -> int:
    """Binary logarithm times 2**32: each bit by squaring a mantissa in [1, 2), kept to 63 bits behind the point."""
    whole = len(bin(number)) - 3
    mantissa, found = floor(Fraction(number, 2**whole) * 2**63), whole * 2**32
    for place in range(31, -1, -1):
        mantissa = mantissa**2 // 2**63
        if mantissa >= 2**64:
            mantissa //= 2
            found += 2**place
    return found


class Seats(Ground):
    """Who sits where, and what each seat has done."""

    def open(self) -> None:
        self.seats = self.table()
        """By batch, round and validator."""
        self.reviewers = self.table()

    def reviewer(self, address: bytes) -> Thing:
        if address not in self.reviewers:
            self.reviewers[address] = self.thing(
                total=(0, 0), gold=(0, 0), peer=(0, 0), seats_open=0, reports=0, missed=0
            )
        row: Thing = self.reviewers[address]
        return row

    def seats_in(self, number: int, *states: int) -> list[tuple[bytes, Thing]]:
        """Seats of a batch in some of the states, in the order drawn."""
        batch = self.batches[number]
        found = [(address, self.seats[number, batch.round, address]) for address in batch.seats]
        return [(address, seat) for address, seat in found if seat.state in states]

    def open_seats_of(self, address: bytes) -> list[tuple[int, int]]:
        return [
            (number, self.batches[number].round)
            for number in self.open_batches
            if address in self.batches[number].seats
            and self.seats[number, self.batches[number].round, address].state <= REVEALED
        ]

    # -- orders

    def _seat(self, sender: bytes, body: Any) -> tuple[Thing, Thing]:
        batch = self.batches.get(body.batch)
        refuse_if(batch is None or batch.round != body.round, "batch_unknown")
        refuse_if((body.batch, body.round, sender) not in self.seats, "no_seat")
        return batch, self.seats[body.batch, body.round, sender]

    def _undecided_seat(self, sender: bytes, body: Any) -> tuple[Thing, Thing]:
        batch, seat = self._seat(sender, body)
        refuse_if(seat.state != SEATED or batch.phase != COMMIT, "seat_state")
        refuse_if(self.height > seat.drawn_at + self.p.seat_accept_blocks, "seat_late")
        return batch, seat

    def seat_accept(self, sender: bytes, body: Any) -> None:
        _, seat = self._undecided_seat(sender, body)
        seat.state = TAKEN

    def seat_decline(self, sender: bytes, body: Any) -> None:
        self._undecided_seat(sender, body)
        self._leave(body.batch, sender, DECLINED)

    def _leave(self, number: int, address: bytes, state: int) -> None:
        """A seat is given back at no cost; another is drawn for it while reports are being committed."""
        batch = self.batches[number]
        seat = self.seats[number, batch.round, address]
        self.free_bond(number, address, state)
        batch.places -= 1
        if batch.phase == COMMIT and seat.fills < self.p.seat_redraws_max:
            batch.vacancies = (*batch.vacancies, seat.fills + 1)

    def release_seat(self, number: int, round_: int, address: bytes) -> None:
        assert self.batches[number].round == round_
        self._leave(number, address, RELEASED)

    def report_commit(self, sender: bytes, body: Any) -> None:
        batch, seat = self._seat(sender, body)
        refuse_if(batch.phase != COMMIT or self.height > batch.commit_until, "commit_closed")
        refuse_if(seat.state not in (SEATED, TAKEN), "seat_state")
        refuse_if(self.may_still_get_keys(body.batch, batch, sender), "grants_open")
        seat.state, seat.commitment, seat.sealed = COMMITTED, body.commitment, body.sealed

    def report_reveal(self, sender: bytes, body: Any) -> None:
        batch, seat = self._seat(sender, body)
        refuse_if(batch.phase != REVEAL or self.height > batch.reveal_until, "reveal_closed")
        refuse_if(seat.state != COMMITTED, "seat_state")
        made = report_commitment(self.chain_id, body.batch, body.round, sender, body.salt, body.report)
        refuse_if(made != seat.commitment, "commitment")
        refuse_if(len(body.report) != 4 * len(batch.items), "report")
        for place in range(0, len(body.report), 4):
            refuse_if(max(body.report[place : place + 3]) > 100 or body.report[place + 3] > 127, "report")
        self._check_duplicates(batch, body)
        seat.state, seat.sealed, seat.report = REVEALED, b"", body.report
        seat.duplicates = body.duplicates

    def _check_duplicates(self, batch: Thing, body: Any) -> None:
        """Each names an earlier item of the campaign that an item repeats, which is flagged as a duplicate; in order."""
        places = [reference.place for reference in body.duplicates]
        refuse_if(places != sorted(set(places)), "duplicate_reference")
        for reference in body.duplicates:
            refuse_if(reference.place >= len(batch.items), "duplicate_reference")
            refuse_if(not body.report[4 * reference.place + 3] & 1, "duplicate_reference")
            number, other = batch.items[reference.place], self.items.get(reference.item)
            refuse_if(other is None or other.campaign != batch.campaign, "duplicate_reference")
            own = (self.items[number].sequence, number)
            refuse_if((other.sequence, reference.item) >= own, "duplicate_reference")

    # -- bonds

    def hold_bond(self, address: bytes, amount: int) -> None:
        row = self.validators[address]
        assert row.stake - row.held >= amount
        row.held += amount
        self.reviewer(address).seats_open += 1

    def free_bond(self, number: int, address: bytes, state: int) -> None:
        seat = self.seats[number, self.batches[number].round, address]
        self.validators[address].held -= seat.bond
        assert self.validators[address].held >= 0
        self.reviewer(address).seats_open -= 1
        seat.bond, seat.state = 0, state

    def take_bond(self, number: int, address: bytes, amount: int, state: int) -> int:
        """Frees a seat's bond, and takes up to an amount of it out of the validator's stake, for the caller to move."""
        batch, row = self.batches[number], self.validators[address]
        seat = self.seats[number, batch.round, address]
        amount = min(amount, seat.bond, row.stake)
        self.free_bond(number, address, state)
        row.stake -= amount
        seat.penalty += amount
        self.note_payment(address, "penalty", amount, batch.campaign, batch=number)
        return int(amount)

    def charge(self, number: int, address: bytes, amount: int, state: int) -> None:
        """Takes a penalty of a seat's bond."""
        amount = self.take_bond(number, address, amount, state)
        self.take_penalty(self.campaigns[self.batches[number].campaign], "stake", amount)

    def _miss(self, number: int, address: bytes, state: int) -> None:
        seat = self.seats[number, self.batches[number].round, address]
        share = self.p.no_commit_slash_bps if state == MISSED else self.p.no_reveal_slash_bps
        self.reviewer(address).missed += 1
        self.count_missed(address)
        self.note_review(address, len(self.batches[number].items), 0)
        self.charge(number, address, parts_of(seat.bond, share), state)

    # -- the clock

    def look_at_batches(self) -> None:
        for number in sorted(self.open_batches):
            batch = self.batches[number]
            if batch.phase == SECOND:
                continue
            {
                FROZEN: self._draw_first,
                COMMIT: self._commit_phase,
                REVEAL: self._reveal_phase,
                GOLD_PHASE: self._gold_phase,
            }[batch.phase](number, batch)
            if batch.phase == DONE:
                del self.open_batches[number]
                self.forget_keys(number)
                self.end_if_idle(batch.campaign)

    def _draw_first(self, number: int, batch: Thing) -> None:
        if self.height < batch.next_try:
            return
        drawn = self._draw(number, batch, (0,) * batch.asked)
        if drawn:
            batch.places, batch.draw_at = len(batch.seats), self.height
        elif self.height >= batch.draw_at + self.p.report_commit_blocks:
            self._give_up(number, batch, NOBODY, "no_reviewers")
        else:
            batch.next_try = self.height + max(1, self.p.batch_wait_blocks)

    def _commit_phase(self, number: int, batch: Thing) -> None:
        if batch.vacancies:
            drawn = self._draw(number, batch, batch.vacancies)
            batch.vacancies = ()
            batch.places += drawn
        waiting = self.seats_in(number, SEATED, TAKEN)
        if waiting and self.height < batch.commit_until:
            return
        for address, _ in waiting:
            self._miss(number, address, MISSED)
        have = len(self.seats_in(number, COMMITTED, REVEALED))
        if have < self._quorum(batch):
            self._replace_missing(number, batch, have)
            return
        batch.phase = REVEAL
        batch.reveal_from = self.height + 1
        batch.reveal_until = self.height + max(1, self.p.report_reveal_blocks)

    def _reveal_phase(self, number: int, batch: Thing) -> None:
        waiting = self.seats_in(number, COMMITTED)
        if waiting and self.height < batch.reveal_until:
            return
        for address, _ in waiting:
            self._miss(number, address, WITHHELD)
        have = len(self.seats_in(number, REVEALED))
        if have < self._quorum(batch):
            self._replace_missing(number, batch, have)
            return
        if self.waits_for_gold(batch):
            batch.phase = GOLD_PHASE
            batch.gold_until = self.height + max(1, self.p.gold_reveal_blocks)
        else:
            self.decide(number)

    def _gold_phase(self, number: int, batch: Thing) -> None:
        if not self.seats_in(number, REVEALED):
            self.give_back_gold(batch)
            self._give_up(number, batch, NO_QUORUM, "no_quorum")
        elif batch.gold_said or self.height >= batch.gold_until:
            self.decide(number)

    def _quorum(self, batch: Thing) -> int:
        return max(1, -(-batch.places * self.p.seat_quorum_bps // BPS))

    def _replace_missing(self, number: int, batch: Thing, have: int) -> None:
        if batch.redraws < self.p.seat_redraws_max:
            places = max(batch.places, self._quorum(batch))
            before = batch.phase
            drawn = self._draw(number, batch, (0,) * (places - have), keep_attempt=True)
            if drawn:
                batch.places = places
                batch.redraws += 1
                return
            assert batch.phase == before
        self._give_up(number, batch, NO_QUORUM, "no_quorum")

    def _give_up(self, number: int, batch: Thing, outcome: int, reason: str) -> None:
        for address, seat in self.seats_in(number, COMMITTED, REVEALED):
            self.free_bond(number, address, RELEASED if seat.state == COMMITTED else REVEALED)
        batch.phase, batch.outcome, batch.decided_at = DONE, outcome, self.height
        batch.settle_at = self.height + max(1, self.p.challenge_blocks)
        self.give_up_items(number, reason)
        if batch.origin:
            self.settling[batch.settle_at, number] = True
        else:
            batch.settled = True

    # -- the draw

    def weights(self, batch: Thing) -> tuple[dict[bytes, int], bool]:
        """Weights of those who may sit, and whether members of the first round are among them."""
        barred = {self.campaigns[batch.campaign].sponsor, batch.appellant, *batch.contributors, *batch.seats}
        everybody = {}
        for address, row in self.validators.items():
            if row.jailed or address in barred or row.stake - row.held < batch.bond or not row.stake:
                continue
            if self.is_private(batch.campaign) and address not in self.reading_keys:
                continue
            if row.registered_at >= batch.formed_at:
                continue
            scale = max(1000, min(BPS, 2500 + self.quality(address) * 3 // 2))
            everybody[address] = self.power(address) * scale // BPS
        first = self.batches[batch.origin].seats if batch.origin else ()
        fresh = {address: weight for address, weight in everybody.items() if address not in first}
        drawn_fresh = sum(address not in first for address in batch.seats)
        if not batch.origin or len(fresh) + drawn_fresh >= self.p.fresh_seats_min:
            return fresh, False
        return everybody, len(everybody) > len(fresh)

    def _draw(self, number: int, batch: Thing, fills: tuple[int, ...], keep_attempt: bool = False) -> int:
        """How many were drawn."""
        weights, thin = self.weights(batch)
        seed = tagged("seats", self.beacon, packed((number, batch.round, batch.draws)))
        times = {
            address: Fraction(256 * 2**32 - log2_of(int.from_bytes(tagged("draw", seed, address), "big") + 1))
            / weight
            for address, weight in weights.items()
            if weight
        }
        drawn = sorted(times, key=lambda address: (floor(times[address] * 2**96), address))[: len(fills)]
        if drawn or not keep_attempt:
            batch.draws += 1
            batch.thin |= thin
        if not drawn:
            return 0
        batch.seats = (*batch.seats, *drawn)
        batch.phase = COMMIT
        batch.accept_until = self.height + self.p.seat_accept_blocks
        batch.commit_until = self.height + self.p.report_commit_blocks
        for address, fill in zip(drawn, fills, strict=False):
            self.seats[number, batch.round, address] = self.thing(
                state=SEATED,
                drawn_at=self.height,
                bond=batch.bond,
                fills=fill,
                commitment=b"",
                sealed=b"",
                report=b"",
                paid=0,
                penalty=0,
                quality_bps=0,
                closeness_bps=0,
                peer_bps=0,
                gold_bps=0,
                vote=0,
                duplicates=(),
            )
            self.ask_for_keys(number, batch, address)
            self.hold_bond(address, batch.bond)
        return len(drawn)
