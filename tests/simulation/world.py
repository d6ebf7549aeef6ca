"""A simulated world: nodes, network, faults and checkers around one seeded source of chance. One seed, one execution.

Mutants and other experiments pass other classes in; the default is the product.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

from consensus.stake.core import Core
from consensus.stake.knowledge import Rule
from consensus.stake.verify import Verifier
from node import chain_work, reporting, safety_store, session_orders
from node.safety_store import SafetyStore
from omnitensor.protocol.conviction import convicted
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.evidence import Evidence, decode_evidence
from omnitensor.protocol.types import Hash
from omnitensor.protocol.votes import Certificate, FinalityProof, ValidatorTable, Vote
from p2p.sync import Fetch
from state.ledger import registry, transition
from state.store import Store
from tests.simulation.adversaries import ADVERSARY_CLASSES
from tests.simulation.application import CHAIN_ID
from tests.simulation.checkers import Checkers
from tests.simulation.epochs import Sets
from tests.simulation.errands import Errands
from tests.simulation.faults import Fault, plan_of
from tests.simulation.jail_checkers import JailCheckers
from tests.simulation.leader_checkers import LeaderCheckers, WorkerRows
from tests.simulation.ledger_chain import LedgerChain
from tests.simulation.ledger_checkers import LedgerCheckers
from tests.simulation.ledger_world import LedgerSets
from tests.simulation.load import Load
from tests.simulation.network import EPOCH_MS, Clock, Network, Weather
from tests.simulation.node import SimNode
from tests.simulation.scenario import Scenario
from tests.simulation.scheme import SimScheme
from tests.simulation.story import Story
from tests.simulation.workers import giving

LOGGING = (chain_work, reporting, session_orders)
"""Parts of a node that a simulated one has, and whose log nobody reads."""
SETTLE_DELTAS = 40
"""After healing it may take so long until all are in one view again: a timer at its longest, and a standstill's repetition."""


@dataclass
class Product:
    """What is under test. A mutant replaces one of these."""

    core: type[Core] = Core
    store: type[SafetyStore] = SafetyStore
    table: type[ValidatorTable] = ValidatorTable
    verifier: type[Verifier] = Verifier
    scheme: Any = SimScheme
    database: type[Store] = Store
    """Under the ledger."""
    decode_evidence: Callable[[bytes], Any] = decode_evidence
    convicted: Callable[..., tuple[int, ...]] = convicted
    patches: tuple[tuple[Any, str, Any], ...] = ()
    """Owner, name and value of what else is replaced while an execution runs."""


class Quiet:
    """A log that nobody reads."""

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda *_, **__: None


def rows_of(node: SimNode) -> dict[bytes, bytes]:
    """All that a node's database holds."""
    assert isinstance(node.chain, LedgerChain)
    return node.chain.db.image.rows


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """One attribute of a module or class is another for a while."""
    own = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


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
    ledger: Counter[str] = field(default_factory=Counter)
    """What users gave and the ledger did."""


class World:
    """One execution. ``run`` it once."""

    def __init__(
        self,
        scenario: Scenario,
        product: Product | None = None,
        *,
        trace: bool = False,
        brief: bool = False,
    ) -> None:
        """``trace`` keeps lines and a story to show; ``brief`` ends the execution soon after the first violation."""
        product = product if product is not None else Product()
        self.scenario = scenario
        self.product = product
        self.random = Random(f"world {scenario.seed}")
        self.clock = Clock()
        self.network = Network(
            self.clock, Random(f"network {scenario.seed}"), scenario.machines, self._deliver
        )
        self.scheme = product.scheme()
        self.core_class, self.store_class = product.core, product.store
        self.secrets = [b"validator %d" % i + bytes(32) for i in range(scenario.parties)]
        self.keys = [self.scheme.key(secret) for secret in self.secrets]
        self.sets: Any = self._sets()
        self.table = self.sets.by_number[0].table
        """Of the first epoch."""
        self.genuine: set[Vote | Certificate] = set()
        """What the verifier let through for one node, which it would let through for any."""
        self.checkers = Checkers(scenario, self._members)
        self.agreed: set[Hash] = set()
        """Blocks that hostile validators have agreed to show the second half."""
        self.accusations: set[tuple[int, tuple[int, ...]]] = set()
        """Epoch and culprits, by index in its table, of all evidence that anybody holds."""
        self.events = 0
        self.rules: Counter[str] = Counter()
        self.views = 0
        self._hash = sha256()
        self._brief = brief
        self.lines: list[str] | None = [] if trace else None
        self.story: Story | None = Story() if trace else None
        self.healed = False
        self.reported = [0] * scenario.machines
        """How far each machine is known to be."""
        self.validator_of = scenario.validators_of_machines
        """Whose key a machine holds: validators, then workers."""
        self.nodes: list[SimNode] = [
            ADVERSARY_CLASSES.get(scenario.kind_of(validator), SimNode)(self, machine, self.sets.new_chain())
            for machine, validator in enumerate(self.validator_of)
        ]
        self.ledger_counts: Counter[str] = Counter()
        """What users gave, what the ledger did."""
        self.ledger: LedgerCheckers | None = None
        self.load: Load | None = None
        self.worker_rows: WorkerRows | None = None
        if isinstance(self.sets, LedgerSets):
            self._begin_ledger(self.sets)
        self.leaders = self._leader_checkers() if scenario.workers else None

    def _leader_checkers(self) -> LeaderCheckers:
        parties = {bytes(self.sets.address_of(party)): party for party in range(self.scenario.parties)}
        rows = self.worker_rows
        facts = rows.facts if rows is not None else self.sets.facts.get
        return LeaderCheckers(self.checkers.violated, self.scenario, facts, parties.__getitem__)

    def _sets(self) -> Sets | LedgerSets:
        scenario = self.scenario
        if scenario.ledger:
            return LedgerSets(scenario, self.scheme, self.secrets, self.keys)
        return Sets(CHAIN_ID, scenario, self.product, self.scheme, self.secrets, self.keys)

    def _begin_ledger(self, sets: LedgerSets) -> None:
        params = sets.genesis.params
        validator_at = {bytes(address): index for address, index in sets.validator_at.items()}
        self.ledger = LedgerCheckers(
            self.checkers.violated,
            validator_at,
            self.scenario.hostile,
            self.scenario.weights,
            self.scenario.epoch_blocks,
            params.validators_max,
            JailCheckers(
                self.checkers.violated,
                validator_at,
                params.attendance_min_bps,
                params.downtime_epochs,
                params.jail_blocks,
                params.jail_share_max_bps,
            ),
        )
        self.ledger.begin(rows_of(self.nodes[0]))
        for node in self.nodes:
            assert isinstance(node.chain, LedgerChain)
            node.errands = Errands(node, node.chain, sets)
        self.load = Load(self, sets)
        self.load.begin()
        if self.scenario.workers:
            self.worker_rows = WorkerRows(
                self.checkers.violated,
                self.scenario,
                bytes(sets.genesis.hash),
                self.ledger.members,
                lambda party: bytes(sets.address_of(party)),
            )

    # -- running

    def run(self) -> Outcome:
        """Chaos, healing, then progress within the bound or a violation. An exception is a violation, too."""
        try:
            with ExitStack() as planted:
                for owner, name, value in self._replacements():
                    planted.enter_context(replaced(owner, name, value))
                self._run()
        except Exception as error:  # whatever goes wrong in the product is a find
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.checkers.violated(
                f"{type(error).__name__} at {place.name} in {place.filename.rsplit('/', 1)[-1]}: {error}"
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
            self._ledger_did(),
        )

    def _ledger_did(self) -> Counter[str]:
        counts = Counter(self.ledger_counts)
        if self.ledger is not None:
            longest = max(self.honest(), key=lambda node: node.height).chain
            assert isinstance(longest, LedgerChain)
            counts["executions on the ledger"] += 1
            counts["convicted"] += len(self.ledger.convicted)
            counts += self.ledger.set_changes()
            counts += longest.receipts()
        return counts

    def _replacements(self) -> tuple[tuple[Any, str, Any], ...]:
        compact_bytes = self.scenario.compact_bytes
        compacting = ((safety_store, "COMPACT_BYTES", compact_bytes),) if compact_bytes else ()
        quiet = tuple((module, "log", Quiet()) for module in LOGGING) if self.ledger else ()
        return (*compacting, *quiet, *self._with_credit(self.product.patches))

    def _with_credit(self, patches: tuple[tuple[Any, str, Any], ...]) -> tuple[tuple[Any, str, Any], ...]:
        """Patches, and where workers lead on the ledger a last step of its blocks that credits them."""
        if self.worker_rows is None:
            return patches
        give = giving(self.scenario, [key.address for key in self.sets.accounts], self.keys)
        steps = {name: value for owner, name, value in patches if owner is transition}
        rest = tuple(patch for patch in patches if patch[:2] != (transition, "END_OF_BLOCK"))
        before = steps.get("END_OF_BLOCK", registry.END_OF_BLOCK)
        return (*rest, (transition, "END_OF_BLOCK", (*before, give)))

    def _members(self, epoch: int) -> tuple[tuple[int, int], ...]:
        """Node and weight by index in an epoch's table."""
        if self.ledger is not None:
            return self.ledger.members(epoch)
        found = self.sets.by_number[epoch]
        weights = [entry.weight for entry in found.table.entries]
        return tuple(zip(found.members, weights, strict=True))

    def _run(self) -> None:
        scenario = self.scenario
        self.network.weather = self._rough_weather(None)
        for node in self.nodes:
            node.skew_ms = self._skew()
            self.clock.at(self.random.randint(0, 200), node.start)
        for fault in scenario.plan if scenario.plan is not None else plan_of(scenario):
            self.clock.at(fault.at_ms, self._strike, fault)
        self.clock.run(scenario.chaos_ms, self._settled)
        if self._settled():
            return
        self._heal()
        goals = {node.index: len(node.chain.committed) + scenario.progress_blocks for node in self.honest()}
        goal = max(goals.values())
        self.clock.run(
            scenario.chaos_ms + scenario.progress_ms, lambda: self._reached(goal) or self._settled()
        )
        if self._settled():
            return
        if not self._reached(goal):
            heights = {node.index: len(node.chain.committed) - 1 for node in self.honest()}
            self.checkers.violated(
                f"no progress: {scenario.progress_ms} ms after healing not every honest node is at height {goal - 1}: {heights}"
            )
        self.checkers.finish([(node.index, node.chain.committed) for node in self.honest()])
        if self.leaders is not None and scenario.pace_views:
            settled_ms = EPOCH_MS + scenario.chaos_ms + SETTLE_DELTAS * scenario.delta_ms
            self.leaders.check_pace(self.honest()[0].chain.committed, settled_ms)

    def _settled(self) -> bool:
        return self._brief and bool(self.checkers.violations)

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

    def _strike(self, fault: Fault) -> None:
        """Carry out one fault of the plan."""
        if self.healed:
            return
        self.network.faults[fault.kind] += 1
        self.note(-1, fault.kind, fault.machine, fault.lasts_ms, fault.amount, *fault.groups)
        node = self.nodes[fault.machine]
        match fault.kind:
            case "partition":
                self.network.weather = self._rough_weather(fault.groups)
                self.clock.after(fault.lasts_ms, self._rejoin)
            case "crash":
                self._down(node, fault.lasts_ms)
            case "power cut":
                node.disk.cut_in = fault.amount
            case "blackout":
                for each in self.nodes:
                    self._down(each, fault.lasts_ms + 10 * each.index)
            case "clock set" | "clock wrong":
                node.skew_ms = fault.amount
            case _:
                raise AssertionError(f"no such fault: {fault.kind}")

    def _down(self, node: SimNode, lasts_ms: int) -> None:
        node.crash()
        self.clock.after(lasts_ms, self._restart, node)

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

    def told(self, node: SimNode, message: Any) -> None:
        if self.story is not None:
            self.story.told(node.index, message)

    def spoken(self, node: SimNode, message: Any) -> None:
        """A node says something to all."""
        self.told(node, message)
        self.checkers.spoken(node.validator, message)
        if self.leaders is not None:
            self.leaders.spoken(node.validator, message)

    def restarted(self, node: SimNode) -> None:
        """What is on its disk: nothing that it has made final is lost; what became durable as the power went is news."""
        count = node.height - self.reported[node.index]
        if count > 0:
            self.committed(node, count, node.chain.committed[-1].proof)
        elif count < 0 and not node.byzantine:
            self.checkers.violated(f"node {node.index} has lost {-count} final blocks in a crash")
            self.reported[node.index] = node.height

    def committed(self, node: SimNode, count: int, proof: FinalityProof | None) -> None:
        """``proof`` is of the last of them, or of a block above it."""
        part = node.chain.committed[-count:]
        self.reported[node.index] = node.height
        self.note(node.index, "commit", *(entry.block.hash.hex()[:12] for entry in part))
        if not node.byzantine:
            self.checkers.committed(node.index, part, proof, EPOCH_MS + self.clock.now_ms)
            if self.ledger is not None:
                for entry in part:
                    named = self.checkers.attended(node.index, entry.block.header)
                    self.ledger.attended(entry.block.header.height, named)
                    if self.worker_rows is not None:
                        self.worker_rows.block(entry.block.header)
                self.ledger.committed(node.index, node.height, part[-1].block.header, rows_of(node))
            if self.worker_rows is not None:
                self.worker_rows.check(node.index, node.height, rows_of(node))
            if self.leaders is not None:
                self.leaders.committed(part)

    def accused(self, node: SimNode, evidence: Evidence) -> None:
        """A node holds evidence, its own or another's."""
        self.note(node.index, "evidence", evidence.culprits)
        self.network.faults["evidence"] += 1
        self.accusations.add((evidence.epoch, evidence.culprits))
        if not node.byzantine:
            parties = [party for party, _ in self._members(evidence.epoch)]
            parties += self.sets.by_number[evidence.epoch].workers
            self.checkers.accused(node.index, tuple(parties[culprit] for culprit in evidence.culprits))

    def refused(self, index: int, sender: int, message: Any, error: ProtocolError) -> None:
        self.network.faults["refused"] += 1
        self.checkers.blamed(
            self.validator_of[index], self.validator_of[sender], f"{type(message).__name__}: {error}"
        )

    def charged(self, node: SimNode, sender: str, reason: str) -> None:
        if not node.byzantine:
            self.checkers.blamed(node.validator, self.validator_of[int(sender)], reason)

    def lacking(self, node: SimNode, sender: int, fetch: Fetch) -> None:
        """A peer does not hold blocks that it claims."""
        self.charged(node, str(sender), f"lacks blocks from {fetch.request.from_height} on, which it claims")

    def unusable(self, node: SimNode, error: ProtocolError) -> None:
        self.checkers.violated(f"node {node.index} can't begin with its own safety store: {error}")

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
        if not node.byzantine or node.obeys_rules:
            self.rules.update({rule.name: count for rule, count in node.core.fired.items()})
        node.core.fired = Counter[Rule]()
        self.network.faults["torn write"] += node.disk.torn
        node.disk.torn = 0


def play(scenario: Scenario, product: Product | None = None) -> Outcome:
    """Run one execution."""
    return World(scenario, product).run()
