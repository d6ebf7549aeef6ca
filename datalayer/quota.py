"""Counts what is in a store against its quotas. Knows owners, sizes and times; nothing of disks or content."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from datalayer.upload import ContentError
from omnitensor.protocol import limits

NODE_OWNER: Final = b""
"""Owner of what the node itself fetches: content that the chain refers to."""


@dataclass(slots=True)
class Pending:
    """What an unfinished upload, or content that nothing refers to yet, counts; and since when."""

    owner: bytes
    charge: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes as counted against quotas, numbers of contents and uploads, and bytes that uploaders sent to this process."""

    total: int
    unreferenced: int
    quota: int
    objects: int
    uploads: int
    received: int = field(default=0, compare=False)


def charge_of(size: int) -> int:
    """What content of ``size`` bytes counts against a quota, in bytes."""
    return max(size, limits.content_charge_bytes_min)


class Quota:
    """Space taken in total, by each owner, and by all owners together. Mutable, owned by one store."""

    def __init__(
        self, total_max: int, owner_max: int, owner_uploads_max: int = limits.content_owner_uploads_max
    ) -> None:
        self.total_max: Final = total_max
        self.owner_max: Final = owner_max
        self.owner_uploads_max: Final = owner_uploads_max
        self.total = 0
        self.pending = 0
        self._owners: Final[Counter[bytes]] = Counter()
        self._uploads: Final[Counter[bytes]] = Counter()

    def take(self, charge: int) -> None:
        self.total += charge

    def give(self, charge: int) -> None:
        self.total -= charge
        assert self.total >= 0, "more is given back than was taken"

    def wait(self, pending: Pending) -> None:
        """Counts something that nothing refers to against its owner."""
        if pending.owner != NODE_OWNER:
            self.pending += pending.charge
            self._owners[pending.owner] += pending.charge
            self._uploads[pending.owner] += 1

    def settle(self, pending: Pending) -> None:
        """Counts it no more."""
        if pending.owner == NODE_OWNER:
            return
        self.pending -= pending.charge
        self._owners[pending.owner] -= pending.charge
        self._uploads[pending.owner] -= 1
        if not self._uploads[pending.owner]:
            del self._owners[pending.owner], self._uploads[pending.owner]

    def owned(self, owner: bytes) -> int:
        return self._owners.get(owner, 0)

    def admit(self, owner: bytes, charge: int) -> None:
        """Raises ContentError (``quota``) where this much more does not fit."""
        if self.total + charge > self.total_max:
            raise _refused("this node's store is full", f"{charge} bytes more", "try another node, or later")
        if owner == NODE_OWNER:
            return
        if self.owned(owner) + charge > self.owner_max:
            raise _refused(
                "this account has too much in store that no submission refers to",
                f"{self.owned(owner)} bytes, and {charge} more",
                f"submit it first, or wait; at most {self.owner_max} bytes",
            )
        if self._uploads.get(owner, 0) >= self.owner_uploads_max:
            raise _refused(
                "this account has too many uploads that no submission refers to",
                f"{self._uploads[owner]} uploads",
                f"submit what is uploaded first, or wait; at most {self.owner_uploads_max} at a time",
            )
        if self.pending + charge > self.total_max // limits.content_unreferenced_share_max:
            raise _refused(
                "this node holds too much that no submission refers to",
                f"{charge} bytes more",
                "try another node, or later",
            )


def _refused(reason: str, value: str, remedy: str) -> ContentError:
    return ContentError(reason, value=value, remedy=remedy, code="quota")
