"""Whether evidence convicts: against the validator table of its epoch, and the workers that lead in it, all signatures verified.

Pure; the ledger, the node and the light client all ask here. Knows no state and slashes nobody.
"""

from collections.abc import Sequence
from typing import Protocol

from omnitensor.protocol import bls
from omnitensor.protocol.ballots import SKIP_ID, Certificate, Vote, VoteKind
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.types import BlsPublicKey
from omnitensor.protocol.votes import ValidatorTable


class EvidenceError(ProtocolError):
    """Evidence that convicts nobody. ``code`` says in which way: ``evidence_epoch``, ``evidence_form``, ``evidence_signer``,
    ``evidence_bitmap``, ``evidence_quorum`` or ``evidence_signature``."""

    code = "evidence"


class Scheme(Protocol):
    """What a check needs of signatures. Answers False for anything malformed."""

    def fast_aggregate_verify(self, pks: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is the aggregate of the signatures of all of ``pks`` over ``message``."""


def convicted(
    evidence: Evidence,
    chain_id: str,
    table: ValidatorTable,
    scheme: Scheme = bls.SCHEME,
    workers: Sequence[BlsPublicKey] = (),
) -> tuple[int, ...]:
    """Indexes in ``table`` of those whom the evidence convicts, ascending. Raises EvidenceError.

    ``table`` is of the evidence's epoch, and ``workers`` are the keys of those who lead in it and do not vote, in the order of
    the schedule: their indexes follow the table's, and what convicts them is two proposals, which are two NOTARIZE.
    Cheap checks come before cryptography; it verifies two signatures at the most.
    """
    if evidence.epoch != table.epoch:
        raise EvidenceError(
            f"the evidence is not of epoch {table.epoch}", value=evidence.epoch, code="evidence_epoch"
        )
    messages: tuple[Vote | Certificate, ...] = evidence.messages
    signers = [_signers(message, table, len(workers)) for message in messages]
    for message, indexes in zip(messages, signers, strict=True):
        keys = [table.key(index) if index < len(table) else workers[index - len(table)] for index in indexes]
        if not scheme.fast_aggregate_verify(keys, message.message(chain_id), message.signature):
            raise EvidenceError(
                f"the signature of the {VoteKind(message.kind).name} in view {message.view} is not its signers'",
                value=message.signature,
                remedy="give two messages that were signed for this chain, unchanged",
                code="evidence_signature",
            )
    return evidence.culprits


def _signers(message: Vote | Certificate, table: ValidatorTable, workers: int) -> tuple[int, ...]:
    """Whoever signed a message of good form, in the table. Raises EvidenceError."""
    if message.view < 1 or (message.candidate_id == SKIP_ID) != (message.kind == VoteKind.SKIP):
        raise EvidenceError(
            "no validator votes so: views begin at 1, a SKIP names no candidate, all else names one",
            value=message.candidate_id,
            code="evidence_form",
        )
    if isinstance(message, Vote):
        if len(table) <= message.signer < len(table) + workers and message.kind != VoteKind.NOTARIZE:
            raise EvidenceError(
                "a worker casts no such vote: it signs nothing but its proposals",
                value=VoteKind(message.kind).name,
                code="evidence_form",
            )
        if message.signer >= len(table) + workers:
            raise EvidenceError(
                f"the epoch has {len(table)} validators and {workers} workers",
                value=message.signer,
                code="evidence_signer",
            )
        return (message.signer,)
    signers = table.indexes(message.signers)
    if signers is None:
        raise EvidenceError(
            f"a bitmap does not fit a table of {len(table)} validators",
            value=message.signers,
            code="evidence_bitmap",
        )
    weight = table.weight_of(signers)
    if weight < table.quorum_weight:
        raise EvidenceError(
            f"a certificate's signers have less than the quorum of {table.quorum_weight}",
            value=weight,
            code="evidence_quorum",
        )
    return signers
