"""Submissions, items and batches, after docs/specification/data-validation.md. Part of the model."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from tests.model.campaigns import OPEN, U64_MAX, reserve_of
from tests.model.ground import BPS, Ground, Thing, packed, parts_of, refuse_if, tagged

COMMITTED, REVEALED, EXPIRED = range(3)
SHOWN, QUEUED, IN_REVIEW, ACCEPTED, REJECTED, UNDECIDED, PAID, ESCALATED = range(8)
COUNTED = ("", "queued", "in_review", "accepted", "rejected", "undecided", "paid", "escalated")
FROZEN, COMMIT, REVEAL, DONE = range(4)


def merkle_root(leaves: list[bytes]) -> bytes:
    """RFC 6962."""
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\1" + merkle_root(leaves[:half]) + merkle_root(leaves[half:])).digest()


def items_root(items: Any) -> bytes:
    return merkle_root(
        [
            packed(
                (
                    (each.content.sha256, each.content.size, each.content.chunk_root),
                    each.media_type,
                    each.tier,
                    each.category,
                    each.private and (each.private.plain, each.private.sponsor, each.private.own),
                )
            )
            for each in items
        ]
    )


def submission_commitment(chain_id: str, campaign: int, items: Any, sender: bytes, salt: bytes) -> bytes:
    return tagged("submission", packed((chain_id, campaign, items_root(items), sender, salt)))


class Submissions(Ground):
    """Commitments, items, queues, and batches up to their draw."""

    def open(self) -> None:
        self.submissions = self.table()
        """By campaign, commitment and contributor."""
        self.unrevealed = self.table()
        """Keys of those that are open, by number."""
        self.items = self.table()
        self.holders = self.table()
        """Item and number of its submission, by campaign and either hash of a content."""
        self.admitted_by = self.table()
        self.batches = self.table()
        self.open_batches = self.table()
        self.queue_looks = self.table()
        """Heights at which a queue is looked at, by height and campaign."""
        self.settling = self.table()
        """Batches with verdicts, by the height that ends their challenge window."""

    # -- orders

    def submission_commit(self, sender: bytes, body: Any) -> None:
        refuse_if(body.campaign not in self.campaigns, "campaign_unknown")
        campaign = self.campaigns[body.campaign]
        refuse_if(campaign.status != OPEN, "campaign_closed")
        key = (body.campaign, body.commitment, sender)
        refuse_if(key in self.submissions, "submission_exists")
        refuse_if(not 1 <= body.count <= 256, "submission_items")
        mine = [each for each in self.unrevealed.values() if each[2] == sender]
        refuse_if(len(mine) >= self.limits["submissions_open_per_account_max"], "submissions_open")
        self.move(sender, "bonds", body.count * campaign.spec.item_bond)
        number = self.count("submission", 1)
        self.submissions[key] = self.thing(
            contributor=sender,
            sequence=number,
            count=body.count,
            item_bond=campaign.spec.item_bond,
            status=COMMITTED,
            committed_at=self.height,
            committed_ms=self.time_ms,
            reveal_until=self.height + self.p.submission_reveal_blocks,
            first_item=0,
        )
        self.unrevealed[number] = key
        campaign.submissions_open += 1

    def submission_reveal(self, sender: bytes, body: Any) -> None:
        key = (body.campaign, body.commitment, sender)
        refuse_if(key not in self.submissions, "submission_unknown")
        submission, campaign = self.submissions[key], self.campaigns[body.campaign]
        refuse_if(submission.status != COMMITTED, "submission_done")
        refuse_if(self.height > submission.reveal_until, "reveal_late")
        refuse_if(self.height == submission.committed_at, "reveal_early")
        refuse_if(len(body.items) != submission.count, "submission_items")
        expected = submission_commitment(self.chain_id, body.campaign, body.items, sender, body.salt)
        refuse_if(expected != body.commitment, "commitment")
        refuse_if(campaign.cancelled, "campaign_cancelled")
        for declared in body.items:
            self._check_declared(campaign.spec, declared)
        numbers = [self._take_in(campaign, submission, body, declared) for declared in body.items]
        admitted = sum(self.items[number].status == QUEUED for number in numbers)
        if admitted:
            self._check_share(campaign, body.campaign, sender, admitted)
            if campaign.queued >= self.p.batch_items:
                self.queue_looks[self.height, body.campaign] = True
            self.queue_looks[self.height + self.p.batch_wait_blocks, body.campaign] = True
        submission.status, submission.first_item = REVEALED, numbers[0]
        del self.unrevealed[submission.sequence]
        campaign.submissions_open -= 1
        self.earned(sender).items_submitted += len(numbers)
        self.end_if_idle(body.campaign)

    def _check_declared(self, spec: Any, declared: Any) -> None:
        refuse_if(not 1 <= declared.content.size <= spec.item_bytes_max, "item_size")
        general = declared.media_type.split("/")[0] + "/*"
        fits = declared.media_type in spec.media and not declared.media_type.endswith("/*")
        whole = "/" in declared.media_type and not declared.media_type.endswith("/")
        refuse_if(not fits and not (whole and general in spec.media), "media_type")
        refuse_if(declared.tier >= len(spec.tier_bps), "tier")
        refuse_if(declared.category >= len(spec.categories), "category")
        refuse_if(bool(spec.reading_key) != (declared.private is not None), "item_private")

    def _check_share(self, campaign: Thing, number: int, sender: bytes, admitted: int) -> None:
        self.admitted_by.add((number, sender), admitted)
        campaign.admitted += admitted
        own, everything = self.admitted_by[number, sender], campaign.admitted
        share = campaign.spec.contributor_share_max_bps
        refuse_if(everything >= 20 and own * BPS > share * everything, "contributor_share")

    def _take_in(self, campaign: Thing, submission: Thing, body: Any, declared: Any) -> int:
        number = self.count("item", 1)
        campaign.submitted += 1
        item = self.items[number] = self.thing(
            campaign=body.campaign,
            contributor=submission.contributor,
            commitment=body.commitment,
            sequence=submission.sequence,
            content=declared.content,
            media_type=declared.media_type,
            tier=declared.tier,
            category=declared.category,
            status=SHOWN,
            history=((SHOWN, self.height, self.time_ms),),
            fee=0,
            reward_reserved=0,
            review_reserved=0,
            escalation_reserved=0,
            bond=submission.item_bond,
            batch=0,
            second=0,
            open_verdict=0,
            escalation=0,
            first=0,
            bond_cost=0,
            displaced=False,
            scores=(),
            overall=0,
            agreement_bps=0,
            reasons=(),
            reward=0,
            paid=0,
        )
        if declared.private:
            self.private_items[number] = declared.private
        places = [
            (body.campaign, "root", declared.content.chunk_root),
            (body.campaign, "sha256", declared.content.sha256),
        ]
        held_by = sorted({self.holders[place][0] for place in places if place in self.holders})
        for other in held_by:
            theirs = self.items[other]
            if theirs.sequence <= submission.sequence or theirs.status not in (QUEUED, IN_REVIEW):
                self.reject(number, ("duplicate",), self._share_of_bond(item))
                return number
        by_root = [self.holders[place][0] for place in places if place in self.holders]
        for other in dict.fromkeys(by_root):
            self._displace(other)
        target = campaign.spec.categories[declared.category].target
        refuse_if(0 < target <= campaign.category_counts[declared.category], "category_full")
        fee, reward, review, escalation = reserve_of(campaign.spec, declared.tier, declared.category)
        refuse_if(reward + review + escalation > campaign.available, "escrow")
        self.set_aside(campaign, reward, review, escalation)
        self._count_category(campaign, declared.category, 1)
        item.fee, item.reward_reserved = fee, reward
        item.review_reserved, item.escalation_reserved = review, escalation
        self.advance(number, QUEUED)
        campaign.queue[number] = (submission.contributor, self.height)
        for place in places:
            self.holders[place] = (number, submission.sequence)
        return number

    def _displace(self, number: int) -> None:
        item = self.items[number]
        self.free_content(number)
        if item.status == QUEUED:
            del self.campaigns[item.campaign].queue[number]
            self.reject(number, ("duplicate",), self._share_of_bond(item))
        else:
            item.displaced = True

    def _share_of_bond(self, item: Thing) -> int:
        return parts_of(item.bond, self.p.reject_bond_bps)

    # -- an item's way

    def advance(self, number: int, status: int) -> None:
        item, campaign = self.items[number], self.campaigns[self.items[number].campaign]
        for name, by in ((COUNTED[item.status], -1), (COUNTED[status], 1)):
            if name:
                setattr(campaign, name, getattr(campaign, name) + by)
        item.status = status
        item.history = (*item.history, (status, self.height, self.time_ms))

    def _count_category(self, campaign: Thing, category: int, by: int) -> None:
        counts = list(campaign.category_counts)
        counts[category] += by
        assert counts[category] >= 0
        campaign.category_counts = tuple(counts)

    def free_content(self, number: int) -> None:
        item = self.items[number]
        for name, value in (("root", item.content.chunk_root), ("sha256", item.content.sha256)):
            place = (item.campaign, name, value)
            if self.holders.get(place, (0, 0))[0] == number:
                del self.holders[place]

    def _let_go(self, number: int) -> None:
        """What was reserved for an item becomes available again, and its place in its category too.

        What its reviewers may earn stays until they are paid: of the first round while it is in a batch, of the second while
        it is escalated.
        """
        item = self.items[number]
        campaign = self.campaigns[item.campaign]
        review = item.review_reserved if item.status in (SHOWN, QUEUED) else 0
        escalation = 0 if item.status == ESCALATED else item.escalation_reserved
        self.set_aside(campaign, -item.reward_reserved, -review, -escalation)
        item.reward_reserved = 0
        item.review_reserved -= review
        item.escalation_reserved -= escalation
        item.bond_cost = 0
        if item.status != SHOWN:
            self._count_category(campaign, item.category, -1)

    def free_reviews(self, batch: Thing) -> None:
        """What a round's items hold for its reviewers becomes available: they are paid next, or not at all."""
        campaign = self.campaigns[batch.campaign]
        for number in batch.items:
            item = self.items[number]
            if batch.round == 1:
                self.set_aside(campaign, 0, -item.review_reserved, 0)
                item.review_reserved = 0
            else:
                self.set_aside(campaign, 0, 0, -item.escalation_reserved)
                item.escalation_reserved = 0

    def _return_bond(self, number: int, cost: int = 0) -> None:
        item = self.items[number]
        self.take_penalty(self.campaigns[item.campaign], "bonds", cost)
        self.note_payment(item.contributor, "penalty", cost, item.campaign, item=number)
        self.move("bonds", item.contributor, item.bond - cost)
        self.note_payment(item.contributor, "bond", item.bond - cost, item.campaign, item=number)
        item.bond = 0

    def reject(self, number: int, reasons: tuple[str, ...], cost: int) -> None:
        item = self.items[number]
        self._let_go(number)
        self.advance(number, REJECTED)
        item.reasons = reasons
        self._return_bond(number, cost)
        self.earned(item.contributor).items_rejected += 1

    def hold_rejected(self, number: int, reasons: tuple[str, ...], cost: int, batch: int) -> None:
        """Rejected, and everything stays held until the challenge window ends."""
        item = self.items[number]
        self.advance(number, REJECTED)
        item.reasons, item.bond_cost, item.open_verdict = reasons, cost, batch
        self.campaigns[item.campaign].rejections_open += 1
        self.earned(item.contributor).items_rejected += 1

    def leave_undecided(self, number: int, reasons: tuple[str, ...]) -> None:
        item = self.items[number]
        self._let_go(number)
        self.advance(number, UNDECIDED)
        item.reasons = reasons
        self.free_content(number)
        self._return_bond(number)
        self.earned(item.contributor).items_undecided += 1

    def accept(self, number: int, overall: int, batch: int) -> None:
        item = self.items[number]
        campaign, earned = self.campaigns[item.campaign], self.earned(item.contributor)
        self.advance(number, ACCEPTED)
        earned.items_accepted += 1
        item.open_verdict, item.bond_cost, item.reasons = batch, 0, ()
        if item.reward:  # it was accepted before, and keeps what that earned
            return
        share = 5000 + 5000 * (overall - 60) // 40
        item.reward = parts_of(item.reward_reserved, max(0, min(BPS, share)))
        now = parts_of(item.reward, self.p.contributor_paid_at_verdict_bps)
        self.set_aside(campaign, item.reward - item.reward_reserved, 0, 0)
        item.reward_reserved = item.reward
        earned.pending += item.reward - now
        self._pay_contributor(number, now)

    def _pay_contributor(self, number: int, amount: int) -> None:
        item = self.items[number]
        campaign = self.campaigns[item.campaign]
        campaign.reward -= amount
        item.reward_reserved -= amount
        campaign.paid_contributors = min(U64_MAX, campaign.paid_contributors + amount)
        item.paid += amount
        self.move("campaigns", item.contributor, amount)
        self.note_payment(item.contributor, "contribution", amount, item.campaign, item=number)

    # -- what happens by itself

    def expire_submissions(self) -> None:
        for number in sorted(self.unrevealed):
            key = self.unrevealed[number]
            submission = self.submissions[key]
            if submission.reveal_until > self.height:
                continue
            del self.unrevealed[number]
            bond = submission.count * submission.item_bond
            self.move("bonds", submission.contributor, bond)
            self.note_payment(submission.contributor, "bond", bond, key[0])
            submission.status = EXPIRED
            self.campaigns[key[0]].submissions_open -= 1
            self.end_if_idle(key[0])

    def form_batches(self) -> None:
        """One batch of a campaign a block, where one can be filled or the oldest item has waited."""
        for height, number in sorted(key for key in self.queue_looks if key[0] <= self.height):
            del self.queue_looks[height, number]
            queue = self.campaigns[number].queue
            if queue:
                self._form_batch(number, queue)

    def _form_batch(self, number: int, queue: Any) -> None:
        oldest = sorted(queue)[: self.limits["batch_window_items_max"]]
        size = min(self.p.batch_items, self.limits["batch_items_max"])
        waited = self.height >= queue[oldest[0]][1] + self.p.batch_wait_blocks
        mixed = sorted(oldest[1:], key=lambda item: tagged("draw", self.beacon, item.to_bytes(8, "big")))
        share = max(1, parts_of(size, self.p.batch_contributor_share_bps))
        picked: list[int] = []
        for item in (oldest[0], *mixed):
            whose = [queue[other][0] for other in picked]
            if len(picked) < size and whose.count(queue[item][0]) < share:
                picked.append(item)
        if len(picked) < size:
            if not waited:
                again = queue[oldest[0]][1] + self.p.batch_wait_blocks
                self.queue_looks[again, number] = True
                return
            picked += [item for item in (oldest[0], *mixed) if item not in picked][: size - len(picked)]
        self._freeze(number, picked)
        rest = sorted(queue)[: self.limits["batch_window_items_max"]]
        if not rest:
            return
        waited = self.height >= queue[rest[0]][1] + self.p.batch_wait_blocks
        if len(rest) >= size or waited:
            self.queue_looks[self.height + 1, number] = True

    def _freeze(self, number: int, picked: list[int]) -> None:
        batch = self.count("batch", 1)
        for item in picked:
            del self.campaigns[number].queue[item]
            self.items[item].batch = batch
            self.advance(item, IN_REVIEW)
        spec = self.campaigns[number].spec
        self.create_batch(batch, number, picked, 1, spec.first_seats, 0, b"")
        if not spec.reading_key:
            self.jobs_for_batch(batch, len(picked), spec.model)

    def create_batch(
        self,
        batch: int,
        campaign: int,
        picked: list[int],
        round_: int,
        asked: int,
        origin: int,
        appellant: bytes,
    ) -> None:
        fee = sum(self.items[item].fee for item in picked)
        self.batches[batch] = self.thing(
            campaign=campaign,
            round=round_,
            items=tuple(picked),
            contributors=tuple(sorted({self.items[item].contributor for item in picked})),
            phase=FROZEN,
            outcome=0,
            fee=fee,
            bond=min(self.p.validator_stake_min, self.p.seat_bond_multiple * fee),
            seats=(),
            draws=0,
            redraws=0,
            formed_at=self.height,
            draw_at=self.height + self.p.seed_delay_blocks,
            places=0,
            vacancies=(),
            origin=origin,
            second=0,
            appellant=appellant,
            asked=asked,
            thin=False,
            gold_until=0,
            gold_said=False,
            gold=(),
            settle_at=0,
            accept_until=0,
            commit_until=0,
            reveal_from=0,
            reveal_until=0,
            decided_at=0,
            settled=False,
            next_try=max(self.height + self.p.seed_delay_blocks, self.height + 1),
        )
        self.open_batches[batch] = True

    def settle_batches(self) -> None:
        """Verdicts of a batch can't be appealed any more: accepted items get their rest, rejected ones what is left."""
        for due, batch in sorted(key for key in self.settling if key[0] <= self.height):
            del self.settling[due, batch]
            for number in self.batches[batch].items:
                if self.items[number].open_verdict == batch:
                    self._settle_item(number)
            self.batches[batch].settled = True
            self.end_if_idle(self.batches[batch].campaign)

    def _settle_item(self, number: int) -> None:
        item = self.items[number]
        campaign, earned = self.campaigns[item.campaign], self.earned(item.contributor)
        item.open_verdict = 0
        if item.status == REJECTED:
            if item.reward:  # it was accepted first, and loses the rest
                earned.pending -= item.reward_reserved
            cost = item.bond_cost
            self._let_go(number)
            campaign.rejections_open -= 1
            self._return_bond(number, cost)
            return
        rest = item.reward_reserved
        self.set_aside(campaign, 0, 0, -item.escalation_reserved)
        item.escalation_reserved = 0
        self.advance(number, PAID)
        earned.pending -= rest
        self._pay_contributor(number, rest)
        self._return_bond(number)
        self.take_part(number)
