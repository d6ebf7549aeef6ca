"""Whom to dial and when: persistent and bootstrap addresses with back-off, then the address book. Shakes no hands."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError
from p2p.address_book import AddressBook
from p2p.config import HostConfig, Seed
from p2p.connection import Connection
from p2p.counters import Counters
from p2p.messages import PeerAddress, PeerId
from p2p.peers import is_address
from p2p.streams import Streams, open_streams

log = structlog.get_logger("p2p")

Learn = Callable[[PeerId], None]
Meet = Callable[[Streams, Seed, Learn], Awaitable[Connection]]
"""Makes a peer of a dialled connection, and tells whose identity was proved there; raises HandshakeError."""

_TICK_S: Final = 0.1
_DIALS_AT_ONCE: Final = 8
_ALREADY: Final = frozenset({"duplicate"})
"""Not a failure: the peer is connected, or about to be, the other way round."""


class Backoff:
    """When an address may be dialled again: the wait doubles with every failure, with a jitter of a quarter."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._wait_ms = limits.redial_ms_min
        self.next_ms = 0

    def failed(self, now_ms: int) -> None:
        jitter = 1 + self._rng.uniform(-0.25, 0.25)
        self.next_ms = now_ms + int(self._wait_ms * jitter)
        self._wait_ms = min(2 * self._wait_ms, limits.redial_ms_max)

    def succeeded(self, now_ms: int) -> None:
        self._wait_ms = limits.redial_ms_min
        self.next_ms = now_ms + limits.redial_ms_min


class _Target:
    """A configured address and what is known of it."""

    def __init__(self, seed: Seed, *, persistent: bool, rng: random.Random) -> None:
        self.seed = seed
        self.persistent = persistent
        self.backoff = Backoff(rng)
        self.peer_id = seed.peer_id
        self.ourselves = False


class Dialer:
    """Keeps as many outbound peers as configured."""

    def __init__(
        self,
        config: HostConfig,
        book: AddressBook,
        connections: dict[PeerId, Connection],
        counters: Counters,
        meet: Meet,
        clock: Callable[[], int],
    ) -> None:
        self._config = config
        self._book = book
        self._connections = connections
        self._counters = counters
        self._meet = meet
        self._clock = clock
        self._rng = random.Random()
        self._targets = [_Target(seed, persistent=True, rng=self._rng) for seed in config.persistent]
        self._targets += [_Target(seed, persistent=False, rng=self._rng) for seed in config.bootstrap]
        self._dialling: set[Seed] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Dials until it is cancelled."""
        try:
            while True:
                self._look()
                await asyncio.sleep(_TICK_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def outbound(self) -> int:
        """Outbound peers now."""
        return sum(connection.outbound for connection in self._connections.values())

    def _look(self) -> None:
        now_ms = self._clock()
        for target in self._targets:
            wanted = target.persistent or self.outbound < self._config.peers_outbound_target
            connected = target.peer_id in self._connections
            if connected:
                target.backoff.succeeded(now_ms)
            elif wanted and not target.ourselves and target.backoff.next_ms <= now_ms:
                self._begin(target.seed, target)
        room = self._config.peers_outbound_target - self.outbound - len(self._dialling)
        if self._config.exchange and room > 0 and len(self._book):
            busy = {seed.peer_id for seed in self._dialling if seed.peer_id}
            address = self._book.choose({*self._connections, *busy}, _wall_ms(), self._rng)
            if address is not None:
                self._begin(Seed(address.host, address.port, address.peer_id), None)

    def _begin(self, seed: Seed, target: _Target | None) -> None:
        if seed in self._dialling or len(self._dialling) >= _DIALS_AT_ONCE:
            return
        self._dialling.add(seed)
        task = asyncio.create_task(self._dial(seed, target))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self, seed: Seed, target: _Target | None) -> None:
        def learn(peer_id: PeerId) -> None:
            # Also when no connection comes of it: it may be connected the other way round.
            if target is not None:
                target.peer_id = peer_id

        try:
            connection = await self._meet(await open_streams(seed), seed, learn)
        except ProtocolError as error:
            self._on_failure(seed, target, error)
        except Exception:
            log.exception("dialling failed", address=str(seed))
            if target is not None:
                target.backoff.failed(self._clock())
        else:
            self._on_success(seed, target, connection)
        finally:
            self._dialling.discard(seed)

    def _on_success(self, seed: Seed, target: _Target | None, connection: Connection) -> None:
        if target is not None:
            target.backoff.succeeded(self._clock())
        if is_address(seed.host):
            self._book.good(PeerAddress(connection.peer_id, seed.host, seed.port), _wall_ms())

    def _on_failure(self, seed: Seed, target: _Target | None, error: ProtocolError) -> None:
        self._counters.add("p2p_dials_failed", code=failure_label(error))
        if target is None:
            if seed.peer_id is not None and error.code not in _ALREADY:
                self._book.failed(seed.peer_id, _wall_ms())
            return
        target.backoff.failed(self._clock())
        target.ourselves = error.code == "self_connection"
        if error.code not in _ALREADY:
            level = log.info if error.code == "unreachable" else log.warning
            level(
                "could not connect to a peer", address=str(seed), code=failure_label(error), reason=str(error)
            )


_LABELS: Final = frozenset(
    "unreachable handshake identity wrong_version wrong_chain wrong_genesis self_connection handshake_timeout"
    " frame codec limit busy full banned duplicate stopping".split()
)


def failure_label(error: ProtocolError) -> str:
    """An error's code as a label of a counter: a code that the other end made up counts as `other`."""
    return error.code if error.code in _LABELS else "other"


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
