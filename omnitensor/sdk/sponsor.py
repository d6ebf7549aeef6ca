"""Sponsoring: opening a campaign, funding it, closing it, and seeing how it fares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from omnitensor.protocol.amounts import format_omnit, parse_omnit, whole_number
from omnitensor.protocol.bodies import CampaignCancel, CampaignClose, CampaignFund, CampaignOpen
from omnitensor.protocol.types import Amount, CampaignId
from omnitensor.sdk import results
from omnitensor.sdk.actor import AsyncActor, async_of, made_in_loop
from omnitensor.sdk.agreements import AgreementReport
from omnitensor.sdk.client import AsyncClient, Client
from omnitensor.sdk.content import upload_file
from omnitensor.sdk.errors import (
    CampaignStateError,
    FundsError,
    InputError,
    NonceUsedError,
    RefusedError,
    ResponseError,
)
from omnitensor.sdk.estimates import Assumptions, Estimate, estimate
from omnitensor.sdk.home import Home
from omnitensor.sdk.loops import Blocking, blocking
from omnitensor.sdk.orders import SPREAD, Order, fee_of, widest
from omnitensor.sdk.reads import campaign_number
from omnitensor.sdk.specs import CampaignDraft, draft_from, draft_from_toml
from omnitensor.sdk.spend import Spend
from omnitensor.sdk.wallet import Wallet
from omnitensor.sdk.watching import EVERY_S, CampaignWatcher, Snapshot

ANY_READING_KEY: Final = bytes([9]).ljust(32, b"\0")
"""Stands for the sponsor's where only the costs are asked for."""


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

        Interrupted, and called with the same draft again, it sees the same transaction through: nothing is paid twice.
        Raises SpecError, InputError, FundsError or RefusedError.
        """
        draft = draft_given(draft, fields)
        status, wallet = await self.client.status(), await self.wallet()
        draft = draft.read_by(wallet.reading_key(status.chain_id).public)
        spec = await asyncio.to_thread(draft.spec, status.height)
        path = self.home.work("campaigns", await self._place(), f"{_digest(draft)}.json")
        with self.home.locked(path):
            try:
                if (begun := self.home.read(path, Order)) is not None:
                    try:
                        return self._opened(path, draft, await self.client.deliver(begun))
                    except NonceUsedError:  # it never can be included, so nothing is paid twice
                        path.unlink(missing_ok=True)
                documents = [(draft.specification_file, spec.specification)]
                documents.append((draft.model_file, spec.model.content if spec.model else None))
                for name, content in documents:
                    if content is not None:
                        await upload_file(self.client.transport, wallet, status.chain_id, Path(name), content)
                body = CampaignOpen(spec, draft.budget_nano)
                found = await self.client.execute(
                    wallet, body, journal=lambda order: self.home.write(path, order)
                )
            except RefusedError:  # final, and without effect: the next attempt signs another
                path.unlink(missing_ok=True)
                raise
            return self._opened(path, draft, found)

    def _opened(self, path: Path, draft: CampaignDraft, found: results.TransactionResult) -> Opened:
        opened = Opened(_campaign_in(found), found.id, found.height or 0, draft.budget_nano)
        path.unlink(missing_ok=True)
        return opened

    async def check_affordable(self, draft: CampaignDraft) -> None:
        """That the account can pay a draft's budget and fee. Raises FundsError; signs nothing."""
        wallet = await self.wallet()
        account, found = await self.client.account(wallet.address), await estimate_of(self.client, draft)
        needed = draft.budget_nano + found.opening_fee
        if account.balance < needed:
            raise FundsError(
                f"the account has {format_omnit(account.balance)}; opening the campaign needs {format_omnit(needed)}",
                value=wallet.text,
                remedy=f"send at least {format_omnit(needed - account.balance)} to it, or give a smaller budget",
            )

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

    async def estimate(
        self,
        draft: CampaignDraft | str | Path | None = None,
        /,
        *,
        assumptions: Assumptions | None = None,
        **fields: Any,
    ) -> Estimate:
        """What a draft (or a TOML file, or parameters) will cost, as `open` takes them. Signs nothing. Raises SpecError."""
        return await estimate_of(self.client, draft_given(draft, fields), assumptions=assumptions)

    async def status(self, campaign: int | str) -> results.Campaign:
        """The campaign: escrow, counts of items by status, specification."""
        return await self.client.campaign(campaign)

    async def spend(self, campaign: int | str) -> Spend:
        """Where a campaign's money is and went, to the unit."""
        return await self.client.spend(campaign)

    async def agreement(self, campaign: int | str, *, round_: int = 1) -> AgreementReport:
        """How well a campaign's reviewers agree beyond chance, by criterion."""
        return await self.client.agreement(campaign, round_=round_)

    async def follow(
        self, campaign: int | str, show: Callable[[Snapshot], None], *, every_s: float = EVERY_S
    ) -> Snapshot:
        """Call `show` with the campaign's state at each block, at most so often, until it is over; the last state."""
        async for found in CampaignWatcher(self.client, campaign).each(every_s):
            show(found)
        return found


async def estimate_of(
    client: AsyncClient, draft: CampaignDraft, *, assumptions: Assumptions | None = None
) -> Estimate:
    """What a draft will cost, by the chain's parameters and validators of now. Raises SpecError; needs no account."""
    status = await client.status()
    spec = await asyncio.to_thread(draft.read_by(ANY_READING_KEY).spec, status.height)
    body = CampaignOpen(spec, draft.budget_nano)
    fee = fee_of(widest(body, status.chain_id), status.base_fee).max_fee
    reviewers = sum(
        not each.jailed and not each.removed and each.stake > 0 for each in await client.validators()
    )
    return estimate(
        spec,
        draft.budget_nano,
        await client.params(),
        opening_fee=fee + fee // SPREAD,
        reviewers=reviewers,
        assumptions=assumptions,
    )


def draft_given(draft: CampaignDraft | str | Path | None, fields: dict[str, Any]) -> CampaignDraft:
    """A draft, the one in a TOML file, or one of parameters."""
    if draft is None:
        return draft_from(fields)
    return draft_from_toml(draft) if isinstance(draft, str | Path) else draft


def _digest(draft: CampaignDraft) -> str:
    """A name for a draft's file of work under way."""
    return sha256(msgspec.json.encode(draft)).hexdigest()[:32]


def _campaign_in(found: results.TransactionResult) -> int:
    """The id in the events of a final CampaignOpen."""
    for event in found.receipt.events if found.receipt is not None else ():
        if event.get("kind") == "campaign.opened" or "campaign" in event:
            fields = event.get("fields")
            number = event.get("campaign", fields.get("campaign") if isinstance(fields, dict) else None)
            found_number = whole_number(str(number))
            if found_number is not None:
                return found_number
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
    estimate = blocking(AsyncSponsor.estimate)
    check_affordable = blocking(AsyncSponsor.check_affordable)
    fund = blocking(AsyncSponsor.fund)
    close_campaign = blocking(AsyncSponsor.close_campaign)
    cancel_campaign = blocking(AsyncSponsor.cancel_campaign)
    status = blocking(AsyncSponsor.status)
    spend = blocking(AsyncSponsor.spend)
    agreement = blocking(AsyncSponsor.agreement)
    follow = blocking(AsyncSponsor.follow)
