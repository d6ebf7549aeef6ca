"""A core with its safety store on a real disk: carries out effects as the driver does, and can be killed at any step."""

from __future__ import annotations

from pathlib import Path

from consensus.stake.core import Core
from consensus.stake.effects import Cast, Commit, Effect, Halt, Keep, Propose
from consensus.stake.events import Event, VoteReceived
from consensus.stake.safety import SafetyError
from node.safety_files import DiskFiles
from node.safety_store import SafetyStore
from omnitensor.protocol.types import Epoch, Hash
from omnitensor.protocol.votes import VoteKind
from tests.consensus.bench_core import Bench
from tests.consensus.worlds import Workshop

Signed = tuple[VoteKind, int, bytes]
"""Kind, view and candidate of a vote that left the machine."""


class Killed(Exception):
    """The process ended, without a last word."""


class Validator(Bench):
    """``kill_in`` counts down steps (each record, each signature) until the process is killed, when set."""

    def __init__(
        self, me: int, shop: Workshop, folder: Path, *, new: bool, kill_in: int | None = None
    ) -> None:
        super().__init__(me, shop, kind=Core)
        files, key = DiskFiles(folder), shop.table.key(me)
        self.store = (SafetyStore.create if new else SafetyStore.open)(files, "chain", key)
        self.kill_in = kill_in
        self.signed: list[Signed] = []
        self.said: list[Effect] = []
        """Every effect, in order."""
        self.refused = 0
        self._queue: list[Event] = []

    def begin(self) -> None:
        self.start(self.store.memory)

    def do(self, event: Event) -> tuple[Effect, ...]:
        """An event and all that follows from it: votes are recorded, signed, and come back."""
        self._queue.append(event)
        first: tuple[Effect, ...] | None = None
        while self._queue:
            effects = self.core.handle(self._queue.pop(0))
            first = effects if first is None else first
            self.out = effects
            for effect in effects:
                self.said.append(effect)
                self._carry_out(effect)
        assert first is not None
        return first

    @property
    def halted(self) -> str:
        return next((effect.report for effect in self.said if isinstance(effect, Halt)), "")

    def _carry_out(self, effect: Effect) -> None:
        try:
            match effect:
                case Keep(candidate, block):
                    self.store.keep(candidate, block)
                case Cast():
                    self._step()
                    self.store.record(effect)
                    self._sign(effect)
                case Propose(vote=vote):
                    self._step()
                    self.store.record_proposal(effect)
                    self._sign(vote)
                case Commit():
                    self.store.raise_floor(Epoch(0), effect.prune_below)
        except SafetyError:
            self.refused += 1

    def _sign(self, cast: Cast) -> None:
        self._step()
        self.signed.append((cast.kind, cast.view, bytes(cast.candidate_id)))
        assert self.me is not None
        vote = self.shop.vote(cast.kind, cast.view, Hash(cast.candidate_id), self.me)
        self._queue.append(VoteReceived(self.now, None, vote))

    def _step(self) -> None:
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in < 0:
                raise Killed

    def kill(self) -> None:
        """As kill -9: nothing is written on the way out."""
        self.store._files.unlock()


def contradictions(signed: list[Signed]) -> list[str]:
    """What would convict, said again in this test's own words: pairs of votes of one view that nobody honest signs."""
    found = []
    by_view: dict[int, dict[VoteKind, set[bytes]]] = {}
    for kind, view, candidate in signed:
        by_view.setdefault(view, {}).setdefault(kind, set()).add(candidate)
    for view, said in by_view.items():
        for kind in (VoteKind.NOTARIZE, VoteKind.FINALIZE):
            if len(said.get(kind, ())) > 1:
                found.append(f"two {kind.name} in view {view}")
        if VoteKind.SKIP in said and VoteKind.FINALIZE in said:
            found.append(f"SKIP and FINALIZE in view {view}")
    return found
