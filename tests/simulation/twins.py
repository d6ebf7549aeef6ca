"""Twins: every way, up to symmetry, in which keys that run on two machines each can be led and cut apart over a few views.

Systematic where ``run`` draws: a script says for each of the first views who leads it and which machines hear one another in it;
after that the network is whole. A machine of a twin keeps its own safety store and votes as an honest one would, but is not
stopped by its key's votes that it has not cast. Three families:

- ``one twin``: four validators, one of them on two machines; three views, each with any leader and any cut in two.
- ``three parts``: the same with two views, cut in up to three.
- ``two twins``: seven validators, two of them on two machines that never hear each other; two views, cut in two.

``python -m tests.simulation.twins [--every K] [--jobs N] [--number I --trace]``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import combinations_with_replacement, permutations, product
from typing import Any

from consensus.schedule.leaders import LeaderSchedule
from omnitensor.protocol.types import View
from omnitensor.protocol.votes import Certificate, Proposal, Vote
from tests.simulation import epochs
from tests.simulation.messages import CandidateGiven
from tests.simulation.network import Network
from tests.simulation.parallel import Interrupt, in_parallel
from tests.simulation.scenario import Scenario
from tests.simulation.search import INTERRUPTED, LINE_SECONDS, LOG_LINE_SECONDS
from tests.simulation.world import Outcome, Product, World, replaced

Groups = tuple[int, ...]
"""Part of the network that each machine is in."""


@dataclass(frozen=True)
class Step:
    """One view of a script: who leads, and who hears whom."""

    leader: int
    groups: Groups


@dataclass(frozen=True)
class Script:
    family: str
    validators: int
    twins: tuple[int, ...]
    steps: tuple[Step, ...]

    def scenario(self, number: int) -> Scenario:
        return Scenario(
            seed=number,
            weights=(10,) * self.validators,
            byzantine=dict.fromkeys(self.twins, "shameless_twin"),
            block_interval_ms=50,
            delta_ms=50,
            standstill_ms=400,
            execution_ms=4,
            disk_ms=2,
            chaos_ms=1_200,
            progress_blocks=2,
            progress_ms=10_000,
            plan=(),
        )

    def __str__(self) -> str:
        steps = "; ".join(
            f"view {view}: {step.leader} leads, parts {''.join(map(str, step.groups))}"
            for view, step in enumerate(self.steps, 1)
        )
        return f"{self.family} ({steps})"


# -- which scripts there are


def cuts(machines: int, parts: int) -> list[Groups]:
    """Every way to part machines into up to so many groups, named in the order of their first machines."""
    found: list[Groups] = []
    for groups in product(range(parts), repeat=machines):
        firsts = list(dict.fromkeys(groups))
        if firsts == list(range(len(firsts))):
            found.append(groups)
    return found


def renamed(groups: Groups) -> Groups:
    """The same cut with its parts named in the order of their first machines."""
    names: dict[int, int] = {}
    return tuple(names.setdefault(group, len(names)) for group in groups)


def one_twin(family: str, views: int, parts: int) -> Iterator[Script]:
    """Validator 3 of four is on machines 3 and 4. The least of each class under swapping honest ones and the two machines."""
    steps = [Step(leader, groups) for leader in range(4) for groups in cuts(5, parts)]
    place = {step: at for at, step in enumerate(steps)}
    images: list[list[int]] = []
    for honest in permutations(range(3)):
        for machines in ((3, 4), (4, 3)):
            moved = (*honest, *machines)
            images.append(
                [place[Step((*honest, 3)[step.leader], _moved(step.groups, moved))] for step in steps]
            )
    for chosen in product(range(len(steps)), repeat=views):
        if all(tuple(image[at] for at in chosen) >= chosen for image in images):
            yield Script(family, 4, (3,), tuple(steps[at] for at in chosen))


def _moved(groups: Groups, to: tuple[int, ...]) -> Groups:
    """The cut in which machine ``to[i]`` is where machine ``i`` was."""
    at = [0] * len(groups)
    for machine, group in enumerate(groups):
        at[to[machine]] = group
    return renamed(tuple(at))


def two_twins() -> Iterator[Script]:
    """Validators 5 and 6 of seven are on machines 5, 7 and 6, 8, always apart. Of honest ones only how many are where matters."""
    for sides in combinations_with_replacement(tuple(product((0, 1), repeat=2)), 5):
        for second in product((0, 1), repeat=2):
            groups = [
                (*(side[view] for side in sides), 0, second[view], 1, 1 - second[view]) for view in (0, 1)
            ]
            leaders = [
                tuple(dict.fromkeys((*(_first_in(groups[view], side) for side in (0, 1)), 5, 6)))
                for view in (0, 1)
            ]
            for first, then in product(*leaders):
                if first >= 0 and then >= 0:
                    steps = (Step(first, renamed(groups[0])), Step(then, renamed(groups[1])))
                    yield Script("two twins", 7, (5, 6), steps)


def _first_in(groups: Groups, side: int) -> int:
    """The first honest machine on a side, or -1."""
    return next((machine for machine in range(5) if groups[machine] == side), -1)


@cache
def scripts() -> tuple[Script, ...]:
    """All of them, always in the same order."""
    return (*one_twin("three parts", 2, 3), *two_twins(), *one_twin("one twin", 3, 2))


# -- playing one


class ScriptedLeaders(LeaderSchedule):
    """The script's leaders, then those drawn as usual."""

    def __init__(self, steps: tuple[Step, ...], *rest: Any) -> None:
        super().__init__(*rest)
        self._steps = steps

    def leader(self, view: View) -> int:
        return self._steps[view - 1].leader if 1 <= view <= len(self._steps) else super().leader(view)


class TwinsWorld(World):
    """A world in which a message passes as its view's cut allows, until the network is whole."""

    def __init__(
        self, script: Script, number: int, under_test: Product | None = None, trace: bool = False
    ) -> None:
        with replaced(epochs, "LeaderSchedule", partial(ScriptedLeaders, script.steps)):
            super().__init__(script.scenario(number), under_test, trace=trace)
        self._steps = script.steps
        self._heard: dict[tuple[int, int, int], set[tuple[int, bytes]]] = {}
        self.caught_before: set[int] = set()
        """Twins that spoke against themselves before an honest node that was still in that view's reach."""
        whole = self.network
        self.network = ScriptedNetwork(whole.clock, whole.random, whole.size, whole.deliver)
        self.network.world = self

    def epoch_leaders(self) -> list[int]:
        schedule = self.sets.by_number[0].schedule
        return [schedule.leader(View(view)) for view in range(1, 9)]

    def separates(self, sender: int, receiver: int, message: Any) -> bool:
        view = self._view_of(sender, message)
        if self.healed or not 1 <= view <= len(self._steps):
            return False
        groups = self._steps[view - 1].groups
        return groups[sender] != groups[receiver]

    def _view_of(self, sender: int, message: Any) -> int:
        """The view that a message is of; of a request or an answer, the one that its sender is in."""
        match message:
            case Vote() | Certificate():
                return message.view
            case Proposal() | CandidateGiven():
                return message.candidate.view
        core = self.nodes[sender].core
        return core.view if core is not None else 0

    def _deliver(self, sender: int, receiver: int, message: Any) -> None:
        vote = message.leader_vote if isinstance(message, Proposal) else message
        node = self.nodes[receiver]
        if isinstance(vote, Vote) and not node.byzantine and node.core is not None:
            self._listen(receiver, vote, node.core.final.view)
        super()._deliver(sender, receiver, message)

    def _listen(self, receiver: int, vote: Vote, final_view: int) -> None:
        twin = self.scenario.byzantine.get(vote.signer)
        if twin is None or vote.view <= final_view:
            return
        heard = self._heard.setdefault((receiver, vote.signer, vote.view), set())
        heard.add((int(vote.kind), bytes(vote.candidate_id)))
        kinds = Counter(kind for kind, _ in heard)
        if kinds[1] > 1 or kinds[3] > 1 or (kinds[2] and kinds[3]):
            self.caught_before.add(vote.signer)

    def run(self) -> Outcome:
        outcome = super().run()
        accused = {culprit for _, culprits in self.accusations for culprit in culprits}
        for twin in sorted(self.caught_before - accused):
            self.checkers.violated(
                f"twin {twin} spoke against itself before an honest node, and nobody holds evidence"
            )
        return outcome


class ScriptedNetwork(Network):
    """A network that asks its world who hears whom."""

    world: TwinsWorld

    def send(self, sender: int, receiver: int, message: Any) -> None:
        if self.world.separates(sender, receiver, message):
            self.faults["partitioned"] += 1
        else:
            super().send(sender, receiver, message)


# -- playing many


@dataclass(frozen=True)
class Played:
    number: int
    family: str
    violations: list[str]
    spoke_twice: bool
    accused: bool
    views: int
    height: int


def play_script(number: int, under_test: Product | None = None) -> Played:
    script = scripts()[number]
    world = TwinsWorld(script, number, under_test)
    outcome = world.run()
    return Played(
        number,
        script.family,
        outcome.violations,
        bool(world.caught_before),
        bool(world.accusations),
        outcome.views,
        outcome.height,
    )


@dataclass
class Sum:
    """What many scripts came to."""

    wanted: int
    families: Counter[str] = field(default_factory=Counter)
    spoke: int = 0
    accused: int = 0
    views: int = 0
    blocks: int = 0
    bad: int = 0

    def add(self, each: Played) -> None:
        self.families[each.family] += 1
        self.spoke += each.spoke_twice
        self.accused += each.accused
        self.views += each.views
        self.blocks += each.height
        self.bad += bool(each.violations)

    def progress(self) -> str:
        return f"{self.families.total()}/{self.wanted} scripts, {self.bad} bad"


def play_all(numbers: range, jobs: int) -> int:
    """Play scripts and say what was seen; 1 when something did not hold, 130 after an interrupt."""
    begun = shown = time.monotonic()
    live, total, interrupt = sys.stdout.isatty(), Sum(len(numbers)), Interrupt()
    for each in in_parallel(play_script, numbers, jobs, interrupt):
        total.add(each)
        if each.violations:
            print(f"\nscript {each.number}, {scripts()[each.number]}: {each.violations[0]}")
            print(f'  replay: make twins ARGS="--number {each.number} --trace"', flush=True)
        if time.monotonic() - shown > (LINE_SECONDS if live else LOG_LINE_SECONDS):
            shown = time.monotonic()
            print(f"\r{total.progress()}" if live else total.progress(), end="" if live else "\n", flush=True)
    if interrupt.asked:
        print("\ninterrupted; so far:")
    families = ", ".join(f"{name} {count}" for name, count in total.families.items())
    print(f"\r{total.progress()}" if live else total.progress())
    print(
        f"{total.families.total()} executions with twins ({families}), {total.views} views, {total.blocks} blocks"
        f" in {time.monotonic() - begun:.0f} s"
    )
    print(
        f"twins spoke against themselves before an honest node in {total.spoke}; evidence was held in {total.accused}"
    )
    print(f"{total.bad} violated what must hold")
    return 1 if total.bad else INTERRUPTED if interrupt.asked else 0


def play_one(number: int, trace: bool) -> int:
    world = TwinsWorld(scripts()[number], number, trace=trace)
    outcome = world.run()
    if world.lines is not None and world.story is not None:
        print("\n".join([*world.lines, "", *world.story.table(), ""]))
    print(f"script {number}: {scripts()[number]}")
    print(f"{outcome.views} views, height {outcome.height}, evidence {sorted(world.accusations)}")
    for violation in outcome.violations:
        print("VIOLATION:", violation)
    return 1 if outcome.violations else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Play every way in which twins can be led and cut apart.")
    parser.add_argument("--every", type=int, default=1, help="play one script in so many (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--number", type=int, help="play one script")
    parser.add_argument("--trace", action="store_true", help="of one: print what happened")
    options = parser.parse_args()
    if options.number is not None:
        if not 0 <= options.number < len(scripts()):
            parser.error(f"there are scripts 0 to {len(scripts()) - 1}")
        return play_one(options.number, options.trace)
    return play_all(range(0, len(scripts()), max(1, options.every)), max(1, options.jobs))


if __name__ == "__main__":
    sys.exit(main())
