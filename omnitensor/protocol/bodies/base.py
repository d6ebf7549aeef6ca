"""What all bodies have in common, and the scopes of session keys. Data only."""

from enum import IntEnum
from typing import ClassVar, Final

from omnitensor.protocol.codec import Record


class Scope(IntEnum):
    """What an account lets a session key do: bits of a mask. An order without a scope needs the account's own key."""

    REVIEW = 1
    UPLOAD = 2
    WORK = 4
    REPORT = 8
    """Submitting evidence, and no more: for a node that reports by itself."""


SCOPES_ALL: Final = 15


class BodyBase(Record, frozen=True):
    """Common to all bodies: ``KIND`` as people read it, and the scope a session key needs (None: the account's own key)."""

    KIND: ClassVar[str]
    SCOPE: ClassVar[Scope | None] = None

    def weight(self) -> int:
        """Units of work beyond the envelope's."""
        return 100
