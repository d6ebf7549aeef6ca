"""Proofs of work on models, as data: tickets, receipts, fraud proofs, and what a worker signs. Checks nothing but form."""

from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol import hashing
from omnitensor.protocol.codec import Record, encode
from omnitensor.protocol.limits import model_layers_max, model_width_max, receipt_tickets_max
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.types import U16, U32, Address, AddressF, Hash, HashF, HeightF, SignatureF

RECEIPT_BYTES_MAX: Final = 256


class Ticket(Record, frozen=True):
    """Which square product won: of which layer, rows of the unit, columns of the weights, and piece of the inner dimension."""

    layer: Annotated[int, Meta(ge=0, le=model_layers_max - 1)]
    row: U16
    column: U16
    piece: U16


class Receipt(Record, frozen=True):
    """A worker's claim to have run one unit of a job. The signature covers all else, and the chain."""

    job: HashF
    unit: U32
    anchor: HeightF
    """Height of the block whose hash is in the noise."""
    worker: AddressF
    outputs_root: HashF
    """``outputs_root`` of the rows: keyed by the worker, so that nobody else can claim the same."""
    tickets: Annotated[tuple[Ticket, ...], Meta(max_length=receipt_tickets_max)]
    """The best, in the order of their values."""
    signature: SignatureF

    def message(self, chain_id: str) -> Hash:
        """What the worker's key signs."""
        fields = (self.job, self.unit, self.anchor, self.worker, self.outputs_root, self.tickets)
        return hashing.WORK_RECEIPT(chain_id.encode(), encode(fields))


class FraudProof(Record, frozen=True):
    """One row of a unit's outputs that is wrong: whoever has the unit's inputs can see it from this alone."""

    job: HashF
    unit: U32
    worker: AddressF
    row: U32
    output: Annotated[bytes, Meta(max_length=model_width_max)]
    inclusion: Inclusion


def outputs_root(worker: Address, rows_root: bytes) -> Hash:
    """What a receipt says of a unit's outputs: the Merkle root over the output rows, keyed by the worker."""
    return hashing.WORK_OUTPUTS(worker, rows_root)
