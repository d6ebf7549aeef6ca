"""What the stake core wants done: small frozen values, carried out by the driver in the order in which they are returned.

The order is the durability contract. The driver carries out one effect completely before the next: a vote is on disk before it is
signed, signed before it is sent, and sent before anything that follows it. Answers come back as events, later, never nested
inside the handling of the event that caused the effect.

=================  ==================================================================================================
``Keep``           append candidate and block to the safety store (may share the next Cast's sync)
``Cast``           safety store records the vote, synced -> sign -> broadcast -> feed back ``VoteReceived(peer=None)``
``Propose``        safety store records the proposal and its NOTARIZE, synced -> sign -> broadcast -> feed back its vote
``Broadcast``      send to all peers; loss is allowed (R8 sends again)
``Build``          ask the chain for a block on the parent; answer ``BlockBuilt``
``Check``          ask the chain to execute a block; answer ``BlockChecked``. Its parent was checked, built or committed
``Fetch``          ask a peer or several for a candidate; answer ``CandidateReceived``. Asked again until it comes
``FetchCerti…``    ask a peer or several for all certificates of some views; answers are ``CertificateReceived``
``Behind``         start block sync; when it has committed, ``Synced``
``Commit``         commit blocks, oldest first, in one go; then the safety store's floor may rise to ``prune_below``
``SetTimer``       deliver ``Tick`` at that instant; replaces any timer set before
``Charge``         a peer did something that only a faulty node does; the network layer decides what it costs
``Accuse``         evidence: keep, gossip or submit it
``Halt``           stop voting for good, show the report to the operator; the core does nothing after it
=================  ==================================================================================================
"""

from dataclasses import dataclass
from typing import TypeAlias

from consensus.stake.events import Peer
from consensus.stake.evidence import Evidence
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.types import BlsSignature, Epoch, Hash, Height, TimeMs, View
from omnitensor.protocol.votes import (
    Attendance,
    Candidate,
    Certificate,
    FinalityProof,
    Proposal,
    Vote,
    VoteKind,
    vote_message,
)


@dataclass(frozen=True, slots=True)
class Cast:
    """Sign a vote (R9: synced to the safety store before it leaves).

    The store refuses with SafetyError what would convict; the driver then drops the vote and reports it: it means that the key
    is in use elsewhere. Recording the same vote again is not refused; the core casts its remembered votes again when it starts.
    """

    kind: VoteKind
    epoch: Epoch
    view: View
    candidate_id: Hash
    """Zero in a SKIP."""
    signer: int
    """This validator's index in the epoch's table."""
    basis: Certificate | None = None
    """The notarization behind a FINALIZE; recorded with it, so that after a crash the view can still be passed."""

    def message(self, chain_id: str) -> bytes:
        """The 32 bytes to sign."""
        return vote_message(chain_id, self.epoch, self.kind, self.view, self.candidate_id)

    def signed(self, signature: BlsSignature) -> Vote:
        return Vote(self.kind, self.epoch, self.view, self.candidate_id, self.signer, signature)


@dataclass(frozen=True, slots=True)
class Propose:
    """Send a proposal as leader (R2). Records "proposed in this view", the candidate with its block, and its NOTARIZE; syncs;
    then signs ``vote`` and broadcasts ``proposal(signature)`` and the vote, and feeds the vote back."""

    candidate: Candidate
    block: Block | None
    """None for a filler."""
    justification: tuple[Certificate, ...]
    vote: Cast
    """The leader's own NOTARIZE, which authenticates the proposal."""

    def proposal(self, signature: BlsSignature) -> Proposal:
        return Proposal(self.candidate, self.block, self.justification, self.vote.signed(signature))


@dataclass(frozen=True, slots=True)
class Keep:
    """Make a candidate and its block durable before the NOTARIZE that follows: what becomes final must outlive a crash of all."""

    candidate: Candidate
    block: Block | None


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to all peers. Nothing here needs to be durable: certificates, votes cast earlier, the own proposal again."""

    message: Vote | Certificate | Proposal


@dataclass(frozen=True, slots=True)
class Build:
    """Build a block on ``parent_hash`` with exactly ``timestamp_ms``, now (the core has waited for the pace, R2).

    ``attendance`` is all that this node has heard of who voted for the parent; None on the epoch's root.
    """

    view: View
    parent_id: Hash
    parent_hash: Hash
    parent_height: Height
    timestamp_ms: TimeMs
    attendance: Attendance | None


@dataclass(frozen=True, slots=True)
class Check:
    """Execute a block on its parent, and say whether it is valid."""

    candidate: Candidate
    block: Block


@dataclass(frozen=True, slots=True)
class Fetch:
    """A certificate names a candidate that this node does not have. Another peer is tried each time it is asked again."""

    candidate_id: Hash
    view: View
    attempt: int
    """0 at first; grows with each repetition."""


@dataclass(frozen=True, slots=True)
class FetchCertificates:
    """Certificates of the views ``first_view..last_view`` (both included) are missing here (R1, R2)."""

    first_view: View
    last_view: View
    attempt: int


@dataclass(frozen=True, slots=True)
class Behind:
    """Blocks up to ``height`` at least are final and not here, too many to fetch singly (``catch_up_blocks_max``), or nobody
    gives them: sync them from peers' chains. Repeated while it lasts."""

    height: Height
    view: View
    """The newest view known to be final."""


@dataclass(frozen=True, slots=True)
class Finalized:
    """A block that became final with its candidate."""

    candidate: Candidate
    block: Block


@dataclass(frozen=True, slots=True)
class Commit:
    """Blocks that became final (R6), oldest first, each the child of the one before, the first the child of the chain's head.

    Fillers are left out: they carry the boundary block again. All were checked or built here.
    Those that block sync has committed since this effect was returned are left out by the driver.
    ``proof`` is of the last, by its own candidate or a filler above it;
    ``certificates`` justify them (the finalization, and the notarizations that this node has), for the
    evidence window.
    """

    chain: tuple[Finalized, ...]
    proof: FinalityProof
    certificates: tuple[Certificate, ...]
    prune_below: View
    """Views at or below it are over: the safety store may forget them once the commit is synced."""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Deliver ``Tick`` at this instant or soon after."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Charge:
    """``peer`` sent what no correct node sends."""

    peer: Peer
    reason: str


@dataclass(frozen=True, slots=True)
class Accuse:
    """Somebody is convicted by its own signatures."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop for good: going on could do harm. ``report`` says what was seen, in which view and block, and where to report it."""

    report: str
    disputed: "Disputed | None" = None
    """The block that a quorum stands behind and that is invalid here, where that is why; it is to be saved for the report."""


@dataclass(frozen=True, slots=True)
class Disputed:
    """A block that a quorum stands behind and that is invalid here: one of the two computes wrongly."""

    candidate: Candidate | None
    """None where it came by sync."""
    block: Block
    fault: str
    certificate: Certificate | None
    """Who stands behind it, where that is known."""


Effect: TypeAlias = (
    Cast
    | Propose
    | Keep
    | Broadcast
    | Build
    | Check
    | Fetch
    | FetchCertificates
    | Behind
    | Commit
    | SetTimer
    | Charge
    | Accuse
    | Halt
)
