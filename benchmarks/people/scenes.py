"""Campaigns played from their first item to their last: who says what, what became of the items, and who earned what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from msgspec.structs import replace

from benchmarks.people.minds import Mind, Past, Thing, make_thing
from benchmarks.people.town import PARAMS, SPEC, GoldTree, Town, address_of, report_of
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import CampaignClose, CampaignSpec, ItemAppeal
from omnitensor.protocol.params import Params
from omnitensor.protocol.reviews import ItemScore
from omnitensor.protocol.types import Address, BatchId, CampaignId, ItemId
from state.records_review import BatchPhase, CampaignStatus, Escalation, ItemStatus, SeatState
from state.schema import SEATS

WINDOWS = {
    "challenge_blocks": 3,
    "gold_reveal_blocks": 3,
    "report_commit_blocks": 20,
    "report_reveal_blocks": 20,
}
GOLD_EVERY = 10
"""One item in ten is gold, half of it good and half bad, whatever the share in the campaign."""
CLEAR_POINTS = 4
"""A good item is clearly good where it deserves so many points more than each criterion's threshold."""
SETTLED = 0.5
"""Pay is counted over the later half of the batches: reputations begin at nothing."""


@dataclass
class Played:
    """What came of one campaign."""

    pay: dict[str, float] = field(default_factory=dict)
    """Pay less penalties as a share of the fees of the seats sat in, by reviewer, over the later batches."""
    accuracy: float = 0.0
    false_accepts: float = 0.0
    """Share of the bad items that were accepted, and"""
    false_rejects: float = 0.0
    """of the good ones that were rejected."""
    spam_accepted: float = 0.0
    seats_per_item: float = 0.0
    escalated: float = 0.0
    appeals: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Turned, of all: rejections that were ``wrong``, those of them of items that are ``clear``, and ``right`` ones."""
    blocks: int = 0


class Scene:
    """One campaign in a town of reviewers of given minds."""

    def __init__(
        self,
        minds: Mapping[str, Mind],
        seed: int,
        *,
        spam_share: float = 0.0,
        appeals: bool = False,
        spec: CampaignSpec = SPEC,
        params: Params | None = None,
    ) -> None:
        self.chance = Random(f"scene/{seed}")
        self.minds = {address_of(name): mind for name, mind in minds.items()}
        self.chances = {address_of(name): Random(f"{seed}/{name}") for name in minds}
        self.past = Past()
        self.spam_share, self.appeals, self.spec = spam_share, appeals, spec
        self.town = Town(["sponsor", "ann"], list(minds), seed, params or params_of())
        self.things: dict[str, Thing] = {}
        self.by_root: dict[bytes, Thing] = {}
        self.open: list[BatchId] = []
        self.reports: dict[tuple[BatchId, Address], bytes] = {}
        self.formed: list[BatchId] = []

    def play(self, good: float, batches: int) -> Played:
        """A campaign of so many batches, of which a share of the items is good."""
        campaign = self.town.open("sponsor", self.spec)
        groups = [self._group(number, good) for number in range(batches)]
        gold = GoldTree(
            campaign, {thing.text: thing.bits for group in groups for thing in group if thing.gold}
        )
        if gold.answers:
            self.town.send(address_of("sponsor"), gold.commit())
            self.town.block()
        for group in groups:
            texts = [thing.text for thing in group]
            self.town.commit_items("ann", campaign, texts)
            self._block()
            self.town.reveal_items("ann", campaign, texts)
            self._block()
            while self.open:
                self._act(gold)
                self._block()
        self.town.send(address_of("sponsor"), CampaignClose(campaign))
        for _ in range(40):
            self._act(gold)
            self._block()
        row = self.town.campaign(campaign)
        assert row.status == CampaignStatus.CLOSED and row.escrow.total == 0, row.escrow
        self.town.check()
        return self._result(campaign)

    def _group(self, number: int, good: float) -> list[Thing]:
        """Twenty items: gold, spam, and others as they come."""
        size, golds = self.town.params.batch_items, self.town.params.batch_items // GOLD_EVERY
        found: list[Thing] = []
        for place in range(size):
            text = f"{number}/{place}"
            if place < golds:
                thing = make_thing(text, self.chance, (number + place) % 2 == 0, gold=True)
            elif self.chance.random() < self.spam_share:
                thing = Thing(text, (20, 20, 20), spam=True)
            else:
                thing = make_thing(text, self.chance, self.chance.random() < good)
            found.append(thing)
            self.things[text] = thing
        return found

    def _block(self) -> None:
        for event in self.town.block():
            fields = dict(event.fields)
            if event.kind == "item.revealed":
                self.by_root[_bytes(fields["chunk_root"])] = self.things[self._text_of(event)]
            elif event.kind == "batch.formed":
                self.open.append(BatchId(int(fields["batch"])))
                self.formed.append(self.open[-1])
            elif event.kind == "item.rejected" and self.appeals and self._is_first(event):
                self.town.send(address_of("ann"), ItemAppeal(ItemId(int(fields["item"]))))

    def _is_first(self, event: Event) -> bool:
        item = self.town.item(ItemId(int(dict(event.fields)["item"])))
        return item.second == 0

    def _text_of(self, event: Event) -> str:
        """Items are numbered in the order in which they are shown, as they were made."""
        number = int(dict(event.fields)["item"])
        return list(self.things)[number - 1] if number <= len(self.things) else ""

    def _act(self, gold: GoldTree) -> None:
        """Everybody does what each open batch waits for."""
        for number in list(self.open):
            batch = self.town.batch(number)
            if batch.phase in (BatchPhase.DONE, BatchPhase.SECOND):
                self.open.remove(number)
            elif batch.phase == BatchPhase.COMMIT:
                things = [self._thing(item) for item in batch.items]
                for who, _ in self.town.seats(number, batch, SeatState.SEATED):
                    report = report_of(self._opinion(who, things))
                    self.reports[number, who] = report
                    self.town.commit_report(who, number, batch.round, report)
            elif batch.phase == BatchPhase.REVEAL:
                for who, _ in self.town.seats(number, batch, SeatState.COMMITTED):
                    report = self.reports.pop((number, who))
                    self.town.reveal_report(who, number, batch.round, report)
                    self.past.latest = [ItemScore(*report[at : at + 3]) for at in range(0, len(report), 4)]
            elif batch.phase == BatchPhase.GOLD and not batch.gold_said:
                found = [(item, self._thing(item).text) for item in batch.items if self._thing(item).gold]
                self.town.send(address_of("sponsor"), gold.reveal(number, found))

    def _thing(self, item: ItemId) -> Thing:
        return self.by_root[self.town.item(item).content.chunk_root]

    def _opinion(self, who: Address, things: list[Thing]) -> list[ItemScore]:
        return [self.minds[who](thing, self.chances[who], self.past) for thing in things]

    # -- what came of it

    def _result(self, campaign: CampaignId) -> Played:
        result = Played(blocks=self.town.height)
        self._count_items(result)
        self._count_pay(result)
        reports = sum(
            self.town.view.get(SEATS, number, self.town.batch(number).round, who) is not None
            for number in self.formed
            for who in self.town.batch(number).seats
            for _ in self.town.batch(number).items
        )
        result.seats_per_item = reports / len(self.things)
        return result

    def _count_items(self, result: Played) -> None:
        right = judged = good = bad = wrong_in = wrong_out = spam = spam_in = escalated = 0
        turned = {"wrong": [0, 0], "clear": [0, 0], "right": [0, 0]}
        for number in range(1, len(self.things) + 1):
            item = self.town.item(ItemId(number))
            thing = self._thing(ItemId(number))
            accepted = item.status == ItemStatus.PAID
            escalated += item.escalation != Escalation.NONE
            if item.escalation == Escalation.APPEAL:
                for kind in _kinds_of_rejection(thing):
                    turned[kind][0] += accepted
                    turned[kind][1] += 1
            if thing.gold:
                continue
            judged += 1
            right += accepted == thing.good
            spam += thing.spam
            spam_in += thing.spam and accepted
            good += thing.good
            bad += not thing.good
            wrong_in += accepted and not thing.good
            wrong_out += thing.good and not accepted
        result.accuracy = right / judged
        result.false_accepts, result.false_rejects = _share(wrong_in, bad), _share(wrong_out, good)
        result.spam_accepted, result.escalated = _share(spam_in, spam), escalated / len(self.things)
        result.appeals = {kind: (count[0], count[1]) for kind, count in turned.items()}

    def _count_pay(self, result: Played) -> None:
        later = self.formed[int(len(self.formed) * SETTLED) :]
        fees: dict[str, int] = {}
        net: dict[str, int] = {}
        for number in later:
            batch = self.town.batch(number)
            for who, seat in self.town.seats(number, batch, SeatState.REVEALED):
                name = self.town.names[who]
                fees[name] = fees.get(name, 0) + batch.fee
                net[name] = net.get(name, 0) + seat.paid - seat.penalty
        result.pay = {name: net[name] / fee for name, fee in fees.items()}


def params_of() -> Params:
    """Windows of a few blocks: everybody here is quick."""
    return replace(PARAMS, **WINDOWS)


def _bytes(value: int | str | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def _kinds_of_rejection(thing: Thing) -> tuple[str, ...]:
    """What the rejection of a thing is, as ``Played.appeals`` counts it."""
    if not thing.good:
        return ("right",)
    return ("wrong", "clear") if min(thing.qualities) >= 60 + CLEAR_POINTS else ("wrong",)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
