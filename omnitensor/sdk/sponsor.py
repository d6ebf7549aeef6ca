"""Sponsoring: opening a campaign, funding it, closing it, and seeing how it fares."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from omnitensor.protocol.amounts import parse_omnit
from omnitensor.protocol.bodies import CampaignCancel, CampaignClose, CampaignFund, CampaignOpen
from omnitensor.protocol.types import Amount, CampaignId
from omnitensor.sdk import results
from omnitensor.sdk.actor import AsyncActor, async_of, made_in_loop
from omnitensor.sdk.client import Client
from omnitensor.sdk.content import upload_file
from omnitensor.sdk.errors import CampaignStateError, InputError, ResponseError
from omnitensor.sdk.home import Home
from omnitensor.sdk.loops import Blocking, blocking
from omnitensor.sdk.reads import campaign_number
from omnitensor.sdk.specs import CampaignDraft, draft_from, draft_from_toml
from omnitensor.sdk.wallet import Wallet


class Opened(msgspec.Struct, frozen=True):
    """A campaign that is open: its id is what contributors give as ``--task-id``."""

    campaign: int
    tx: str
    height: int
    budget: int


class AsyncSponsor(AsyncActor):
    """Opens campaigns and looks after them."""

    async def open(self, draft: CampaignDraft | str | Path | None = None, /, **fields: Any) -> Opened:
        """Open a campaign from a draft, a TOML file, or parameters named as in a draft; returns when that is final.

        Raises InputError, FundsError or RefusedError.
        """
        if draft is None:
            draft = draft_from(fields)
        elif isinstance(draft, str | Path):
            draft = draft_from_toml(draft)
        status, wallet = await self.client.status(), await self.wallet()
        spec = await asyncio.to_thread(draft.spec, status.height)
        if spec.specification is not None:
            path = Path(draft.specification_file)
            await upload_file(self.client.transport, wallet, status.chain_id, path, spec.specification)
        found = await self.client.execute(wallet, CampaignOpen(spec, draft.budget_nano))
        return Opened(_campaign_in(found), found.id, found.height or 0, draft.budget_nano)

    async def fund(self, campaign: int | str, amount: int | str) -> results.TransactionResult:
        """Add nanoOMNIT (or text in OMNIT) to a campaign's budget."""
        nano = parse_omnit(amount) if isinstance(amount, str) else Amount(amount)
        if nano <= 0:
            raise InputError("an amount above zero is needed", value=amount, remedy="write it like 12.5")
        number = CampaignId(campaign_number(campaign))
        await self._check_own(number)
        return await self.client.execute(await self.wallet(), CampaignFund(number, nano))

    async def close_campaign(self, campaign: int | str) -> results.TransactionResult:
        """Take no further submissions; the rest of the money returns when nothing is under way."""
        number = CampaignId(campaign_number(campaign))
        await self._check_own(number)
        return await self.client.execute(await self.wallet(), CampaignClose(number))

    async def cancel_campaign(self, campaign: int | str) -> results.TransactionResult:
        """Take nothing in any more, not even what is committed and not shown; what was shown is judged and paid."""
        number = CampaignId(campaign_number(campaign))
        await self._check_own(number, "open", "closing")
        return await self.client.execute(await self.wallet(), CampaignCancel(number))

    async def _check_own(self, number: int, *statuses: str) -> None:
        """That a campaign is this sponsor's and open, or of the given statuses. Raises CampaignStateError."""
        found, wallet = await self.client.campaign(number), await self.wallet()
        if found.sponsor != wallet.text:
            raise CampaignStateError(
                f"only its sponsor {found.sponsor} looks after campaign {number}",
                value=wallet.text,
                remedy="log in as the sponsor",
            )
        if found.status not in (statuses or ("open",)):
            raise CampaignStateError(
                f"the campaign is {found.status}",
                value=number,
                remedy="open another: otensor-cli campaign open",
            )

    async def status(self, campaign: int | str) -> results.Campaign:
        """The campaign: escrow, counts of items by status, specification."""
        return await self.client.campaign(campaign)


def _campaign_in(found: results.TransactionResult) -> int:
    """The id in the events of a final CampaignOpen."""
    for event in found.receipt.events if found.receipt is not None else ():
        if event.get("kind") == "campaign.opened" or "campaign" in event:
            number = event.get("campaign", event.get("fields", {}).get("campaign"))
            if number is not None:
                return int(number)
    raise ResponseError("the node's receipt does not name the campaign", value=found.id)


class Sponsor(Blocking[AsyncSponsor]):
    """The blocking twin of AsyncSponsor."""

    def __init__(
        self,
        wallet: Wallet,
        *,
        endpoint: str | None = None,
        client: Client | None = None,
        home: Home | str | Path | None = None,
    ) -> None:
        super().__init__(
            made_in_loop(lambda: AsyncSponsor(wallet, endpoint=endpoint, client=async_of(client), home=home))
        )

    open = blocking(AsyncSponsor.open)
    fund = blocking(AsyncSponsor.fund)
    close_campaign = blocking(AsyncSponsor.close_campaign)
    cancel_campaign = blocking(AsyncSponsor.cancel_campaign)
    status = blocking(AsyncSponsor.status)
