"""A campaign as it stands, again and again: items, batches, seats, money, pace. Reads only what may have changed since."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from typing import Final

from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.reads import campaign_number
from omnitensor.sdk.results import Campaign, Status
from omnitensor.sdk.results_base import Result
from omnitensor.sdk.results_report import BatchLine
from omnitensor.sdk.spend import Spend, Sums, spend_of

EVERY_S: Final = 2.0
PACE_MS: Final = 60 * 60 * 1_000
"""The pace is that of the last hour, as far as it was watched."""
SAMPLES_MAX: Final = 4_096


class TargetLine(Result, frozen=True):
    """A category: items that fill its target, and the target (0: no bound)."""

    name: str
    items: int
    target: int


class Pace(Result, frozen=True):
    """How fast verdicts come, and when those under way will be there. Times in milliseconds of the chain."""

    judged: int
    waiting: int
    """Items that wait for a verdict."""
    judged_per_hour: float | None = None
    eta_ms: int | None = None
    """How long until what waits now has its verdict, at this pace; None where nothing is known."""
    closes_in_ms: int | None = None
    """How long submissions are taken, at the chain's interval; None once they are not."""


class Snapshot(Result, frozen=True):
    """One look at a campaign; amounts in nanoOMNIT."""

    campaign: int
    title: str
    status: str
    height: int
    timestamp_ms: int
    items: dict[str, int]
    """submitted (all), then by what they are now."""
    unrevealed: int
    """Submissions that are committed to and not shown yet."""
    rejections_open: int
    batches: dict[str, int]
    """Batches by what they wait for; those that are done count as done."""
    seats: dict[str, int]
    """Seats of batches that are not done, by their states."""
    asks_for_gold: list[int]
    """Batches that ask their sponsor now which items were gold."""
    targets: list[TargetLine]
    spend: Spend
    pace: Pace

    def same_as(self, other: Snapshot | None) -> bool:
        """Whether nothing has changed but height and time."""
        if other is None:
            return False
        mine, theirs = self.as_dict(), other.as_dict()
        for plain in (mine, theirs):
            for name in ("height", "timestamp_ms", "pace"):
                plain.pop(name)
        return mine == theirs


class CampaignWatcher:
    """Looks at one campaign. What is done is added up once, so a look costs what is under way, however long the campaign."""

    def __init__(self, client: AsyncClient, campaign: int | str) -> None:
        self._client = client
        self._number = campaign_number(campaign)
        self._floor = 0
        self._sums = Sums()
        self._done = 0
        self._samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES_MAX)

    async def look(self) -> Snapshot:
        """The campaign now. Raises NotFoundError, ResponseError."""
        batches = [each async for each in self._client.each_campaign_batch(self._number, since=self._floor)]
        status, campaign = await self._client.status(), await self._client.campaign(self._number)
        params = await self._client.params()
        self._forget_done(batches)
        left = [batch for batch in batches if batch.batch >= self._floor]
        phases = Counter(batch.phase for batch in left)
        phases["done"] += self._done
        seats: Counter[str] = Counter()
        for batch in left:
            if not batch.is_done:
                seats.update(batch.seats)
        return Snapshot(
            campaign=self._number,
            title=campaign.spec.title,
            status=campaign.status,
            height=status.height,
            timestamp_ms=status.timestamp_ms,
            items=campaign.counts,
            unrevealed=campaign.submissions_open,
            rejections_open=campaign.rejections_open,
            batches={name: number for name, number in sorted(phases.items()) if number},
            seats=dict(sorted(seats.items())),
            asks_for_gold=[batch.batch for batch in left if batch.phase == "gold"],
            targets=[
                TargetLine(name=each.name, items=items, target=each.target)
                for each, items in zip(campaign.spec.categories, campaign.category_counts, strict=False)
            ],
            spend=spend_of(campaign, left, self._sums),
            pace=self._pace(campaign, status, params.block_interval_ms),
        )

    async def each(self, every_s: float = EVERY_S) -> AsyncIterator[Snapshot]:
        """Looks at each block, at most so often, until the campaign is over; the last look is of its end."""
        while True:
            begun = time.monotonic()
            found = await self.look()
            yield found
            if found.status in ("closed", "expired", "cancelled"):
                return
            while (left := begun + every_s - time.monotonic()) > 0:
                await self._client.ticker.tick(left)

    def _forget_done(self, batches: list[BatchLine]) -> None:
        """Adds up the done batches below the first that is not, which need not be read again."""
        for batch in batches:
            if not batch.is_done:
                break
            self._sums = self._sums.plus(batch)
            self._done += 1
            self._floor = batch.batch + 1

    def _pace(self, campaign: Campaign, status: Status, interval_ms: int) -> Pace:
        counts, now = campaign.counts, status.timestamp_ms
        judged = sum(counts.get(name, 0) for name in ("accepted", "rejected", "undecided", "paid"))
        waiting = sum(counts.get(name, 0) for name in ("queued", "in_review", "escalated"))
        self._samples.append((now, judged))
        while self._samples[0][0] < now - PACE_MS:
            self._samples.popleft()
        since, before = self._samples[0]
        if judged <= before and campaign.opened_ms:  # nothing seen to move: the average since it was opened
            since, before = campaign.opened_ms, 0
        rate = (judged - before) / (now - since) if now > since and judged > before else None
        closes = campaign.spec.closes_at - status.height
        return Pace(
            judged=judged,
            waiting=waiting,
            judged_per_hour=None if rate is None else round(rate * PACE_MS, 3),
            eta_ms=None if rate is None or not waiting else int(waiting / rate),
            closes_in_ms=max(0, closes) * interval_ms if campaign.status == "open" else None,
        )

    async def pause(self, seconds: float) -> None:
        """Wait for a block, at most so long."""
        await self._client.ticker.tick(seconds)
