"""A simulated node: the real core, verifier and safety store, driven as a process would drive them, in virtual time.

Effects are carried out strictly in order; a disk sync takes time, and the power may go in the middle of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from consensus.stake.core import Core
from consensus.stake.effects import (
    Accuse,
    Behind,
    Broadcast,
    Build,
    Cast,
    Charge,
    Check,
    Commit,
    Effect,
    Fetch,
    FetchCertificates,
    Halt,
    Keep,
    Propose,
    SetTimer,
)
from consensus.stake.events import (
    BlockBuilt,
    BlockChecked,
    Event,
    Start,
    Synced,
    Tick,
    VoteReceived,
)
from consensus.stake.knowledge import Settings
from consensus.stake.safety import SafetyError
from node.chain_work import DivergedError
from node.driver import Checked, unfinal_up_to
from node.epochs import EarlyMessages
from node.safety_store import FILE_NAME, SafetyStore
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.types import Address, BlsPublicKey, Hash
from omnitensor.protocol.votes import Candidate, FinalityProof, Vote
from tests.simulation.application import CHAIN_ID, Application
from tests.simulation.disk import PowerCut, SimDisk
from tests.simulation.epochs import EpochSet
from tests.simulation.hearing import Hearing
from tests.simulation.messages import (
    BlocksGiven,
    BlocksWanted,
    CandidateWanted,
    CertificatesWanted,
    EvidenceGiven,
    HeadTold,
    TransactionGiven,
)
from tests.simulation.network import EPOCH_MS
from tests.simulation.syncing import SimSync

if TYPE_CHECKING:
    from tests.simulation.errands import Errands
    from tests.simulation.world import World

HALF_SECOND_MS = 500
CHECK_AGAIN_MS = 100


class SimNode(Hearing):
    """One validator. What it holds on ``disk`` and in ``chain`` outlives crashes.

    ``core`` is None while it is down, and while only a block above the head makes the head final.
    """

    byzantine = ""
    obeys_rules = False
    """Of a hostile or broken one: whether it follows the rules all the same, so that their firing in it counts."""

    def __init__(self, world: World, index: int, chain: Application) -> None:
        self.world = world
        self.index = index
        """Of the machine. ``validator`` is whose key it holds, be it a worker's."""
        self.validator: int = world.validator_of[index]
        self.chain = chain
        self.disk = SimDisk(world.random)
        self.skew_ms = 0
        self.up = False
        self.life = 0
        """Counts processes; ``incarnation`` counts cores."""
        self.incarnation = 0
        self.core: Core | None = None
        self.store: SafetyStore | None = None
        self.key: BlsPublicKey = world.keys[self.validator]
        """What it votes with, and what its safety store is of."""
        self.halted = ""
        self._effects: deque[Effect] = deque()
        self._busy = False
        self._timer = 0
        self.epoch: EpochSet = world.sets.by_number[0]
        self.early = EarlyMessages()
        self.accused: set[tuple[int, int]] = set()
        """Epoch and index in its table of everybody against whom there is evidence here."""
        self.previous: Core | None = None
        self._asked_ms = -HALF_SECOND_MS
        self.errands: Errands | None = None
        """Where there is a ledger."""
        self.sync = SimSync(self)
        chain.attach(self)

    @property
    def address(self) -> Address:
        return Address(self.world.sets.address_of(self.validator))

    @property
    def height(self) -> int:
        """Of the last final block here."""
        return len(self.chain.committed) - 1

    @property
    def seat(self) -> int | None:
        """Its place in the epoch's table; None while it does not vote."""
        return self.epoch.seat_of(self.validator)

    @property
    def lead(self) -> int | None:
        """Its place in the epoch's schedule; None while it only follows."""
        return self.epoch.lead_of(self.validator)

    def now_ms(self) -> int:
        return EPOCH_MS + self.world.clock.now_ms + self.skew_ms

    # -- life

    def start(self) -> None:
        """Begin, or begin again after a crash, from what the disk holds."""
        if self.up or self.halted:
            return
        self.up = True
        self.life += 1
        self.previous = self.store = None
        self.chain.restart()
        self.world.restarted(self)
        self._begin()
        if self.up:
            self.sync.begin()
            if self.errands is not None:
                self.errands.begin()

    def _begin(self) -> None:
        """A core for the epoch of the block above the head (R0, R9), once the head has its own proof."""
        world = self.world
        self.incarnation += 1
        self._effects.clear()
        self._busy = False
        self.core = None
        point = self.chain.head()
        if point is None:
            return
        self.epoch = world.sets.above(self.chain)
        try:
            self._open_store()
            assert self.store is not None
            memory = self.store.enter(self.epoch.table.epoch, self.epoch.began_ms)
        except PowerCut:
            self._power_off()
            world.restart_later(self)
            return
        except StorageError as error:
            self.halted = str(error)
            self._power_off()
            world.unusable(self, error)
            return
        self.core = self.core_kind()(
            Settings(
                self.seat,
                world.scenario.block_interval_ms,
                world.scenario.delta_ms,
                world.scenario.standstill_ms,
                world.scenario.clock_drift_ms,
                self.epoch.boundary,
                self.lead if self.seat is None else None,
            ),
            self.epoch.table,
            self.epoch.schedule,
            world.scheme,
            point,
        )
        world.note(self.index, "start", self.epoch.table.epoch, self.core.final.height)
        self._handle(Start(self.now_ms(), memory))
        for sender, message in self.early.take():
            self.receive(int.from_bytes(sender, "big"), message)

    def _open_store(self) -> None:
        """The record of the key that the epoch's table has of this validator; another key's is left as it is."""
        key = self.key if self.seat is None else self.epoch.table.key(self.seat)
        if self.store is not None and key == self.key:
            return
        world, self.key = self.world, key
        files = self.disk.folder("" if key == world.keys[self.validator] else key.hex()[:8])
        if files.read(FILE_NAME, 0) is None:
            self.store = world.store_class.create(files, CHAIN_ID, key, world.random.randbytes)
        else:
            self.store = world.store_class.open(files, CHAIN_ID, key)

    def core_kind(self) -> type[Core]:
        return self.world.core_class

    def _turn(self) -> None:
        """The epoch is over here: the next one has a core of its own."""
        self.world.note(self.index, "epoch over", self.epoch.table.epoch)
        self.world.retire(self)
        self.previous = self.core
        self._begin()

    def crash(self) -> None:
        """The power goes."""
        if not self.up:
            return
        self.world.note(self.index, "crash", self.core.view if self.core is not None else -1)
        self.world.network.faults["crash"] += 1
        self.world.retire(self)
        self._power_off()

    def _power_off(self) -> None:
        self.up = False
        self.core, self.store = None, None
        self._effects.clear()
        self._busy = False
        self.incarnation += 1
        self.disk.power_off()

    def while_up(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something after a while, unless the process has ended meanwhile."""
        self.world.clock.after(delay_ms, self._if_up, self.life, action)

    def _if_up(self, life: int, action: Callable[[], None]) -> None:
        if self.up and life == self.life:
            action()

    def _later(self, delay_ms: int, action: Any, *arguments: Any) -> None:
        """Do something after a while, unless the node has crashed meanwhile."""
        self.world.clock.after(delay_ms, self._if_same, self.incarnation, action, arguments)

    def _if_same(self, incarnation: int, action: Any, arguments: tuple[Any, ...]) -> None:
        if incarnation == self.incarnation and self.core is not None:
            action(*arguments)

    # -- messages in

    def receive(self, sender: int, message: Any) -> None:
        """A message from a peer: verified, then given to the core, as a driver does it."""
        if not self.up:
            return
        try:
            self._receive(sender, message)
        except ProtocolError as error:
            self.world.refused(self.index, sender, message, error)

    def _receive(self, sender: int, message: Any) -> None:
        match message:
            case HeadTold():
                self.sync.told(sender, message)
            case BlocksWanted():
                self.sync.wanted(sender, message)
            case BlocksGiven():
                self.sync.given(sender, message)
            case EvidenceGiven(data):
                self._take_evidence(data)
            case TransactionGiven(encoded):
                if self.errands is not None:
                    self.errands.take_transaction(sender, encoded)
            case _ if self.core is not None:
                self._hear(sender, message)

    # -- sync

    def commit_range(self, blocks: tuple[Block, ...], proof: FinalityProof) -> None:
        """Sync has verified a range: commit it, and go on above it."""
        try:
            count = self.chain.commit_range(blocks, proof)
        except PowerCut:
            self.crash()
            self.world.restart_later(self)
            return
        except DivergedError as error:
            self._stop_for_good(str(error))
            return
        if not count:
            return
        self._committed(count, proof)
        if self.core is None:
            self._begin()
        elif self.world.sets.above(self.chain).table.epoch != self.epoch.table.epoch:
            self._turn()
        else:
            point = self.chain.head()
            if point is not None:
                self._handle(Synced(self.now_ms(), point))

    def _committed(self, count: int, proof: FinalityProof) -> None:
        self.world.committed(self, count, proof)
        self.sync.head_moved()

    def _stop_for_good(self, report: str) -> None:
        self.halted = report
        self.world.halted(self, report)
        self.crash()

    # -- effects out

    def _handle(self, event: Event) -> None:
        assert self.core is not None
        world = self.world
        world.events += 1
        effects = self.core.handle(event)
        world.note(self.index, type(event).__name__, self.core.view, len(effects))
        self._effects.extend(effects)
        self._run()

    def _run(self) -> None:
        """Carry out effects in order; one that needs the disk makes the rest wait."""
        while self._effects and not self._busy:
            effect = self._effects.popleft()
            try:
                synced = self._do(effect)
            except PowerCut:
                self.crash()
                self.world.restart_later(self)
                return
            except DivergedError as error:
                self._stop_for_good(str(error))
                return
            if synced is not None:
                self._busy = True
                self._later(self.world.random.randint(0, self.world.scenario.disk_ms), self._resume, synced)
        if not self._effects and not self._busy and self.core is not None and self.core.over:
            self._turn()

    def _resume(self, synced: Callable[[], None]) -> None:
        self._busy = False
        synced()
        self._run()

    def _do(self, effect: Effect) -> Callable[[], None] | None:
        """Carry out one effect. Returns what follows once the disk has synced; None when the disk is not waited for."""
        world, random = self.world, self.world.random
        assert self.core is not None
        assert self.store is not None
        match effect:
            case Keep(candidate, block):
                self.store.keep(candidate, block)
            case Cast():
                if self._recorded(effect):
                    vote = effect.signed(self.sign(effect.message(CHAIN_ID)))
                    return lambda: self._speak(vote)
            case Propose():
                if self._recorded(effect):
                    return lambda: self._offer(effect)
            case Broadcast(message):
                self.broadcast(message)
            case Build():
                self._later(random.randint(0, world.scenario.execution_ms), self._build, effect)
            case Check(candidate, block):
                self._later(random.randint(0, world.scenario.execution_ms), self._check, candidate, block)
            case Fetch(candidate_id):
                self.send(self._somebody(), CandidateWanted(candidate_id))
            case FetchCertificates(first, last):
                self.send(self._somebody(), CertificatesWanted(self.epoch.table.epoch, first, last))
            case Behind():
                world.network.faults["behind"] += 1
                self.sync.step()
            case Commit(chain, proof, _, prune_below):
                count = self.chain.commit([final.block for final in chain], proof)
                if count:  # else block sync was faster
                    self._committed(count, proof)
                self.store.raise_floor(self.core.table.epoch, prune_below)
                return lambda: None
            case SetTimer(at_ms):
                self._timer += 1
                self._later(max(0, at_ms - self.now_ms()), self._tick, self._timer)
            case Charge(peer, reason):
                world.charged(self, str(peer), reason)
            case Accuse(evidence):
                self._accuse(evidence)
            case Halt(report):
                self._stop_for_good(report)
        return None

    def _recorded(self, effect: Cast | Propose) -> bool:
        """R9: on disk before it leaves."""
        assert self.store is not None
        try:
            if isinstance(effect, Cast):
                self.store.record(effect)
            else:
                self.store.record_proposal(effect)
        except SafetyError as error:
            self.world.store_refused(self, error)
            return False
        return True

    def _offer(self, propose: Propose) -> None:
        signature = self.sign(propose.vote.message(CHAIN_ID))
        self.broadcast(propose.proposal(signature))
        self._speak(propose.vote.signed(signature))

    def _speak(self, vote: Vote) -> None:
        """Send an own vote, and count it. A worker has none beside its proposal."""
        if self.seat is not None:
            self.broadcast(vote)
        self._handle(VoteReceived(self.now_ms(), None, vote))

    def _build(self, order: Build, salt: int = 0) -> None:
        core = self.core
        assert core is not None
        block = self.chain.build(order, self.address, lambda: unfinal_up_to(core, order.parent_id), salt)
        self._handle(BlockBuilt(self.now_ms(), order.view, block))

    def _check(self, candidate: Candidate, block: Block) -> None:
        """Answer once the block could be judged. Until then ask again, and no more once a later view is final."""
        core = self.core
        assert core is not None
        if core.final.view >= candidate.view:
            return
        checked = self._judge(candidate, block)
        if checked is not None:
            self._handle(BlockChecked(self.now_ms(), candidate.id, checked.fault))
            return
        self._later(CHECK_AGAIN_MS, self._check, candidate, block)

    def _judge(self, candidate: Candidate, block: Block) -> Checked | None:
        core = self.core
        assert core is not None
        return self.chain.judge(candidate, block, lambda: unfinal_up_to(core, Hash(candidate.parent_id)))

    def _tick(self, timer: int) -> None:
        if timer == self._timer:
            self._handle(Tick(self.now_ms()))

    # -- the outside

    def sign(self, message: bytes) -> Any:
        return self.world.scheme.sign(self.world.sets.secret_of(self), message)

    def broadcast(self, message: Any) -> None:
        self.world.spoken(self, message)
        self.world.network.broadcast(self.index, message)

    def send(self, receiver: int, message: Any) -> None:
        self.world.told(self, message)
        self.world.network.send(self.index, receiver, message)

    def _somebody(self) -> int:
        """A random peer."""
        drawn = self.world.random.randrange(self.world.network.size - 1)
        return drawn if drawn < self.index else drawn + 1
