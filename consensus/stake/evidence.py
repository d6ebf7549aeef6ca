"""Evidence as consensus names it: the protocol's own types, so that what a node sees is what the ledger judges.

Adds nothing to ``omnitensor.protocol.evidence`` (what convicts) and ``omnitensor.protocol.conviction`` (whether it is genuine).
"""

from omnitensor.protocol.conviction import EvidenceError, convicted
from omnitensor.protocol.evidence import (
    ConflictingCertificates,
    ConflictingVotes,
    Evidence,
    Fault,
    NoConflict,
    conflicts,
    fault_of,
)

__all__ = [
    "ConflictingCertificates",
    "ConflictingVotes",
    "Evidence",
    "EvidenceError",
    "Fault",
    "NoConflict",
    "conflicts",
    "convicted",
    "fault_of",
]
