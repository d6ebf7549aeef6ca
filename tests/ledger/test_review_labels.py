"""Real people's labels, given through the whole ledger: gold, commitments, reveals, second rounds, standings and pay, in blocks.

Every worker of a data set is a validator. Whoever never labelled the items of a batch can't sit in it: the town's people keep it
from being drawn, as one who is away. What comes out is compared with the plain majority of the labels of the first rounds.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from statistics import mean

import pytest
from msgspec.structs import replace

from benchmarks.people.scenes import WINDOWS
from benchmarks.people.town import PARAMS, SPEC, GoldTree, Town, address_of, report_of
from omnitensor.protocol.bodies import CampaignClose, CampaignSpec
from omnitensor.protocol.reviews import ItemScore
from omnitensor.protocol.types import Address, BatchId, ItemId
from state.records_review import BatchPhase, CampaignStatus, ItemStatus, SeatState
from state.schema import SEATS, VALIDATORS
from tests.shared_data import shared_path

STANDARD = replace(SPEC, audit_bps=0)
"""The standard preset without audits, whose second rounds these data sets have too few people for."""
YES, NO = ItemScore(90, 90, 90), ItemScore(20, 20, 20)
ALL, NONE = 7, 0


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
    """What the ledger made of the labels."""

    town: Town
    item_of: dict[str, ItemId]
    reports: list[tuple[BatchId, Address]] = field(default_factory=list)
    given: int = 0
    first: dict[str, list[ItemScore]] = field(default_factory=lambda: defaultdict(list))
    """What was said of an item in its first round."""

    def is_accepted(self, item: str) -> bool:
        return self.town.item(self.item_of[item]).status == ItemStatus.PAID

    def accuracy(self, truth: dict[str, int]) -> float:
        return mean(self.is_accepted(item) == bool(right) for item, right in truth.items())

    def majority(self, truth: dict[str, int]) -> float:
        return mean(
            (2 * sum(score.accuracy >= 60 for score in said) > len(said)) == bool(truth[item])
            for item, said in self.first.items()
        )


def judged(
    labels: Labels, spec: CampaignSpec, *, batch_items: int = 20, campaigns: int = 1, seed: int = 1
) -> Judged:
    """Gives the labels through the ledger, batch by batch, in one campaign or several: what the last one made of them.

    Standings stay from campaign to campaign, labels do not: each draws its own committees. One item in ten is gold.
    """
    town = Town(["sponsor", "ann"], labels.workers, seed, replace(PARAMS, **WINDOWS, batch_items=batch_items))
    chance = Random(seed)
    everything = [item for group in labels.groups for item in group]
    golds = set(
        everything[chance.randrange(10) :: 10]
    )  # evenly over the batches, as a careful sponsor hands it in
    for _ in range(campaigns):
        found = one_campaign(Judged(town, {}), labels, spec, golds, batch_items)
    return found


def one_campaign(
    found: Judged, labels: Labels, spec: CampaignSpec, golds: set[str], batch_items: int
) -> Judged:
    town = found.town
    campaign = town.open("sponsor", spec)
    gold = GoldTree(campaign, {item: ALL if labels.truth[item] else NONE for item in sorted(golds)})
    town.send(address_of("sponsor"), gold.commit())
    town.block()
    for together in labels.groups:
        able = {address_of(worker) for worker in labels.workers if worker in labels.by_item[together[0]]}
        keep_away(town, labels, able)
        for at in range(0, len(together), batch_items):
            group = together[at : at + batch_items]
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
                act(found, labels, gold, golds, open_batches)
                if turn > 3 and not open_batches:
                    break
    town.send(address_of("sponsor"), CampaignClose(campaign))
    for _ in range(20):
        town.block()
    row = town.campaign(campaign)
    assert row.status == CampaignStatus.CLOSED
    assert row.escrow.total == 0
    town.check()
    return found


def keep_away(town: Town, labels: Labels, able: set[Address]) -> None:
    """Nobody is drawn who has nothing to say."""
    for worker in labels.workers:
        row = town.view.get(VALIDATORS, address_of(worker))
        assert row is not None
        town.view.put(VALIDATORS, replace(row, jailed=address_of(worker) not in able), address_of(worker))


def act(found: Judged, labels: Labels, gold: GoldTree, golds: set[str], open_batches: list[BatchId]) -> None:
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
            said_gold = [(item, names[item]) for item in batch.items if names[item] in golds]
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
    return Labels(dict(by_item), dict.fromkeys(truth, 1), groups), truth


def over_seeds(
    labels: Labels, spec: CampaignSpec, seeds: int, *, batch_items: int = 20, campaigns: int = 1
) -> tuple[float, float, float, Judged]:
    """Accuracy, majority of the first rounds, reports an item: means over seeds; and the last of them."""
    found = [
        judged(labels, spec, batch_items=batch_items, campaigns=campaigns, seed=seed)
        for seed in range(1, seeds + 1)
    ]
    accuracy = mean(one.accuracy(labels.truth) for one in found)
    majority = mean(one.majority(labels.truth) for one in found)
    return accuracy, majority, mean(one.given for one in found) / len(labels.truth), found[-1]


@pytest.mark.slow
def test_textual_entailment_by_five_of_ten_workers_and_then_the_others() -> None:
    labels = rte()
    assert (len(labels.truth), len(labels.workers)) == (800, 164)
    accuracy, majority, cost, last = over_seeds(labels, STANDARD, 3)
    print(f"RTE: {accuracy:.3f} with {cost:.2f} labels an item; majority of the first five {majority:.3f}")
    assert accuracy >= 0.91
    assert cost <= 6.5
    assert accuracy > majority
    assert_pay_follows_accuracy(last, labels)


@pytest.mark.slow
def test_bluebirds_by_people_whose_standing_is_known() -> None:
    """A hundred images are too few to know anybody: standings are those of three campaigns before, by other committees."""
    labels = bluebirds()
    assert (len(labels.truth), len(labels.workers)) == (108, 39)
    accuracy, majority, cost, _ = over_seeds(labels, STANDARD, 4, batch_items=9, campaigns=4)
    fresh, _, _, _ = over_seeds(labels, STANDARD, 4, batch_items=9)
    print(
        f"bluebirds: {accuracy:.3f} with {cost:.2f} labels an item, {fresh:.3f} by strangers; majority {majority:.3f}"
    )
    assert accuracy >= 0.78  # over six other draws .832; a draw more or less is worth two hundredths here
    assert cost <= 9.5
    assert accuracy > fresh


@pytest.mark.slow
def test_one_hostile_reviewer_in_five_hardly_moves_a_median() -> None:
    """Scores of a headline's joy: the ledger's medians against the experts', with every fifth worker saying the opposite."""
    labels, truth = joy()
    assert (len(truth), len(labels.workers)) == (100, 38)
    spec = replace(SPEC, thresholds=(0, 0, 0), overall_threshold=0, second_seats=0, audit_bps=0)
    hostile = set(Random(5).sample(labels.workers, len(labels.workers) // 5))
    turned = replace_scores(labels, hostile)
    honest, with_hostile = (
        medians_error(judged(one, spec, seed=seed), truth) for seed in (1,) for one in (labels, turned)
    )
    means = mean(
        abs(mean(score.accuracy for score in turned.by_item[item].values()) - right)
        for item, right in truth.items()
    )
    print(
        f"joy: median error {honest:.1f} points, {with_hostile:.1f} with one hostile in five; of means {means:.1f}"
    )
    assert with_hostile <= honest + 4
    assert with_hostile < means


def replace_scores(labels: Labels, hostile: set[str]) -> Labels:
    """The same labels, of which some people say the opposite."""
    by_item = {
        item: {
            worker: ItemScore(*[100 - score for score in given.criteria]) if worker in hostile else given
            for worker, given in said.items()
        }
        for item, said in labels.by_item.items()
    }
    return Labels(by_item, labels.truth, labels.groups)


def medians_error(found: Judged, truth: dict[str, float]) -> float:
    return mean(abs(found.town.item(found.item_of[item]).scores[1] - right) for item, right in truth.items())


def assert_pay_follows_accuracy(found: Judged, labels: Labels) -> None:
    """The third of the reviewers who are most often right earn more a report than the third who are least often right."""
    town = found.town
    paid: dict[str, list[float]] = defaultdict(list)
    for number, who in found.reports:
        batch = town.batch(number)
        seat = town.view.get(SEATS, number, batch.round, who)
        assert seat is not None
        paid[town.names[who]].append((seat.paid - seat.penalty) / batch.fee)
    right: dict[str, list[bool]] = defaultdict(list)
    for item, said in labels.by_item.items():
        for worker, score in said.items():
            right[worker].append((score == YES) == bool(labels.truth[item]))
    ranked = sorted(paid, key=lambda worker: mean(right[worker]))
    third = len(ranked) // 3
    low, high = (mean(mean(paid[worker]) for worker in part) for part in (ranked[:third], ranked[-third:]))
    assert high > low
