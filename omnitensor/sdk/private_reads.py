"""What a node can be asked about private campaigns, typed. Reads only."""

from __future__ import annotations

from omnitensor.protocol.types import Address
from omnitensor.sdk.reads import Reads, address_text
from omnitensor.sdk.results_private import (
    PrivateItemInfo,
    ReadingKeyInfo,
    SealedSeatInfo,
    WantedPage,
    WantedSeat,
)


class PrivateReads(Reads):
    """The part of a client that asks about private campaigns."""

    async def reading_key(self, validator: Address | str) -> ReadingKeyInfo:
        """A validator's reading key."""
        return await self._ask(ReadingKeyInfo, "private.key", validator=address_text(validator))

    async def private_item(self, item: int) -> PrivateItemInfo:
        """What goes with an encrypted item. Raises NotFoundError for a plain one."""
        return await self._ask(PrivateItemInfo, "private.item", item=item)

    async def private_seat(self, batch: int, validator: Address | str) -> SealedSeatInfo:
        """The keys that a seat was given, while its batch is not done. Raises NotFoundError."""
        return await self._ask(SealedSeatInfo, "private.seat", batch=batch, validator=address_text(validator))

    async def wanted_keys(self, account: Address | str) -> list[WantedSeat]:
        """Seats that wait for keys which an account can give, as contributor or as sponsor."""
        pages = self._pages(WantedPage, "private.wanted", account=address_text(account))
        return [seat async for page in pages for seat in page.seats]
