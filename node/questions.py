"""Asks peers for what consensus lacks: candidates and certificates.

Verifies the answers; the core decides what they are worth.
"""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import structlog

from consensus.stake import effects as fx
from consensus.stake import events as ev
from node.driver import Driver, now_ms
from node.tasks import Tasks
from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.votes import Certificate
from p2p.errors import AskError
from p2p.interface import Network
from p2p.messages import (
    CandidateRequest,
    CandidateResponse,
    CertificatesRequest,
    CertificatesResponse,
    PeerId,
    Request,
    Response,
)

T = TypeVar("T")

FORGED_POINTS: Final = 50
PEERS_PER_ATTEMPT: Final = 2
EAGER_ATTEMPTS: Final = 8
"""Times that a candidate is asked for whenever the core wants it; then only one time in so many."""

log = structlog.get_logger("questions")


class PeerQuestions:
    """Each attempt goes to peers drawn anew, so that a few that don't answer can't stop the node."""

    def __init__(
        self,
        network: Network,
        crypto: ThreadPoolExecutor,
        wake_sync: Callable[[], None],
    ) -> None:
        self._network = network
        self._crypto = crypto
        self._wake_sync = wake_sync
        self._tasks = Tasks("questions", limits.questions_in_flight_max)
        self.driver: Driver | None = None

    async def stop(self) -> None:
        await self._tasks.stop()

    def fetch_candidate(self, fetch: fx.Fetch) -> None:
        if fetch.attempt >= EAGER_ATTEMPTS and fetch.attempt % EAGER_ATTEMPTS:
            return  # nobody seems to have it; many such questions would look like a flood to the peers
        for peer_id in self._draw_peers():
            self._tasks.start(self._candidate(peer_id, fetch))

    def fetch_certificates(self, fetch: fx.FetchCertificates) -> None:
        for peer_id in self._draw_peers():
            self._tasks.start(self._certificates(peer_id, fetch))

    def ask_for_the_end(self, peer_id: PeerId) -> None:
        """A peer speaks of a later epoch: it has the certificate that ends this one."""
        if self.driver is not None:
            view = self.driver.core.view
            self._tasks.start(self._certificates(peer_id, fx.FetchCertificates(view, view, 0)))

    def behind(self, behind: fx.Behind) -> None:
        log.info("behind", height=behind.height, view=behind.view)
        self._wake_sync()

    def _draw_peers(self) -> list[PeerId]:
        peers = [peer.peer_id for peer in self._network.peers()]
        return random.sample(peers, min(PEERS_PER_ATTEMPT, len(peers)))

    async def _ask(self, peer_id: PeerId, request: Request) -> Response | None:
        try:
            return await self._network.ask(peer_id, request, limits.question_ms_max)
        except AskError as error:
            log.debug("no answer", peer=peer_id.hex()[:16], error=str(error))
            return None

    async def _candidate(self, peer_id: PeerId, fetch: fx.Fetch) -> None:
        driver = self.driver
        answer = await self._ask(peer_id, CandidateRequest(fetch.candidate_id))
        if not isinstance(answer, CandidateResponse) or driver is None:
            return
        if answer.candidate.id != fetch.candidate_id:
            self._network.charge(peer_id, FORGED_POINTS, "answered with another candidate")
            return
        try:
            verify = driver.epoch.verifier.verify_candidate
            await self._in_crypto(lambda: verify(answer.candidate, answer.block))
            certificates = await self._genuine(driver, answer.certificates)
        except ProtocolError as error:
            self._network.charge(peer_id, FORGED_POINTS, str(error))
            return
        await driver.submit(
            ev.CandidateReceived(now_ms(), peer_id, answer.candidate, answer.block, certificates)
        )

    async def _certificates(self, peer_id: PeerId, fetch: fx.FetchCertificates) -> None:
        driver = self.driver
        if driver is None:
            return
        count = fetch.last_view - fetch.first_view + 1
        answer = await self._ask(peer_id, CertificatesRequest(driver.epoch.number, fetch.first_view, count))
        if not isinstance(answer, CertificatesResponse):
            return
        try:
            certificates = await self._genuine(driver, answer.certificates)
        except ProtocolError as error:
            self._network.charge(peer_id, FORGED_POINTS, str(error))
            return
        for certificate in certificates:
            await driver.submit(ev.CertificateReceived(now_ms(), peer_id, certificate))

    async def _genuine(
        self, driver: Driver, certificates: tuple[Certificate, ...]
    ) -> tuple[Certificate, ...]:
        """The certificates that the core lacks, verified. Raises SignatureError at the first that is forged."""
        wanted = tuple(c for c in certificates if driver.core.wants_certificate(c))
        for certificate in wanted:
            await self._in_crypto(lambda: driver.epoch.verifier.verify_certificate(certificate))  # noqa: B023  # awaited before the next
        return wanted

    async def _in_crypto(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._crypto, work)
