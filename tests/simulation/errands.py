"""What a simulated node does besides consensus where it has a real ledger: transactions, evidence and reports of it.

The mempool, the evidence that is held and the reporter are the node's own; only its event loop and its sockets are simulated.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from consensus.stake.watch import Watch
from node.evidence import HeldEvidence
from node.peers import judgement_of
from node.reporting import Reporter
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.types import Hash
from omnitensor.protocol.votes import Vote
from p2p.interface import Charge
from state.reader import Reader
from tests.simulation.application import CHAIN_ID
from tests.simulation.ledger_chain import LedgerChain
from tests.simulation.messages import EvidenceGiven, TransactionGiven

if TYPE_CHECKING:
    from tests.simulation.ledger_world import LedgerSets
    from tests.simulation.node import SimNode

LOOK_MS = 400
REPEAT_LOOKS = 5
REPEATED_MAX = 4


class Errands:
    """One node's. ``begin`` at every start: what was held in memory is gone."""

    def __init__(self, node: SimNode, chain: LedgerChain, sets: LedgerSets) -> None:
        self._node = node
        self._chain = chain
        self._sets = sets
        self._held = HeldEvidence(self._read)
        self._watch = Watch()
        self._reporter = self._new_reporter()
        self._looks = 0

    def begin(self) -> None:
        self._held = HeldEvidence(self._read)
        self._watch = Watch()
        self._reporter = self._new_reporter()
        self._look()

    def _read(self) -> Reader:
        return self._chain.chain.reader()

    def _new_reporter(self) -> Reporter:
        return Reporter(
            self._sets.reporter_key(self._node.validator),
            CHAIN_ID,
            self._node.index.to_bytes(32, "big"),
            self._read,
            lambda owner: self._chain.mempool.next_nonce(owner),
            self._submit,
        )

    async def _submit(self, encoded: bytes) -> Hash:
        return self.submit(encoded)

    # -- transactions

    def submit(self, encoded: bytes) -> Hash:
        """As a user does by RPC. Raises what the mempool raises."""
        transaction = self._chain.mempool.add(encoded)
        self._node.broadcast(TransactionGiven(encoded))
        return transaction.id

    def take_transaction(self, sender: int, encoded: bytes) -> None:
        """A peer's: passed on when it is news. One that only came too late is nobody's fault."""
        try:
            self.submit(encoded)
        except ProtocolError as error:
            judged = judgement_of(error)
            if isinstance(judged, Charge):
                self._node.world.charged(self._node, str(sender), judged.reason)

    # -- evidence

    def heard(self, vote: Vote) -> None:
        """A vote that was verified."""
        self._watch.remember(vote)

    def heard_late(self, vote: Vote) -> None:
        """A vote that counts for nothing any more may still contradict one that did."""
        evidence = self._watch.conflict(vote)
        if evidence is not None:
            self.take_evidence(evidence)

    def take_evidence(self, evidence: Evidence) -> None:
        """Held and passed on, when it convicts somebody whom nothing else does. Raises EvidenceError when it is forged."""
        leaders = self._held.wanted(evidence)
        if leaders is None:
            return
        world = self._node.world
        world.product.convicted(evidence, CHAIN_ID, leaders.table, world.scheme, leaders.worker_keys)
        self._held.put(evidence, leaders)
        world.accused(self._node, evidence)
        self._node.broadcast(EvidenceGiven(encode(evidence)))

    def _look(self) -> None:
        """What is due for the evidence that is held, as in the node."""
        self._node.while_up(LOOK_MS, self._look)
        self._looks += 1
        self._held.forget_settled()
        held = self._held.all()
        if not held:
            return
        _finished(self._reporter.step(held))
        if self._looks % REPEAT_LOOKS == 0:
            for evidence in held[:REPEATED_MAX]:
                self._node.broadcast(EvidenceGiven(encode(evidence)))


def _finished(work: Coroutine[Any, Any, None]) -> None:
    """Runs what never waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("nothing in a simulation waits")
