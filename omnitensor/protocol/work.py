"""Proofs of work on models, as data: tickets, receipts, fraud proofs, and what a worker signs. Checks nothing but form."""

from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol import hashing, merkle
from omnitensor.protocol.codec import Record, encode
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.limits import (
    content_constants_max,
    model_layers_max,
    model_width_max,
    receipt_macs_max,
    receipt_tickets_max,
    score_outputs_max,
)
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.models import TILES
from omnitensor.protocol.types import (
    U16,
    U32,
    ZERO_HASH,
    Address,
    AddressF,
    Epoch,
    Hash,
    HashF,
    HeightF,
    SignatureF,
)

RECEIPT_BYTES_MAX: Final = 256
TICKETS_EXPECTED: Final = 8
"""About so many squares of a unit win, at least: a receipt names the best few of them."""
FINGERPRINT_ROOT: Final = Hash(
    bytes.fromhex("bfe1e8fe7a957d4fc6d0a3009a26bad1969b95c9df206717eb69021f9190d9d5")
)
"""The model root of ``fingerprint-v1``."""
FINGERPRINT_TILE: Final = 64
FEATURES: Final = 1_024
"""Operands of an item: inputs of ``fingerprint-v1``, and of the models of campaigns."""
FINGERPRINT_BITS: Final = 256
SYNTHETIC_WIDTH: Final = 1_024
SYNTHETIC_ROWS: Final = 1_024
SYNTHETIC_TILE: Final = 128


class JobKind(IntEnum):
    """Where a job comes from."""

    POSTED = 0
    """From somebody who pays for it."""
    FINGERPRINT = 1
    """From the chain: the fingerprints of a batch."""
    SCORES = 2
    """From the chain: what a campaign's model says of a batch."""
    SYNTHETIC = 3
    """From nobody, for when no job waits. It has no row."""

    @property
    def label(self) -> str:
        return self.name.lower()


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


def work_root(receipts: Sequence[Receipt]) -> Hash:
    """What a block's header says of work: the counted RFC 6962 root over the receipts committed in it; zero without any."""
    if not receipts:
        return ZERO_HASH
    return Hash(merkle.counted_root_of([encode(receipt) for receipt in receipts]))


def outputs_root(worker: Address, rows_root: bytes) -> Hash:
    """What a receipt says of a unit's outputs: the Merkle root over the output rows, keyed by the worker."""
    return hashing.WORK_OUTPUTS(worker, rows_root)


class LayerShape(Record, frozen=True):
    """Inputs and outputs of a layer."""

    inputs: Annotated[int, Meta(ge=1, le=model_width_max)]
    outputs: Annotated[int, Meta(ge=1, le=model_width_max)]


Layers = Annotated[tuple[LayerShape, ...], Meta(min_length=1, max_length=model_layers_max)]
"""Shapes of a model's layers, in order."""


class CampaignModel(Record, frozen=True):
    """A campaign's own model, which scores its items: its file, its root, and the shape that the file has.

    It takes an item's ``FEATURES`` operands and up to ``content_constants_max`` constant columns; what it gives are scores.
    """

    content: ContentId
    root: HashF
    layers: Layers
    tile: Annotated[int, Meta(ge=16, le=128)]

    def fault(self) -> str:
        """What is wrong with the shape; empty where nothing is."""
        found = shape_fault(self.layers, self.tile)
        if found:
            return found
        if not FEATURES <= self.layers[0].inputs <= FEATURES + content_constants_max:
            return f"a campaign's model takes {FEATURES} to {FEATURES + content_constants_max} inputs"
        if self.layers[-1].outputs > score_outputs_max:
            return f"a campaign's model gives at most {score_outputs_max} scores"
        return ""


def shape_fault(layers: tuple[LayerShape, ...], tile: int) -> str:
    """What is wrong with the shape of a model; empty where nothing is."""
    if tile not in TILES:
        return f"the tile is none of {', '.join(map(str, TILES))}"
    for before, after in pairwise(layers):
        if before.outputs != after.inputs:
            return "a layer takes another width than the one before gives"
    return ""


def unit_macs(layers: tuple[LayerShape, ...], rows: int) -> int:
    """Multiply-accumulates of a unit of so many rows, without what tiles fill up."""
    return rows * sum(layer.inputs * layer.outputs for layer in layers)


def unit_squares(layers: tuple[LayerShape, ...], rows: int, tile: int) -> int:
    """Square products of a unit: each has one chance at a ticket, also where zeros fill it up."""
    return -(-rows // tile) * sum(-(-one.inputs // tile) * -(-one.outputs // tile) for one in layers)


def proven_macs(layers: tuple[LayerShape, ...], rows: int, tile: int) -> int:
    """Multiply-accumulates that the tickets of a unit stand for, on average over chance: those of whole squares."""
    return unit_squares(layers, rows, tile) * tile**3


def unit_bits(layers: tuple[LayerShape, ...], rows: int, tile: int) -> int:
    """The difficulty of a unit's tickets: so that ``TICKETS_EXPECTED`` squares win, or up to twice as many."""
    return max(0, (unit_squares(layers, rows, tile) // TICKETS_EXPECTED).bit_length() - 1)


def macs_counted(credit: int) -> int:
    """What a receipt's tickets stand for (``credit_of``), as a validator says it of the receipt."""
    return min(credit, receipt_macs_max)


def job_id(chain_id: str, kind: JobKind, number: int) -> Hash:
    """Names a job: ``number`` is that of the post, of the batch, or for synthetic work the epoch of the anchor."""
    return hashing.WORK_JOB(chain_id.encode(), kind.to_bytes(8, "big"), number.to_bytes(8, "big"))


def synthetic_job(chain_id: str, epoch: Epoch) -> Hash:
    """The job that synthetic work of an epoch is of."""
    return job_id(chain_id, JobKind.SYNTHETIC, epoch)


def assigned(beacon: Hash, job: Hash, unit: int, workers: int, replicas: int) -> tuple[int, ...]:
    """Who of a list of workers a unit is given to: the first steps of a shuffle of their places, drawn from a block's beacon."""
    seed = hashing.WORK_ASSIGN(beacon, job, unit.to_bytes(8, "big"))
    moved: dict[int, int] = {}
    found: list[int] = []
    for at in range(min(replicas, workers)):
        drawn = int.from_bytes(hashing.DRAW(seed, at.to_bytes(8, "big")), "big")
        other = at + drawn % (workers - at)
        found.append(moved.get(other, other))
        moved[other] = moved.get(at, at)
    return tuple(found)
