"""Real people's labels, and what the whole ledger makes of them: gold, commitments, reveals, second rounds, standings and pay.

Every worker of a data set is a validator. Whoever never labelled the items of a batch can't sit in it: the town's people keep it
from being drawn, as one who is away.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from statistics import mean

from msgspec.structs import replace

from benchmarks.people.scenes import WINDOWS
from benchmarks.people.town import PARAMS, GoldTree, Town, address_of, report_of
from omnitensor.protocol.bodies import CampaignClose, CampaignSpec
from omnitensor.protocol.reviews import ItemScore
from omnitensor.protocol.types import Address, BatchId, CampaignId, ItemId
from state.records_review import BatchPhase, CampaignStatus, ItemStatus, SeatState
from state.schema import VALIDATORS
from tests.shared_data import shared_path

YES, NO = ItemScore(90, 90, 90), ItemScore(20, 20, 20)
ALL, NONE = 7, 0
GOLD_EVERY = 10
"""One item in ten is gold."""
JOY_BAR = 20
"""From so many points on a headline is joyful: so are two fifths of them."""


@dataclass
class Labels:
    """Who said what of which item, what is true, and the groups of items that were labelled together."""

    by_item: dict[str, dict[str, ItemScore]]
    truth: dict[str, int]
    groups: list[list[str]]

    @property
    def workers(self) -> list[str]:
        return sorted({worker for labels in self.by_item.values() for worker in labels})


@dataclass
class Judged:
    """What the ledger made of the labels in one campaign."""

    town: Town
    golds: set[str]
    item_of: dict[str, ItemId] = field(default_factory=dict)
    reports: list[tuple[BatchId, Address]] = field(default_factory=list)
    given: int = 0
    """Labels, of both rounds."""
    first: dict[str, list[ItemScore]] = field(default_factory=lambda: defaultdict(list))
    """What was said of an item in its first round."""

    def is_accepted(self, item: str) -> bool:
        return self.town.item(self.item_of[item]).status == ItemStatus.PAID

    def accuracy(self, truth: dict[str, int]) -> float:
        return mean(self.is_accepted(item) == bool(right) for item, right in truth.items())

    def accuracy_beside_gold(self, truth: dict[str, int]) -> float:
        """Of the items whose truth nobody was told."""
        return self.accuracy({item: right for item, right in truth.items() if item not in self.golds})

    def majority(self, truth: dict[str, int]) -> float:
        """Accuracy of the plain majority of the labels of the first rounds."""
        return mean(
            (2 * sum(score.accuracy >= 60 for score in said) > len(said)) == bool(truth[item])
            for item, said in self.first.items()
        )


def judged(labels: Labels, spec: CampaignSpec, *, seed: int = 1) -> Judged:
    """Gives the labels through the ledger, batch by batch, in one campaign of strangers."""
    return next(campaigns_judged(labels, spec, seed=seed))


def campaigns_judged(labels: Labels, spec: CampaignSpec, *, seed: int = 1) -> Iterator[Judged]:
    """The same in one campaign after another in the same town, without end.

    Standings stay from campaign to campaign, labels do not: each draws its own committees. The same items are gold in all.
    """
    town = Town(["sponsor", "ann"], labels.workers, seed, replace(PARAMS, **WINDOWS))
    everything = [item for group in labels.groups for item in group]
    # Evenly over the batches, as a careful sponsor hands it in.
    golds = set(everything[Random(seed).randrange(GOLD_EVERY) :: GOLD_EVERY])
    while True:
        yield one_campaign(Judged(town, golds), labels, spec)


def one_campaign(found: Judged, labels: Labels, spec: CampaignSpec) -> Judged:
    town = found.town
    campaign = town.open("sponsor", spec)
    gold = GoldTree(campaign, {item: ALL if labels.truth[item] else NONE for item in sorted(found.golds)})
    town.send(address_of("sponsor"), gold.commit(spec.first_seats))
    town.block()
    size = town.params.batch_items
    for together in labels.groups:
        keep_away(
            town,
            labels,
            {address_of(worker) for worker in labels.workers if worker in labels.by_item[together[0]]},
        )
        for at in range(0, len(together), size):
            judge_group(found, labels, gold, campaign, together[at : at + size])
    town.send(address_of("sponsor"), CampaignClose(campaign))
    for _ in range(20):
        town.block()
    row = town.campaign(campaign)
    assert row.status == CampaignStatus.CLOSED
    assert row.escrow.total == 0
    town.check()
    return found


def judge_group(
    found: Judged, labels: Labels, gold: GoldTree, campaign: CampaignId, group: list[str]
) -> None:
    """Hands in the items of one batch, and goes on until its last verdict."""
    town = found.town
    shown = iter(group)
    town.commit_items("ann", campaign, group)
    town.block()
    town.reveal_items("ann", campaign, group)
    open_batches: list[BatchId] = []
    for turn in range(40):
        for event in town.block():
            fields = dict(event.fields)
            if event.kind == "batch.formed":
                open_batches.append(BatchId(int(fields["batch"])))
            elif event.kind == "item.revealed":
                found.item_of[next(shown)] = ItemId(int(fields["item"]))
        act(found, labels, gold, open_batches)
        if turn > 3 and not open_batches:
            break


def keep_away(town: Town, labels: Labels, able: set[Address]) -> None:
    """Nobody is drawn who has nothing to say."""
    for worker in labels.workers:
        row = town.view.get(VALIDATORS, address_of(worker))
        assert row is not None
        town.view.put(VALIDATORS, replace(row, jailed=address_of(worker) not in able), address_of(worker))


def act(found: Judged, labels: Labels, gold: GoldTree, open_batches: list[BatchId]) -> None:
    """Everybody does what each open batch waits for."""
    town = found.town
    names = {number: item for item, number in found.item_of.items()}
    for number in list(open_batches):
        batch = town.batch(number)
        if batch.phase in (BatchPhase.DONE, BatchPhase.SECOND):
            open_batches.remove(number)
            found.reports += [(number, who) for who, _ in town.seats(number, batch, SeatState.REVEALED)]
        for state, send in (
            (SeatState.SEATED, town.commit_report),
            (SeatState.COMMITTED, town.reveal_report),
        ):
            for who, _ in town.seats(number, batch, state):
                items = [names[item] for item in batch.items]
                said = [labels.by_item[item][town.names[who]] for item in items]
                if batch.phase == (BatchPhase.COMMIT if state is SeatState.SEATED else BatchPhase.REVEAL):
                    send(who, number, batch.round, report_of(said))
                    if state is SeatState.COMMITTED:
                        found.given += len(items)
                        for item, score in zip(items, said, strict=True):
                            if batch.round == 1:
                                found.first[item].append(score)
        if batch.phase == BatchPhase.GOLD and not batch.gold_said:
            said_gold = [(item, names[item]) for item in batch.items if names[item] in found.golds]
            town.send(address_of("sponsor"), gold.reveal(number, said_gold))


def rte() -> Labels:
    by_item: dict[str, dict[str, ItemScore]] = defaultdict(dict)
    truth: dict[str, int] = {}
    with shared_path("data/rte.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            by_item[row["item"]][row["worker"]] = YES if row["response"] == "1" else NO
            truth[row["item"]] = int(row["gold"])
    together: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for item, labels in by_item.items():
        together[tuple(sorted(labels))].append(item)
    return Labels(dict(by_item), truth, list(together.values()))


def bluebirds() -> Labels:
    """The two files are flat maps of maps; two regular expressions read them whole."""
    pair = re.compile(r"(\d+): (true|false)")
    truth = {
        item: int(said == "true")
        for item, said in pair.findall(shared_path("data/bluebirds-gt.yaml").read_text(encoding="utf-8"))
    }
    by_item: dict[str, dict[str, ItemScore]] = {item: {} for item in truth}
    text = shared_path("data/bluebirds-labels.yaml").read_text(encoding="utf-8")
    for worker, body in re.findall(r"(\d+): \{([^}]*)\}", text):
        for item, said in pair.findall(body):
            by_item[item][worker] = YES if said == "true" else NO
    # Mixed: the file has one kind after the other.
    items = sorted(truth, key=lambda item: int(item) * 7919 % 1_009)
    return Labels(by_item, truth, [items])


def joy() -> tuple[Labels, dict[str, float]]:
    """How much joy a headline holds, 0 to 100, by ten people each; and what is taken as true."""
    by_item: dict[str, dict[str, ItemScore]] = defaultdict(dict)
    truth: dict[str, float] = {}
    with shared_path("data/joy.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            score = min(100, max(0, round(float(row["response"]))))
            by_item[row["item"]][row["worker"]] = ItemScore(score, score, score)
            truth[row["item"]] = float(row["gold"])
    together: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for item, labels in by_item.items():
        together[tuple(sorted(labels))].append(item)
    groups = [group[at : at + 20] for group in together.values() for at in range(0, len(group), 20)]
    return Labels(
        dict(by_item), {item: int(score >= JOY_BAR) for item, score in truth.items()}, groups
    ), truth
