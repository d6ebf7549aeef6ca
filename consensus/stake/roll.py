"""Who voted for a block, as its child is to say: the fullest certificate that the votes in hand make. Pure; casts no vote.

Votes go on coming after a quorum is there, and what comes before a leader proposes is named in its block.
"""

from collections.abc import Iterable

from consensus.stake.scheme import Scheme
from consensus.stake.tally import VoteBook
from omnitensor.protocol.attendance import attendance_of
from omnitensor.protocol.types import Hash
from omnitensor.protocol.votes import Attendance, Candidate, Certificate, ValidatorTable, Vote, VoteKind


def fullest(
    candidate: Candidate,
    certificates: Iterable[Certificate],
    book: VoteBook | None,
    table: ValidatorTable,
    scheme: Scheme,
) -> Attendance | None:
    """Of a candidate's certificates the one that most validators are in, once those votes are added that it lacks.

    Of equal ones the finalization, which nobody signs who did not execute the block. None where there is no certificate.
    """
    best: tuple[tuple[int, int], Certificate, list[Vote]] | None = None
    for certificate in certificates:
        if certificate.kind == VoteKind.SKIP or certificate.candidate_id != candidate.id:
            continue
        signers = set(table.indexes(certificate.signers) or ())
        votes = [] if book is None else book.votes_for(certificate.kind, Hash(certificate.candidate_id))
        late = [vote for vote in votes if vote.signer not in signers]
        rank = (len(signers) + len(late), int(certificate.kind))
        if best is None or rank > best[0]:
            best = rank, certificate, late
    if best is None:
        return None
    _, certificate, late = best
    return attendance_of(_with(certificate, late, table, scheme), candidate)


def _with(certificate: Certificate, late: list[Vote], table: ValidatorTable, scheme: Scheme) -> Certificate:
    """A certificate with further votes for the same thing."""
    if not late:
        return certificate
    total = scheme.new_sum()
    total.add(certificate.signature)
    for vote in late:
        total.add(vote.signature)
    signers = {*(table.indexes(certificate.signers) or ()), *(vote.signer for vote in late)}
    return Certificate(
        certificate.kind,
        certificate.epoch,
        certificate.view,
        certificate.candidate_id,
        table.bitmap(signers),
        total.signature(),
    )
