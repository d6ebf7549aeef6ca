"""Begins an empty node with the newest snapshot that its peers give: from several of them, chunk by chunk, each verified alone.

Runs before the node does, with a network of its own. The header is believed by the light client's steps alone (``trust``); a peer
that sends what is not so is charged and asked no more. What a kill interrupts goes on.
"""

import asyncio
import time
from collections import Counter
from typing import Final

import structlog

from node import keys as node_keys
from node import snapshot_work, trust
from node.beginning import Stage, serving
from node.config import Config
from node.snapshot_chunks import Chunks, Offer
from node.snapshot_part import Part, begun, discard_all
from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Epoch, Hash, Height, View
from p2p.config import HostConfig, parse_seed
from p2p.errors import AskError
from p2p.host import Host
from p2p.interface import Charge, Head, Judgement, PeerInfo, Verdict
from p2p.messages import (
    BlocksRequest,
    BlocksResponse,
    Gossip,
    PeerId,
    Request,
    Response,
    SnapshotOffer,
    SnapshotQuery,
    StatusUpdate,
    StepsRequest,
    StepsResponse,
)
from state.chain import Chain
from state.genesis import Genesis
from state.snapshots.files import read_step
from state.snapshots.loading import checked_block
from state.snapshots.manifest import Manifest, SnapshotError, manifest_id, read_manifest

OFFER_SECONDS: Final = 60.0
"""How long to wait for a snapshot that can be believed before the node begins with blocks after all."""
GATHER_SECONDS: Final = 2.0
"""How long to go on hearing offers after the first."""
PAUSE_SECONDS: Final = 0.5
LIAR_POINTS: Final = limits.peer_charge_points_max
STRIKES_MAX: Final = 3
"""Times that a peer may owe what it has offered before it is asked no more."""

log = structlog.get_logger("snapshot")


async def begin_or_stop(config: Config, stop: asyncio.Event) -> bool:
    """``begin``; False where the node is stopped meanwhile. What is here already is gone on with another time."""
    work, waiting = asyncio.create_task(begin(config)), asyncio.create_task(stop.wait())
    await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if stop.is_set():
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return False
    work.result()
    return True


async def begin(config: Config) -> bool:
    """Whether the node's chain, which was empty, now begins with a snapshot. Raises StorageError where the disk can't take it."""
    genesis = Genesis.load(config.genesis_path)
    if not _is_empty(config, genesis):
        return False
    checkpoint = trust.parse_checkpoint(config.sync_checkpoint)
    handler = _Listener(genesis)
    network = Host(
        node_keys.load(config.keys_path).identity,
        genesis.chain_id,
        genesis.hash,
        handler,
        HostConfig(
            listen=(config.p2p_listen.host, config.p2p_listen.port),
            persistent=tuple(parse_seed(text) for text in config.p2p_bootstrap),
            node_name=config.node_name,
            address_book=config.home / "peers.json",
        ),
    )
    stage = Stage()
    await network.start()
    try:
        async with serving(config, genesis, network, stage):
            return await SnapshotFetch(network, config, genesis, checkpoint, stage).run()
    finally:
        await network.stop()


def _is_empty(config: Config, genesis: Genesis) -> bool:
    if not config.chain_path.exists():
        return True
    chain = Chain.open(config.chain_path, genesis)
    height = chain.head.height
    chain.close()
    return height == 0


class SnapshotFetch:
    """Hears what peers offer, takes the newest that can be believed, and makes the chain of it."""

    def __init__(
        self,
        network: Host,
        config: Config,
        genesis: Genesis,
        checkpoint: trust.Checkpoint | None,
        stage: Stage,
    ) -> None:
        """``stage`` is told how far it is."""
        self.stage = stage
        self._network = network
        self._config = config
        self._genesis = genesis
        self._checkpoint = checkpoint
        self._asked: set[PeerId] = set()
        self._bad_peers: set[PeerId] = set()
        self._refused: set[Hash] = set()
        self._offers: dict[Hash, Offer] = {}
        self._strikes: Counter[PeerId] = Counter()
        self._dialled: set[PeerId] = set()

    async def run(self) -> bool:
        """Whether the chain is there now; False where for a while nobody gave what could be believed."""
        await self._again()
        loop = asyncio.get_running_loop()
        end, gathered = loop.time() + OFFER_SECONDS, 0.0
        while loop.time() < end:
            await self._hear_offers()
            offer = self._best()
            if offer is not None and not gathered:
                gathered = loop.time() + GATHER_SECONDS
            if offer is None or loop.time() < gathered:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            try:
                await self._take(offer)
                return True
            except (SnapshotError, AskError) as error:
                log.warning("snapshot not taken", height=offer.manifest.height, reason=str(error))
                self.stage.said, self.stage.height = "asking peers for another snapshot", 0
                self._refused.add(manifest_id(offer.encoded))
                if offer.encoded == begun(self._config.snapshots_path) and not offer.peers - offer.guessed:
                    discard_all(self._config.snapshots_path)
                # Whoever dials in with ever new offers does not keep this node from beginning at all.
                if offer.peers & self._dialled:
                    end = loop.time() + OFFER_SECONDS
        log.warning(
            "no peer gave a snapshot that can be believed; beginning with the first block",
            peers=len(self._asked),
        )
        return False

    async def _again(self) -> None:
        """What was under way when this node was last here is looked for first: any peer may still have it."""
        encoded = begun(self._config.snapshots_path)
        if encoded is not None:
            manifest = read_manifest(encoded)
            log.info("going on with a snapshot", height=manifest.height)
            self._offers[manifest_id(encoded)] = Offer(encoded, manifest, set())

    async def _hear_offers(self) -> None:
        peers = self._network.peers()
        self._dialled |= {peer.peer_id for peer in peers if peer.outbound}
        fresh = [peer.peer_id for peer in peers if peer.peer_id not in self._asked]
        self._asked |= set(fresh)
        await asyncio.gather(*(self._hear(peer_id) for peer_id in fresh))

    async def _go_on_hearing(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            await self._hear_offers()

    async def _hear(self, peer_id: PeerId) -> None:
        try:
            answer = await self._network.ask(peer_id, SnapshotQuery())
        except AskError:
            return
        except asyncio.CancelledError:
            self._asked.discard(peer_id)
            raise
        assert isinstance(answer, SnapshotOffer), "the connection lets no other kind through"
        try:
            manifest = await asyncio.to_thread(read_manifest, answer.manifest)
        except SnapshotError as error:
            self.blame(peer_id, str(error))
            return
        offer = self._offers.setdefault(manifest_id(answer.manifest), Offer(answer.manifest, manifest, set()))
        offer.peers.add(peer_id)
        for other in self._offers.values():
            if other is not offer and not other.peers - other.guessed:
                other.peers.add(peer_id)
                other.guessed.add(peer_id)

    def _best(self) -> Offer | None:
        """The newest that was not refused; what is under way before others, while somebody may have it.

        And what a peer gives that this node dialled before what only such give as dialled it: an invented one is the newest of
        all, costs half a minute to find out, and identities cost nothing.
        """
        under_way = begun(self._config.snapshots_path)
        able = [
            (
                other.encoded == under_way,
                bool(other.peers & self._dialled - self._bad_peers),
                other.manifest.height,
                digest,
            )
            for digest, other in self._offers.items()
            if digest not in self._refused
            and other.peers - self._bad_peers
            and other.manifest.genesis_hash == self._genesis.hash
            and (self._checkpoint is not None or other.manifest.first_step == 0)
        ]
        return self._offers[max(able)[3]] if able else None

    async def _take(self, offer: Offer) -> None:
        """Raises SnapshotError where it is not what it should be, AskError where nobody gives all of it."""
        manifest, folder = offer.manifest, self._config.snapshots_path
        log.info("fetching a snapshot", height=manifest.height, rows=manifest.rows, peers=len(offer.peers))
        self.stage.said = f"following the validators to the one of height {manifest.height}"
        steps = await self._steps(offer)
        self.stage.height = manifest.height
        part = Part(folder, offer.encoded)
        # Who connects meanwhile may give it, too.
        hearing = asyncio.create_task(self._go_on_hearing())
        try:
            await Chunks(self, part, offer, self._fetched).run()
            block = await self._block(offer)
        except BaseException:
            part.close()
            raise
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        path = part.finish(block, steps, manifest.first_step)
        log.info("snapshot is here", height=manifest.height, bytes=path.stat().st_size)
        began = time.monotonic()
        await asyncio.to_thread(
            snapshot_work.import_from,
            self._config.home,
            path,
            self._config.sync_checkpoint,
            replace=False,
            tell=self._loaded,
        )
        log.info("begun with a snapshot", height=manifest.height, seconds=round(time.monotonic() - began, 1))

    def _fetched(self, done: int, of: int) -> None:
        self.stage.said = f"fetching the one of height {self.stage.height}, {done} of {of} chunks"

    def _loaded(self, done: int, of: int) -> None:
        self.stage.said = f"loading the one of height {self.stage.height}, {done} of {of} chunks"

    async def _steps(self, offer: Offer) -> list[bytes]:
        """All steps up to the snapshot's, followed as they come; all of one peer, so that no other is blamed for them."""
        while True:
            peer_id = self._one_of(offer)
            try:
                return await self._steps_of(peer_id, offer.manifest)
            except AskError as error:
                self.owes(peer_id, str(error))
            except trust.TrustError as error:
                raise trust.too_old(error) from error
            except trust.UntrustedError:
                raise
            except ProtocolError as error:
                self.blame(peer_id, str(error))

    async def _steps_of(self, peer_id: PeerId, manifest: Manifest) -> list[bytes]:
        follower = trust.Follower(self._genesis, self._checkpoint, time.time_ns() // 1_000_000)
        found: list[bytes] = []
        first, last = int(manifest.first_step), manifest.header.epoch
        while first + len(found) <= last:
            count = min(limits.steps_per_message_max, last + 1 - first - len(found))
            answer = await self._network.ask(peer_id, StepsRequest(Epoch(first + len(found)), count))
            assert isinstance(answer, StepsResponse), "the connection lets no other kind through"
            for data in answer.steps[:count]:
                await asyncio.to_thread(follower.take, read_step(data, first + len(found)))
                found.append(data)
        follower.check(manifest)
        return found

    async def _block(self, offer: Offer) -> bytes:
        """The boundary's block; what it holds is checked against the header by the import."""
        while True:
            peer_id = self._one_of(offer)
            try:
                answer = await self._network.ask(peer_id, BlocksRequest(Height(offer.manifest.height), 1))
            except AskError as error:
                self.owes(peer_id, str(error))
                continue
            if not isinstance(answer, BlocksResponse):
                self.owes(peer_id, "has pruned the block of a snapshot that it gives")
                continue
            try:
                return await asyncio.to_thread(checked_block, answer.blocks[0], offer.manifest)
            except ProtocolError as error:
                self.blame(peer_id, str(error))

    # -- peers

    def able(self, offer: Offer) -> list[PeerId]:
        """Those who give a snapshot, are connected, and were not found to lie; the least owing first."""
        connected = {peer.peer_id for peer in self._network.peers()}
        able = (offer.peers & connected) - self._bad_peers
        return sorted(able, key=lambda peer_id: (self._strikes[peer_id], peer_id))

    def _one_of(self, offer: Offer) -> PeerId:
        able = self.able(offer)
        if not able:
            raise AskError("nobody is left who gives this snapshot", value=offer.manifest.height)
        return able[0]

    async def ask(self, peer_id: PeerId, request: Request) -> Response:
        return await self._network.ask(peer_id, request)

    def owes(self, peer_id: PeerId, reason: str) -> None:
        """No lie perhaps, but no answer either."""
        self._strikes[peer_id] += 1
        if self._strikes[peer_id] >= STRIKES_MAX:
            log.info("peer is asked no more", peer=peer_id.hex()[:16], reason=reason)
            self._bad_peers.add(peer_id)

    def blame(self, peer_id: PeerId, reason: str) -> None:
        log.warning("peer sent what is not so", peer=peer_id.hex()[:16], reason=reason)
        self._bad_peers.add(peer_id)
        self._network.charge(peer_id, LIAR_POINTS, f"snapshot: {reason}")


class _Listener:
    """What the network asks of a node that has nothing yet (``p2p.interface.Handler``)."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis

    def head(self) -> Head:
        return Head(Height(0), self._genesis.hash, View(0))

    def has_transaction(self, transaction_id: Hash) -> bool:
        return True  # so that none is asked for

    def transaction(self, transaction_id: Hash) -> bytes | None:
        return None

    async def on_gossip(self, peer_id: PeerId, message: Gossip) -> Judgement:
        return Verdict.LATER

    async def on_transactions(self, peer_id: PeerId, encoded: tuple[bytes, ...]) -> tuple[Judgement, ...]:
        return tuple(Verdict.LATER for _ in encoded)

    async def on_status(self, peer_id: PeerId, status: StatusUpdate) -> None:
        """Of no use here."""

    async def on_request(self, peer_id: PeerId, request: Request) -> Response | Charge | None:
        return None

    async def on_peer_up(self, peer: PeerInfo) -> None:
        log.info("peer up", peer=peer.peer_id.hex()[:16], name=peer.name, height=peer.head.height)

    async def on_peer_down(self, peer_id: PeerId, reason: str) -> None:
        log.info("peer down", peer=peer_id.hex()[:16], reason=reason)
