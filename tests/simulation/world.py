"""A simulated world: nodes, network, faults and checkers around one seeded source of chance. One seed, one execution.

Mutants and other experiments pass other classes in; the default is the product.
"""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

from consensus.stake.core import Core
from consensus.stake.evidence import Evidence
from consensus.stake.knowledge import Rule
from consensus.stake.verify import Verifier
from node.safety_store import SafetyStore
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.votes import Certificate, ValidatorTable, Vote
from tests.simulation.adversaries import ADVERSARY_CLASSES
from tests.simulation.application import CHAIN_ID, HashChain, genesis_block
from tests.simulation.checkers import Checkers
from tests.simulation.epochs import Sets
from tests.simulation.network import EPOCH_MS, Clock, Network, Weather
from tests.simulation.node import SimNode
from tests.simulation.scenario import Scenario
from tests.simulation.scheme import SimScheme

HALF_SECOND_MS = 500


@dataclass
class Product:
    """What is under test. A mutant replaces one of these."""

    core: type[Core] = Core
    store: type[SafetyStore] = SafetyStore
    table: type[ValidatorTable] = ValidatorTable
    verifier: type[Verifier] = Verifier
    scheme: Any = SimScheme


@dataclass
class Outcome:
    """What an execution came to."""

    seed: int
    violations: list[str]
    trace_hash: str
    virtual_ms: int
    events: int
    views: int
    height: int
    faults: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    epochs: int = 0
    """The newest epoch that began anywhere."""


class World:
    """One execution. ``run`` it once."""

    def __init__(self, scenario: Scenario, product: Product | None = None, *, trace: bool = False) -> None:
        product = product if product is not None else Product()
        self.scenario = scenario
        self.random = Random(f"world {scenario.seed}")
        self.clock = Clock()
        self.network = Network(self.clock, self.random, scenario.size, self._deliver)
        self.scheme = product.scheme()
        self.core_class, self.store_class = product.core, product.store
        self.secrets = [b"validator %d" % i + bytes(32) for i in range(scenario.size)]
        self.keys = [self.scheme.key(secret) for secret in self.secrets]
        genesis = genesis_block(EPOCH_MS)
        self.sets = Sets(CHAIN_ID, scenario, product, self.scheme, self.keys, genesis.header)
        self.table = self.sets.by_number[0].table
        """Of the first epoch."""
        self.genuine: set[Vote | Certificate] = set()
        """What the verifier let through for one node, which it would let through for any."""
        self.checkers = Checkers(scenario, self._members)
        self.events = 0
        self.rules: Counter[str] = Counter()
        self.views = 0
        self._hash = sha256()
        self.lines: list[str] | None = [] if trace else None
        self.healed = False
        self.nodes: list[SimNode] = [
            ADVERSARY_CLASSES.get(scenario.byzantine.get(index, ""), SimNode)(
                self, index, HashChain(genesis, scenario.epoch_blocks)
            )
            for index in range(scenario.size)
        ]

    # -- running

    def run(self) -> Outcome:
        """Chaos, healing, then progress within the bound or a violation. A failed assertion is a violation, too."""
        try:
            self._run()
        except AssertionError as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.checkers.violated(
                f"assertion at {place.name} in {place.filename.rsplit('/', 1)[-1]}: {error}"
            )
        for node in self.nodes:
            self.retire(node)
        for line in self.checkers.violations:
            self.note(-1, "violation", line)
        return Outcome(
            self.scenario.seed,
            self.checkers.violations,
            self._hash.hexdigest(),
            self.clock.now_ms,
            self.events,
            self.views,
            max(len(node.chain.committed) - 1 for node in self.honest()),
            self.network.faults,
            self.rules,
            max(self.sets.by_number),
        )

    def _members(self, epoch: int) -> tuple[tuple[int, int], ...]:
        """Node and weight by index in an epoch's table."""
        found = self.sets.by_number[epoch]
        weights = [entry.weight for entry in found.table.entries]
        return tuple(zip(found.members, weights, strict=True))

    def _run(self) -> None:
        scenario = self.scenario
        self.network.weather = self._rough_weather(None)
        for node in self.nodes:
            node.skew_ms = self._skew()
            self.clock.at(self.random.randint(0, 200), node.start)
        for instant in range(HALF_SECOND_MS, scenario.chaos_ms, HALF_SECOND_MS):
            self.clock.at(instant, self._trouble)
        self.clock.run(scenario.chaos_ms)
        self._heal()
        goals = {node.index: len(node.chain.committed) + scenario.progress_blocks for node in self.honest()}
        goal = max(goals.values())
        self.clock.run(scenario.chaos_ms + scenario.progress_ms, lambda: self._reached(goal))
        if not self._reached(goal):
            heights = {node.index: len(node.chain.committed) - 1 for node in self.honest()}
            self.checkers.violated(
                f"no progress: {scenario.progress_ms} ms after healing not every honest node is at height {goal - 1}: {heights}"
            )
        self.checkers.finish([(node.index, node.chain.committed) for node in self.honest()])

    def honest(self) -> list[SimNode]:
        return [node for node in self.nodes if not node.byzantine]

    def _reached(self, goal: int) -> bool:
        return all(len(node.chain.committed) >= goal for node in self.honest())

    def _deliver(self, sender: int, receiver: int, message: Any) -> None:
        self.nodes[receiver].receive(sender, message)

    # -- trouble

    def _rough_weather(self, groups: tuple[int, ...] | None) -> Weather:
        scenario = self.scenario
        return Weather(
            delay_min_ms=1,
            delay_max_ms=max(2, scenario.delta_ms // 3),
            spike_chance=scenario.spike_chance,
            spike_ms=4 * scenario.delta_ms,
            loss=scenario.loss,
            duplication=scenario.duplication,
            groups=groups,
        )

    def _trouble(self) -> None:
        scenario, random = self.scenario, self.random
        if random.random() < scenario.partition_chance and self.network.weather.groups is None:
            groups = tuple(random.randrange(2) for _ in range(scenario.size))
            self.network.weather = self._rough_weather(groups)
            self.network.faults["partition"] += 1
            self.note(-1, "partition", groups)
            self.clock.after(random.randint(200, 3_000), self._rejoin)
        if random.random() < scenario.crash_chance:
            node = self.nodes[random.randrange(scenario.size)]
            if random.random() < 0.5:
                node.disk.cut_in = random.randint(1, 4)
            else:
                node.crash()
                self.restart_later(node)
        if scenario.blackout_chance and random.random() < scenario.blackout_chance:
            self.network.faults["blackout"] += 1
            for node in self.nodes:
                node.crash()
                self.restart_later(node)
        if scenario.skew_ms and random.random() < 0.05:
            node = self.nodes[random.randrange(scenario.size)]
            node.skew_ms = self._skew()
            self.network.faults["clock set"] += 1
        if scenario.jump_ms and random.random() < 0.1:
            node = self.nodes[random.randrange(scenario.size)]
            node.skew_ms = random.randint(-scenario.jump_ms, scenario.jump_ms)
            self.network.faults["clock wrong"] += 1

    def _rejoin(self) -> None:
        if not self.healed:
            self.network.weather = self._rough_weather(None)

    def _heal(self) -> None:
        """From here on the network is as it should be, and all nodes run."""
        self.healed = True
        self.network.weather = Weather(1, max(2, self.scenario.delta_ms // 3))
        self.note(-1, "heal")
        for node in self.nodes:
            node.disk.cut_in = None
            node.skew_ms = self._skew()
            node.start()

    def restart_later(self, node: SimNode) -> None:
        if self.healed:
            node.start()
        else:
            self.clock.after(self.random.randint(10, 3_000), self._restart, node)

    def _restart(self, node: SimNode) -> None:
        node.skew_ms = self._skew()
        node.start()

    def _skew(self) -> int:
        bound = self.scenario.skew_ms
        return self.random.randint(-bound, bound) if bound else 0

    # -- what nodes report

    def note(self, index: int, what: str, *facts: object) -> None:
        """A line of the trace; all lines go into the trace hash."""
        line = f"{self.clock.now_ms} {index} {what} {' '.join(map(str, facts))}"
        self._hash.update(line.encode())
        if self.lines is not None:
            self.lines.append(line)

    def spoken(self, node: SimNode, message: Any) -> None:
        self.checkers.spoken(node.index, message)

    def committed(self, node: SimNode, count: int) -> None:
        part = node.chain.committed[-count:]
        self.note(node.index, "commit", *(entry.block.hash.hex()[:12] for entry in part))
        if not node.byzantine:
            self.checkers.committed(node.index, part)

    def accused(self, node: SimNode, evidence: Evidence) -> None:
        self.note(node.index, "evidence", evidence.culprits)
        self.network.faults["evidence"] += 1
        if not node.byzantine:
            members = self._members(evidence.epoch)
            self.checkers.accused(node.index, tuple(members[culprit][0] for culprit in evidence.culprits))

    def refused(self, index: int, sender: int, message: Any, error: ProtocolError) -> None:
        self.network.faults["refused"] += 1
        self.checkers.blamed(index, sender, f"{type(message).__name__}: {error}")

    def charged(self, node: SimNode, sender: str, reason: str) -> None:
        if not node.byzantine:
            self.checkers.blamed(node.index, int(sender), reason)

    def halted(self, node: SimNode, report: str) -> None:
        self.note(node.index, "halt", report)
        if not node.byzantine:
            self.checkers.violated(f"node {node.index} halted: {report}")

    def store_refused(self, node: SimNode, error: ProtocolError) -> None:
        self.note(node.index, "store refused", error)
        if not node.byzantine:
            self.checkers.violated(f"the safety store of node {node.index} had to refuse: {error}")

    def retire(self, node: SimNode) -> None:
        """A core's life ends; add what it did to the counts."""
        if node.core is None:
            return
        self.views = max(self.views, node.core.view)
        if not node.byzantine:
            self.rules.update({rule.name: count for rule, count in node.core.fired.items()})
        node.core.fired = Counter[Rule]()
        self.network.faults["torn write"] += node.disk.torn
        node.disk.torn = 0


def play(scenario: Scenario, product: Product | None = None) -> Outcome:
    """Run one execution."""
    return World(scenario, product).run()
