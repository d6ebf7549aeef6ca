"""What simulated nodes say besides votes, certificates and proposals: requests and their answers."""

from __future__ import annotations

from dataclasses import dataclass

from omnitensor.protocol.blocks import Block
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Candidate, Certificate
from p2p.messages import BlocksRequest, BlocksResponse


@dataclass(frozen=True)
class CandidateWanted:
    candidate_id: Hash


@dataclass(frozen=True)
class CandidateGiven:
    candidate: Candidate
    block: Block | None
    certificates: tuple[Certificate, ...]


@dataclass(frozen=True)
class CertificatesWanted:
    epoch: int
    first: View
    last: View


@dataclass(frozen=True)
class CertificatesGiven:
    certificates: tuple[Certificate, ...]


@dataclass(frozen=True)
class TransactionGiven:
    """A transaction in its canonical bytes."""

    encoded: bytes


@dataclass(frozen=True)
class HeadTold:
    """How far a node is. What one process says is in order, as on one connection: ``life`` counts processes, ``number`` words."""

    life: int
    number: int
    height: int


@dataclass(frozen=True)
class BlocksWanted:
    """A request for blocks. ``life`` and ``ticket`` come back with the answer."""

    life: int
    ticket: int
    request: BlocksRequest


@dataclass(frozen=True)
class BlocksGiven:
    """The answer; None where the blocks are not held."""

    life: int
    ticket: int
    response: BlocksResponse | None


@dataclass(frozen=True)
class EvidenceGiven:
    """Evidence in its canonical bytes, as it travels."""

    data: bytes
