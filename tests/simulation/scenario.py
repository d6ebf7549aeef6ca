"""What happens in a simulated world, drawn from its seed: validators, weights, who is hostile, weather, crashes, clocks.

Times in milliseconds of virtual time. Hostile stake stays within what the rules tolerate, unless a test says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from tests.simulation.faults import Fault

ADVERSARIES = (
    "amnesiac",
    "attendance_forger",
    "block_twister",
    "certificate_forger",
    "certificate_splitter",
    "clock_liar",
    "conspirator",
    "double_voter",
    "equivocating_leader",
    "false_accuser",
    "forking_leader",
    "garbage",
    "miscomputer",
    "poisoning_leader",
    "selective_sender",
    "shameless_twin",
    "silent",
    "skip_and_finalizer",
    "snubbing_leader",
    "stale_replayer",
    "sync_liar",
    "twin",
    "withholding_leader",
)
TWO_MACHINES = frozenset({"shameless_twin", "twin"})
"""Kinds that run one key on two machines."""
WORKER_ADVERSARIES = (
    "attendance_forger",
    "block_twister",
    "clock_liar",
    "conspirator",
    "double_voter",
    "equivocating_leader",
    "forking_leader",
    "garbage",
    "poisoning_leader",
    "selective_sender",
    "silent",
    "snubbing_leader",
    "withholding_leader",
)
"""Kinds that a worker can be: what a leader can do, and what a vote would do if it counted."""
WORKERS_SHARE = 0.4
"""Of the seeds have workers."""
SIZES = (4,) * 10 + (5,) * 8 + (6,) * 5 + (7,) * 5 + (8, 9, 10, 11, 13, 16, 19, 21)
"""Validators; larger sets are rarer, since messages grow with the square."""
LEDGER_SHARE = 1 / 6
"""Of the seeds: such an execution takes about three times as long as one on a chain of hashes."""
LEDGER_CHAOS_MS = 7_000
EPOCH_BLOCKS_MAX = 100
"""From so many on an epoch never ends here."""
LARGE = 8
"""From so many validators on, chaos is shorter."""


@dataclass(frozen=True)
class Scenario:
    seed: int
    weights: tuple[int, ...]
    byzantine: dict[int, str] = field(default_factory=dict)
    """Kind of adversary by validator's index."""
    block_interval_ms: int = 300
    delta_ms: int = 100
    standstill_ms: int = 1_500
    clock_drift_ms: int = 400
    skew_ms: int = 0
    """Clocks are off by up to this, and are set anew at restarts."""
    jump_ms: int = 0
    """Now and then a clock is wrong by up to this, until all are set right when the network heals."""
    execution_ms: int = 10
    disk_ms: int = 4
    epoch_blocks: int = 10**9
    """Blocks of an epoch; each has another set of validators."""
    chaos_ms: int = 12_000
    loss: float = 0.0
    duplication: float = 0.0
    spike_chance: float = 0.0
    partition_chance: float = 0.0
    """Chance, each half second of chaos, that the network is cut in two (for up to three seconds)."""
    crash_chance: float = 0.0
    """Chance, each half second of chaos, that some node's power goes, half the time in the middle of a disk write."""
    blackout_chance: float = 0.0
    """Chance, each half second of chaos, that the power of all nodes goes at once."""
    progress_blocks: int = 3
    """Blocks that every honest node must commit after healing,"""
    progress_ms: int = 60_000
    """within this."""
    ledger: bool = False
    """Blocks are executed by the real ledger, under load; else they are a chain of hashes."""
    late: tuple[int, ...] = ()
    """On the ledger: honest validators that are none at genesis, and register when they get to it."""
    seats: int = 0
    """On the ledger: voters of an epoch at the most, the largest by stake; 0: as many as there are."""
    jail_epochs: int = 0
    """On the ledger: in so many epochs in a row a validator is absent before it is jailed; 0: nobody is. Where somebody may be,
    nobody withdraws stake."""
    compact_bytes: int = 0
    """The safety store rewrites its file after growing by this; 0: as in the product, which is never reached here."""
    workers: tuple[str, ...] = ()
    """Workers that hold no stake and lead by credit, by kind of adversary; "" is an honest one. They follow the validators as
    parties, and the second machines of validators as machines."""
    pace_views: int = 0
    """After healing a block becomes final at least every so many views; 0: that is not looked at."""
    plan: tuple[Fault, ...] | None = None
    """The faults themselves, in place of those that the chances above would draw."""

    @property
    def size(self) -> int:
        """Validators."""
        return len(self.weights)

    @property
    def machines(self) -> int:
        """Nodes: one a validator, one more for each key that runs twice, one a worker."""
        return self.size + len(self.doubled) + len(self.workers)

    @property
    def parties(self) -> int:
        """Validators, then workers: whoever has a key."""
        return self.size + len(self.workers)

    def kind_of(self, party: int) -> str:
        """The kind of adversary that a party is; "" of an honest one."""
        return self.byzantine.get(party, "") if party < self.size else self.workers[party - self.size]

    @property
    def hostile(self) -> frozenset[int]:
        """Parties that are not honest."""
        return frozenset(party for party in range(self.parties) if self.kind_of(party))

    @property
    def validators_of_machines(self) -> tuple[int, ...]:
        """Whose key each machine holds, by party."""
        return (*range(self.size), *self.doubled, *range(self.size, self.parties))

    @property
    def doubled(self) -> tuple[int, ...]:
        """Validators whose key runs on two machines."""
        return tuple(index for index, kind in sorted(self.byzantine.items()) if kind in TWO_MACHINES)


def tolerated(weights: tuple[int, ...]) -> int:
    """Hostile weight with which safety and progress both hold: what is left beside a quorum."""
    total = sum(weights)
    return total - (2 * total // 3 + 1)


def scenario_of(seed: int) -> Scenario:
    """The default mix."""
    random = Random(f"scenario {seed}")
    size = random.choice(SIZES)
    weights = tuple(random.randint(1, 40) for _ in range(size)) if random.random() < 0.5 else (10,) * size
    calm = random.random() < 0.1
    scenario = Scenario(
        seed=seed,
        weights=weights,
        byzantine=_hostile(random, weights),
        block_interval_ms=random.choice((100, 200, 300, 500)),
        delta_ms=random.choice((60, 100, 150)),
        skew_ms=random.choice((0, 0, 50, 150)),
        jump_ms=random.choice((0, 0, 0, 5_000)),
        execution_ms=random.choice((0, 10, 40)),
        disk_ms=random.choice((0, 4, 30)),
        chaos_ms=random.choice((6_000, 9_000, 12_000)) if size < LARGE else random.choice((2_000, 3_500)),
        loss=0.0 if calm else random.choice((0.0, 0.02, 0.1, 0.25)),
        duplication=0.0 if calm else random.choice((0.0, 0.05)),
        spike_chance=0.0 if calm else random.choice((0.0, 0.02, 0.1)),
        partition_chance=0.0 if calm else random.choice((0.0, 0.0, 0.05, 0.15)),
        crash_chance=0.0 if calm else random.choice((0.0, 0.05, 0.15, 0.3)),
        blackout_chance=0.0 if calm else random.choice((0.0, 0.0, 0.1)),
        epoch_blocks=random.choice((4, 6, 10, 10**9)),
        compact_bytes=random.choice((0, 0, 2_000, 8_000)),
    )
    return with_workers(on_ledger(scenario) if random.random() < LEDGER_SHARE else scenario)


def with_workers(scenario: Scenario) -> Scenario:
    """The same world in some seeds with workers that lead: honest ones, some hostile, or none but hostile."""
    random = Random(f"workers {scenario.seed}")
    if random.random() > WORKERS_SHARE:
        return scenario
    hostile = random.choice((0.0, 0.0, 0.4, 0.7, 1.0))
    workers = tuple(
        random.choice(WORKER_ADVERSARIES) if random.random() < hostile else ""
        for _ in range(random.choice((1, 2, 2, 3)))
    )
    return replace(scenario, workers=workers)


def on_ledger(scenario: Scenario) -> Scenario:
    """The same world on the real ledger: epochs always end, and now and then a validator registers late."""
    random = Random(f"ledger {scenario.seed}")
    epoch_blocks = (
        scenario.epoch_blocks if scenario.epoch_blocks < EPOCH_BLOCKS_MAX else random.choice((4, 6))
    )
    late: list[int] = []
    for index in random.sample(range(scenario.size), random.choice((0, 1, 1, 2))):
        absent = {*late, index}
        there = {place: weight for place, weight in enumerate(scenario.weights) if place not in absent}
        hostile = sum(weight for place, weight in there.items() if place in scenario.byzantine)
        if (
            index not in scenario.byzantine
            and len(there) >= 4
            and hostile <= tolerated(tuple(there.values()))
        ):
            late.append(index)
    chosen = replace(
        scenario,
        ledger=True,
        late=tuple(sorted(late)),
        seats=0,
        epoch_blocks=epoch_blocks,
        chaos_ms=min(scenario.chaos_ms, LEDGER_CHAOS_MS),
    )
    if (jail_epochs := random.choice((0, 1, 1, 2))) and (jailing := _with_jails(chosen, jail_epochs, random)):
        return jailing
    crowded = replace(chosen, seats=scenario.size - len(late))
    return crowded if late and random.random() < 0.5 and _tolerates_its_seats(crowded) else chosen


def is_tolerable(scenario: Scenario) -> bool:
    """Whether hostile stake is tolerated by all validators, by those of the genesis, and by those who can get a seat."""
    present = tuple(weight for index, weight in enumerate(scenario.weights) if index not in scenario.late)
    hostile = sum(scenario.weights[index] for index in scenario.byzantine)
    enough = hostile <= min(tolerated(scenario.weights), tolerated(present))
    return enough and (not scenario.seats or _tolerates_its_seats(scenario))


def _tolerates_its_seats(scenario: Scenario) -> bool:
    """Whether hostile stake is tolerated when all of it has seats, and honest validators hold the least that they may."""
    hostile = [weight for index, weight in enumerate(scenario.weights) if index in scenario.byzantine]
    floors = [floor for index, floor in enumerate(floors_of(scenario)) if index not in scenario.byzantine]
    honest = sorted(floors, reverse=True)[: scenario.seats - len(hostile)]
    return sum(hostile) <= tolerated((*hostile, *honest)) and sum(1 for floor in honest if floor) >= 3


def floors_of(scenario: Scenario) -> tuple[int, ...]:
    """What each validator keeps of its weight at least: with all that low, and late ones absent, hostile stake is tolerated."""
    late = set(scenario.late)
    floors = [0 if index in late else weight for index, weight in enumerate(scenario.weights)]
    hostile = sum(weight for index, weight in enumerate(scenario.weights) if index in scenario.byzantine)
    if scenario.jail_epochs:
        return tuple(floors)
    random = Random(f"floors {scenario.seed}")
    for index in random.sample(range(scenario.size), scenario.size):
        if index in scenario.byzantine or index in late:
            continue
        for lower in (0, floors[index] // 2):
            trial = tuple(lower if place == index else floor for place, floor in enumerate(floors))
            if sum(1 for floor in trial if floor) >= 3 and hostile <= tolerated(trial):
                floors[index] = lower
                break
    return tuple(floors)


JAIL_SHARE_MAX_BPS = 3_000


def jail_share_of(scenario: Scenario) -> int:
    """What may be in jail for downtime, in basis points: with so much honest stake there, hostile stake is still tolerated.

    Everybody may have been slashed by less than one, and all together may have held twice their weight when the share was taken.
    """
    hostile = sum(scenario.weights[index] for index in scenario.byzantine)
    if not scenario.jail_epochs or scenario.seats:
        return 0
    if not hostile:
        return JAIL_SHARE_MAX_BPS
    least, spare = sum(floors_of(scenario)) - scenario.size, 0
    while hostile <= tolerated((least - spare - 1,)):
        spare += 1
    return min(JAIL_SHARE_MAX_BPS, spare * 10_000 // (2 * sum(scenario.weights)))


def _with_jails(scenario: Scenario, epochs: int, random: Random) -> Scenario | None:
    """The same with jails, and so few hostile validators that somebody fits into one; None where nobody would."""
    hostile = dict(scenario.byzantine)
    while True:
        trial = replace(scenario, byzantine=hostile, jail_epochs=epochs)
        present = [weight for index, weight in enumerate(scenario.weights) if index not in scenario.late]
        if jail_share_of(trial) * sum(present) >= 10_000 * min(present):
            return trial
        if not hostile:
            return None
        hostile.pop(random.choice(sorted(hostile)))


def _hostile(random: Random, weights: tuple[int, ...]) -> dict[int, str]:
    """Validators, in random order, as long as their weight is tolerated; now and then all of one kind, which may collude."""
    if random.random() < 0.3:
        return {}
    budget, hostile = tolerated(weights), {}
    alike = random.choice(ADVERSARIES) if random.random() < 0.3 else None
    for index in random.sample(range(len(weights)), len(weights)):
        if weights[index] <= budget:
            budget -= weights[index]
            hostile[index] = alike or random.choice(ADVERSARIES)
    return hostile
