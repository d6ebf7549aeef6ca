"""The table of a view's states, cell by cell against the core: whoever reads the page may rely on every word of it."""

from __future__ import annotations

import pytest

from consensus.stake.effects import Accuse, Build, Cast, Check, Commit, Effect, Halt, Propose
from consensus.stake.events import CandidateReceived
from formal.diagram import HEAD, PAGE, WORKER_HEAD, Move, drawing, follower, moves, states, with_drawing
from omnitensor.protocol.types import View
from omnitensor.protocol.votes import VoteKind
from tests.consensus.bench_core import INTERVAL_MS, Bench
from tests.consensus.worlds import Workshop

TEXT = PAGE.read_text(encoding="utf-8")
TABLE = tuple(moves(TEXT))
SAID = {(move.state, move.event): move.deed for move in TABLE}
EVENTS = tuple(dict.fromkeys(move.event for move in TABLE))
CELLS = tuple(Move(state, event, SAID.get((state, event), "")) for state in states(TEXT) for event in EVENTS)
WORKER_TABLE = tuple(moves(TEXT, WORKER_HEAD))
WORKER_SAID = {(move.state, move.event): move.deed for move in WORKER_TABLE}
WORKER_CELLS = tuple(
    Move(state, event, WORKER_SAID.get((state, event), ""))
    for state in states(TEXT, WORKER_HEAD)
    for event in dict.fromkeys(move.event for move in WORKER_TABLE)
)
LATER_MS = 60_000
CERTIFICATES = {
    "notarization": VoteKind.NOTARIZE,
    "skip certificate": VoteKind.SKIP,
    "finalization": VoteKind.FINALIZE,
}


class Scene:
    """A validator in view 1, which somebody else leads, and the candidate that is offered there."""

    def __init__(self, state: str, way_out: str) -> None:
        """``way_out`` is the certificate by which a validator has left the view, where it has."""
        shop = Workshop()
        me = next(index for index in range(len(shop.table)) if index != shop.schedule.leader(View(1)))
        self.bench = Bench(me, shop)
        self.others = tuple(index for index in range(len(shop.table)) if index != me)
        self.candidate, self.block = shop.child(1)
        self.offered = False
        self.bench.start()
        if state == "notarized by me":
            self.let("block valid")
        if state in ("skipped by me", "left, SKIP sent"):
            self.let("timer runs out")
        if state.startswith("left"):
            self.let(way_out)
        assert self.bench.core.view == 1 + state.startswith("left")

    def let(self, event: str) -> list[Effect]:
        """Lets it happen; all effects, own votes said and counted."""
        bench, shop = self.bench, self.bench.shop
        if event == "block valid" and not self.offered:
            self.let("proposal comes")
        if event == "proposal comes":
            if self.offered:
                self.candidate, self.block = shop.child(1, salt=9)
            self.offered = True
            bench.propose(self.candidate, self.block)
        elif event == "block valid":
            bench.checked(self.candidate)
        elif event == "timer runs out":
            bench.tick(LATER_MS)
        else:
            kind = CERTIFICATES[event]
            named = () if kind is VoteKind.SKIP else (self.candidate.id,)
            bench.certificate(shop.certificate(kind, 1, *named, signers=self.others))
        found = list(bench.out)
        for cast in bench.all(Cast):
            found += bench.say(cast)
        return found


def kinds(effects: list[Effect]) -> set[type]:
    return {type(effect) for effect in effects}


def votes(effects: list[Effect]) -> list[VoteKind]:
    return [effect.kind for effect in effects if isinstance(effect, Cast) and effect.view == 1]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.state} - {cell.event}")
def test_a_cell_says_what_the_core_does(cell: Move) -> None:
    scene = Scene(cell.state, "skip certificate" if cell.event == "notarization" else "notarization")
    before = scene.bench.core.view
    effects = scene.let(cell.event)
    entered = scene.bench.core.view - before
    assert entered == ("enter next" in cell.deed)
    if "once valid" in cell.deed:
        effects += scene.let("block valid")
    assert votes(effects) == [kind for kind in VoteKind if kind.name in cell.deed]
    if "commit" in cell.deed and Commit not in kinds(effects):  # once it has the block
        effects += scene.let("block valid")
    assert (Accuse in kinds(effects)) is ("accuse" in cell.deed)
    assert (Commit in kinds(effects)) is ("commit" in cell.deed)
    if "execute" in cell.deed:
        assert Check in kinds(effects)
    if not cell.deed:
        assert not kinds(effects) & {Commit, Check, Accuse}


def test_what_is_not_chosen_is_not_executed_once_the_view_is_left() -> None:
    scene = Scene("left, no SKIP sent", "skip certificate")
    assert Check not in kinds(scene.let("proposal comes"))


class WorkerScene:
    """A worker in view 1, which it or another worker leads."""

    def __init__(self, state: str, way_out: str) -> None:
        self.shop = Workshop(credit=(30, 10))
        leader = self.shop.schedule.leader(View(1))
        assert leader >= len(self.shop.table)
        self.state = state
        self.bench = Bench(leader if state.startswith("it") else 9 - leader, self.shop)
        self.candidate, self.block = self.shop.child(1)
        self.offered = False
        self.bench.start()
        if state == "it has offered":
            self.let("block built")
        if state == "it gave up":
            self.let("none built")
        if state == "left":
            self.let(way_out)
        assert self.bench.core.view == 1 + (state == "left")

    def let(self, event: str) -> list[Effect]:
        """Lets it happen; all effects, the own proposal said and counted."""
        bench, shop = self.bench, self.shop
        if event == "pace comes":
            bench.tick(INTERVAL_MS)
        elif event in ("block built", "none built"):
            if self.state.startswith("it"):
                bench.tick(INTERVAL_MS)
            bench.built(1, self.block if event == "block built" else None)
        elif event == "proposal comes":
            mine = self.state.startswith("it")
            candidate, block = shop.child(1, salt=9) if mine else (self.candidate, self.block)
            self.offered = True
            bench.propose(candidate, block)
        elif event == "block valid":
            if not self.offered:
                bench.do(CandidateReceived(bench.now, "peer", self.candidate, self.block))
            bench.checked(self.candidate)
        elif event == "timer runs out":
            if self.state == "it leads":
                bench.tick(INTERVAL_MS)
            bench.tick(LATER_MS)
        else:
            kind = CERTIFICATES[event]
            named = () if kind is VoteKind.SKIP else (self.candidate.id,)
            bench.certificate(shop.certificate(kind, 1, *named, signers=(0, 1, 2)))
        found = list(bench.out)
        for propose in bench.all(Propose):
            found += bench.say(propose.vote)
        return found


@pytest.mark.parametrize("cell", WORKER_CELLS, ids=lambda cell: f"{cell.state} - {cell.event}")
def test_a_cell_says_what_a_worker_does(cell: Move) -> None:
    scene = WorkerScene(cell.state, "skip certificate" if cell.event == "notarization" else "notarization")
    before = scene.bench.core.view
    effects = scene.let(cell.event)
    assert scene.bench.core.view - before == ("enter next" in cell.deed)
    if "commit" in cell.deed and Commit not in kinds(effects):  # once it has the block
        effects += scene.let("block valid")
        assert Commit in kinds(effects)
    if "execute if chosen" in cell.deed and cell.event != "proposal comes":
        effects += scene.let("proposal comes")
    does = {"build": Build, "offer": Propose, "execute": Check, "halt": Halt, "commit": Commit}
    for word, kind in does.items():
        if word in cell.deed:
            assert kind in kinds(effects)
    if not cell.deed:
        assert not kinds(effects) & set(does.values())
    assert not votes(effects), "it votes for nothing"


def test_the_drawings_are_current_and_leave_no_state_out() -> None:
    assert with_drawing(TEXT) == TEXT, "draw it anew: python -m formal.diagram"
    for table, cells, entered in (
        (HEAD, TABLE, set()),
        (WORKER_HEAD, WORKER_TABLE, {"another leads", "it leads"}),
    ):
        reached = {follower(move.state, move.deed) for move in cells}
        assert reached | entered == {*states(TEXT, table), "final"}
        assert all(f'state "{state}"' in drawing(TEXT, table) for state in reached)
