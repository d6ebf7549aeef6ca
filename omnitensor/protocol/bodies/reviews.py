"""Orders of reviewers: seats and reports. Data only."""

from typing import Annotated, ClassVar

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies.base import BodyBase, Scope
from omnitensor.protocol.types import (
    U16,
    BatchIdF,
    HashF,
)


class SeatAccept(BodyBase, frozen=True, tag=50):
    KIND: ClassVar[str] = "seat_accept"
    SCOPE: ClassVar[Scope | None] = Scope.REVIEW
    batch: BatchIdF
    round: U16


class SeatDecline(BodyBase, frozen=True, tag=51):
    KIND: ClassVar[str] = "seat_decline"
    SCOPE: ClassVar[Scope | None] = Scope.REVIEW
    batch: BatchIdF
    round: U16


class ReportCommit(BodyBase, frozen=True, tag=52):
    """Binds a reviewer to scores nobody sees yet. ``sealed``: the report under a key of the reviewer's, for other devices."""

    KIND: ClassVar[str] = "report_commit"
    SCOPE: ClassVar[Scope | None] = Scope.REVIEW
    batch: BatchIdF
    round: U16
    commitment: HashF
    sealed: Annotated[bytes, Meta(max_length=limits.sealed_report_bytes_max)]


class ReportReveal(BodyBase, frozen=True, tag=53):
    """Opens a commitment. ``report`` has four bytes an item: completeness, accuracy, relevance (0..100), flags."""

    KIND: ClassVar[str] = "report_reveal"
    SCOPE: ClassVar[Scope | None] = Scope.REVIEW
    batch: BatchIdF
    round: U16
    salt: HashF
    report: Annotated[bytes, Meta(min_length=4, max_length=4 * limits.batch_items_max)]

    def weight(self) -> int:
        return 100 + 50 * (len(self.report) // 4)
