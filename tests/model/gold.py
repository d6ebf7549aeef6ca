"""Gold, leaks and contradictions, after docs/specification/data-validation.md. Part of the model."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from tests.model.campaigns import CLOSING, OPEN
from tests.model.ground import BPS, Ground, Refused, Thing, packed, parts_of, refuse_if, tagged
from tests.model.seats import CONTRADICTED, DONE, GOLD_PHASE, LEAKED, SECOND, VERDICT, report_commitment
from tests.model.submissions import COMMIT, QUEUED


def gold_leaf(chain_id: str, campaign: int, root: bytes, bits: int, salt: bytes) -> bytes:
    return tagged("gold", packed((chain_id, campaign, root, bits, salt)))


def root_by_path(leaf: bytes, index: int, size: int, path: Any) -> bytes | None:
    """The root of a tree of ``size`` leaves in which a path leads up from one (RFC 6962), None where it leads nowhere."""
    found = sha256(b"\0" + leaf).digest()
    rest = list(path)
    if index >= size:
        return None

    def up(low: int, count: int) -> bytes | None:
        """The hash of the subtree of ``count`` leaves from ``low``, which holds the leaf; siblings come lowest first."""
        if count == 1:
            return found
        half = 1
        while half * 2 < count:
            half *= 2
        left = index < low + half
        inner = up(low, half) if left else up(low + half, count - half)
        if inner is None or not rest:
            return None
        sibling = rest.pop(0)
        return sha256(b"\1" + (inner + sibling if left else sibling + inner)).digest()

    root = up(0, size)
    return None if rest else root


class Gold(Ground):
    """What sponsors know and are bound to, and what reviewers may not do."""

    def open(self) -> None:
        self.gold_sets = self.table()
        self.gold_used = self.table()
        self.gold_due = self.table()

    def gold_commit(self, sender: bytes, body: Any) -> None:
        row = self._mine(sender, body.campaign)
        refuse_if(body.campaign in self.gold_sets, "gold_exists")
        spec = row.spec
        least = spec.first_seats * (spec.review_fee * max(spec.tier_bps) // BPS)
        refuse_if(body.bond_each < least, "gold_bond")
        self.move(sender, "bonds", body.count * body.bond_each)
        self.gold_sets[body.campaign] = self.thing(
            root=body.root,
            count=body.count,
            bond_each=body.bond_each,
            committed_at=self.height,
            returned=0,
            taken=0,
        )

    def gold_left(self, campaign: int) -> int:
        row = self.gold_sets.get(campaign)
        return row.count - row.returned - row.taken if row else 0

    def waits_for_gold(self, batch: Thing) -> bool:
        row = self.gold_sets.get(batch.campaign)
        return batch.round == 1 and self.gold_left(batch.campaign) > 0 and row.committed_at < batch.formed_at

    def gold_reveal(self, sender: bytes, body: Any) -> None:
        refuse_if(body.batch not in self.batches, "batch_unknown")
        batch = self.batches[body.batch]
        self._sponsored(sender, batch.campaign)
        closed = batch.phase != GOLD_PHASE or batch.gold_said or self.height > batch.gold_until
        refuse_if(closed, "gold_closed")
        found = []
        for opening in body.openings:
            refuse_if(opening.item not in batch.items, "gold_item")
            content = self.items[opening.item].content.chunk_root
            self._check_gold(batch.campaign, content, opening)
            self.gold_used[batch.campaign, opening.index] = True
            found.append((batch.items.index(opening.item), opening.index, opening.bits, False))
        refuse_if(len({each[0] for each in found}) < len(found), "gold_item")
        batch.gold, batch.gold_said = tuple(found), True

    def _check_gold(self, campaign: int, content: bytes, opened: Any) -> None:
        row = self.gold_sets[campaign]
        leaf = gold_leaf(self.chain_id, campaign, content, opened.bits, opened.salt)
        refuse_if(root_by_path(leaf, opened.index, row.count, opened.path) != row.root, "gold_proof")
        refuse_if((campaign, opened.index) in self.gold_used, "gold_used")

    def judge_gold(
        self,
        batch: Thing,
        campaign: Thing,
        weights: list[int],
        by_item: list[list[tuple[int, ...]]],
        unread: list[int],
    ) -> None:
        row, judged = self.gold_sets.get(batch.campaign), []
        for place, index, mask, _ in batch.gold:
            voided = False
            for criterion, bar in enumerate(campaign.spec.thresholds):
                against = sum(
                    weight
                    for said, weight in zip(by_item[place], weights, strict=True)
                    if (said[criterion] >= bar) != bool(mask >> criterion & 1)
                )
                voided |= len(weights) >= 3 and against * BPS >= self.p.gold_veto_bps * sum(weights)
            voided &= batch.items[place] not in unread
            judged.append((place, index, mask, voided))
            self.move("bonds", "burned" if voided else campaign.sponsor, row.bond_each)
            if voided:
                row.taken += 1
            else:
                row.returned += 1
        batch.gold = tuple(judged)

    def give_back_gold(self, batch: Thing) -> None:
        """Nobody is left to judge what was said."""
        if batch.gold:
            row = self.gold_sets[batch.campaign]
            self.move("bonds", self.campaigns[batch.campaign].sponsor, len(batch.gold) * row.bond_each)
            row.returned += len(batch.gold)

    def gold_retire(self, sender: bytes, body: Any) -> None:
        campaign = self._sponsored(sender, body.campaign)
        refuse_if(self.gold_left(body.campaign) < len(body.spares), "gold_unknown")
        row, returned = self.gold_sets[body.campaign], 0
        for spare in body.spares:
            self._check_gold(body.campaign, spare.chunk_root, spare)
            self.gold_used[body.campaign, spare.index] = True
            returned += not self._was_met(body.campaign, row, spare.chunk_root)
        taken = len(body.spares) - returned
        self.move("bonds", campaign.sponsor, returned * row.bond_each)
        self.move("bonds", "burned", taken * row.bond_each)
        row.returned += returned
        row.taken += taken

    def _was_met(self, campaign: int, row: Thing, content: bytes) -> bool:
        """Whether a committee judged a content without hearing that it was gold."""
        holder = self.holders.get((campaign, "root", content))
        if holder is None:
            return False
        item = self.items[holder[0]]
        over = self.campaigns[campaign].status not in (OPEN, CLOSING)
        refuse_if(not item.batch and item.status == QUEUED and not over, "gold_in_use")
        if not item.batch or self.batches[item.batch].formed_at <= row.committed_at:
            return False
        batch = self.batches[item.batch]
        refuse_if(batch.phase not in (DONE, SECOND), "gold_in_use")
        return bool(batch.outcome == VERDICT)

    def expire_gold(self) -> None:
        for due, number in sorted(key for key in self.gold_due if key[0] <= self.height):
            del self.gold_due[due, number]
            row, left = self.gold_sets[number], self.gold_left(number)
            self.move("bonds", "burned", left * row.bond_each)
            row.taken += left

    # -- leaks and contradictions

    def report_leak(self, sender: bytes, body: Any) -> None:
        refuse_if(sender == body.validator, "leak_own")
        batch, seat = self._seat(body.validator, body)
        refuse_if(batch.phase != COMMIT or seat.state != 2, "leak_late")
        made = report_commitment(
            self.chain_id, body.batch, body.round, body.validator, body.salt, body.report
        )
        refuse_if(made != seat.commitment, "commitment")
        amount = self.take_bond(body.batch, body.validator, seat.bond, LEAKED)
        reward = parts_of(amount, self.p.leak_finder_bps)
        self.move("stake", sender, reward)
        self.move("stake", "burned", amount - reward)

    def report_contradiction(self, sender: bytes, body: Any) -> None:
        first, second = self._commitment(body.first), self._commitment(body.second)
        one, other = first.body, second.body
        same = (first.sender, one.batch, one.round) == (second.sender, other.batch, other.round)
        refuse_if(not same or one.commitment == other.commitment, "contradiction")
        _, seat = self._seat(first.sender, one)
        refuse_if(seat.state > 3 or not self._holds(one.batch), "contradiction")
        for each in (first, second):
            owner, scopes, until, _ = self.sessions.get(each.signer, (b"", 0, 0, 0))
            mine = owner == each.sender and scopes & 1 and until >= seat.drawn_at
            refuse_if(each.sender != b"\0" + each.signer and not mine, "contradiction")
        self.charge(one.batch, first.sender, seat.bond, CONTRADICTED)
        self.validators[first.sender].jailed = True
        absent, _, until, weight = self.downtime.get(first.sender, (0, 0, 0, 0))
        weight = weight if until > self.height else 0
        self.downtime[first.sender] = (absent, self.epoch, self.height + self.p.jail_blocks, weight)

    def _holds(self, number: int) -> bool:
        return self.batches[number].phase != DONE

    def _commitment(self, encoded: bytes) -> Any:
        """A transaction of this chain that commits a report, signed for its sender."""
        transaction = self.transaction_of(encoded)
        refuse_if(transaction is None or transaction.body.KIND != "report_commit", "contradiction")
        refuse_if(transaction.chain_id != self.chain_id, "contradiction")
        signed = tagged("transaction", encoded[:-66])
        if not self.scheme.verify_key(transaction.signer, signed, transaction.signature):
            raise Refused("contradiction")
        return transaction
