"""Submits the evidence that this node holds, with a reporter's session key, and sees each piece through. Lives on the event loop.

Judges no evidence, and holds no other power over its account: the key has the scope REPORT alone.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import structlog

from node.session_orders import VALID_FOR_BLOCKS, SessionOrders
from omnitensor.protocol.bodies import EvidenceSubmit, Scope
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.types import Address, Hash
from state.reader import Reader

RETRY_BLOCKS: Final = 10
TRIES_MAX: Final = 20
TURNS: Final = 4
TURN_BLOCKS: Final = 3
"""Nodes that hold the same evidence take turns, so that mostly one of them pays the fee."""

log = structlog.get_logger("reporting")


@dataclass(frozen=True, slots=True)
class Report:
    """A piece of evidence on its way. ``sent`` is the transaction's id, None before the first try and after one that failed."""

    tries: int
    next_height: int
    """When it is submitted, or given up and submitted anew."""
    sent: Hash | None = None


class Reporter:
    """Sees to it that each piece of evidence gets on chain, by this node or by another."""

    def __init__(
        self,
        key: SigningKey,
        chain_id: str,
        peer_id: bytes,
        reader: Callable[[], Reader],
        next_nonce: Callable[[Address], int],
        submit: Callable[[bytes], Awaitable[Hash]],
    ) -> None:
        """``peer_id`` decides this node's turn; ``submit`` takes a signed transaction into the mempool and tells the peers."""
        self._orders = SessionOrders(key, chain_id, Scope.REPORT, "evidence")
        self._peer_id = peer_id
        self._reader = reader
        self._next_nonce = next_nonce
        self._submit = submit
        self._reports: dict[Hash, Report] = {}

    async def step(self, held: tuple[Evidence, ...]) -> None:
        """Does what is due for the evidence in the pool, and forgets what has left it."""
        self._reports = {each.id: self._reports[each.id] for each in held if each.id in self._reports}
        reader = self._reader()
        height = reader.head.height
        owner = self._orders.owner(reader) if held else None
        for evidence in held:
            report = self._reports.get(evidence.id)
            if report is None:
                report = Report(0, height + self._turn(evidence))
            if report.sent is not None and (placed := reader.receipt(report.sent)) is not None:
                if not placed.receipt.ok:
                    log.warning(
                        "a report was refused", code=placed.receipt.code, reason=placed.receipt.reason
                    )
                report = Report(report.tries, height + RETRY_BLOCKS)
            if owner is not None and height >= report.next_height and report.tries < TRIES_MAX:
                report = await self._send(owner, evidence, report, reader)
            self._reports[evidence.id] = report

    def _turn(self, evidence: Evidence) -> int:
        return sha256(self._peer_id + evidence.id).digest()[0] % TURNS * TURN_BLOCKS

    async def _send(self, owner: Address, evidence: Evidence, report: Report, reader: Reader) -> Report:
        height = reader.head.height
        try:
            sent = await self._submit(
                self._orders.sign(owner, EvidenceSubmit(evidence), self._next_nonce(owner), reader)
            )
        except ProtocolError as error:
            log.warning("a report can't be submitted now", code=error.code, reason=str(error))
            return Report(report.tries + 1, height + RETRY_BLOCKS)
        log.info("evidence submitted", evidence=evidence.id.hex(), transaction=sent.hex())
        return Report(report.tries + 1, height + VALID_FOR_BLOCKS + 1, sent)
