"""What a validator may sign, given what it has signed: the pure rule behind the safety store (R9).

Knows votes and views; nothing of files (``node/safety_store.py`` makes it durable) and nothing of why the core wants to vote.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consensus.stake.evidence import conflicts
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import SKIP_ID, Candidate, Certificate, VoteKind

ROOT_VIEW: Final = View(0)


class SafetyError(ProtocolError):
    """A vote or proposal that would convict this validator, or that can't be shown not to. Never sign after it."""

    code = "safety"


@dataclass(frozen=True, slots=True)
class VoteRecord:
    """A vote that this validator has signed, or was about to. ``candidate_id`` is zero in a SKIP."""

    kind: VoteKind
    view: View
    candidate_id: Hash


@dataclass(frozen=True, slots=True)
class Kept:
    """A candidate that this validator voted for, with its block: what a quorum may be finalizing must not be lost."""

    candidate: Candidate
    block: Block | None
    """None for a filler."""


@dataclass(frozen=True, slots=True)
class SafetyMemory:
    """All that a safety store remembers above its floor; what a core is started with after a restart (R9)."""

    floor: View = ROOT_VIEW
    """Views at or below it are pruned: nothing is signed there any more."""
    votes: tuple[VoteRecord, ...] = ()
    """In the order in which they were signed."""
    proposed: tuple[View, ...] = ()
    """Views in which this validator proposed; it never does again (R2)."""
    kept: tuple[Kept, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    """Notarizations on which FINALIZE votes were based (R5)."""


ViewVotes = Mapping[VoteKind, Hash]
"""What was signed in one view: at most one vote of each kind."""


def fault_of_vote(floor: View, signed: ViewVotes, vote: VoteRecord) -> SafetyError | None:
    """Why a vote must not be signed, or None when it may be. ``signed`` are this validator's votes in the vote's view.

    The same vote again is no fault: the signature is the same.
    """
    if (vote.candidate_id == SKIP_ID) != (vote.kind == VoteKind.SKIP):
        return SafetyError("a SKIP names no candidate, every other vote names one", value=vote)
    if vote.view <= floor:
        return SafetyError(
            f"the record of this view is gone (all up to view {floor} are)",
            value=vote.view,
            remedy="wait for a newer view; a validator never votes in a view that it can't remember",
        )
    for kind in VoteKind:
        if kind in signed and conflicts(kind, signed[kind], vote.kind, vote.candidate_id):
            return SafetyError(
                f"a {vote.kind.name} in view {vote.view} after a {kind.name} would convict this validator",
                value=vote.candidate_id,
                remedy="look for a second process with this validator's key or an old copy of its safety store",
            )
    return None


def fault_of_proposal(floor: View, proposed: bool, signed: ViewVotes, view: View) -> SafetyError | None:
    """Why a new proposal must not be made in a view, or None (R2: never twice in one view, nor after a NOTARIZE)."""
    if view <= floor:
        return SafetyError(f"the record of this view is gone (all up to view {floor} are)", value=view)
    if proposed or VoteKind.NOTARIZE in signed:
        return SafetyError("this validator has proposed or notarized in this view already", value=view)
    return None
