"""Random campaigns of every kind, each driven to its end: every bucket is exactly zero, and no unit was made or lost.

``make campaigns`` plays 20,000 of them (``COUNT=n`` for another number); the suite plays a few.
"""

from __future__ import annotations

import sys
from collections import Counter
from random import Random

from msgspec.structs import replace

from benchmarks.people.town import SALT, SPEC, GoldTree, Town, address_of, declaration, report_of
from omnitensor.protocol.bodies import (
    CampaignCancel,
    CampaignClose,
    CampaignFund,
    CampaignSpec,
    Category,
    ItemAppeal,
    ReportLeak,
    SeatDecline,
)
from omnitensor.protocol.params import Params
from omnitensor.protocol.reviews import ItemScore
from omnitensor.protocol.types import NANO, Address, Amount, BatchId, CampaignId, Height, ItemId
from state.ledger.accounts import Pot, pot
from state.ledger.supply import check_everything
from state.records_review import BatchPhase, CampaignStatus, DueKind, Escalation, SeatState
from state.schema import APPEALS, DUE
from state.schema import number as number_of

PARAMS = Params(
    batch_items=4,
    batch_contributor_share_bps=5_000,
    batch_wait_blocks=2,
    seed_delay_blocks=1,
    seat_accept_blocks=3,
    report_commit_blocks=4,
    report_reveal_blocks=3,
    gold_reveal_blocks=3,
    challenge_blocks=4,
    submission_reveal_blocks=4,
    seat_redraws_max=1,
    base_fee_initial=1,
    epoch_blocks=100_000_000,
)
PEOPLE = ("sponsor", "ann", "ben", "cyd")
ENDS = ("closed", "expired", "cancelled")


class Wild:
    """One town in which campaigns come and go, and nobody is reliable."""

    def __init__(self, seed: int, reviewers: int = 9) -> None:
        self.chance = Random(seed)
        self.reviewers = [f"val{n}" for n in range(reviewers)]
        self.town = Town(list(PEOPLE), self.reviewers, seed, PARAMS)
        self.town.refused = Quiet()
        self.seen: Counter[str] = Counter()
        self.said: dict[tuple[BatchId, Address], bytes] = {}

    def campaign(self) -> None:
        """From its opening to nothing left."""
        number = self.town.open("sponsor", self._spec())
        self.gold = GoldTree(number, {f"{number}/{n}": self.chance.randrange(8) for n in range(3)})
        self.open: list[BatchId] = []
        lazy = self.chance.choice((0.0, 0.0, 0.1, 0.4, 0.9))
        end = self.chance.randrange(2, 30)
        for turn in range(200):
            if turn == 0 and self.chance.random() < 0.6:
                self.town.send(address_of("sponsor"), self.gold.commit())
            if turn < end:
                self._submit(number, turn)
            elif turn == end:
                self._end(number)
            self._review(number, lazy)
            self._block()
            row = self.town.campaign(number)
            if row.status not in (CampaignStatus.OPEN, CampaignStatus.CLOSING):
                break
        row = self.town.campaign(number)
        assert row.escrow.total == 0, row
        assert row.rejections_open == row.submissions_open == 0
        self.seen[CampaignStatus(row.status).label] += 1
        for _ in range(6):
            self._block()
        assert pot(self.town.view, Pot.ESCROW) == pot(self.town.view, Pot.BONDS) == 0
        due = [number_of(DUE.split(key)[1]) for key, _ in self.town.view.scan(DUE)]
        assert set(due) <= {DueKind.CAMPAIGN}, "something is still due, besides deadlines"

    def _spec(self) -> CampaignSpec:
        pick = self.chance.choice
        return replace(
            SPEC,
            categories=(Category("any", 10_000, 0), Category("few", 13_333, 2)),
            tier_bps=(7_777, 10_000),
            first_seats=pick((1, 2, 3, 5, 5)),
            second_seats=pick((0, 1, 3, 5, 7)),
            agree_min_bps=pick((0, 6_000, 7_000, 10_000)),
            audit_bps=pick((0, 500, 10_000)),
            unit_price=Amount(pick((0, NANO, 3 * NANO + 1))),
            item_bond=Amount(pick((0, NANO // 3))),
            closes_at=Height(self.town.height + pick((12, 10_000))),
        )

    def _submit(self, number: CampaignId, turn: int) -> None:
        if self.chance.random() < 0.4:
            who = self.chance.choice(PEOPLE[1:])
            texts = [f"{number}/{self.chance.randrange(40)}" for _ in range(self.chance.randrange(1, 4))]
            self.town.commit_items(who, number, texts)
            self.unrevealed = (who, texts)
        elif turn and self.chance.random() < 0.8 and hasattr(self, "unrevealed"):
            self.town.reveal_items(self.unrevealed[0], number, self.unrevealed[1])
        if self.chance.random() < 0.05:
            self.town.send(address_of("sponsor"), CampaignFund(number, Amount(NANO)))

    def _end(self, number: CampaignId) -> None:
        kind = CampaignCancel if self.chance.random() < 0.3 else CampaignClose
        self.town.send(address_of("sponsor"), kind(number))

    def _review(self, number: CampaignId, usual: float) -> None:
        chance, town, lazy = self.chance, self.town, usual
        for batch_number in list(self.open):
            batch = town.batch(batch_number)
            if batch.phase in (BatchPhase.DONE, BatchPhase.SECOND):
                self.open.remove(batch_number)
                for item in batch.items:
                    if chance.random() < 0.3:
                        who = chance.choice((*PEOPLE, *self.reviewers))
                        town.send(address_of(who), ItemAppeal(ItemId(item)))
            elif batch.phase == BatchPhase.GOLD and chance.random() > lazy:
                self._say_gold(batch_number)
            # Whole rounds of an appeal come to nothing seldom enough by themselves: a third of them is slept through.
            lazy = 0.95 if batch.appellant and batch_number % 3 == 0 else usual
            for who, _ in town.seats(batch_number, batch, SeatState.SEATED):
                if chance.random() < 0.05:
                    town.send(who, SeatDecline(batch_number, batch.round))
                elif batch.phase == BatchPhase.COMMIT and chance.random() > lazy:
                    report = report_of([self._score() for _ in batch.items])
                    self.said[batch_number, who] = report
                    town.commit_report(who, batch_number, batch.round, report)
            for who, _ in town.seats(batch_number, batch, SeatState.COMMITTED):
                report = self.said[batch_number, who]
                if batch.phase == BatchPhase.REVEAL and chance.random() > lazy:
                    town.reveal_report(who, batch_number, batch.round, report)
                elif chance.random() < 0.02:
                    town.send(address_of("cyd"), ReportLeak(batch_number, batch.round, who, SALT, report))

    def _say_gold(self, batch_number: BatchId) -> None:
        batch = self.town.batch(batch_number)
        named = {self.town.item(item).content.sha256: item for item in batch.items}
        found = [
            (named[digest], text)
            for text in self.gold.answers
            if (digest := sha_of(text)) in named and self.chance.random() < 0.9
        ]
        self.town.send(address_of("sponsor"), self.gold.reveal(batch_number, found))

    def _score(self) -> ItemScore:
        score = self.chance.choice((20, 58, 85, 90))
        flags = self.chance.choice((0, 0, 0, 0, 4, 8, 64))
        return ItemScore(score, score, score, flags)

    def _block(self) -> None:
        for event in self.town.block():
            self.seen[event.kind] += 1
            if event.kind == "batch.formed":
                self.open.append(BatchId(int(dict(event.fields)["batch"])))
            elif event.kind == "item.escalated":
                self.seen[f"escalated by {dict(event.fields)['cause']}"] += 1
            elif event.kind == "appeal.closed":
                self.seen[f"appeal {dict(event.fields)['state']}"] += 1
            elif event.kind == "batch.undecided":
                self.seen[str(dict(event.fields)["reason"])] += 1


class Quiet(list[str]):
    """Orders of wild people are refused all the time."""

    def append(self, _: str) -> None:
        return


def sha_of(text: str) -> bytes:
    return declaration(text).content.sha256


MUST_HAPPEN = (
    *ENDS,
    *(f"escalated by {cause.label}" for cause in Escalation if cause),
    "appeal turned",
    "appeal upheld",
    "appeal void",
    "gold.returned",
    "gold.voided",
    "gold.expired",
    "report.leaked",
    "no_quorum",
    "item.undecided",
    "item.paid",
    "submission.expired",
    "seat.missed",
    "seat.withheld",
    "seat.declined",
)


def play(count: int, a_town: int = 50) -> Counter[str]:
    """So many campaigns, in towns of fifty; every path of the list is met if they are many."""
    seen: Counter[str] = Counter()
    for first in range(0, count, a_town):
        wild = Wild(first)
        for _ in range(min(a_town, count - first)):
            wild.campaign()
        check_everything(wild.town.view)
        assert not [row for _, row in wild.town.view.scan(APPEALS) if row.bond]
        seen += wild.seen
    return seen


def test_every_campaign_ends_with_nothing_left() -> None:
    seen = play(150)
    assert [kind for kind in MUST_HAPPEN if not seen[kind]] == []


if __name__ == "__main__":
    given = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for kind, times in sorted(play(given).items()):
        print(f"{times:>9}  {kind}")
    print(f"{given} campaigns, and the escrow of each ended at exactly zero")
