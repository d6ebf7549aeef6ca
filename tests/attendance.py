"""What a leader would say of who voted for the block below: made by tests that hold the voters' keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from omnitensor.protocol import bls
from omnitensor.protocol.attendance import attendance_of
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.types import ZERO_HASH, BlsSignature, Hash, View
from omnitensor.protocol.votes import Attendance, Candidate, Certificate, ValidatorTable, VoteKind

Sign = Callable[[int, bytes], bytes]
"""Signs a message for the validator at an index."""


def attended(
    parent: Header,
    table: ValidatorTable,
    sign: Sign,
    signers: Sequence[int] | None = None,
    kind: VoteKind = VoteKind.FINALIZE,
    candidate: Candidate | None = None,
) -> Attendance | None:
    """Of those signers, or of all; None where a block of the table's epoch names nobody. The candidate is made up where None."""
    if parent.height == 0 or parent.epoch != table.epoch:
        return None
    if candidate is None:
        height = parent.height
        candidate = Candidate(table.epoch, View(height), View(height - 1), ZERO_HASH, Hash(parent.hash))
    chosen = tuple(range(len(table)) if signers is None else signers)
    blank = Certificate(
        kind, table.epoch, candidate.view, candidate.id, table.bitmap(chosen), BlsSignature(bytes(96))
    )
    message = blank.message(parent.chain_id)
    total = bls.aggregate([BlsSignature(sign(index, message)) for index in chosen])
    return attendance_of(
        Certificate(kind, table.epoch, candidate.view, candidate.id, blank.signers, total), candidate
    )
