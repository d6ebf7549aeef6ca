"""Trouble as data: the partitions, crashes and wrong clocks of an execution, drawn from its seed before it begins.

So that a failing execution can be made short by leaving faults out. Draws and describes; ``world`` carries out.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.simulation.scenario import Scenario

STEP_MS: Final = 500
PARTITION: Final = "partition"
CRASH: Final = "crash"
POWER_CUT: Final = "power cut"
"""A crash in the middle of the ``amount``-th disk operation from then on."""
BLACKOUT: Final = "blackout"
CLOCK_SET: Final = "clock set"
CLOCK_WRONG: Final = "clock wrong"


@dataclass(frozen=True)
class Fault:
    """One piece of trouble. What does not concern its kind is left at zero."""

    at_ms: int
    kind: str
    machine: int = 0
    lasts_ms: int = 0
    """How long a partition holds, or a machine stays down."""
    amount: int = 0
    """Milliseconds that a clock is off, or disk operations until the power goes."""
    groups: tuple[int, ...] = ()
    """Group of each machine in a partition."""


def plan_of(scenario: Scenario) -> tuple[Fault, ...]:
    """The faults of a scenario by its chances, one draw of each kind every half second of chaos; ascending by instant."""
    random = Random(f"faults {scenario.seed}")
    machines = scenario.machines
    plan: list[Fault] = []
    whole_ms = 0
    for at_ms in range(STEP_MS, scenario.chaos_ms, STEP_MS):
        if random.random() < scenario.partition_chance and at_ms >= whole_ms:
            lasts_ms = random.randint(200, 3_000)
            whole_ms = at_ms + lasts_ms
            groups = tuple(random.randrange(2) for _ in range(machines))
            plan.append(Fault(at_ms, PARTITION, lasts_ms=lasts_ms, groups=groups))
        if random.random() < scenario.crash_chance:
            machine, lasts_ms = random.randrange(machines), random.randint(10, 3_000)
            if random.random() < 0.5:
                plan.append(Fault(at_ms, POWER_CUT, machine, lasts_ms, random.randint(1, 4)))
            else:
                plan.append(Fault(at_ms, CRASH, machine, lasts_ms))
        if random.random() < scenario.blackout_chance:
            plan.append(Fault(at_ms, BLACKOUT, lasts_ms=random.randint(10, 3_000)))
        if scenario.skew_ms and random.random() < 0.05:
            skew_ms = random.randint(-scenario.skew_ms, scenario.skew_ms)
            plan.append(Fault(at_ms, CLOCK_SET, random.randrange(machines), amount=skew_ms))
        if scenario.jump_ms and random.random() < 0.1:
            jump_ms = random.randint(-scenario.jump_ms, scenario.jump_ms)
            plan.append(Fault(at_ms, CLOCK_WRONG, random.randrange(machines), amount=jump_ms))
    return tuple(plan)
