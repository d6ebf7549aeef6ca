"""Orders of reviewers: seats and reports. Data only."""

from typing import Annotated, ClassVar

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies.base import BodyBase, Scope
from omnitensor.protocol.codec import Record
from omnitensor.protocol.types import (
    U16,
    AddressF,
    BatchIdF,
    HashF,
    ItemIdF,
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


class DuplicateOf(Record, frozen=True):
    """What an item of a batch, by its place, repeats: another item of the campaign."""

    place: U16
    item: ItemIdF


class ReportReveal(BodyBase, frozen=True, tag=53):
    """Opens a commitment. ``report`` has four bytes an item: completeness, accuracy, relevance (0..100), flags.

    ``duplicates`` names, for each item flagged as one, what it repeats; without that the flag counts for nothing.
    """

    KIND: ClassVar[str] = "report_reveal"
    SCOPE: ClassVar[Scope | None] = Scope.REVIEW
    batch: BatchIdF
    round: U16
    salt: HashF
    report: Annotated[bytes, Meta(min_length=4, max_length=4 * limits.batch_items_max)]
    duplicates: Annotated[tuple[DuplicateOf, ...], Meta(max_length=limits.batch_items_max)] = ()

    def weight(self) -> int:
        return 100 + 50 * (len(self.report) // 4)


class ReportLeak(BodyBase, frozen=True, tag=54):
    """Opens another validator's commitment before its time: a report that is known can be copied."""

    KIND: ClassVar[str] = "report_leak"
    batch: BatchIdF
    round: U16
    validator: AddressF
    salt: HashF
    report: Annotated[bytes, Meta(min_length=4, max_length=4 * limits.batch_items_max)]


class ReportContradiction(BodyBase, frozen=True, tag=55):
    """Two signed transactions of one validator that commit to different reports for one seat, as canonical bytes."""

    KIND: ClassVar[str] = "report_contradiction"
    first: Annotated[bytes, Meta(max_length=limits.contradiction_bytes_max)]
    second: Annotated[bytes, Meta(max_length=limits.contradiction_bytes_max)]

    def weight(self) -> int:
        return 2_000  # two signatures to verify
