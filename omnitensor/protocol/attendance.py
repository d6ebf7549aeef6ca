"""Whether a header says truly who voted for the block below it. Pure; counts and pays nobody.

A block names voters of its parent, all of one epoch: the first block of an epoch names none, since another table voted for the
boundary below it. Any other names a quorum, which every leader holds: nobody proposes without the certificate of its parent.
"""

from collections.abc import Sequence
from typing import Protocol

from omnitensor.protocol.ballots import Attendance, Certificate, VoteKind
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.errors import BlockError
from omnitensor.protocol.types import Epoch, Hash
from omnitensor.protocol.votes import Candidate, ValidatorTable


class Scheme(Protocol):
    """What a check needs of signatures. Answers False for anything malformed."""

    def fast_aggregate_verify(self, pks: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is the aggregate of the signatures of all of ``pks`` over ``message``."""


def attendance_of(certificate: Certificate, candidate: Candidate) -> Attendance:
    """What a header says where a certificate, NOTARIZE or FINALIZE, is of a candidate that carries the block below."""
    assert certificate.kind != VoteKind.SKIP and certificate.view == candidate.view
    return Attendance(
        certificate.kind,
        candidate.view,
        candidate.parent_view,
        candidate.parent_id,
        certificate.signers,
        certificate.signature,
    )


def certificate_of(attendance: Attendance, epoch: Epoch, parent: Hash) -> Certificate:
    """The certificate that an attendance is, of a parent in an epoch; the inverse of ``attendance_of``."""
    candidate = Candidate(epoch, attendance.view, attendance.parent_view, attendance.parent_id, parent)
    return Certificate(
        attendance.kind, epoch, attendance.view, candidate.id, attendance.signers, attendance.signature
    )


def attendants(attendance: Attendance | None, table: ValidatorTable) -> tuple[int, ...]:
    """Indexes in the epoch's table of those whom it names, ascending; nobody where there is none, or its bitmap can't be read.

    Verifies nothing.
    """
    return () if attendance is None else table.indexes(attendance.signers) or ()


def skipped_views(attendance: Attendance | None) -> range:
    """Views between the block below and its own parent, which a quorum skipped: nobody votes for what crosses others."""
    return range(0) if attendance is None else range(attendance.parent_view + 1, attendance.view)


def check_attendance(header: Header, parent: Header, table: ValidatorTable, scheme: Scheme) -> None:
    """That a block names voters of its parent, where it has to, and that they signed. Raises BlockError.

    ``parent`` is its parent's header, ``table`` the voters of the block's epoch. Cheap checks come before cryptography.
    """
    named = header.attendance
    if parent.epoch != table.epoch or parent.height == 0:
        if named is not None:
            raise BlockError(
                "the first block of an epoch names no voters of the block below", value=named.signers
            )
        return
    if named is None:
        raise BlockError(
            "the block does not say who voted for the block below",
            value=header.height,
            remedy="name a quorum of them: whoever may propose holds its parent's certificate",
        )
    if named.kind == VoteKind.SKIP:
        raise BlockError("attendance is not shown by a SKIP", value=named.view)
    if not 0 <= named.parent_view < named.view:
        raise BlockError("the attendance is of a view that is not above its parent's", value=named.view)
    signers = table.indexes(named.signers)
    if signers is None:
        raise BlockError(
            f"an attendance's bitmap does not fit a table of {len(table)} validators", value=named.signers
        )
    weight = table.weight_of(signers)
    if weight < table.quorum_weight:
        raise BlockError(
            f"an attendance's signers have less than the quorum of {table.quorum_weight}", value=weight
        )
    certificate = certificate_of(named, table.epoch, Hash(header.parent))
    keys = [table.key(index) for index in signers]
    if not scheme.fast_aggregate_verify(keys, certificate.message(parent.chain_id), named.signature):
        raise BlockError("an attendance's signature is not its signers'", value=named.signature)
