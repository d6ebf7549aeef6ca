"""The order that shows a validator's contradiction. Data only."""

from typing import ClassVar

from omnitensor.protocol.bodies.base import BodyBase, Scope
from omnitensor.protocol.evidence import Evidence


class EvidenceSubmit(BodyBase, frozen=True, tag=60):
    """Convicts whoever signed what no honest validator signs: it is slashed and removed for good, and the sender is paid."""

    KIND: ClassVar[str] = "evidence_submit"
    SCOPE: ClassVar[Scope | None] = Scope.REPORT
    evidence: Evidence

    def weight(self) -> int:
        return 30_000  # two signatures to verify, and the keys of a hundred validators to add up
