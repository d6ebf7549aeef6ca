"""Puts a node together and takes it apart: opens what is on disk, wires the rooms, starts in order, stops in reverse.

Holds no rule. What fails at start is a typed error that names the file or the address; what fails later stops the node.
"""

import asyncio
import contextlib
import dataclasses
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from consensus.stake import events as ev
from consensus.stake.core import Core
from consensus.stake.events import FinalPoint
from consensus.stake.knowledge import Settings
from consensus.stake.scheme import BlsScheme
from datalayer.remote import RemoteStore
from datalayer.store import ContentStore
from node import file_limit, snapshot_sync
from node import keys as node_keys
from node.application import ChainApplication
from node.backend import NodeBackend
from node.clock_watch import ClockWatch
from node.config import Config
from node.content_house import ContentHouse
from node.disputes import DisputeFolder
from node.driver import Driver, now_ms
from node.epochs import EpochView
from node.evidence import EvidencePool
from node.fetching import ContentFetcher
from node.fingerprints import Fingerprints
from node.hearing import Heard, listen
from node.listening import ListenError, host_config, rpc_config
from node.metrics import Metrics, ProcessNumbers
from node.peers import PeerHandler
from node.questions import PeerQuestions
from node.relaying import Relay
from node.reporting import Reporter
from node.safety_files import DiskFiles
from node.safety_store import FILE_NAME, SafetyStore
from node.session_orders import load_key
from node.snapshot_serving import SnapshotShelf
from node.storage import StorageKeeper, StoragePolicy, say_migration
from node.syncing import Syncer, is_old
from node.tasks import Tasks
from node.upgrading import UpgradeWatch
from node.verification import BatchVerifier
from node.version import version
from node.waiting import WaitingTransactions
from node.work.part import WorkPart
from omnitensor.protocol import limits
from omnitensor.protocol.disk import told
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.limits import MIB
from omnitensor.protocol.types import View
from p2p.host import Host
from p2p.interface import Charge, Verdict
from p2p.messages import StatusUpdate
from rpc.feed import BlockFeed
from rpc.server import RpcServer
from state.chain import Chain
from state.genesis import Genesis
from state.ledger import worker_sets
from state.mempool import Mempool

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
CRYPTO_THREADS: Final = 2
READ_THREADS: Final = 2
EXPIRE_SECONDS: Final = 600
DAY_MS: Final = 86_400_000
EVIDENCE_SECONDS: Final = 1.0
EVIDENCE_REPEAT_SECONDS: Final = 30.0
"""Evidence that is not on chain yet is told to peers again after so long: they may have been away."""
EVIDENCE_TASKS_MAX: Final = 64

log = structlog.get_logger("node")


class Node:
    """One running node. ``start`` once, ``stop`` once."""

    def __init__(self, config: Config) -> None:
        """Opens keys, chain, content and safety store. Raises a typed error naming what is missing, damaged or in use."""
        self.config: Final = config
        self.keys: Final = node_keys.load(config.keys_path)
        reporter_key = self._reporter_key()
        genesis = Genesis.load(config.genesis_path)
        with contextlib.ExitStack() as opened:
            chain = Chain.open(config.chain_path, genesis, say_migration)
            opened.callback(chain.close)
            self._upgrade: Final = UpgradeWatch(chain.reader)
            self._safety: Final = self._open_safety(chain)
            if self._safety is not None:
                opened.callback(self._safety.close)
            self._content: Final = ContentStore(
                config.content_path,
                config.content_quota_mib * MIB,
                unreferenced_ms=config.content_upload_hours * 3_600_000,
            )
            opened.callback(self._content.close)
            self._wire(chain, reporter_key)
            opened.pop_all()

    def _open_safety(self, chain: Chain) -> SafetyStore | None:
        """The record of this node's key, which may lead in a later epoch; None for a node that only follows.

        Raises StorageError where it is missing and the key votes or leads now.
        """
        if not self.config.validator_enabled:
            return None
        present = (self.config.safety_path / FILE_NAME).exists()
        key = self.keys.consensus_public
        if not present and not worker_sets.may_lead_with(chain.reader(), chain.epoch, key):
            log.warning("there is no safety store: this node follows, and can't become a validator or lead")
            return None
        return SafetyStore.open(DiskFiles(self.config.safety_path), chain.chain_id, key)

    def _reporter_key(self) -> SigningKey | None:
        """The key to report with, where one is named. Relative paths are below the node's folder."""
        named = self.config.evidence_reporter_key_file
        return load_key(self.config.home / named) if named else None

    def _wire(self, chain: Chain, reporter_key: SigningKey | None) -> None:
        config = self.config
        self.metrics = Metrics()
        self.metrics.registry.register(ProcessNumbers())
        self._disk = ThreadPoolExecutor(2, thread_name_prefix="content")
        # A round reads half a gigabyte, and may send another to an object store that is slow.
        self._keeping = ThreadPoolExecutor(1, thread_name_prefix="keeping")
        self._crypto = ThreadPoolExecutor(CRYPTO_THREADS, thread_name_prefix="crypto")
        self._reads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="reads")
        self._feed = BlockFeed()
        self._votes = BatchVerifier(self._crypto)
        self.application = ChainApplication(
            chain,
            WaitingTransactions(Mempool(chain.reader(), chain.chain_id, chain.signatures)),
            self._feed,
            self.keys,
            None if self._safety is None else self.keys.consensus_public,
            self._crypto,
            self.metrics,
            DisputeFolder(config.disputes_path, chain.chain_id, chain.genesis_hash),
            self._head_moved,
        )
        self._storage = StorageKeeper(
            self.application,
            chain.genesis_hash,
            StoragePolicy(
                config.snapshots_path,
                config.snapshots_every,
                config.snapshots_keep,
                config.storage_mode == "prune",
                config.storage_keep_blocks,
            ),
        )
        self._shelf = SnapshotShelf(config.snapshots_path)
        self._handler = PeerHandler(
            self.application,
            self._votes,
            self._crypto,
            self._disk,
            self._reads,
            self._content,
            self._shelf,
            self.metrics,
            self._final_view,
        )
        self.network = Host(
            self.keys.identity, chain.chain_id, chain.genesis_hash, self._handler, host_config(config)
        )
        self.metrics.add_numbers("p2p", self.network.metrics)
        self._sync = Syncer(self.network, self.application, self._crypto, self._synced)
        self._handler.sync = self._sync
        self._questions = PeerQuestions(self.network, self._crypto, self._sync.wake)
        self._handler.on_ahead = self._questions.ask_for_the_end
        self._evidence = EvidencePool(
            config.evidence_path, chain.chain_id, chain.reader, self._crypto, self._disk
        )
        self._handler.evidence = self._evidence
        self._handler.announce = self.network.broadcast
        self._accusing = Tasks("evidence", EVIDENCE_TASKS_MAX)
        remote = RemoteStore(config.content_remote) if config.content_remote else None
        fingerprints = Fingerprints(self._content)
        self._house = ContentHouse(self._content, fingerprints, remote, config.content_keep_days * DAY_MS)
        self.metrics.add_numbers("content", self._house.numbers)
        self._fetcher = ContentFetcher(self.network, self._content, self._disk, self.metrics, remote)
        self._clock = ClockWatch(self.network.peers, lambda: chain.params.clock_drift_ms)
        self.driver: Driver | None = None
        self._backend = NodeBackend(
            config,
            version(),
            self.application,
            self.network,
            self._content,
            fingerprints,
            self._disk,
            self._fetcher,
            self._house,
            self._sync,
            lambda: self.driver,
            self._feed,
            self.metrics,
            self._evidence.held,
            self._clock,
        )
        self._handler.relay = Relay(self._fetcher, self._backend.named).asked
        self._reporter: Reporter | None = None
        if reporter_key is not None:
            self._reporter = Reporter(
                reporter_key,
                chain.chain_id,
                self.network.peer_id,
                chain.reader,
                self.application.waiting.next_nonce,
                self._backend.submit,
            )
        self._work = WorkPart(
            config,
            self.keys,
            self.application,
            self._content,
            self._disk,
            self._fetcher,
            self.metrics,
            self._backend.submit,
        )
        self._rpc = RpcServer(self._backend, rpc_config(config), observe=self._count_call)
        self._tasks: list[asyncio.Task[None]] = []
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None
        self._caught_up = asyncio.Event()
        self._telling: asyncio.TimerHandle | None = None

    def _count_call(self, method: str, outcome: str) -> None:
        self.metrics.rpc_calls.labels(method, outcome).inc()

    # -- starting and stopping

    async def start(self) -> None:
        """RPC first, so that an operator can ask how far the node is; then peers, sync and consensus."""
        try:
            await self._rpc.start()
        except OSError as error:
            raise ListenError(
                f"JSON-RPC can't listen there: {error.strerror}",
                value=self.config.rpc_listen,
                remedy="stop what uses this port, or choose another with --rpc-listen",
            ) from error
        await self.network.start()
        for name, work in (
            ("sync", self._sync.run()),
            ("consensus", self._consensus()),
            ("housekeeping", self._housekeeping()),
            ("evidence", self._look_after_evidence()),
            ("storage", self._storage.run()),
            ("upgrade", self._upgrade.run()),
            ("clock", self._clock.run()),
            ("work", self._work.run()),
        ):
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(self._task_ended)
            self._tasks.append(task)
        head = self.application.reader().head
        log.info(
            "started",
            chain=self.application.chain.chain_id,
            height=head.height,
            epoch=self.application.epoch.number,
            validator=self.application.epoch.me is not None,
            rpc=str(self.config.rpc_listen),
            p2p=f"{self.config.p2p_listen.host}:{self.network.listen_port}",
            identity=self.keys.identity.public.hex(),
        )

    async def stop(self) -> None:
        """In reverse, and whatever fails on the way, the database is closed at the end."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._content.close)
            if self._safety is not None:
                stack.callback(self._safety.close)
            stack.push_async_callback(self.application.close)
            stack.callback(self._shelf.close)
            # Nobody may still read when the database is closed.
            for threads in (self._crypto, self._disk, self._keeping, self._reads):
                stack.callback(threads.shutdown, wait=True, cancel_futures=True)
            stack.callback(self._work.close)
            for part in (self._storage, self._votes, self._fetcher):
                stack.push_async_callback(part.stop)
            stack.push_async_callback(self._stop_tasks)
            for other in (self._accusing, self._questions, self.network, self._rpc):
                stack.push_async_callback(other.stop)
        log.info("stopped")

    async def _stop_tasks(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        """A part of the node that ends by itself takes the node with it, unless consensus halted: then it goes on serving."""
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        self.failure = self.failure or error
        self.failed.set()
        # A typed error says all there is to say; anything else is a bug, and its traceback is wanted.
        traceback = None if isinstance(error, ProtocolError) else error
        log.error("a part of the node failed", part=task.get_name(), error=str(error), exc_info=traceback)

    # -- the parts

    async def _consensus(self) -> None:
        """One core an epoch, from the head on, until one halts; in the middle of a sync once the head has its own proof."""
        await self._listen()
        while self.driver is None or self.driver.halted is None:
            epoch, point = self.application.standing()
            if point is None:
                self._caught_up.clear()
                await self._caught_up.wait()
                continue
            log.info(
                "epoch",
                number=epoch.number,
                validators=len(epoch.table),
                validator=epoch.me is not None,
                workers=len(epoch.schedule.workers),
                leads=epoch.lead is not None,
            )
            driver = self._driver_of(epoch, point)
            if self.driver is not None:
                self._handler.previous = self.driver.core
            self.driver = self._handler.driver = self._questions.driver = driver
            early = asyncio.create_task(self._hear_early())
            try:
                await driver.run()
            finally:
                early.cancel()

    async def _listen(self) -> None:
        """A validator first hears how far the others are, follows, and lets them go on a little; not for ever."""
        if self._safety is None:
            return
        wanted = -(-2 * len(self.config.p2p_bootstrap) // 3)

        def look() -> Heard:
            height = self.application.reader().head.height
            return Heard(len(self.network.peers()), self._sync.progress.target, height)

        if not await listen(look, wanted, self.application.chain.params.block_interval_ms / 1_000):
            log.warning(
                "signing, though too few peers were heard or they did not go on",
                peers=len(self.network.peers()),
                wanted=wanted,
            )

    async def _hear_early(self) -> None:
        """What came of this epoch before it began here: judged now, passed on or charged."""
        async for peer_id, message, judgement in self._handler.judge_early():
            if judgement is Verdict.RELAY:
                self.network.broadcast(message)
            elif isinstance(judgement, Charge):
                self.network.charge(peer_id, judgement.points, judgement.reason)

    def _driver_of(self, epoch: EpochView, point: FinalPoint) -> Driver:
        core = Core(
            Settings.of(epoch.params, epoch.me, epoch.number, epoch.lead),
            epoch.table,
            epoch.schedule,
            BlsScheme(),
            point,
        )
        return Driver(
            chain_id=self.application.chain.chain_id,
            epoch=epoch,
            core=core,
            safety=None if epoch.lead is None else self._safety,
            keys=self.keys,
            application=self.application,
            network=self.network,
            questions=self._questions,
            metrics=self.metrics,
            accuse=self._accuse,
        )

    def _accuse(self, evidence: Evidence) -> None:
        """What consensus found here: held, and told to all peers."""
        self._accusing.start(self._take_own(evidence))

    async def _take_own(self, evidence: Evidence) -> None:
        if await self._evidence.take(evidence):
            self.network.broadcast(evidence)

    async def _look_after_evidence(self) -> None:
        """Submits what the node holds, where it has a reporter's key; drops what is settled; repeats the rest to peers."""
        await self._evidence.load()
        loop = asyncio.get_running_loop()
        repeat_at = loop.time() + EVIDENCE_REPEAT_SECONDS
        while True:
            await asyncio.sleep(EVIDENCE_SECONDS)
            await self._evidence.forget_settled()
            held = self._evidence.held()
            if self._reporter is not None:
                await self._reporter.step(held)
            if loop.time() >= repeat_at:
                repeat_at = loop.time() + EVIDENCE_REPEAT_SECONDS
                for evidence in held[: limits.evidence_repeats_max]:
                    self.network.broadcast(evidence)

    async def _synced(self) -> None:
        """Sync has committed a range: consensus goes on above it."""
        self._caught_up.set()
        epoch, point = self.application.standing()
        if self.driver is None or self.driver.halted is not None:
            return
        if epoch.number != self.driver.epoch.number:
            self.driver.leave()
        elif point is not None:
            self.driver.post(ev.Synced(now_ms(), point))

    def _head_moved(self) -> None:
        """Tells the peers soon; the sync hears of it when it looks."""
        self._storage.head_moved(syncing=self._sync.syncing and is_old(self.application.reader()))
        self._upgrade.head_moved()
        if self._telling is None:
            loop = asyncio.get_running_loop()
            self._telling = loop.call_later(limits.status_pause_ms_min / 1_000, self._tell_head)

    def _tell_head(self) -> None:
        """Not of every block: in a sync there are hundreds a second, and peers charge for more than they can use."""
        self._telling = None
        head = self._handler.head()
        self.network.broadcast_status(StatusUpdate(head.height, head.hash, head.view))

    def _final_view(self) -> View:
        proof = self.application.reader().head.proof
        return View(0) if proof is None else proof.candidate.view

    async def _housekeeping(self) -> None:
        """Keeps the house of contributed content."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(EXPIRE_SECONDS)
            reader = self.application.reader()
            try:
                done = await loop.run_in_executor(self._keeping, self._house.round, reader)
            except (StorageError, OSError) as error:
                log.error("content can't be put in order", error=told(error, self.config.content_path))
                continue
            if any(dataclasses.astuple(done)):
                log.info("content put in order", **dataclasses.asdict(done))


async def run(config: Config) -> int:
    """Runs a node until SIGTERM or Ctrl-C: 0; or until a part of it fails: raises the typed error, or is 1 after a bug."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    file_limit.provide(config)
    if config.sync_snapshot and not await snapshot_sync.begin_or_stop(config, stop):
        return EXIT_OK
    node = Node(config)
    try:
        await node.start()
        waits = [asyncio.create_task(event.wait()) for event in (stop, node.failed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
    finally:
        await node.stop()
    if isinstance(node.failure, ProtocolError):
        raise node.failure
    return EXIT_OK if node.failure is None else EXIT_FAILED
