"""One core on a bench: events in by hand, effects out to look at; certificates and votes of the others from a workshop."""

from __future__ import annotations

from typing import Any, TypeVar

from consensus.stake.core import Core
from consensus.stake.effects import Cast, Effect, Propose
from consensus.stake.events import (
    BlockBuilt,
    BlockChecked,
    CertificateReceived,
    Event,
    FinalPoint,
    ProposalReceived,
    Start,
    Tick,
    VoteReceived,
)
from consensus.stake.knowledge import Settings
from consensus.stake.safety import SafetyMemory
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.types import Hash, Height, TimeMs, View
from omnitensor.protocol.votes import Candidate, Certificate, VoteKind
from tests.consensus.worlds import Workshop
from tests.simulation.network import EPOCH_MS

E = TypeVar("E")
INTERVAL_MS, DELTA_MS, STANDSTILL_MS, DRIFT_MS = 300, 100, 1_500, 400


class Trusting(Core):
    """Does not mind certificates that name it for votes that it has not cast: tests make certificates of whom they like."""

    def _remembers(self, certificate: Certificate, signers: tuple[int, ...]) -> bool:
        return True


class Bench:
    """The core of validator or worker ``me`` (None: a follower).

    ``ms`` is time since genesis; effects of the last event are in ``out``.
    """

    def __init__(
        self,
        me: int | None = 0,
        shop: Workshop | None = None,
        point: FinalPoint | None = None,
        *,
        kind: type[Core] = Trusting,
        boundary: int = 2**62,
    ) -> None:
        self.shop = shop if shop is not None else Workshop()
        genesis = self.shop.genesis.hash
        works = me is not None and me >= len(self.shop.table)
        root = FinalPoint(View(0), genesis, genesis, Height(0), TimeMs(EPOCH_MS), None)
        self.core = kind(
            Settings(
                None if works else me,
                INTERVAL_MS,
                DELTA_MS,
                STANDSTILL_MS,
                DRIFT_MS,
                Height(boundary),
                me if works else None,
            ),
            self.shop.table,
            self.shop.schedule,
            self.shop.scheme,
            point if point is not None else root,
        )
        self.me = me
        self.ms = 0
        self.out: tuple[Effect, ...] = ()

    def do(self, event: Event) -> tuple[Effect, ...]:
        self.out = self.core.handle(event)
        return self.out

    @property
    def now(self) -> int:
        return EPOCH_MS + self.ms

    def start(self, memory: SafetyMemory | None = None) -> tuple[Effect, ...]:
        return self.do(Start(self.now, memory if memory is not None else SafetyMemory()))

    def tick(self, ms: int) -> tuple[Effect, ...]:
        self.ms = ms
        return self.do(Tick(self.now))

    def vote(self, kind: VoteKind, view: int, candidate_id: Hash, signer: int) -> tuple[Effect, ...]:
        return self.do(VoteReceived(self.now, str(signer), self.shop.vote(kind, view, candidate_id, signer)))

    def votes(
        self, kind: VoteKind, view: int, candidate_id: Hash, signers: tuple[int, ...]
    ) -> tuple[Effect, ...]:
        return tuple(effect for signer in signers for effect in self.vote(kind, view, candidate_id, signer))

    def certificate(self, certificate: Certificate) -> tuple[Effect, ...]:
        return self.do(CertificateReceived(self.now, "peer", certificate))

    def propose(
        self, candidate: Candidate, block: Block, justification: tuple[Certificate, ...] = ()
    ) -> tuple[Effect, ...]:
        return self.do(
            ProposalReceived(self.now, "peer", self.shop.proposal(candidate, block, justification))
        )

    def checked(self, candidate: Candidate, fault: str | None = None) -> tuple[Effect, ...]:
        return self.do(BlockChecked(self.now, candidate.id, fault))

    def built(self, view: int, block: Block | None) -> tuple[Effect, ...]:
        return self.do(BlockBuilt(self.now, View(view), block))

    def say(self, cast: Cast) -> tuple[Effect, ...]:
        """Carry out a Cast: the vote comes back."""
        assert self.me is not None
        vote = self.shop.vote(cast.kind, cast.view, cast.candidate_id, self.me)
        return self.do(VoteReceived(self.now, None, vote))

    def only(self, kind: type[E]) -> E:
        """The one effect of a kind in the last answer."""
        found = self.all(kind)
        assert len(found) == 1, self.out
        return found[0]

    def all(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.out if isinstance(effect, kind)]

    def casts(self) -> list[tuple[VoteKind, int]]:
        return [(cast.kind, cast.view) for cast in self.all(Cast)]

    def notarized(self, view: int = 1, **options: Any) -> tuple[Candidate, Block]:
        """Bring the core to a notarized candidate of the root in a view that others lead, its own votes included."""
        candidate, block = self.shop.child(view, **options)
        self.propose(candidate, block)
        self.checked(candidate)
        for cast in self.all(Cast):
            self.say(cast)
        others = tuple(i for i in range(len(self.shop.table)) if i != self.me)
        self.certificate(self.shop.certificate(VoteKind.NOTARIZE, view, candidate.id, others))
        return candidate, block


def proposal_of(effects: tuple[Effect, ...]) -> Propose:
    return next(effect for effect in effects if isinstance(effect, Propose))
