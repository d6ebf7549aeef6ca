"""Makes a failing execution short: leaves out what the failure does not need, over and over, until nothing more can go.

Deterministic. A smaller scenario counts when it fails in the same way, with the same seed or one of a few others: leaving
something out changes what chance brings after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from omnitensor.protocol.errors import ProtocolError
from tests.simulation.faults import CLOCK_SET, CLOCK_WRONG, PARTITION, Fault, plan_of
from tests.simulation.scenario import Scenario, is_tolerable
from tests.simulation.world import Product, World

TRIES_MAX = 600
SEEDS_TRIED = 3
"""Seeds under which a smaller scenario is given a chance."""
CHANCES = ("loss", "duplication", "spike_chance", "partition_chance", "crash_chance", "blackout_chance")
QUIET: tuple[tuple[str, Any], ...] = (
    ("ledger", False),
    ("seats", 0),
    ("late", ()),
    *((name, 0.0) for name in CHANCES),
    ("skew_ms", 0),
    ("jump_ms", 0),
    ("execution_ms", 0),
    ("disk_ms", 0),
    ("compact_bytes", 0),
    ("epoch_blocks", 10**9),
)


@dataclass(frozen=True)
class Shrunk:
    scenario: Scenario
    violation: str
    tries: int
    """Executions that it took."""


def nature(violation: str) -> str:
    """What kind of violation it is: its words without numbers and hashes."""
    return " ".join(re.sub(r"\b[0-9a-f]{8,}\b|\d+", "#", violation).split()[:8])


def size_of(scenario: Scenario) -> int:
    """How much there is to understand: validators, hostile ones, faults, kinds of bad weather, seconds."""
    plan = scenario.plan if scenario.plan is not None else plan_of(scenario)
    bad = sum(getattr(scenario, name) != quiet for name, quiet in QUIET if not _is_drawn(name))
    uneven = len(set(scenario.weights)) - 1
    seconds = scenario.chaos_ms // 250
    workers = 4 * len(scenario.workers) + 4 * sum(bool(kind) for kind in scenario.workers)
    return (
        workers + 4 * scenario.size + 4 * len(scenario.byzantine) + 2 * len(plan) + 2 * bad + uneven + seconds
    )


def explicit(scenario: Scenario) -> Scenario:
    """The same execution with its faults written down."""
    return replace(scenario, plan=plan_of(scenario)) if scenario.plan is None else scenario


def shrink(
    scenario: Scenario,
    product: Product | None = None,
    tries_max: int = TRIES_MAX,
    tell: Callable[[str], None] = lambda _: None,
) -> Shrunk | None:
    """A smaller scenario that fails in the same way; None when the given one does not fail at all."""
    return _Shrinker(scenario, product, tries_max, tell).run()


class _Shrinker:
    def __init__(
        self, scenario: Scenario, product: Product | None, tries_max: int, tell: Callable[[str], None]
    ) -> None:
        self._best = explicit(scenario)
        self._product = product
        self._tries_max = tries_max
        self._tell = tell
        self._tries = 0
        self._nature = ""
        self._violation = ""
        self._ended_ms = 0
        """When the last execution tried was over."""
        self._failed_ms = 0
        """When the best one was."""
        self._lawful = _is_lawful(scenario)

    def run(self) -> Shrunk | None:
        first = self._violations(self._best)
        if not first:
            return None
        self._violation, self._nature, self._failed_ms = first[0], nature(first[0]), self._ended_ms
        passes = (self._time, self._faults, self._hostile, self._members, self._workers, self._weather)
        before = -1
        while before != size_of(self._best) and self._tries < self._tries_max:
            before = size_of(self._best)
            for each in passes:
                each()
                self._tell(f"size {size_of(self._best)} after {self._tries} executions")
        return Shrunk(self._best, self._violation, self._tries)

    # -- what can be left out

    def _faults(self) -> None:
        """Delta debugging: large parts of the plan first, then smaller ones."""
        part = max(1, len(self._plan()) // 2)
        while part:
            at = 0
            while at < len(self._plan()):
                plan = self._plan()
                if not self._keep(replace(self._best, plan=plan[:at] + plan[at + part :])):
                    at += part
            part //= 2

    def _hostile(self) -> None:
        """Hostile ones become honest, or at least silent."""
        for index in sorted(self._best.byzantine):
            without = {other: kind for other, kind in self._best.byzantine.items() if other != index}
            for changed in (without, {**self._best.byzantine, index: "silent"}):
                if changed != self._best.byzantine and self._keep(with_hostile(self._best, changed)):
                    break

    def _members(self) -> None:
        for index in reversed(range(self._best.size)):
            if self._best.size > 1:
                self._keep(without_member(self._best, index))
        self._keep(replace(self._best, weights=(10,) * self._best.size))

    def _workers(self) -> None:
        """Fewer workers, and honest ones."""
        for place in reversed(range(len(self._best.workers))):
            kinds = self._best.workers
            honest = replace(self._best, workers=(*kinds[:place], "", *kinds[place + 1 :]))
            if not self._keep(without_worker(self._best, place)):
                self._keep(honest)

    def _weather(self) -> None:
        for name, quiet in QUIET:
            if getattr(self._best, name) != quiet and _is_drawn(name):
                self._best = replace(self._best, **{name: quiet})  # the plan is drawn already
            elif getattr(self._best, name) != quiet:
                self._keep(replace(self._best, **{name: quiet}))

    def _time(self) -> None:
        for chaos_ms in (
            self._failed_ms + 1,
            self._best.chaos_ms // 4,
            self._best.chaos_ms // 2,
            3 * self._best.chaos_ms // 4,
        ):
            plan = tuple(fault for fault in self._plan() if fault.at_ms < chaos_ms)
            if 0 < chaos_ms < self._best.chaos_ms and self._keep(
                replace(self._best, chaos_ms=chaos_ms, plan=plan)
            ):
                return

    # -- trying

    def _plan(self) -> tuple[Fault, ...]:
        assert self._best.plan is not None
        return self._best.plan

    def _keep(self, smaller: Scenario) -> bool:
        """Go on with a smaller scenario if it fails as the first did."""
        if smaller == self._best or (self._lawful and not _is_lawful(smaller)):
            return False
        for seed in self._seeds(smaller.seed):
            tried = replace(smaller, seed=seed)
            if self._tries >= self._tries_max:
                return False
            for violation in self._violations(tried):
                if nature(violation) == self._nature:
                    self._best, self._violation, self._failed_ms = tried, violation, self._ended_ms
                    return True
        return False

    @staticmethod
    def _seeds(first: int) -> Iterator[int]:
        yield first
        yield from (seed for seed in range(SEEDS_TRIED) if seed != first)

    def _violations(self, scenario: Scenario) -> list[str]:
        self._tries += 1
        try:
            world = World(scenario, self._product, brief=True)
        except ProtocolError:
            return []  # no such world: the ledger has bounds of its own
        outcome = world.run()
        self._ended_ms = outcome.virtual_ms
        return outcome.violations


def with_hostile(scenario: Scenario, byzantine: dict[int, str]) -> Scenario:
    """Other hostile ones; faults of second machines that are no more go."""
    changed = replace(scenario, byzantine=byzantine)
    if changed.machines == scenario.machines:
        return changed
    left = scenario.validators_of_machines
    kept = [machine for machine in range(scenario.machines) if machine < scenario.size]
    kept += [
        m
        for m in range(scenario.size, scenario.machines)
        if left[m] in changed.doubled or left[m] >= scenario.size
    ]
    return replace(changed, plan=_renumbered(scenario.plan or (), kept))


def without_member(scenario: Scenario, index: int) -> Scenario:
    """One validator less, with its machines and their faults."""
    weights = tuple(weight for place, weight in enumerate(scenario.weights) if place != index)
    byzantine = {
        place - (place > index): kind for place, kind in scenario.byzantine.items() if place != index
    }
    kept = [machine for machine, owner in enumerate(scenario.validators_of_machines) if owner != index]
    return replace(
        scenario,
        weights=weights,
        byzantine=byzantine,
        late=tuple(place - (place > index) for place in scenario.late if place != index),
        plan=_renumbered(scenario.plan or (), kept),
    )


def without_worker(scenario: Scenario, place: int) -> Scenario:
    """One worker less, with its machine and its faults."""
    party = scenario.size + place
    kept = [machine for machine, owner in enumerate(scenario.validators_of_machines) if owner != party]
    return replace(
        scenario,
        workers=scenario.workers[:place] + scenario.workers[place + 1 :],
        plan=_renumbered(scenario.plan or (), kept),
    )


def _renumbered(plan: tuple[Fault, ...], kept: list[int]) -> tuple[Fault, ...]:
    """A plan for the machines that are kept, by their new numbers."""
    new = {machine: place for place, machine in enumerate(kept)}
    return tuple(
        replace(
            fault,
            machine=new.get(fault.machine, 0),
            groups=tuple(fault.groups[machine] for machine in kept) if fault.groups else (),
        )
        for fault in plan
        if fault.machine in new or fault.kind == PARTITION
    )


def _is_drawn(name: str) -> bool:
    """Whether a field only says how faults are drawn, so that it is idle beside a plan."""
    return name in ("partition_chance", "crash_chance", "blackout_chance")


def _is_lawful(scenario: Scenario) -> bool:
    """Whether hostile stake is tolerated, and clocks are as wrong as the scenario admits."""
    wrong = [fault.amount for fault in scenario.plan or () if fault.kind in (CLOCK_SET, CLOCK_WRONG)]
    allowed_ms = max(scenario.skew_ms, scenario.jump_ms)
    return is_tolerable(scenario) and all(abs(off) <= allowed_ms for off in wrong)
