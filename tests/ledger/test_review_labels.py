"""Real people's labels, given through the real ledger: commitments and reveals in blocks, verdicts, standings and pay.

Every worker of a data set is a validator; whoever is drawn for items that they never labelled declines. What comes out is
compared with the plain majority of the very same labels. One round without gold: page 5's figures are for the whole mechanism.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import CampaignClose, SeatDecline
from omnitensor.protocol.reviews import ItemScore
from omnitensor.protocol.types import Amount, BatchId, CampaignId
from state.ledger.accounts import Pot, pot
from state.overlay import Overlay, in_range
from state.records_review import BatchPhase, CampaignStatus, ItemStatus, SeatState
from state.schema import REVIEWERS, SEATS, TABLES, Table
from tests.ledger.world import OMNIT, QUICK, SPEC, World, address_of, check_books, declaration
from tests.shared_data import shared_path

YES, NO = ItemScore(90, 90, 90), ItemScore(20, 20, 20)


class DecodedRows:
    """Committed rows kept decoded, by table: quicker than `DictBase` for thousands of blocks."""

    def __init__(self) -> None:
        self.tables: dict[int, dict[bytes, Any]] = defaultdict(dict)

    def row(self, table: Table[Any], key: bytes) -> Any:
        return self.tables[table.prefix].get(key)

    def rows(
        self, table: Table[Any], prefix: bytes, start: bytes, reverse: bool
    ) -> Iterator[tuple[bytes, Any]]:
        rows = self.tables[table.prefix]
        return iter(
            [
                (key, rows[key])
                for key in sorted(rows, reverse=reverse)
                if in_range(key, prefix, start, reverse)
            ]
        )

    def apply(self, overlay: Overlay) -> None:
        for prefix, key, value in overlay.changes():
            if value is None:
                self.tables[prefix].pop(key, None)
            else:
                self.tables[prefix][key] = value


@dataclass
class Labels:
    """Who said what of which item, what is true, and the groups of items that were labelled together."""

    by_item: dict[str, dict[str, int]]
    truth: dict[str, int]
    groups: list[list[str]]

    @property
    def workers(self) -> list[str]:
        return sorted({worker for labels in self.by_item.values() for worker in labels})


@dataclass
class Result:
    """What the ledger decided, and what the plain majority of the same labels says."""

    world: World
    accuracy: float
    majority: float
    labels_per_item: float


def judged(labels: Labels, seats: int) -> Result:
    """Gives every label through the ledger and closes the campaign."""
    world = World(
        people=("sponsor", "ann"),
        validators=len(labels.workers),
        balance_each=1_000_000 * OMNIT,
        params=replace(
            QUICK,
            batch_items=20,
            batch_contributor_share_bps=10_000,
            batch_wait_blocks=0,
            seed_delay_blocks=1,
            seat_accept_blocks=500,
            report_commit_blocks=500,
            seat_redraws_max=500,
        ),
        check_every_block=False,
    )
    worker_of = dict(zip(world.validator_names, labels.workers, strict=True))
    rows = DecodedRows()
    for table in TABLES.values():
        rows.tables[table.prefix] = dict(world.base.rows(table, b"", b"", False))
    world.base = rows  # type: ignore[assignment] # another base of the same rows
    world.view = Overlay(rows)
    spec = replace(
        SPEC,
        first_seats=seats,
        second_seats=0,
        agree_min_bps=0,
        review_fee=Amount(OMNIT // 100),
        unit_price=Amount(OMNIT),
    )
    campaign = world.open(spec, budget=20_000 * OMNIT)
    right = majority_right = given = 0
    for group in labels.groups:
        assert world.submit("ann", campaign, *[declaration(item) for item in group]).ok
        number, used = review_group(world, labels, worker_of, seats)
        batch = world.batch(number)
        order = {declaration(item).content.chunk_root: item for item in group}
        for item_number in batch.items:
            item = world.item(item_number)
            name = order[item.content.chunk_root]
            accepted = item.status in (ItemStatus.ACCEPTED, ItemStatus.PAID)
            right += accepted == labels.truth[name]
            votes = [labels.by_item[name][worker] for worker in used]
            given += len(votes)
            majority_right += (2 * sum(votes) > len(votes)) == labels.truth[name]
    world.send("sponsor", CampaignClose(CampaignId(campaign)))
    world.blocks(10)
    assert world.campaign(campaign).status == CampaignStatus.CLOSED
    check_books(world)
    assert pot(world.view, Pot.ESCROW) == pot(world.view, Pot.BONDS) == 0
    count = sum(len(group) for group in labels.groups)
    return Result(world, right / count, majority_right / count, given / count)


def review_group(
    world: World, labels: Labels, worker_of: dict[str, str], seats: int
) -> tuple[int, list[str]]:
    """One batch: whoever has no labels declines, the others commit and reveal theirs. Its number, and who revealed."""
    while not world.open_batches():
        world.block()
    (number,) = world.open_batches()
    while world.batch(number).phase != BatchPhase.COMMIT:
        world.block()
    texts = {declaration(item).content.chunk_root: item for item in labels.by_item}
    items = [texts[world.item(one).content.chunk_root] for one in world.batch(number).items]
    answers: dict[str, tuple[ItemScore, ...]] = {}
    while world.batch(number).phase == BatchPhase.COMMIT:
        sitting = world.seats(number, SeatState.SEATED)
        able = [name for name in sitting if worker_of[name] in labels.by_item[items[0]]]
        for name in sitting:
            if name not in able:
                world.send(name, SeatDecline(BatchId(number), 1))
        if len(able) == len(sitting):
            for name in able:
                answers[name] = tuple(YES if labels.by_item[item][worker_of[name]] else NO for item in items)
                world.send_commit(name, number, answers[name])
        world.block()
    for name in world.seats(number, SeatState.COMMITTED):
        world.send_reveal(name, number, answers[name])
    world.block()
    used = [worker_of[name] for name in world.seats(number, SeatState.REVEALED)]
    assert len(used) == seats
    return number, used


def rte() -> Labels:
    by_item: dict[str, dict[str, int]] = defaultdict(dict)
    truth: dict[str, int] = {}
    with shared_path("data/rte.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            by_item[row["item"]][row["worker"]] = int(row["response"])
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
    by_item: dict[str, dict[str, int]] = {item: {} for item in truth}
    text = shared_path("data/bluebirds-labels.yaml").read_text(encoding="utf-8")
    for worker, body in re.findall(r"(\d+): \{([^}]*)\}", text):
        for item, said in pair.findall(body):
            by_item[item][worker] = int(said == "true")
    items = sorted(
        truth, key=lambda item: int(item) * 7919 % 1_009
    )  # mixed: the file has one kind after the other
    return Labels(by_item, truth, [items[at : at + 18] for at in range(0, len(items), 18)])


@pytest.mark.slow
def test_textual_entailment_by_five_of_ten_workers() -> None:
    labels = rte()
    assert len(labels.truth) == 800
    assert len(labels.workers) == 164
    result = judged(labels, 5)
    print(f"RTE: {result.accuracy:.3f} by the ledger, {result.majority:.3f} by majority of the same labels")
    assert result.labels_per_item == 5
    assert result.accuracy >= result.majority
    assert result.accuracy >= 0.88
    assert_pay_follows_accuracy(result.world, labels)


@pytest.mark.slow
def test_bluebirds_by_nine_of_thirty_nine_people() -> None:
    labels = bluebirds()
    assert len(labels.truth) == 108
    assert len(labels.workers) == 39
    result = judged(labels, 9)
    print(
        f"bluebirds: {result.accuracy:.3f} by the ledger, {result.majority:.3f} by majority of the same labels"
    )
    assert result.labels_per_item == 9
    assert result.accuracy >= result.majority
    assert result.accuracy >= 0.72


def assert_pay_follows_accuracy(world: World, labels: Labels) -> None:
    """The third of the reviewers who are most often right earn more a report than the third who are least often right."""
    paid: dict[bytes, list[int]] = defaultdict(list)
    for key, seat in world.view.scan(SEATS):
        if seat.state == SeatState.REVEALED:
            paid[key[16:]].append(seat.paid - seat.penalty)
    accuracy: dict[str, float] = {}
    for worker in labels.workers:
        own = [item for item, given in labels.by_item.items() if worker in given]
        accuracy[worker] = sum(labels.by_item[item][worker] == labels.truth[item] for item in own) / len(own)
    names = dict(zip(labels.workers, world.validator_names, strict=True))
    earned = {
        worker: sum(paid[address_of(name)]) / len(paid[address_of(name)])
        for worker, name in names.items()
        if paid.get(address_of(name))
    }
    ranked = sorted(earned, key=lambda worker: accuracy[worker])
    third = len(ranked) // 3
    worst, best = ranked[:third], ranked[-third:]
    low, high = (sum(earned[worker] for worker in group) / third for group in (worst, best))
    assert high > low
    assert len(list(world.view.scan(REVIEWERS))) > 100
