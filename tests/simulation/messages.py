"""What simulated nodes say besides votes, certificates and proposals: requests and their answers."""

from __future__ import annotations

from dataclasses import dataclass

from omnitensor.protocol.blocks import Block
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Candidate, Certificate, FinalityProof


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
class BlocksWanted:
    from_height: int


@dataclass(frozen=True)
class BlocksGiven:
    """Consecutive blocks; ``proof`` finalizes the last."""

    blocks: tuple[Block, ...]
    proof: FinalityProof


@dataclass(frozen=True)
class EvidenceGiven:
    """Evidence in its canonical bytes, as it travels."""

    data: bytes
