"""Which private items have the same plain bytes: found by who reads them all, the sponsor, and shown to the chain.

Plain bytes are hashed as they are decrypted, never written; what each item's are is kept, so that it is read once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from omnitensor.protocol import sealing
from omnitensor.protocol.bodies import PlainDuplicate
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.types import Hash, ItemId
from omnitensor.sdk import results
from omnitensor.sdk.content import download_file
from omnitensor.sdk.errors import ClosedError, ConnectionFailed, RefusedError, ResponseError, RpcError
from omnitensor.sdk.private import FAULT_PAUSE_MAX_S, AsyncPrivate, PrivateMoment
from omnitensor.sdk.reads import campaign_number
from omnitensor.sdk.results import hash_of
from omnitensor.sdk.sealing import plain_of

ITEMS_PER_BOOK: Final = 1_024
"""So that a file on disk stays small, and is written anew for each item that was read."""
LOOK_S: Final = 20.0
"""Between two looks at all items of a campaign."""
REJECTABLE: Final = ("queued", "in_review", "accepted")
Watch = Callable[[PrivateMoment], None]


class PlainFile(msgspec.Struct, frozen=True):
    """What an item's plain bytes are."""

    sha256: str
    size: int


class Book(msgspec.Struct):
    """The plain files of a campaign's items, by number, as far as they were read."""

    items: dict[int, PlainFile] = {}


class Repeat(msgspec.Struct, frozen=True):
    """An item that can still be rejected, and an earlier one with the same plain bytes."""

    item: int
    of: int
    status: str
    plain: PlainFile


class AsyncDuplicates(AsyncPrivate):
    """Finds equal plain files in a campaign that this account sponsors."""

    async def find(self, campaign: int | str, *, watch: Watch | None = None) -> list[Repeat]:
        """Every item that repeats an earlier one and can still be rejected. Reads what it has not read before.

        Raises InputError where the campaign is another's, ConnectionFailed.
        """
        number = campaign_number(campaign)
        items = [item for item in await self.client.items(number) if item.status != "undecided"]
        known: dict[int, PlainFile] = {}
        for block in sorted({item.item // ITEMS_PER_BOOK for item in items}):
            part = [item for item in items if item.item // ITEMS_PER_BOOK == block]
            known |= await self._read_all(number, block, part, watch or _quiet)
        first: dict[tuple[str, int], int] = {}
        found = []
        for item in sorted(items, key=lambda each: each.item):
            plain = known.get(item.item)
            if plain is None:
                continue
            earlier = first.setdefault((plain.sha256, plain.size), item.item)
            if earlier != item.item and item.status in REJECTABLE:
                found.append(Repeat(item.item, earlier, item.status, plain))
        return found

    async def _read_all(
        self, campaign: int, block: int, items: Sequence[results.Item], watch: Watch
    ) -> dict[int, PlainFile]:
        """What the plain files of items are, from the book of their block as far as it says."""
        path = self.home.work("private", await self._place(), f"{campaign}-{block}.json")
        book = self.home.read(path, Book) or Book()
        for item in items:
            if item.item not in book.items:
                try:
                    book.items[item.item] = await self._read(item, path.parent)
                except (sealing.SealError, ResponseError) as error:
                    watch(
                        PrivateMoment("fault", f"item {item.item} can't be read: {error}", campaign=campaign)
                    )
                    continue
                self.home.write(path, book)
        return book.items

    async def reject(self, repeat: Repeat) -> results.TransactionResult | None:
        """Show two equal items to the chain, which rejects the one that was committed later; None where that is done already.

        Raises RefusedError.
        """
        for item, of in ((repeat.item, repeat.of), (repeat.of, repeat.item)):
            try:
                return await self.client.execute(
                    await self.wallet(), await self._order(item, of, repeat.plain)
                )
            except RefusedError as error:
                if error.code == "duplicate_late":
                    return None
                if error.code != "duplicate_order" or item == repeat.of:
                    raise
                # whichever has the lower number was revealed first, and may have been committed later
        return None

    async def reject_loop(self, campaign: int | str, *, watch: Watch | None = None) -> int:
        """Look for repeats and have them rejected until the campaign has ended; how many were. Faults are waited out."""
        tell, rejected, faults = watch or _quiet, 0, 0
        while True:
            try:
                if (await self.client.campaign(campaign)).status not in ("open", "closing"):
                    return rejected
                for repeat in await self.find(campaign, watch=tell):
                    if await self.reject(repeat) is not None:
                        rejected += 1
                        text = f"item {repeat.item} repeats item {repeat.of}, and is rejected"
                        tell(PrivateMoment("rejected", text, campaign=campaign_number(campaign)))
                faults = 0
            except ClosedError:
                return rejected
            except (ConnectionFailed, RpcError, ExceptionGroup) as error:
                faults += 1
                tell(PrivateMoment("fault", str(error)))
            await asyncio.sleep(min(FAULT_PAUSE_MAX_S, 2.0**faults) if faults else LOOK_S)

    async def _order(self, item: int, of: int, plain: PlainFile) -> PlainDuplicate:
        salts = [
            Hash(sealing.plain_salt(await self.key_of(await self.client.private_item(each))))
            for each in (item, of)
        ]
        return PlainDuplicate(ItemId(item), ItemId(of), hash_of(plain.sha256), plain.size, *salts)

    async def _read(self, item: results.Item, folder: Path) -> PlainFile:
        info = await self.client.private_item(item.item)
        key = await self.key_of(info)
        context = sealing.content_context(
            await self.client.chain_id(), info.campaign, parse_address(info.contributor)
        )
        sealed = folder / f"{item.item}.sealed"
        try:
            await download_file(self.client.transport, info.content.content_id(), sealed)
            plain = await asyncio.to_thread(plain_of, sealed, key, context)
        finally:
            sealed.unlink(missing_ok=True)
        return PlainFile(plain.digest.hex(), plain.size)


def _quiet(_: PrivateMoment) -> None:
    """Shows nothing."""
