"""What the state holds of work: votes, units, credit, proven outputs. Data only; rows are named in ``schema``.

Rows that clients read are in ``omnitensor.protocol.rows_work``.
"""

from typing import Annotated

from msgspec import Meta

from omnitensor.protocol.codec import Record
from omnitensor.protocol.limits import score_outputs_max, validators_max, workers_max
from omnitensor.protocol.rows_work import JOBS_ENDED as JOBS_ENDED
from omnitensor.protocol.rows_work import RECEIPTS_JUDGED as RECEIPTS_JUDGED
from omnitensor.protocol.rows_work import Challenge as Challenge
from omnitensor.protocol.rows_work import Job as Job
from omnitensor.protocol.rows_work import JobStatus as JobStatus
from omnitensor.protocol.rows_work import ReceiptState as ReceiptState
from omnitensor.protocol.rows_work import ShownOutputs as ShownOutputs
from omnitensor.protocol.rows_work import Worker as Worker
from omnitensor.protocol.rows_work import WorkReceipt as WorkReceipt
from omnitensor.protocol.types import U16, U32, U64, AddressF, AmountF, EpochF, HeightF


class WorkerList(Record, frozen=True):
    """Who could work when an epoch began: units of jobs that open in it are drawn from them. Sorted."""

    workers: Annotated[tuple[AddressF, ...], Meta(max_length=workers_max)]


class WorkCredit(Record, frozen=True):
    """What a worker's receipts of an epoch stand for: those that settled in it."""

    credit: U64
    """Multiply-accumulates that count."""
    tickets: U32
    useful: U64
    """Multiply-accumulates for jobs: the chain's own, and of what people posted the share that burned for it."""
    macs: U64
    """All."""


class Finding(Record, frozen=True):
    """A validator's vote on a receipt."""

    validator: AddressF
    good: bool
    macs: U64


class Findings(Record, frozen=True):
    """All votes on a receipt, by validator."""

    votes: Annotated[tuple[Finding, ...], Meta(max_length=validators_max)]


class Attest(Record, frozen=True):
    """A validator's vote on a job's bytes."""

    validator: AddressF
    available: bool


class Attests(Record, frozen=True):
    """All votes on a job's bytes, by validator."""

    votes: Annotated[tuple[Attest, ...], Meta(max_length=validators_max)]


class ModelSeen(Record, frozen=True):
    """When a model's root was first named: its noise is of the epochs after."""

    epoch: EpochF


class ItemFingerprint(Record, frozen=True):
    """An item's fingerprint, proven by a receipt that was found good."""

    bits: Annotated[bytes, Meta(min_length=32, max_length=32)]


class ItemScores(Record, frozen=True):
    """What its campaign's model says of an item, proven likewise: numbers in [-63, 63], a signed byte each."""

    scores: Annotated[bytes, Meta(max_length=score_outputs_max)]


class WorkUnit(Record, frozen=True):
    """A unit that somebody committed to. When nothing of it is under way or good any more, it begins anew."""

    under_way: U16
    """Receipts not judged yet,"""
    good: U16
    """and those found good."""
    hold: HeightF
    """The height from which outputs may be shown though replicas are missing; zero before the first receipt."""
    shown: bool
    """Whether outputs of it were shown: it takes no more receipts, since they could be copies."""

    @property
    def receipts(self) -> int:
        """Those that may stand."""
        return self.under_way + self.good

    @property
    def is_done(self) -> bool:
        """Whether it has outputs that stand, and no more can come."""
        return self.good > 0 and not self.under_way


class WorkEpoch(Record, frozen=True):
    """Sums over the work of an epoch."""

    receipts: U64
    """Found good in it."""
    credit: U64
    useful: U64
    macs: U64
    judged: Annotated[tuple[U32, ...], Meta(max_length=validators_max)]
    """Votes that agreed with the outcome, by place in the epoch's table; emptied when they are paid."""
    pool: AmountF
    """What left the reserve for its workers and judges."""
    block: HeightF
    """The last block with receipts,"""
    in_block: U32
    """and how many it has."""
