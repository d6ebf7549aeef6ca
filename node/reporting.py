"""Submits the evidence that this node holds, with a reporter's session key, and sees each piece through. Lives on the event loop.

Judges no evidence, and holds no other power over its account: the key has the scope REPORT alone.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog
from msgspec.structs import replace

from omnitensor.protocol.bodies import EvidenceSubmit, Scope
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.keys import SigningKey, parse_api_key
from omnitensor.protocol.private_files import read_private
from omnitensor.protocol.transactions import signed, unsigned, weight_of
from omnitensor.protocol.types import SUPPLY_MAX, Address, Amount, Hash, Height
from state.reader import Reader
from state.schema import SESSION_KEYS

VALID_FOR_BLOCKS: Final = 60
RETRY_BLOCKS: Final = 10
TRIES_MAX: Final = 20
FEE_MARGIN: Final = 4
"""A report may pay up to this many times the base fee of now."""
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


def load_key(path: Path) -> SigningKey:
    """The reporter's key (``otk1...``) in a file of mode 0600. Raises StorageError or KeyFormatError."""
    return parse_api_key(read_private(path).decode("utf-8", "replace"))


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
        self._key = key
        self._chain_id = chain_id
        self._peer_id = peer_id
        self._reader = reader
        self._next_nonce = next_nonce
        self._submit = submit
        self._reports: dict[Hash, Report] = {}
        self._said = ""

    async def step(self, held: tuple[Evidence, ...]) -> None:
        """Does what is due for the evidence in the pool, and forgets what has left it."""
        self._reports = {each.id: self._reports[each.id] for each in held if each.id in self._reports}
        reader = self._reader()
        height = reader.head.height
        owner = self._owner(reader) if held else None
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
            sent = await self._submit(self._signed(owner, evidence, reader))
        except ProtocolError as error:
            log.warning("a report can't be submitted now", code=error.code, reason=str(error))
            return Report(report.tries + 1, height + RETRY_BLOCKS)
        log.info("evidence submitted", evidence=evidence.id.hex(), transaction=sent.hex())
        return Report(report.tries + 1, height + VALID_FOR_BLOCKS + 1, sent)

    def _signed(self, owner: Address, evidence: Evidence, reader: Reader) -> bytes:
        """The report's bytes, for the account's next nonce."""
        widest = unsigned(
            chain_id=self._chain_id,
            sender=owner,
            nonce=2**32,
            valid_until=Height(2**32),
            max_fee=Amount(SUPPLY_MAX),
            tip=Amount(0),
            body=EvidenceSubmit(evidence),
            signer=self._key.public,
        )
        fee = weight_of(widest, len(encode(widest))) * reader.next_base_fee * FEE_MARGIN
        order = replace(
            widest,
            nonce=self._next_nonce(owner),
            valid_until=Height(reader.head.height + VALID_FOR_BLOCKS),
            max_fee=Amount(fee),
        )
        return encode(signed(order, self._key.sign(order.id)))

    def _owner(self, reader: Reader) -> Address | None:
        """The account that the key reports for; None, said once, while the chain lets it report for nobody."""
        row = reader.get(SESSION_KEYS, self._key.public)
        reason = ""
        if row is None:
            reason = "the reporter's key is of no account of this chain, or was revoked"
        elif not row.scopes & Scope.REPORT:
            reason = "the reporter's key lacks the scope report"
        elif row.valid_until <= reader.head.height:
            reason = f"the reporter's key was valid up to height {row.valid_until}"
        if reason and reason != self._said:
            log.error(
                "evidence can't be submitted",
                reason=reason,
                remedy="otensor-cli api-key create --scope report",
            )
        self._said = reason
        return None if reason or row is None else Address(row.owner)
