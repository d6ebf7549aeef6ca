"""Rows of workers, jobs and receipts that a client can check for itself; see ``rows``. Data only.

Amounts in nanoOMNIT. A unit's rows are ``unit_rows``, those of the last one what is left.
"""

from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.codec import Record
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.rows import Labelled
from omnitensor.protocol.types import (
    U16,
    U32,
    U64,
    Address,
    AddressF,
    AmountF,
    BatchIdF,
    BlsPublicKeyF,
    EpochF,
    Hash,
    HashF,
    HeightF,
)
from omnitensor.protocol.work import FraudProof, Layers, Receipt

WORKERS_PREFIX: Final = 0x50
JOBS_PREFIX: Final = 0x53
WORK_RECEIPTS_PREFIX: Final = 0x54


def worker_key(address: Address) -> bytes:
    """Key of a ``Worker``."""
    return bytes([WORKERS_PREFIX]) + address


def job_key(job: Hash) -> bytes:
    """Key of a ``Job``."""
    return bytes([JOBS_PREFIX]) + job


def work_receipt_key(job: Hash, unit: int, worker: Address) -> bytes:
    """Key of a ``WorkReceipt``."""
    return bytes([WORK_RECEIPTS_PREFIX]) + job + unit.to_bytes(8, "big") + worker


class Worker(Record, frozen=True):
    """A registered worker and its bond."""

    bond: AmountF
    consensus_key: BlsPublicKeyF
    registered_at: HeightF
    leaves_at: HeightF
    """Where its bond may return; 0 while it works."""
    held: U32
    """Receipts that can still cost the bond."""
    good: U64
    bad: U64
    fees: U64
    """Fees of units, ever,"""
    pool: U64
    """shares of the compute pool,"""
    slashed: U64
    """and what it lost."""


class JobStatus(Labelled):
    POSTED = 0
    """Waits until enough stake has its bytes."""
    OPEN = 1
    CLOSING = 2
    """Takes no more receipts; those under way are judged, and paid when nobody can object any more."""
    DONE = 3
    EXPIRED = 4
    """Ended by its deadline."""
    CANCELLED = 5
    """Ended by its poster."""
    REFUSED = 6
    """Enough stake said that its bytes are not to be had, or not what it says."""


JOBS_ENDED: Final = (JobStatus.DONE, JobStatus.EXPIRED, JobStatus.CANCELLED, JobStatus.REFUSED)


class Job(Record, frozen=True):
    """A model to be run over rows."""

    kind: U16
    """An ``omnitensor.protocol.work.JobKind``."""
    poster: bytes
    """An address; empty where the chain made it."""
    model: ContentId | None
    """None for ``fingerprint-v1``."""
    model_root: HashF
    data: ContentId | None
    """None for the chain's own: the rows are operands of the batch's items, in order."""
    batch: BatchIdF
    """Of the chain's own; else 0."""
    layers: Layers
    tile: U16
    rows: U32
    unit_rows: U32
    replicas: U16
    fee_unit: AmountF
    burn_unit: AmountF
    status: U16
    """A JobStatus."""
    outcome: U16
    """While closing, the JobStatus that it will have; from DONE it goes back to open where a receipt turns out bad in time."""
    available: bool
    """Enough stake has its bytes; it opens when its model is old enough."""
    posted_at: HeightF
    opened_at: HeightF
    """0 before it is open,"""
    opened_epoch: EpochF
    """whose list of workers units are drawn from,"""
    beacon: HashF
    """by the beacon of the block that opened it."""
    deadline: HeightF
    ended_at: HeightF
    escrow: AmountF
    """What is left of what was paid for it."""
    under_way: U32
    """Receipts whose money is not settled: not judged yet, or found good and still open to objections."""
    done: U32
    """Units of which a receipt was found good, and none is to be judged any more."""
    paid: AmountF
    burned: AmountF
    refunded: AmountF

    @property
    def units(self) -> int:
        return -(-self.rows // self.unit_rows)

    @property
    def cost(self) -> int:
        """nanoOMNIT of one replica of one unit."""
        return self.fee_unit + self.burn_unit

    def rows_of(self, unit: int) -> int:
        """Rows of a unit of the job."""
        return min(self.unit_rows, self.rows - unit * self.unit_rows)


class ReceiptState(Labelled):
    COMMITTED = 0
    """Its outputs are not shown yet."""
    SHOWN = 1
    """It is being judged; synthetic work, which has no outputs, at once."""
    GOOD = 2
    BAD = 3
    VOID = 4
    """Not enough stake agreed in time: nothing paid, nothing slashed."""
    WITHHELD = 5
    """Its outputs did not come."""
    CHALLENGED = 6
    """Found good, and judged anew after somebody showed a row."""


RECEIPTS_JUDGED: Final = (ReceiptState.SHOWN, ReceiptState.CHALLENGED)
"""Those that validators are asked about."""


class WorkReceipt(Record, frozen=True):
    """A receipt on chain, and how far it has come. It stands for the nullifier too: nobody commits a unit of a job twice."""

    receipt: Receipt
    kind: U16
    """The job's, an ``omnitensor.protocol.work.JobKind``."""
    state: U16
    """A ReceiptState."""
    committed_at: HeightF
    shown_at: HeightF
    """The block whose beacon draws the rows that are recomputed; 0 before."""
    judged_until: HeightF
    """While it is judged: where that ends."""
    settled_at: HeightF
    """When it was found good, bad, or neither; 0 before. For an epoch from there a good one can be challenged."""
    macs: U64
    """What its tickets stand for, as agreed."""
    credit: U64
    """What of that counts."""
    held: bool
    """It can still cost its worker's bond."""
    slashed: AmountF
    """What it cost its worker, if it did; nanoOMNIT,"""
    reward: AmountF
    """and what of that was paid"""
    finder: bytes
    """to whoever showed a wrong row: an address, or nothing."""


class ShownOutputs(Record, frozen=True):
    """Outputs of a receipt: as content, or as they are."""

    content: ContentId | None
    outputs: Annotated[bytes, Meta(max_length=limits.work_outputs_inline_max)]


class Challenge(Record, frozen=True):
    """Somebody's objection to a receipt that was found good."""

    challenger: AddressF
    bond: AmountF
    proof: FraudProof
