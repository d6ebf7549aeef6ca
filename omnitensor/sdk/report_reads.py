"""Reports that a client puts together from pages: spend, agreement, an account's items, a reviewer's record. Reads only."""

from __future__ import annotations

from collections.abc import AsyncIterator

from omnitensor.protocol.types import Address
from omnitensor.sdk.agreements import AgreementReport, Tables
from omnitensor.sdk.errors import NotFoundError
from omnitensor.sdk.reads import Reads, address_text, campaign_number
from omnitensor.sdk.reports import (
    ContributorReport,
    ReviewerReport,
    contributor_report,
    reviewer_report,
)
from omnitensor.sdk.results_data import Item
from omnitensor.sdk.results_report import (
    AccountItemPage,
    BatchLine,
    BatchLinePage,
    RecordLine,
    RecordPage,
)
from omnitensor.sdk.spend import Spend, spend_of


class ReportReads(Reads):
    """The part of a client that makes reports."""

    async def each_campaign_batch(
        self, campaign: int | str, *, since: int = 0, members: bool = False
    ) -> AsyncIterator[BatchLine]:
        """Batches of a campaign from a number on, both rounds, one after the other and page by page."""
        pages = self._pages(
            BatchLinePage,
            "campaign.batches",
            campaign=campaign_number(campaign),
            since=since,
            members=members,
        )
        async for page in pages:
            for batch in page.batches:
                yield batch

    async def campaign_batches(
        self, campaign: int | str, *, since: int = 0, members: bool = False
    ) -> list[BatchLine]:
        """The same as a list. `members`: with every seat, and its report once revealed."""
        return [each async for each in self.each_campaign_batch(campaign, since=since, members=members)]

    async def account_items(
        self,
        address: Address | str,
        *,
        campaign: int | str | None = None,
        status: str | None = None,
        items_max: int | None = None,
    ) -> list[Item]:
        """Items that an account handed in, the newest first, to any campaign or to one; at most so many."""
        pages = self._pages(
            AccountItemPage,
            "account.items",
            address=address_text(address),
            campaign=None if campaign is None else campaign_number(campaign),
            status=status,
        )
        found: list[Item] = []
        async for page in pages:
            found += page.items
            if items_max is not None and len(found) >= items_max:
                break
        return found[:items_max]

    async def review_record(
        self,
        validator: Address | str,
        *,
        campaign: int | str | None = None,
        seats_max: int | None = None,
    ) -> list[RecordLine]:
        """A reviewer's seats, the newest first, with what its reports were worth; at most so many."""
        pages = self._pages(
            RecordPage,
            "review.record",
            validator=address_text(validator),
            campaign=None if campaign is None else campaign_number(campaign),
        )
        found: list[RecordLine] = []
        async for page in pages:
            found += page.record
            if seats_max is not None and len(found) >= seats_max:
                break
        return found[:seats_max]

    async def spend(self, campaign: int | str) -> Spend:
        """Where a campaign's money is and went, to the unit. Raises ResponseError where the node's numbers do not add up."""
        batches = await self.campaign_batches(campaign)
        return spend_of(await self.campaign(campaign), batches)

    async def agreement(self, campaign: int | str, *, round_: int = 1) -> AgreementReport:
        """How well a campaign's reviewers agree, by criterion, from the reports that they revealed in a round."""
        found = await self.campaign(campaign)
        tables = Tables(found.campaign, found.spec, round_)
        async for batch in self.each_campaign_batch(campaign, members=True):
            tables.add(batch)
        return tables.report()

    async def contributor_report(
        self,
        address: Address | str,
        *,
        campaign: int | str | None = None,
        items_max: int | None = None,
    ) -> ContributorReport:
        """What became of an account's items, or of its newest `items_max`: sums, reasons, pay, bonds, what can be appealed."""
        status = await self.status()
        items = await self.account_items(address, campaign=campaign, items_max=items_max)
        appealable = {item.campaign for item in items if item.appeal_until is not None}
        campaigns = {number: await self.campaign(number) for number in sorted(appealable)}
        penalties = (await self.rewards(address)).penalties
        return contributor_report(address_text(address), status.height, penalties, items, campaigns)

    async def reviewer_report(
        self,
        validator: Address | str,
        *,
        campaign: int | str | None = None,
        seats_max: int | None = None,
    ) -> ReviewerReport:
        """How a reviewer fared in its seats, or its newest `seats_max`: agreement, gold, standing, pay and penalties."""
        status = await self.status()
        record = await self.review_record(validator, campaign=campaign, seats_max=seats_max)
        try:
            standing: int | None = (await self.validator(validator)).reputation
        except NotFoundError:
            standing = None
        return reviewer_report(address_text(validator), status.height, standing, record)
