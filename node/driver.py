"""Drives the stake core of an epoch: feeds it events one at a time and carries out its effects in order.

The order is the durability contract (``consensus.stake.effects``): each effect is finished before the next begins, and answers
come back as events. Holds no rule of consensus; the core holds no clock, key, disk or socket.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from consensus.stake import effects as fx
from consensus.stake import events as ev
from consensus.stake.core import Core
from consensus.stake.safety import SafetyError, SafetyMemory
from node.epochs import EpochView
from node.keys import NodeKeys
from node.metrics import Metrics
from node.safety_store import SILENT, SafetyStore
from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.types import Hash
from omnitensor.protocol.votes import Candidate, Vote
from p2p.interface import Network
from p2p.messages import PeerId

CHARGE_POINTS: Final = 20
NOTHING_SIGNED: Final = SafetyMemory()


CHECK_AGAIN_SECONDS: Final = 0.5
"""How long a block that can't be judged now waits for its next turn."""

Below = Callable[[], Sequence[Block]]
"""The unfinal blocks under a block as consensus has them, oldest first; asked for only where the chain has forgotten some."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A block was judged. ``fault``: why it is invalid, the same on every node; None when it is valid and was executed here."""

    fault: str | None


class Application(Protocol):
    """What the driver asks of the chain. Whatever fails here without being the block's fault is raised, and stops the node."""

    async def build(self, build: fx.Build, below: Below) -> Block | None:
        """A block on a parent; None when none can be built there now."""
        ...

    async def check(self, candidate: Candidate, block: Block, below: Below) -> Checked | None:
        """The verdict on a block; None when it can't be judged now, which says nothing of the block."""
        ...

    async def commit(self, commit: fx.Commit) -> None:
        """Makes blocks final, on disk when this returns."""
        ...

    async def save_dispute(self, disputed: fx.Disputed) -> str:
        """Saves what helps to find out why a block is invalid here; a sentence that says where."""
        ...


class Questions(Protocol):
    """What the driver asks of peers; the answers are posted as events when they come."""

    def fetch_candidate(self, fetch: fx.Fetch) -> None: ...

    def fetch_certificates(self, fetch: fx.FetchCertificates) -> None: ...

    def behind(self, behind: fx.Behind) -> None: ...


class Driver:
    """One core and everything it asks for. Lives on the event loop; ``run`` ends with the epoch, or when the core halts."""

    def __init__(
        self,
        *,
        chain_id: str,
        epoch: EpochView,
        core: Core,
        safety: SafetyStore | None,
        keys: NodeKeys,
        application: Application,
        network: Network,
        questions: Questions,
        metrics: Metrics,
        accuse: Callable[[Evidence], None],
    ) -> None:
        """``safety`` is None for an observer, which casts no votes. ``accuse`` is given evidence that the core found."""
        self._chain_id = chain_id
        self.epoch: Final = epoch
        self._left = False
        self._ended = False
        self._core = core
        self._safety = safety
        self._keys = keys
        self._application = application
        self._network = network
        self._questions = questions
        self._metrics = metrics
        self._accuse = accuse
        self._events: asyncio.Queue[tuple[ev.Event, bool]] = asyncio.Queue()
        self._room = asyncio.Semaphore(limits.driver_events_max)
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="safety")
        self._failure: BaseException | None = None
        self._log = structlog.get_logger("consensus")
        self.halted: str | None = None

    @property
    def core(self) -> Core:
        return self._core

    def post(self, event: ev.Event) -> None:
        """Hands the core an event of this node's own making."""
        self._events.put_nowait((event, False))

    async def submit(self, event: ev.Event) -> None:
        """Hands the core what a peer sent; waits while the core has too much to do, which slows the peer down."""
        if self._ended:
            return
        await self._room.acquire()
        # Time may have passed meanwhile: the core's clock is that of the queue.
        self._events.put_nowait((replace(event, now_ms=now_ms()), True))

    def leave(self) -> None:
        """Sync has brought the chain into a later epoch: this core has nothing more to do."""
        self._left = True
        self.post(ev.Tick(now_ms()))

    async def run(self) -> None:
        """Starts the core and goes on until its epoch is over, it halts (then ``halted`` says why) or the task is cancelled."""
        try:
            # Peers may have been heard already: what they said waits in the queue until the core has begun.
            memory = await self._memory()
            begun_ms, early = now_ms(), self._events.qsize()
            await self._give(ev.Start(begun_ms, memory))
            while self.halted is None and not self._left and not self._core.over:
                event, from_peer = await self._events.get()
                if from_peer:
                    self._room.release()
                if self._failure is not None:
                    raise self._failure
                if early:  # it waited for the core to begin, whose time is not before that
                    early -= 1
                    event = replace(event, now_ms=max(event.now_ms, begun_ms))
                await self._give(event)
        finally:
            self._stop()

    async def _give(self, event: ev.Event) -> None:
        for effect in self._core.handle(event):
            await self._carry_out(effect)
            if isinstance(effect, fx.Halt):
                return
        self._metrics.view.set(self._core.view)

    async def _memory(self) -> SafetyMemory:
        """R9: what was signed in this epoch; entering it is on disk before anything is signed in it."""
        store, epoch = self._safety, self.epoch
        if store is None:
            return NOTHING_SIGNED
        memory = await asyncio.get_running_loop().run_in_executor(
            self._disk, store.enter, epoch.number, epoch.began_ms
        )
        if memory is SILENT:
            self._log.warning(
                "signing nothing in this epoch: the safety store does not cover it",
                epoch=epoch.number,
                store_epoch=store.epoch,
            )
        return memory

    def _stop(self) -> None:
        self._ended = True
        for _ in range(limits.driver_events_max):
            self._room.release()  # whoever waits to be heard need not wait any more
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._disk.shutdown(wait=True)

    async def _carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Keep(candidate, block):
                await self._on_disk(lambda store: store.keep(candidate, block))
            case fx.Cast():
                await self._cast(effect)
            case fx.Propose():
                await self._propose(effect)
            case fx.Broadcast(message):
                self._network.broadcast(message)
            case fx.Build():
                self._start(self._build(effect))
            case fx.Check(candidate, block):
                self._start(self._check(candidate, block))
            case fx.Fetch():
                self._questions.fetch_candidate(effect)
            case fx.FetchCertificates():
                self._questions.fetch_certificates(effect)
            case fx.Behind():
                self._questions.behind(effect)
            case fx.Commit():
                await self._application.commit(effect)
                await self._on_disk(lambda store: store.raise_floor(self.epoch.number, effect.prune_below))
            case fx.SetTimer(at_ms):
                self._set_timer(at_ms)
            case fx.Charge(peer, reason):
                self._charge(peer, reason)
            case fx.Accuse(evidence):
                self._metrics.evidence.labels(type(evidence).__name__).inc()
                self._accuse(evidence)
            case fx.Halt(report, disputed):
                self.halted = report
                if disputed is not None:
                    self.halted = f"{report}. {await self._application.save_dispute(disputed)}"
                self._log.error("halted", report=self.halted)

    async def _cast(self, cast: fx.Cast) -> Vote | None:
        """R9: on disk, then signed, then sent, then counted."""
        if not await self._on_disk(lambda store: store.record(cast)):
            return None
        vote = cast.signed(self._keys.sign(cast.message(self._chain_id)))
        self._metrics.votes.labels(vote.kind.name.lower()).inc()
        self._network.broadcast(vote)
        self.post(ev.VoteReceived(now_ms(), None, vote))
        return vote

    async def _propose(self, propose: fx.Propose) -> None:
        """R2: the proposal is on disk before it leaves, and after a restart it is never made anew."""
        if not await self._on_disk(lambda store: store.record_proposal(propose)):
            return
        signature = self._keys.sign(propose.vote.message(self._chain_id))
        proposal = propose.proposal(signature)
        self._network.broadcast(proposal)
        if propose.vote.signer < len(self.epoch.table):  # a worker has no vote beside its proposal
            self._network.broadcast(proposal.leader_vote)
        self._metrics.votes.labels("notarize").inc()
        self.post(ev.VoteReceived(now_ms(), None, proposal.leader_vote))

    async def _on_disk(self, work: Callable[[SafetyStore], None]) -> bool:
        """Runs work on the safety store; False when it refuses a vote. A disk that fails stops the node."""
        store = self._safety
        if store is None:
            return False
        try:
            await asyncio.get_running_loop().run_in_executor(self._disk, work, store)
        except SafetyError as error:
            self._log.error("refused to sign", reason=str(error))
            return False
        return True

    def _start(self, work: Awaitable[None]) -> None:
        """Runs what takes a while beside the core; its answer comes back as an event, its failure stops the driver."""

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._failure = error
                self.post(ev.Tick(now_ms()))

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _build(self, build: fx.Build) -> None:
        block = await self._application.build(build, lambda: unfinal_up_to(self._core, build.parent_id))
        self.post(ev.BlockBuilt(now_ms(), build.view, block))

    async def _check(self, candidate: Candidate, block: Block) -> None:
        """Answers once the block could be judged. Until then it asks again, and no more once a later view is final."""
        while self._core.final.view < candidate.view:
            checked = await self._application.check(
                candidate, block, lambda: unfinal_up_to(self._core, Hash(candidate.parent_id))
            )
            if checked is not None:
                self.post(ev.BlockChecked(now_ms(), candidate.id, checked.fault))
                return
            await asyncio.sleep(CHECK_AGAIN_SECONDS)

    def _set_timer(self, at_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0, at_ms - now_ms()) / 1000
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self.post(ev.Tick(now_ms()))

    def _charge(self, peer: ev.Peer, reason: str) -> None:
        # One label for all: a reason names views and values, and a label for each would fill the memory.
        self._metrics.charges.labels("consensus").inc()
        if isinstance(peer, bytes):
            self._network.charge(PeerId(peer), CHARGE_POINTS, reason)


def unfinal_up_to(core: Core, candidate_id: Hash) -> tuple[Block, ...]:
    """The block of a candidate and those below it that are not final, as the core has them, oldest first."""
    blocks: list[Block] = []
    while (kept := core.find(candidate_id)) and kept.candidate.view > core.final.view:
        if kept.block is not None:
            blocks.append(kept.block)
        candidate_id = Hash(kept.candidate.parent_id)
    return tuple(reversed(blocks))


def now_ms() -> int:
    """Milliseconds since the Unix epoch: the clock that timestamps are held against."""
    return time.time_ns() // 1_000_000
