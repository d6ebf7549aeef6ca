"""The spend report in every path of a campaign's life, to the unit, against books kept from nothing but the ledger's events.

Wild campaigns (`tests/ledger/test_review_escrow.py`) go through the real ledger and the methods that answer over RPC; after every
block the report is compared with what the events say was paid in, paid out, forfeited, returned and burned.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import msgspec
import pytest

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import CampaignId
from omnitensor.sdk.errors import ResponseError
from omnitensor.sdk.results import Campaign, read
from omnitensor.sdk.results_report import BatchLine, BatchLinePage
from omnitensor.sdk.spend import Spend, Sums, spend_of
from rpc.methods import TABLE
from rpc.table import Context
from state.overlay import Overlay
from tests.ledger.test_review_escrow import Wild


class Look:
    """A view of the ledger as the methods read it: rows, and the height."""

    def __init__(self, view: Overlay, height: int) -> None:
        self.get, self.scan = view.get, view.scan
        self.head = self
        self.height = height


def ask(view: Overlay, height: int, method: str, **params: Any) -> Any:
    """What a node would answer, as plain values."""
    found = TABLE.get(method)
    assert found is not None
    context = Context(cast(Any, None), cast(Any, Look(view, height)), None, cast(Any, None))
    return msgspec.to_builtins(found.run(context, found.arguments(params)))


def report(view: Overlay, height: int, campaign: int) -> Spend:
    batches: list[BatchLine] = []
    cursor = None
    while True:
        given = {"cursor": cursor} if cursor else {}
        page = read(
            BatchLinePage, ask(view, height, "campaign.batches", campaign=campaign, limit=3, **given), ""
        )
        batches += page.batches
        cursor = page.next
        if cursor is None:
            break
    row = read(Campaign, ask(view, height, "campaign.get", campaign=campaign), "")
    found = spend_of(row, batches)
    # Whoever watches adds up what is done once, and reads on from there.
    known, done = Sums(), 0
    while done < len(batches) and batches[done].is_done:
        known, done = known.plus(batches[done]), done + 1
    assert spend_of(row, batches[done:], known) == found
    return found


class Books:
    """What events say of one campaign's money."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.appeals: set[int] = set()

    def note(self, event: Event) -> None:
        fields = cast(dict[str, Any], dict(event.fields))
        amount, burned, kind = int(fields.get("amount", 0)), int(fields.get("burned", 0)), event.kind
        match kind:
            case "campaign.opened":
                self.sums["funded"] += int(fields["budget"])
            case "appeal.opened":
                self.appeals.add(int(fields["batch"]))
                self.sums["appeal bonds"] += int(fields["bond"])
            case "appeal.closed":
                self.sums["appeal bonds"] -= amount + burned
            case "pay.reviewer":
                second = "appeals" if fields["batch"] in self.appeals else "second rounds"
                self.sums["first rounds" if fields["round"] == 1 else second] += amount
            case "penalty":
                self.sums["penalties"] += amount - burned
                self.sums["charged"] += amount if "batch" in fields else 0
            case "report.leaked":
                self.sums["charged"] += amount
            case "gold.committed":
                self.sums["gold laid"] += int(fields["bond"])
            case "gold.retired":
                self.sums["gold returned"] += amount
                self.sums["gold burned"] += burned
            case "gold.expired":
                self.sums["gold burned"] += burned
            case "gold.voided" | "gold.returned":
                self.sums[kind.replace(".voided", " burned").replace(".returned", " returned")] += amount
            case "campaign.funded" | "pay.contributor" | "refund":
                self.sums[{"campaign.funded": "funded"}.get(kind, kind)] += amount

    def check(self, found: Spend, open_appeals: int) -> None:
        sums = self.sums
        assert found.funded == sums["funded"]
        assert found.contributors == sums["pay.contributor"]
        assert found.first_rounds == sums["first rounds"]
        assert found.second_rounds == sums["second rounds"]
        assert found.appeals == sums["appeals"]
        assert found.unattributed == 0
        assert found.returned == sums["refund"]
        assert found.penalties == sums["penalties"] + sums["appeal bonds"] - open_appeals
        assert found.reviewers_charged == sums["charged"]
        gold = (found.gold.laid, found.gold.returned, found.gold.burned)
        assert gold == (sums["gold laid"], sums["gold returned"], sums["gold burned"])
        assert found.gold.held == found.gold.laid - found.gold.returned - found.gold.burned
        assert found.held_total == (
            sums["funded"] + found.penalties - sums["pay.contributor"] - sums["refund"]
        ) - (sums["first rounds"] + sums["second rounds"] + sums["appeals"])


class Reported(Wild):
    """Wild people, each of whose blocks is put into the books and compared with the report."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.books = Books()
        self.number: CampaignId | None = None
        self.checked = 0
        self.paths: Counter[str] = Counter()
        make = self.town.block

        def block() -> tuple[Event, ...]:
            events = make()
            for event in events:
                if event.kind == "campaign.opened":
                    self.books, self.number = Books(), CampaignId(int(dict(event.fields)["campaign"]))
                self.books.note(event)
            if self.number is not None and (len(events) > 3 or self.town.height % 5 == 0):
                self._check()
            return events

        self.town.block = block  # type: ignore[method-assign]

    def _check(self) -> None:
        assert self.number is not None
        found = report(self.town.view, self.town.height, self.number)
        open_appeals = sum(
            int(item["appeal"]["bond"])
            for item in ask(self.town.view, self.town.height, "item.list", campaign=self.number, limit=100)[
                "items"
            ]
            if item["appeal"]
        )
        self.books.check(found, open_appeals)
        self.checked += 1
        for path in ("second_rounds", "appeals", "returned", "penalties", "reviewers_charged"):
            self.paths[path] += getattr(found, path) > 0
        self.paths["gold burned"] += found.gold.burned > 0
        self.paths[found.status] += 1


PATHS = (
    *("second_rounds", "appeals", "returned", "penalties", "reviewers_charged", "gold burned"),
    *("open", "closing", "closed", "expired", "cancelled"),
)


def test_report_is_exact_after_every_block() -> None:
    met: Counter[str] = Counter()
    checked = 0
    for seed in range(1_000, 1_040):
        wild = Reported(seed)
        for _ in range(5):
            wild.campaign()
        met += wild.paths
        checked += wild.checked
        if seed >= 1_005 and all(met[path] for path in PATHS):
            break
    assert [path for path in PATHS if not met[path]] == []
    assert checked > 200


def test_numbers_that_do_not_add_up_are_refused() -> None:
    wild = Reported(7)
    wild.campaign()
    plain = ask(wild.town.view, wild.town.height, "campaign.get", campaign=wild.number)
    with pytest.raises(ResponseError, match="do not add up"):
        spend_of(read(Campaign, plain | {"refunded": str(int(plain["refunded"]) + 1)}, ""), ())
