"""Validating: being drawn, judging batches with real checks and one's own scorer, committing, revealing; once or for months.

validator = Validator(api_key='YOUR_API_KEY')
data_batch = validator.get_data_batch(task_id='1234')
validation_results = validator.validate(data_batch)
validator.submit_results(validation_results)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final

import msgspec

from omnitensor.protocol.errors import ProtocolError
from omnitensor.sdk import checks
from omnitensor.sdk.actor import async_of
from omnitensor.sdk.batches import DataBatch, ValidationResults
from omnitensor.sdk.checks import Scorer
from omnitensor.sdk.client import AsyncClient, Client
from omnitensor.sdk.errors import (
    CampaignStateError,
    ClosedError,
    ConnectionFailed,
    InputError,
    NotFoundError,
)
from omnitensor.sdk.home import Home
from omnitensor.sdk.loops import LOOP, Blocking, blocking
from omnitensor.sdk.private_seats import OtherKeyError
from omnitensor.sdk.reads import campaign_number
from omnitensor.sdk.results import Assignment
from omnitensor.sdk.seats import LOG, AsyncSeats, Submitted
from omnitensor.sdk.wallet import Wallet

OVER: Final = ("closed", "expired")
FAULT_PAUSE_MAX_S: Final = 60.0


class ReviewMoment(msgspec.Struct, frozen=True):
    """Something that a review loop did: `kind` is seated, committed, revealed or fault."""

    kind: str
    text: str
    batch: int = 0
    round: int = 0
    campaign: int = 0


Watch = Callable[[ReviewMoment], None]


class AsyncValidator(AsyncSeats):
    """A data validator. `scorer` judges items beside the built-in checks; `language` is asked for where a campaign names none."""

    def __init__(
        self,
        api_key: str | None = None,
        endpoint: str | None = None,
        scorer: Scorer | None = None,
        *,
        wallet: Wallet | None = None,
        client: AsyncClient | None = None,
        home: Home | str | Path | None = None,
        language: str = "",
    ) -> None:
        super().__init__(wallet, api_key=api_key, endpoint=endpoint, client=client, home=home)
        self.scorer = scorer
        self.language = language
        self._foreign: set[tuple[int, int]] = set()
        """Seats with private items that are for another device's reading key."""

    async def get_data_batch(self, task_id: int | str, *, timeout_s: float | None = None) -> DataBatch:
        """Wait until this validator is drawn in a campaign, and fetch the batch. Reports left over are revealed meanwhile.

        Raises NotFoundError for an unknown campaign or an account that is no validator, CampaignStateError when the
        campaign is over, WaitTimeout after `timeout_s`.
        """
        number = campaign_number(task_id)
        until = None if timeout_s is None else time.monotonic() + timeout_s
        await self._check_able()
        told = False
        while True:
            _, seats = await self._finish()
            if seat := _first_open(seats, {number}):
                return await self.fetch(seat)
            campaign = await self.client.campaign(number)
            if campaign.status in OVER:
                raise CampaignStateError(
                    f"the campaign is {campaign.status}: it draws no more reviewers",
                    value=number,
                    remedy="choose another: otensor-cli campaign list",
                )
            if not told:
                LOG.info("waiting to be drawn for a batch of campaign %d", number)
                told = True
            await self._pause(until, f"not drawn for a batch of campaign {number} yet")

    async def validate(self, batch: DataBatch) -> ValidationResults:
        """Judge a batch: the built-in checks and the scorer, in a thread. Raises InputError when the scorer fails."""
        return await asyncio.to_thread(checks.validate, batch, self.scorer, language=self.language)

    async def submit_results(
        self, found: ValidationResults, *, wait: bool = True, timeout_s: float | None = None
    ) -> Submitted:
        """Commit a report, wait for the reveal window and reveal. After a restart it goes on; nothing is sent twice.

        Without `wait` it returns after the commit: `finish` or `review_loop` has to reveal in time, or the seat's bond is lost.
        """
        seat = await self.seat(found.batch, found.round)
        if seat.state == "revealed":
            return Submitted(found.batch, found.round, found.campaign, "revealed")
        if seat.takes_report:
            submitted = await self.commit(found)
            if not wait:
                return submitted
        return await self.reveal_when_open(found.batch, found.round, timeout_s=timeout_s)

    async def review_loop(
        self,
        task_ids: Iterable[int | str] | None = None,
        *,
        batches: int | None = None,
        watch: Watch | None = None,
    ) -> int:
        """Review whatever this validator is drawn for, in some campaigns or all, until it is cancelled or closed.

        With `batches` it ends after so many revealed reports. Faults of the network are waited out; an item that the scorer
        fails on is judged by the checks alone. Returns the number of reports revealed.
        """
        campaigns = {campaign_number(task) for task in task_ids} if task_ids is not None else None
        tell = watch or _log
        await self._wait_until_able(tell)
        revealed, faults = 0, 0
        while batches is None or revealed < batches:
            try:
                revealed += await self._turn(campaigns, tell)
                faults = 0
            except ClosedError:
                break
            except (ProtocolError, ExceptionGroup) as error:
                faults += 1
                await _pause_after(error, faults, tell)
                continue
            await self._pause(None, "")
        return revealed

    async def _turn(self, campaigns: set[int] | None, tell: Watch) -> int:
        """One look at the seats: reveal what can be revealed, commit to what is new. Returns the number of reveals."""
        done, seats = await self._finish()
        for each in done:
            tell(ReviewMoment("revealed", "report revealed", each.batch, each.round, each.campaign))
        while seat := _first_open(seats, campaigns, self._foreign):
            place = (seat.batch, seat.round, seat.campaign)
            tell(ReviewMoment("seated", f"drawn for {seat.items} items", *place))
            try:
                batch = await self.fetch(seat)
            except (
                OtherKeyError
            ) as error:  # another device of this account's can read it; the other seats go on
                self._foreign.add((seat.batch, seat.round))
                tell(ReviewMoment("fault", str(error), *place))
                continue
            found = await asyncio.to_thread(
                checks.validate, batch, self.scorer, language=self.language, lenient=True
            )
            await self.commit(found)
            tell(ReviewMoment("committed", f"scores of {len(found)} items committed", *place))
            seats = await self.assignments()
        return len(done)

    async def _wait_until_able(self, tell: Watch) -> None:
        """As ``_check_able``; a node that does not answer yet is waited for."""
        faults = 0
        while True:
            try:
                return await self._check_able()
            except ConnectionFailed as error:
                faults += 1
                await _pause_after(error, faults, tell)

    async def _check_able(self) -> None:
        """That this account can be drawn at all. Raises NotFoundError or InputError."""
        wallet = await self.wallet()
        try:
            validator = await self.client.validator(wallet.address)
        except NotFoundError as error:
            raise NotFoundError(
                "this account is not a registered validator, so it is never drawn",
                value=wallet.text,
                remedy="register with: otensor-cli validator register",
            ) from error
        if validator.jailed:
            raise InputError("this validator is jailed and is never drawn", value=wallet.text)


async def _pause_after(error: Exception, faults: int, tell: Watch) -> None:
    """Tell of a fault and wait, the longer the more of them came in a row."""
    tell(ReviewMoment("fault", str(error)))
    await asyncio.sleep(min(FAULT_PAUSE_MAX_S, 2.0 ** min(faults, 10) / 2))


def _first_open(
    seats: Iterable[Assignment], campaigns: set[int] | None, but: Collection[tuple[int, int]] = ()
) -> Assignment | None:
    """The seat to work on next: not committed, given its keys, in a wanted campaign, the one whose window ends first."""
    mine = [
        seat
        for seat in seats
        if seat.takes_report
        and not seat.keys_pending
        and (campaigns is None or seat.campaign in campaigns)
        and (seat.batch, seat.round) not in but
    ]
    return min(mine, key=lambda seat: (seat.commit_until, seat.batch), default=None)


def _log(moment: ReviewMoment) -> None:
    LOG.info("%s: %s (batch %d, round %d)", moment.kind, moment.text, moment.batch, moment.round)


class Validator(Blocking[AsyncValidator]):
    """The blocking twin of AsyncValidator, as in the snippet above."""

    def __init__(
        self,
        api_key: str | None = None,
        endpoint: str | None = None,
        scorer: Scorer | None = None,
        *,
        wallet: Wallet | None = None,
        client: Client | None = None,
        home: Home | str | Path | None = None,
        language: str = "",
    ) -> None:
        async def made() -> AsyncValidator:
            return AsyncValidator(
                api_key,
                endpoint,
                scorer,
                wallet=wallet,
                client=async_of(client),
                home=home,
                language=language,
            )

        super().__init__(LOOP.run(made()))

    def validate(self, batch: DataBatch) -> ValidationResults:
        """Judge a batch in this thread: the built-in checks and the scorer. Raises InputError when the scorer fails."""
        return checks.validate(batch, self.asynchronous.scorer, language=self.asynchronous.language)

    get_data_batch = blocking(AsyncValidator.get_data_batch)
    submit_results = blocking(AsyncValidator.submit_results)
    review_loop = blocking(AsyncValidator.review_loop)
    assignments = blocking(AsyncValidator.assignments)
    fetch = blocking(AsyncValidator.fetch)
    commit = blocking(AsyncValidator.commit)
    reveal = blocking(AsyncValidator.reveal)
    finish = blocking(AsyncValidator.finish)
    decline = blocking(AsyncValidator.decline)
    reveal_when_open = blocking(AsyncValidator.reveal_when_open)
