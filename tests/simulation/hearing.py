"""How a simulated node takes what peers say of consensus: verified, then given to the core; and how it answers them."""

from __future__ import annotations

from typing import Any

from consensus.stake.events import CandidateReceived, CertificateReceived, ProposalReceived, VoteReceived
from node.epochs import epoch_of_message
from omnitensor.protocol.codec import encode
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Certificate, Proposal, Vote
from p2p.messages import PeerId
from tests.simulation.application import CHAIN_ID
from tests.simulation.messages import (
    CandidateGiven,
    CandidateWanted,
    CertificatesGiven,
    CertificatesWanted,
    EvidenceGiven,
)

HALF_SECOND_MS = 500


class Hearing:
    """A part of ``SimNode``, which has all that it works on: ``self`` is one."""

    def _hear(self: Any, sender: int, message: Any) -> None:
        """What is said of consensus."""
        core, verifier, now_ms = self.core, self.epoch.verifier, self.now_ms()
        assert core is not None
        if isinstance(message, Vote | Certificate | Proposal):
            ahead = epoch_of_message(message) - self.epoch.table.epoch
            if ahead:
                self._of_another_epoch(sender, message, ahead)
                return
        match message:
            case Vote():
                if core.wants_vote(message):
                    if message not in self.world.genuine:
                        verifier.verify_vote(message)
                        self.world.genuine.add(message)
                    if self.errands is not None:
                        self.errands.heard(message)
                    self._handle(VoteReceived(now_ms, str(sender), message))
                elif self.errands is not None and message.view <= core.view:
                    self.errands.heard_late(message)
            case Certificate():
                if core.wants_certificate(message):
                    if message not in self.world.genuine:
                        verifier.verify_certificate(message)
                        self.world.genuine.add(message)
                    self._handle(CertificateReceived(now_ms, str(sender), message))
            case Proposal():
                if message.candidate.view > core.final.view:
                    verifier.verify_proposal(message, core.has_certificate)
                    self._handle(ProposalReceived(now_ms, str(sender), message))
            case CandidateWanted(candidate_id):
                self._give_candidate(sender, candidate_id)
            case CandidateGiven(candidate, block, certificates):
                if candidate.epoch != self.epoch.table.epoch:
                    return
                verifier.verify_candidate(candidate, block)
                for certificate in certificates:
                    verifier.verify_certificate(certificate)
                self._handle(CandidateReceived(now_ms, str(sender), candidate, block, certificates))
            case CertificatesWanted(epoch, first, last):
                found = self._certificates(epoch, first, last)
                if found:
                    self.send(sender, CertificatesGiven(found))
            case CertificatesGiven(certificates):
                for certificate in certificates:
                    self._receive(sender, certificate)

    def _of_another_epoch(self: Any, sender: int, message: Any, ahead: int) -> None:
        """Hold what is of the next epoch, and ask whoever is there how this one ended."""
        assert self.core is not None
        if ahead < 0:
            return
        if ahead == 1:
            self.early.hold(PeerId(sender.to_bytes(2, "big")), message)
        if self.world.clock.now_ms - self._asked_ms >= HALF_SECOND_MS:
            self._asked_ms = self.world.clock.now_ms
            view = self.core.view
            self.send(sender, CertificatesWanted(self.epoch.table.epoch, view, view))

    def _accuse(self: Any, evidence: Evidence) -> None:
        """Hold evidence, and pass it on while it accuses somebody who was not accused before."""
        if self.errands is not None:
            self.errands.take_evidence(evidence)
            return
        accused = {(evidence.epoch, culprit) for culprit in evidence.culprits}
        if not accused <= self.accused:
            self.accused |= accused
            self.world.accused(self, evidence)
            self.broadcast(EvidenceGiven(encode(evidence)))

    def _take_evidence(self: Any, data: bytes) -> None:
        """Evidence from a peer, of this epoch: what it can't be built of, or is not signed, is the peer's fault."""
        product = self.world.product
        evidence = product.decode_evidence(data)
        if self.errands is not None:
            self.errands.take_evidence(evidence)
        elif evidence.epoch == self.epoch.table.epoch:
            keys = self.epoch.schedule.worker_keys
            product.convicted(evidence, CHAIN_ID, self.epoch.table, self.world.scheme, keys)
            self._accuse(evidence)

    def _certificates(self: Any, epoch: int, first: View, last: View) -> tuple[Certificate, ...]:
        """Those of this epoch's core; of an epoch that is over, what made its boundary final."""
        assert self.core is not None
        if epoch == self.epoch.table.epoch:
            found: tuple[Certificate, ...] = self.core.certificates(first, last)
            return found
        boundary = (epoch + 1) * self.chain.epoch_blocks
        proof = self.chain.committed[boundary].proof if boundary < len(self.chain.committed) else None
        return () if proof is None else (proof.certificate,)

    def _give_candidate(self: Any, asker: int, candidate_id: Hash) -> None:
        for core in (self.core, self.previous):
            found = core.find(candidate_id) if core is not None else None
            if core is not None and found is not None:
                view = View(found.candidate.view)
                certificates = tuple(
                    c for c in core.certificates(view, view) if c.candidate_id == candidate_id
                )
                self.send(asker, CandidateGiven(found.candidate, found.block, certificates))
                return
