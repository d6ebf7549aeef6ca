"""The items of a seat in a private campaign: their keys as they were given on chain, tried, checked, and their plain bytes.

What can't be read is said why; it is for the reviewer to flag, as unavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from omnitensor.protocol import sealing
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.sealing import ReadingKey, SealError
from omnitensor.sdk import results
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.content import file_content
from omnitensor.sdk.errors import CampaignStateError, InputError
from omnitensor.sdk.private import open_checked
from omnitensor.sdk.results import bytes_of, hash_of
from omnitensor.sdk.results_private import KeyGrantInfo, PrivateItemInfo, SealedSeatInfo
from omnitensor.sdk.wallet import Wallet

Fetch = Callable[[results.BatchItem], Awaitable[Path | None]]
"""Brings an item's bytes, as they are stored, to this disk."""


class OtherKeyError(InputError):
    """A seat whose keys are wrapped to another reading key than this wallet's."""

    code = "reading_key"


class Opened(msgspec.Struct, frozen=True):
    """An item's plain file on this disk with its SHA-256 and size, or why there is none."""

    path: Path | None
    sha256: str = ""
    size: int = 0
    fault: str = ""


class PrivateSeat:
    """One seat's private items."""

    def __init__(
        self, client: AsyncClient, wallet: Wallet, chain_id: str, sealed: SealedSeatInfo, sponsor: bytes
    ) -> None:
        self._client, self._wallet, self._chain_id = client, wallet, chain_id
        self._sponsor = sponsor
        self._sealed = sealed
        self._grants = {grant.item: grant for grant in sealed.grants}
        self._reading: ReadingKey = wallet.reading_key(chain_id)

    @classmethod
    async def of(
        cls, client: AsyncClient, wallet: Wallet, seat: results.Assignment, campaign: results.Campaign
    ) -> PrivateSeat | None:
        """What a seat was given; None where its campaign is not private.

        Raises CampaignStateError while keys may still come, OtherKeyError where they are for another device's key.
        """
        if not campaign.spec.is_private:
            return None
        if seat.keys_pending:
            raise CampaignStateError(
                "the seat is still being given the keys of its items",
                value=f"batch {seat.batch}",
                remedy="fetch it when all are there, or their time is over: review_loop() waits for that",
            )
        sealed = await client.private_seat(seat.batch, wallet.address)
        chain_id = await client.chain_id()
        own = wallet.reading_key(chain_id).public.hex()
        if sealed.key != own:
            raise OtherKeyError(
                f"the items of batch {seat.batch} are for the reading key {sealed.key[:16]}..., and this is {own[:16]}...",
                value=f"batch {seat.batch}",
                remedy="review with the signing key that registered it, or register this one: otensor-cli review key",
            )
        return cls(client, wallet, chain_id, sealed, bytes_of(campaign.spec.reading_key))

    async def open(self, item: results.BatchItem, target: Path, fetch: Fetch) -> Opened:
        """Bring an item's plain bytes to `target`, unless they are there."""
        if there := await asyncio.to_thread(_content_there, target):
            return Opened(target, there.sha256.hex(), there.size)
        info = await self._client.private_item(item.item)
        try:
            key = self._key(info, self._grants.get(item.item))
            sealed = await fetch(item)
            if sealed is None:
                return Opened(None, fault="no node could serve its bytes")
            try:
                plain = await asyncio.to_thread(open_checked, sealed, target, key, info, self._chain_id)
            finally:
                sealed.unlink(missing_ok=True)
        except SealError as error:
            return Opened(None, fault=f"it can't be read: {error.reason}")
        return Opened(target, plain.digest.hex(), plain.size)

    def _key(self, info: PrivateItemInfo, given: KeyGrantInfo | None) -> bytes:
        """The item's key, from whoever gave a good one. Raises SealError where none opens, or the sponsor got another."""
        if given is None:
            raise SealError("this seat was not given its key")
        root, contributor = hash_of(info.content.chunk_root), parse_address(info.contributor)
        context = sealing.seat_context(
            self._chain_id,
            info.campaign,
            root,
            contributor,
            self._sealed.batch,
            info.item,
            self._wallet.address,
        )
        fault = SealError("this seat was not given its key")
        for wrapped in (given.contributor, given.sponsor):
            try:
                key = self._reading.unwrap(bytes_of(wrapped or ""), context) if wrapped else None
            except SealError as error:
                fault = error
                continue
            if key is not None:
                break
        else:
            raise fault
        assert key is not None
        context = sealing.sponsor_context(self._chain_id, info.campaign, root, contributor)
        if sealing.wrap(key, self._sponsor, context) != bytes_of(info.sponsor):
            raise SealError("the sponsor was given another key than this seat")
        return key


def _content_there(path: Path) -> ContentId | None:
    return file_content(path) if path.exists() else None
