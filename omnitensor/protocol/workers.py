"""Who leads by validated work in an epoch, as data: workers and what their work counts for. Draws nobody."""

from typing import Annotated

from msgspec import Meta

from omnitensor.protocol.codec import Record
from omnitensor.protocol.limits import workers_per_set_max
from omnitensor.protocol.types import U64, AddressF, BlsPublicKeyF


class WorkerEntry(Record, frozen=True):
    """A worker of an epoch. It proposes by ``consensus_key``, and votes for nothing."""

    address: AddressF
    consensus_key: BlsPublicKeyF
    credit: U64
    """What its work counts for, in multiply-accumulates; only ratios matter."""


class WorkerSet(Record, frozen=True):
    """The work that draws an epoch's leaders. Frozen at a boundary, before the seed of that epoch was known."""

    entries: Annotated[tuple[WorkerEntry, ...], Meta(max_length=workers_per_set_max)]
    """Sorted by address, each address and key once."""
    tickets: U64
    """Tickets that were credited, over all workers, also over those that are not among the entries."""
