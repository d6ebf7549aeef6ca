"""What happens to the stake core: one frozen value an event. Data only; ``core`` says what follows.

Every event carries ``now_ms``, the driver's clock in milliseconds since the Unix epoch, and that is the only clock that the core
has. Events may overtake one another by a little; where the clock goes back by more than a second between two events, the core
moves its own deadlines back by as much.

**What the driver promises.** Records were decoded canonically. Everything from a peer has passed ``consensus.stake.verify``:
votes, certificates, proposals and fetched candidates that arrive here are genuine for this chain and epoch. ``peer`` names who
sent it, for ``Charge``; None means this node itself.
"""

from dataclasses import dataclass
from typing import TypeAlias

from consensus.stake.safety import ROOT_VIEW, SafetyMemory
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.types import Hash, Height, TimeMs, View
from omnitensor.protocol.votes import Candidate, Certificate, FinalityProof, Proposal, Vote

Peer: TypeAlias = str | bytes | None
"""Who sent a message, in whatever way the network layer names peers. The core compares and returns it, nothing more."""


@dataclass(frozen=True, slots=True)
class FinalPoint:
    """The newest final block as consensus sees it; a core starts from one.

    At the root of an epoch (R0): view 0, ``candidate_id`` and ``block_hash`` both the boundary block's hash (genesis in epoch 0),
    ``proof`` None, and ``inherited`` why the boundary is final, in the epoch below it (None in epoch 0). Else ``proof`` is the
    FinalityProof of ``candidate_id``.
    """

    view: View
    candidate_id: Hash
    block_hash: Hash
    height: Height
    timestamp_ms: TimeMs
    proof: FinalityProof | None
    inherited: FinalityProof | None = None

    @classmethod
    def root(
        cls, boundary_hash: Hash, height: Height, timestamp_ms: TimeMs, inherited: FinalityProof | None = None
    ) -> "FinalPoint":
        """R0: where an epoch begins."""
        return cls(ROOT_VIEW, boundary_hash, boundary_hash, height, timestamp_ms, None, inherited)


@dataclass(frozen=True, slots=True)
class Start:
    """First event of a core, exactly once: go. ``memory`` is what the safety store remembers (empty for an observer)."""

    now_ms: int
    memory: SafetyMemory


@dataclass(frozen=True, slots=True)
class Tick:
    """The instant of the last ``SetTimer`` has come. Ticks that come early, late or for nothing do no harm."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class VoteReceived:
    """A verified vote: a peer's, or this node's own after ``Cast`` or ``Propose`` was carried out (``peer`` None)."""

    now_ms: int
    peer: Peer
    vote: Vote


@dataclass(frozen=True, slots=True)
class CertificateReceived:
    """A verified certificate: gossiped, in answer to ``FetchCertificates``, or from sync."""

    now_ms: int
    peer: Peer
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class ProposalReceived:
    """A verified proposal of the scheduled leader, its justification included. Own proposals are not fed back."""

    now_ms: int
    peer: Peer
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class CandidateReceived:
    """Answer to ``Fetch``: a candidate, its block (none for a filler), and the certificates the peer had for it, all verified."""

    now_ms: int
    peer: Peer
    candidate: Candidate
    block: Block | None
    certificates: tuple[Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockBuilt:
    """Answer to ``Build``. ``block`` None: nothing could be built, so the leader skips its view at once (R4)."""

    now_ms: int
    view: View
    block: Block | None


@dataclass(frozen=True, slots=True)
class BlockChecked:
    """Answer to ``Check``. ``fault`` None: executed here and valid. Else why it is invalid, deterministically.

    A check that could not be made (out of disk, out of memory) is not an answer: such a node stops.
    """

    now_ms: int
    candidate_id: Hash
    fault: str | None


@dataclass(frozen=True, slots=True)
class Synced:
    """Block sync has committed blocks without the core's doing: the chain's head is final at ``point`` now.

    Ignored when the core is as far already.
    """

    now_ms: int
    point: FinalPoint


Event: TypeAlias = (
    Start
    | Tick
    | VoteReceived
    | CertificateReceived
    | ProposalReceived
    | CandidateReceived
    | BlockBuilt
    | BlockChecked
    | Synced
)
