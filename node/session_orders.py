"""Orders that a node signs by itself, with a session key of one scope: in whose name, and for which fee. Sends nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog
from msgspec.structs import replace

from omnitensor.protocol.bodies import Body, Scope
from omnitensor.protocol.codec import encode
from omnitensor.protocol.keys import SigningKey, parse_api_key
from omnitensor.protocol.private_files import read_private
from omnitensor.protocol.transactions import signed, unsigned, weight_of
from omnitensor.protocol.types import SUPPLY_MAX, Address, Amount, Height
from state.reader import Reader
from state.schema import SESSION_KEYS

VALID_FOR_BLOCKS: Final = 60
FEE_MARGIN: Final = 4
"""An order may pay up to this many times the base fee of now."""

log = structlog.get_logger("orders")


def load_key(path: Path) -> SigningKey:
    """A session key (``otk1...``) in a file of mode 0600. Raises StorageError or KeyFormatError."""
    return parse_api_key(read_private(path).decode("utf-8", "replace"))


class SessionOrders:
    """One session key of one chain, and what it is for: ``what`` as in "evidence can't be submitted"."""

    def __init__(self, key: SigningKey, chain_id: str, scope: Scope, what: str) -> None:
        self.key: Final = key
        self._chain_id: Final = chain_id
        self._scope: Final = scope
        self._what: Final = what
        self._said = ""

    def owner(self, reader: Reader) -> Address | None:
        """The account that the key signs for; None, said once, while the chain lets it sign for nobody."""
        row = reader.get(SESSION_KEYS, self.key.public)
        reason = ""
        if row is None:
            reason = "the session key is of no account of this chain, or was revoked"
        elif not row.scopes & self._scope:
            reason = f"the session key lacks the scope {self._scope.name.lower()}"
        elif row.valid_until <= reader.head.height:
            reason = f"the session key was valid up to height {row.valid_until}"
        if reason and reason != self._said:
            log.error(
                f"{self._what} can't be submitted",
                reason=reason,
                remedy=f"otensor-cli api-key create --scope {self._scope.name.lower()}",
            )
        self._said = reason
        return None if reason or row is None else Address(row.owner)

    def sign(self, owner: Address, body: Body, nonce: int, reader: Reader) -> bytes:
        """An order's bytes, with a number of the account."""
        return sign_order(self.key, self._chain_id, owner, body, nonce, reader)


def sign_order(
    key: SigningKey, chain_id: str, sender: Address, body: Body, nonce: int, reader: Reader
) -> bytes:
    """An order's bytes, for the fee of now with some room."""
    widest = unsigned(
        chain_id=chain_id,
        sender=sender,
        nonce=2**32,
        valid_until=Height(2**32),
        max_fee=Amount(SUPPLY_MAX),
        tip=Amount(0),
        body=body,
        signer=key.public,
    )
    order = replace(
        widest,
        nonce=nonce,
        valid_until=Height(reader.head.height + VALID_FOR_BLOCKS),
        max_fee=Amount(weight_of(widest, len(encode(widest))) * reader.next_base_fee * FEE_MARGIN),
    )
    return encode(signed(order, key.sign(order.id)))
