"""Private items after they were handed in: giving their keys to seats in time, and reading them.

Everything that it takes lies on chain and in the wallet, so a process that dies is started again, here or on another machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from omnitensor.protocol import sealing
from omnitensor.protocol.bodies import KeyGrant, KeysGrant, ReadingKeySet
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.limits import key_grants_per_order_max
from omnitensor.protocol.sealing import SealError
from omnitensor.protocol.types import BatchId, ItemId
from omnitensor.sdk.actor import AsyncActor, async_of, made_in_loop
from omnitensor.sdk.client import AsyncClient, Client
from omnitensor.sdk.content import download_file
from omnitensor.sdk.errors import ClosedError, InputError, RefusedError
from omnitensor.sdk.home import Home
from omnitensor.sdk.loops import Blocking, blocking
from omnitensor.sdk.orders import POLL_S
from omnitensor.sdk.results import bytes_of, hash_of
from omnitensor.sdk.results_private import PrivateItemInfo, WantedSeat
from omnitensor.sdk.sealing import Plain, open_file
from omnitensor.sdk.wallet import Wallet

LOG: Final = logging.getLogger("omnitensor.sdk")
FAULT_PAUSE_MAX_S: Final = 60.0


class Given(msgspec.Struct, frozen=True):
    """Keys that were given to seats of one batch."""

    batch: int
    campaign: int
    seats: int
    keys: int
    tx: str


class PrivateMoment(msgspec.Struct, frozen=True):
    """Something that a watch did: `kind` is given, late or fault."""

    kind: str
    text: str
    batch: int = 0
    campaign: int = 0


Watch = Callable[[PrivateMoment], None]


class AsyncPrivate(AsyncActor):
    """Gives keys of private items to drawn seats, as their contributor or as the campaign's sponsor, and reads items."""

    def __init__(
        self,
        wallet: Wallet | None = None,
        *,
        api_key: str | None = None,
        endpoint: str | None = None,
        client: AsyncClient | None = None,
        home: Home | str | Path | None = None,
    ) -> None:
        super().__init__(wallet, api_key=api_key, endpoint=endpoint, client=client, home=home)
        self._keys: dict[int, bytes | None] = {}
        """Keys by item; None where this wallet can't have one, which is said once."""

    # -- giving

    async def wanted(self) -> list[WantedSeat]:
        """Seats that wait for keys which this account can give."""
        return await self.client.wanted_keys((await self.wallet()).address)

    async def give(self, *, watch: Watch | None = None) -> list[Given]:
        """Give every key that is asked for now. Doing it again gives what is missing still.

        A sponsor gives what a contributor has not given by half of the time: it is the contributor's to do.
        """
        tell, given = watch or _log, []
        seats = await self.wanted()
        height = (await self.client.status()).height if seats else 0
        batches: dict[int, list[KeyGrant]] = {}
        campaigns = {seat.batch: seat.campaign for seat in seats}
        for seat in seats:
            for item in seat.items:
                made = await self._grant(seat, item, height, tell)
                if made is not None:
                    batches.setdefault(seat.batch, []).append(made)
        for batch, grants in batches.items():
            for start in range(0, len(grants), key_grants_per_order_max):
                part = grants[start : start + key_grants_per_order_max]
                done = await self._send(batch, campaigns[batch], part, tell)
                given += [done] if done is not None else []
        return given

    async def watch(self, *, until_settled: int | str | None = None, watch: Watch | None = None) -> int:
        """Give keys whenever seats are drawn, until it is cancelled or closed; how many keys were given.

        With `until_settled` it ends when no item of this account's in that campaign can come to new seats any more. Faults of
        the network are waited out.
        """
        tell, keys, faults = watch or _log, 0, 0
        while True:
            try:
                keys += sum(done.keys for done in await self.give(watch=tell))
                if until_settled is not None and not await self.unsettled(until_settled):
                    return keys
                faults = 0
            except ClosedError:
                return keys
            except (ProtocolError, ExceptionGroup) as error:
                faults += 1
                tell(PrivateMoment("fault", str(error)))
                await asyncio.sleep(min(FAULT_PAUSE_MAX_S, 2.0 ** min(faults, 10) / 2))
                continue
            await self.client.ticker.tick(POLL_S)

    async def unsettled(self, campaign: int | str) -> int:
        """Items of this account's in a campaign for which seats may still be drawn."""
        items = await self.client.items(campaign, contributor=(await self.wallet()).address)
        return sum(not item.settled for item in items)

    async def _grant(self, seat: WantedSeat, item: int, height: int, tell: Watch) -> KeyGrant | None:
        wallet, chain_id = await self.wallet(), await self.client.chain_id()
        info = await self.client.private_item(item)
        is_own = info.contributor == wallet.text
        if not is_own and (item not in seat.lacking or 2 * height < seat.drawn_at + seat.grant_until):
            return None
        key = await self._key_once(info, tell)
        if key is None:
            return None
        validator = parse_address(seat.validator)
        context = sealing.seat_context(
            chain_id,
            seat.campaign,
            hash_of(info.content.chunk_root),
            parse_address(info.contributor),
            seat.batch,
            item,
            validator,
        )
        return KeyGrant(ItemId(item), validator, sealing.wrap(key, bytes_of(seat.key), context))

    async def _send(self, batch: int, campaign: int, grants: Sequence[KeyGrant], tell: Watch) -> Given | None:
        try:
            found = await self.client.execute(await self.wallet(), KeysGrant(BatchId(batch), tuple(grants)))
        except (
            RefusedError
        ) as error:  # a seat was given back, or its time ended: what is still asked for comes again
            tell(PrivateMoment("late", str(error), batch, campaign))
            return None
        seats = len({grant.validator for grant in grants})
        tell(
            PrivateMoment(
                "given", f"{len(grants)} keys given to {seats} seats", batch=batch, campaign=campaign
            )
        )
        return Given(batch, campaign, seats, len(grants), found.id)

    async def _key_once(self, info: PrivateItemInfo, tell: Watch) -> bytes | None:
        if info.item not in self._keys:
            try:
                self._keys[info.item] = await self.key_of(info)
            except (SealError, InputError) as error:
                self._keys[info.item] = None
                tell(PrivateMoment("fault", f"item {info.item}: {error}", campaign=info.campaign))
        return self._keys[info.item]

    # -- reading

    async def key_of(self, info: PrivateItemInfo) -> bytes:
        """The key of an item that this wallet handed in, or that it sponsors. Raises InputError, SealError."""
        wallet, chain_id = await self.wallet(), await self.client.chain_id()
        if info.contributor == wallet.text:
            return key_for(wallet, chain_id, info, "")
        campaign = await self.client.campaign(info.campaign)
        return key_for(wallet, chain_id, info, campaign.spec.reading_key)

    async def read(self, item: int, target: str | Path) -> PrivateItemInfo:
        """Fetch an item and put its plain bytes at `target`, mode 0600, checked. For its contributor and the sponsor.

        Raises NotFoundError, InputError, SealError.
        """
        info, target = await self.client.private_item(item), Path(target)
        key = await self.key_of(info)
        sealed = target.with_name(f".{target.name}.{item}.sealed")
        try:
            await download_file(self.client.transport, info.content.content_id(), sealed)
            await asyncio.to_thread(open_checked, sealed, target, key, info, await self.client.chain_id())
        finally:
            sealed.unlink(missing_ok=True)
        return info

    # -- being read to

    async def register_key(self) -> str:
        """Register this wallet's reading key, so that this validator is drawn for private campaigns; the key, hexadecimal.

        Nothing is sent where it is registered. Raises RefusedError.
        """
        wallet = await self.wallet()
        key = wallet.reading_key(await self.client.chain_id()).public
        if (await self.client.reading_key(wallet.address)).key != key.hex():
            await self.client.execute(wallet, ReadingKeySet(key))
        return key.hex()


def key_for(wallet: Wallet, chain_id: str, info: PrivateItemInfo, reading_key: str) -> bytes:
    """The key of an item for whoever handed it in, or holds the campaign's reading key. Raises InputError, SealError."""
    if info.contributor == wallet.text:
        return wallet.open_item_key(chain_id, info.campaign, hash_of(info.plain), bytes_of(info.own))
    reading = wallet.reading_key(chain_id)
    if reading_key != reading.public.hex():
        raise InputError(
            "the campaign's items are encrypted for another key",
            value=reading.public.hex(),
            remedy="log in as the sponsor, with the key that opened the campaign",
        )
    context = sealing.sponsor_context(
        chain_id, info.campaign, hash_of(info.content.chunk_root), parse_address(info.contributor)
    )
    return reading.unwrap(bytes_of(info.sponsor), context)


def open_checked(sealed: Path, target: Path, key: bytes, info: PrivateItemInfo, chain_id: str) -> Plain:
    """Decrypt an item to `target`, and hold it against its plain commitment. Raises SealError."""
    context = sealing.content_context(chain_id, info.campaign, parse_address(info.contributor))
    plain = open_file(sealed, target, key, context)
    if sealing.plain_commitment(key, plain.digest, plain.size) != hash_of(info.plain):
        target.unlink(missing_ok=True)
        raise SealError("the plain file is not the one that was declared", value=info.item)
    return plain


def _log(moment: PrivateMoment) -> None:
    LOG.info("%s: %s (campaign %d, batch %d)", moment.kind, moment.text, moment.campaign, moment.batch)


class Private(Blocking[AsyncPrivate]):
    """The blocking twin of AsyncPrivate."""

    def __init__(
        self,
        wallet: Wallet | None = None,
        *,
        api_key: str | None = None,
        endpoint: str | None = None,
        client: Client | None = None,
        home: Home | str | Path | None = None,
    ) -> None:
        super().__init__(
            made_in_loop(
                lambda: AsyncPrivate(
                    wallet, api_key=api_key, endpoint=endpoint, client=async_of(client), home=home
                )
            )
        )

    wanted = blocking(AsyncPrivate.wanted)
    give = blocking(AsyncPrivate.give)
    watch = blocking(AsyncPrivate.watch)
    unsettled = blocking(AsyncPrivate.unsettled)
    read = blocking(AsyncPrivate.read)
    register_key = blocking(AsyncPrivate.register_key)
