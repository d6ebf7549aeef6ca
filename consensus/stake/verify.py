"""Is what a peer sent genuine? Votes, certificates, proposals, candidates and finality proofs against an epoch's table.

Pure: the random coefficients of a batch come in as data. Decides nothing about what to do with what is genuine. Everything that
is not raises SignatureError (or is False in a batch), naming the value. Cheap checks come before cryptography.
"""

from collections.abc import Callable, Sequence
from typing import Final

from consensus.schedule.leaders import LeaderSchedule
from consensus.stake.scheme import BlsScheme, Scheme
from omnitensor.protocol import bls, limits
from omnitensor.protocol.blocks import Block, transactions_root
from omnitensor.protocol.errors import BlockError, SignatureError
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import (
    SKIP_ID,
    Candidate,
    Certificate,
    FinalityProof,
    Proposal,
    ValidatorTable,
    Vote,
    VoteKind,
)

Known = Callable[[Certificate], bool]
"""Whether a certificate for the same thing was verified before (``Core.has_certificate``)."""


def nothing_known(_: Certificate) -> bool:
    return False


class Verifier:
    """Checks against one epoch's table. Holds no state but what it was made of."""

    def __init__(
        self,
        chain_id: str,
        table: ValidatorTable,
        schedule: LeaderSchedule,
        scheme: Scheme | None = None,
    ) -> None:
        self.chain_id: Final = chain_id
        self.table: Final = table
        self.schedule: Final = schedule
        self.scheme: Final = scheme if scheme is not None else BlsScheme()

    # -- votes

    def check_vote_shape(self, vote: Vote) -> None:
        """All of a vote but its signature: epoch, view, signer in the table, a candidate just where one belongs.

        A worker that is no validator has no vote: what it signs is taken under its proposal alone.
        """
        self._check_named(vote.kind, vote.epoch, vote.view, Hash(vote.candidate_id))
        if not 0 <= vote.signer < len(self.table):
            raise SignatureError(
                "a vote's signer is not in the validator table", value=vote.signer, remedy="check the epoch"
            )

    def vote_item(self, vote: Vote) -> bls.Item:
        """Key, message and signature of a vote of good shape, for a batch."""
        return self.table.key(vote.signer), vote.message(self.chain_id), vote.signature

    def verify_votes(self, votes: Sequence[Vote], coefficients: Sequence[int]) -> list[bool]:
        """A verdict for each vote, by one product of pairings when all are good and bisection else.

        ``coefficients``: one a vote, as ``bls.coefficients_from`` makes them of fresh randomness. Votes of bad shape are False
        and cost no cryptography.
        """
        assert len(votes) == len(coefficients)
        verdicts = [False] * len(votes)
        places: list[int] = []
        for place, vote in enumerate(votes):
            try:
                self.check_vote_shape(vote)
            except SignatureError:
                continue
            places.append(place)
        if places:
            items = [self.vote_item(votes[place]) for place in places]
            genuine = self.scheme.verify_many(items, [coefficients[place] for place in places])
            for place, good in zip(places, genuine, strict=True):
                verdicts[place] = good
        return verdicts

    def verify_vote(self, vote: Vote) -> None:
        """One vote, shape and signature. Raises SignatureError."""
        self.check_vote_shape(vote)
        if not self.scheme.verify_many([self.vote_item(vote)], [1])[0]:
            raise SignatureError("a vote's signature is not its signer's", value=vote.signature)

    # -- certificates

    def check_certificate_shape(self, certificate: Certificate) -> tuple[int, ...]:
        """All of a certificate but its signature; returns its signers. Raises SignatureError."""
        self._check_named(
            certificate.kind, certificate.epoch, certificate.view, Hash(certificate.candidate_id)
        )
        signers = self.table.indexes(certificate.signers)
        if signers is None:
            raise SignatureError(
                f"a bitmap does not fit a table of {len(self.table)} validators", value=certificate.signers
            )
        weight = self.table.weight_of(signers)
        if weight < self.table.quorum_weight:
            raise SignatureError(
                f"a certificate's signers have less than the quorum of {self.table.quorum_weight}",
                value=weight,
            )
        return signers

    def verify_certificate(self, certificate: Certificate) -> None:
        """Shape, quorum and aggregate signature. Raises SignatureError."""
        signers = self.check_certificate_shape(certificate)
        keys = [self.table.key(index) for index in signers]
        if not self.scheme.fast_aggregate_verify(
            keys, certificate.message(self.chain_id), certificate.signature
        ):
            raise SignatureError(
                "a certificate's signature is not the aggregate of its signers'", value=certificate.signature
            )

    # -- candidates and proposals

    def verify_candidate(self, candidate: Candidate, block: Block | None) -> None:
        """That a block is the candidate's, whole and unchanged. Raises SignatureError or BlockError.

        Without a block it may be a filler; whether it is one its parent shows, which is the core's to look at.
        A mutated block (other transactions under the same header) fails here, before it can be taken for the true one.
        """
        if candidate.epoch != self.table.epoch:
            raise SignatureError("a candidate is of another epoch", value=candidate.epoch)
        if not 0 <= candidate.parent_view < candidate.view:
            raise SignatureError(
                "a candidate's parent is not in a view below its own", value=candidate.parent_view
            )
        if block is None:
            return
        if block.hash != candidate.block_hash:
            raise BlockError("a block is not the one that its candidate names", value=block.hash)
        if block.header.chain_id != self.chain_id:
            raise BlockError("a block is of another chain", value=block.header.chain_id)
        if transactions_root(block.transactions) != block.header.transactions_root:
            raise BlockError("a block's transactions are not under its header's root", value=block.hash)

    def verify_proposal(self, proposal: Proposal, known: Known = nothing_known) -> None:
        """A leader's proposal: candidate, block, the leader's vote, every certificate. Raises SignatureError or BlockError.

        ``known`` spares certificates that were verified before.
        """
        candidate, vote = proposal.candidate, proposal.leader_vote
        if vote.signer != self.schedule.leader(View(candidate.view)):
            raise SignatureError("a proposal is not by its view's leader", value=vote.signer)
        candidate_id = candidate.id
        named = (vote.kind, vote.epoch, vote.view, vote.candidate_id)
        if named != (VoteKind.NOTARIZE, candidate.epoch, candidate.view, candidate_id):
            raise SignatureError(
                "a leader's vote is for something else than its candidate", value=candidate_id
            )
        self.verify_candidate(candidate, proposal.block)
        self._check_justification(candidate, proposal.justification)
        self._verify_leader_vote(vote)
        for certificate in proposal.justification:
            if not known(certificate):
                self.verify_certificate(certificate)

    def verify_finality(self, proof: FinalityProof) -> None:
        """That a candidate is final by a FINALIZE certificate of this epoch. Raises SignatureError."""
        candidate, certificate = proof.candidate, proof.certificate
        named = (certificate.kind, certificate.epoch, certificate.view, certificate.candidate_id)
        if named != (VoteKind.FINALIZE, candidate.epoch, candidate.view, candidate.id):
            raise SignatureError(
                "a finality proof's certificate does not finalize its candidate", value=candidate.id
            )
        self.verify_certificate(certificate)

    # -- inside

    def _verify_leader_vote(self, vote: Vote) -> None:
        """The vote under a proposal, which is its view's leader's: by the leader's key, be it a validator's or a worker's."""
        self._check_named(vote.kind, vote.epoch, vote.view, Hash(vote.candidate_id))
        item = self.schedule.key(vote.signer), vote.message(self.chain_id), vote.signature
        if not self.scheme.verify_many([item], [1])[0]:
            raise SignatureError("a proposal's signature is not its leader's", value=vote.signature)

    def _check_named(self, kind: VoteKind, epoch: int, view: int, candidate_id: Hash) -> None:
        if epoch != self.table.epoch:
            raise SignatureError(f"not of epoch {self.table.epoch}", value=epoch)
        if view < 1:
            raise SignatureError("nothing is voted on in view 0, the root", value=view)
        if (candidate_id == SKIP_ID) != (kind == VoteKind.SKIP):
            raise SignatureError("a SKIP names no candidate, all else names one", value=candidate_id)

    def _check_justification(self, candidate: Candidate, justification: tuple[Certificate, ...]) -> None:
        """R2: the parent's certificate first (none at the root), then the newest skip certificates of the views crossed."""
        if len(justification) > limits.justification_certificates_max:
            raise SignatureError("too many certificates in a justification", value=len(justification))
        skips = list(justification)
        if candidate.parent_view > 0:
            parent = skips.pop(0) if skips else None
            if (
                parent is None
                or parent.kind == VoteKind.SKIP
                or (parent.view, parent.candidate_id) != (candidate.parent_view, candidate.parent_id)
            ):
                raise SignatureError(
                    "a justification does not begin with the parent's certificate", value=candidate.id
                )
        room = limits.justification_certificates_max - (len(justification) - len(skips))
        expected = range(max(candidate.parent_view + 1, candidate.view - room), candidate.view)
        if [(c.kind, c.view) for c in skips] != [(VoteKind.SKIP, view) for view in expected]:
            raise SignatureError(
                f"a justification lacks skip certificates between views {candidate.parent_view} and {candidate.view}",
                value=[c.view for c in skips],
            )
