"""Orders about work on models: workers and their bonds, jobs, receipts, and what validators found of them. Data only."""

from typing import Annotated, ClassVar

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies.base import BodyBase, Scope
from omnitensor.protocol.codec import Record
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.types import (
    U32,
    AddressF,
    AmountF,
    BlsPublicKeyF,
    BlsSignatureF,
    HashF,
    HeightF,
)
from omnitensor.protocol.work import FraudProof, Layers, Receipt

VOTE_WEIGHT = 300
"""For one vote on a job or a receipt: with each, all votes on it so far are weighed."""
JOB_BYTES_PER_WEIGHT = 1_024
"""Of a job's model and rows, and of outputs that stand in no order."""


class WorkerRegister(BodyBase, frozen=True, tag=80):
    """Makes the sender a worker with a bond. A validator gives its own consensus key, others give one new to the chain."""

    KIND: ClassVar[str] = "worker_register"
    bond: AmountF
    consensus_key: BlsPublicKeyF
    proof_of_possession: BlsSignatureF

    def weight(self) -> int:
        return 15_000  # as a validator's registration


class WorkerBondAdd(BodyBase, frozen=True, tag=81):
    KIND: ClassVar[str] = "worker_bond_add"
    amount: AmountF


class WorkerLeave(BodyBase, frozen=True, tag=82):
    """Takes no more work. The bond returns after the unbonding time, when nothing that it stands for can be judged any more."""

    KIND: ClassVar[str] = "worker_leave"


class WorkerEdit(BodyBase, frozen=True, tag=83):
    """Changes the worker's consensus key, which leads from the next set on that is fixed. The old one is never used again."""

    KIND: ClassVar[str] = "worker_edit"
    consensus_key: BlsPublicKeyF
    proof_of_possession: BlsSignatureF

    def weight(self) -> int:
        return 15_000


class JobPost(BodyBase, frozen=True, tag=84):
    """Asks for a model to be run over rows, and pays for it beforehand: fee and burn for each replica of each unit.

    ``data`` has the rows one after the other, a signed byte a number; ``unit_rows`` of them are a unit.
    """

    KIND: ClassVar[str] = "job_post"
    model: ContentId
    model_root: HashF
    data: ContentId
    layers: Layers
    tile: Annotated[int, Meta(ge=16, le=128)]
    rows: Annotated[int, Meta(ge=1, le=limits.job_data_bytes_max)]
    unit_rows: Annotated[int, Meta(ge=1, le=limits.unit_rows_max)]
    replicas: Annotated[int, Meta(ge=1, le=limits.job_replicas_max)]
    fee_unit: AmountF
    """nanoOMNIT to each worker whose outputs of a unit stand."""
    burn_unit: AmountF
    """nanoOMNIT that burn with each of them: they make it count in full."""
    deadline: HeightF
    """Receipts are taken up to this height; what is left returns to the poster."""
    place_max: AmountF
    """nanoOMNIT that may burn for its place among open jobs, at most (``job_places``): how many there will be, nobody knows."""

    @property
    def units(self) -> int:
        return -(-self.rows // self.unit_rows)

    @property
    def escrow(self) -> int:
        """nanoOMNIT that the poster pays beforehand."""
        return self.units * self.replicas * (self.fee_unit + self.burn_unit)

    def weight(self) -> int:
        # Every validator fetches and keeps these bytes, whatever becomes of the job.
        return 5_000 + (self.data.size + self.model.size) // JOB_BYTES_PER_WEIGHT


class JobCancel(BodyBase, frozen=True, tag=85):
    """Takes no more receipts; those under way are judged and paid, and the rest returns to the poster."""

    KIND: ClassVar[str] = "job_cancel"
    job: HashF


class JobVote(Record, frozen=True):
    """Whether a validator has a job's model and data, they are what the job says, and it keeps them."""

    job: HashF
    available: bool


class ReceiptVote(Record, frozen=True):
    """What a validator found of a receipt. ``macs`` is what its tickets stand for (``macs_counted``); 0 where it is not good."""

    job: HashF
    unit: U32
    worker: AddressF
    good: bool
    macs: Annotated[int, Meta(ge=0, le=limits.receipt_macs_max)]


class WorkJudge(BodyBase, frozen=True, tag=86):
    """What a validator says of jobs and receipts. It may say otherwise until enough stake has agreed."""

    KIND: ClassVar[str] = "work_judge"
    SCOPE: ClassVar[Scope | None] = Scope.WORK
    jobs: Annotated[tuple[JobVote, ...], Meta(max_length=limits.judged_per_order_max)]
    receipts: Annotated[tuple[ReceiptVote, ...], Meta(max_length=limits.judged_per_order_max)]

    def weight(self) -> int:
        return 100 + VOTE_WEIGHT * (len(self.jobs) + len(self.receipts))


class WorkCommit(BodyBase, frozen=True, tag=87):
    """A worker's receipt. Its own signature is by the key that signs the transaction."""

    KIND: ClassVar[str] = "work_commit"
    SCOPE: ClassVar[Scope | None] = Scope.WORK
    receipt: Receipt

    def weight(self) -> int:
        return 2_000


class WorkOutputs(BodyBase, frozen=True, tag=88):
    """Shows a unit's outputs, in a later block than its receipt: rows one after the other, a signed byte a number.

    Small ones stand in the order, others are named as content; one of both.
    """

    KIND: ClassVar[str] = "work_outputs"
    SCOPE: ClassVar[Scope | None] = Scope.WORK
    job: HashF
    unit: U32
    content: ContentId | None
    outputs: Annotated[bytes, Meta(max_length=limits.work_outputs_inline_max)]

    def weight(self) -> int:
        # Rows in the order are hashed; content is fetched and kept by every validator, as the job's own bytes are.
        fetched = 0 if self.content is None else self.content.size // JOB_BYTES_PER_WEIGHT
        return 200 + len(self.outputs) // 2 + fetched


class WorkFraud(BodyBase, frozen=True, tag=89):
    """Shows one wrong row of outputs that were found good, with a bond; votes are taken anew."""

    KIND: ClassVar[str] = "work_fraud"
    SCOPE: ClassVar[Scope | None] = Scope.WORK
    proof: FraudProof

    def weight(self) -> int:
        return 2_000
