"""A worker's signature: by its account's own key, or by a session key of the scope work. Sees its orders through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from node.session_orders import VALID_FOR_BLOCKS, SessionOrders, sign_order
from omnitensor.protocol.bodies import Body, Scope
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import SigningKey, parse_api_key, parse_secret
from omnitensor.protocol.private_files import read_private
from omnitensor.protocol.types import Address, Hash
from state.reader import Reader

API_KEY_PREFIX: Final = "otk1"

log = structlog.get_logger("worker")


@dataclass(frozen=True, slots=True)
class Sent:
    """An order on its way: its id, and the height at which it is given up."""

    id: Hash
    until: int


class Hand:
    """Signs for one worker."""

    def __init__(
        self,
        path: Path,
        chain_id: str,
        reader: Callable[[], Reader],
        next_nonce: Callable[[Address], int],
        submit: Callable[[bytes], Awaitable[Hash]],
    ) -> None:
        """``path`` is a file of mode 0600 with either kind of key. Raises StorageError or KeyFormatError."""
        text = read_private(path).decode("utf-8", "replace").strip()
        self._own = not text.startswith(API_KEY_PREFIX)
        self.key: Final[SigningKey] = parse_secret(text) if self._own else parse_api_key(text)
        self.chain_id: Final = chain_id
        self._orders = SessionOrders(self.key, chain_id, Scope.WORK, "work")
        self._reader = reader
        self._next_nonce = next_nonce
        self._submit = submit

    @property
    def is_own(self) -> bool:
        """Whether it is the account's own key, which can register a worker."""
        return self._own

    def address(self) -> Address | None:
        """The account that works; None, said once, while the chain lets a session key sign for nobody."""
        return self.key.address if self._own else self._orders.owner(self._reader())

    async def send(self, body: Body) -> Sent | None:
        """None, said, where the order can't be submitted now."""
        reader, owner = self._reader(), self.address()
        if owner is None:
            return None
        try:
            nonce = self._next_nonce(owner)
            sent = await self._submit(sign_order(self.key, self.chain_id, owner, body, nonce, reader))
        except ProtocolError as error:
            log.warning("an order can't be submitted now", kind=body.KIND, code=error.code, reason=str(error))
            return None
        return Sent(sent, reader.head.height + VALID_FOR_BLOCKS)

    def is_under_way(self, sent: Sent) -> bool:
        """Whether it is neither in a block nor given up. A refusal is said."""
        reader = self._reader()
        placed = reader.receipt(sent.id)
        if placed is None:
            return reader.head.height <= sent.until
        if not placed.receipt.ok:
            log.warning("an order was refused", code=placed.receipt.code, reason=placed.receipt.reason)
        return False
