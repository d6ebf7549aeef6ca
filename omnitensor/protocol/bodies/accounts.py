"""Orders about money and keys of accounts. Data only."""

from typing import Annotated, ClassVar

from msgspec import Meta

from omnitensor.protocol.bodies.base import SCOPES_ALL, BodyBase
from omnitensor.protocol.types import (
    AddressF,
    AmountF,
    HeightF,
    PublicKeyF,
)


class Transfer(BodyBase, frozen=True, tag=1):
    KIND: ClassVar[str] = "transfer"
    to: AddressF
    amount: AmountF


class SessionKeyAdd(BodyBase, frozen=True, tag=10):
    """Lets ``key`` sign orders of the given scopes for the sender up to a height, and spend ``allowance`` nanoOMNIT in all.

    Fees, tips and bonds count; what returns to the account later does not return to the allowance.
    """

    KIND: ClassVar[str] = "session_key_add"
    key: PublicKeyF
    scopes: Annotated[int, Meta(ge=1, le=SCOPES_ALL)]
    valid_until: HeightF
    allowance: AmountF


class SessionKeyRemove(BodyBase, frozen=True, tag=11):
    KIND: ClassVar[str] = "session_key_remove"
    key: PublicKeyF
