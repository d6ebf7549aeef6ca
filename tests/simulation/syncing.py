"""A simulated node catches up: what ``node.catch_up`` says is due, carried out over the simulated network in virtual time.

Decides nothing itself, but for what a connection is: one's words about its height come in order, who is dropped comes back a
second later, and who forged a range does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.catch_up import CatchUp, read_range
from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError
from p2p.messages import PeerId
from p2p.sync import DropPeer, Fetch, Range
from tests.simulation.messages import BlocksGiven, BlocksWanted, HeadTold

if TYPE_CHECKING:
    from tests.simulation.node import SimNode

PAUSE_MS = 200
"""As the node's: while it is behind it looks so often."""
AWAY_MS = 1_000
REPEAT_MS = 2_000
"""The head is told again after so long: a connection repeats what it loses, this network does not."""
FOREVER_MS = 10**12
LATE = ("owes ranges", "did not answer")
"""What a lossy network does to honest peers."""


class SimSync:
    """One node's. ``begin`` it at every start."""

    def __init__(self, node: SimNode) -> None:
        self._node = node
        self._catch_up = CatchUp(0, 0)
        self._asked: dict[int, Fetch] = {}
        self._heard: dict[int, tuple[int, int]] = {}
        self._away: dict[int, int] = {}
        """Until when a peer is not connected."""
        self._number = 0
        self._telling = self._waiting = self._working = False

    def begin(self) -> None:
        self._catch_up = CatchUp(self._node.height, self._node.world.clock.now_ms)
        self._asked, self._heard, self._away = {}, {}, {}
        self._number = 0
        self._telling = self._waiting = self._working = False
        self._tell()
        self._repeat()

    # -- how far this node is

    def head_moved(self) -> None:
        """Tells the peers soon, not of every block."""
        if not self._telling:
            self._telling = True
            self._node.while_up(limits.status_pause_ms_min, self._tell)

    def _tell(self) -> None:
        self._telling = False
        self._number += 1
        node = self._node
        node.broadcast(HeadTold(node.life, self._number, self._provable()))

    def _provable(self) -> int:
        """How far this node is, as it can prove: a head that is final through a block above it is not claimed yet."""
        committed = self._node.chain.committed
        height = self._node.height
        while height and committed[height].proof is None:
            height -= 1
        return height

    def _repeat(self) -> None:
        self._node.while_up(REPEAT_MS, self._repeat)
        self.head_moved()

    # -- what peers say

    def told(self, sender: int, told: HeadTold) -> None:
        now_ms = self._node.world.clock.now_ms
        life, number = self._heard.get(sender, (-1, 0))
        if (told.life, told.number) <= (life, number) or self._away.get(sender, 0) > now_ms:
            return
        peer = _peer(sender)
        if told.life != life or self._away.pop(sender, None) is not None:
            self._catch_up.peer_gone(peer)  # another connection
        self._heard[sender] = (told.life, told.number)
        self._catch_up.peer_status(peer, told.height)
        self.step()

    def wanted(self, sender: int, wanted: BlocksWanted) -> None:
        node = self._node
        node.send(sender, BlocksGiven(wanted.life, wanted.ticket, node.chain.answer(wanted.request)))

    def given(self, sender: int, given: BlocksGiven) -> None:
        fetch = self._asked.get(given.ticket)
        if given.life != self._node.life or fetch is None or fetch.peer_id != _peer(sender):
            return  # nobody asked for it
        del self._asked[given.ticket]
        if given.response is None:
            self._node.world.lacking(self._node, sender, fetch)
        self._catch_up.answered(fetch, given.response)
        self.step()

    # -- what is due

    def step(self) -> None:
        """Does what is due, and looks again while this node is behind."""
        if self._working:
            return  # a commit on the way has turned the epoch, and that asked again
        self._working = True
        life = self._node.life
        while self._node.up and self._node.life == life:
            step = self._catch_up.step(self._node.height, self._node.world.clock.now_ms)
            for fetch in step.fetches:
                self._asked[fetch.ticket] = fetch
                wanted = BlocksWanted(life, fetch.ticket, fetch.request)
                self._node.send(int.from_bytes(fetch.peer_id, "big"), wanted)
            for drop in step.drops:
                self._drop(drop)
            if step.ready is None:
                break
            self._apply(step.ready)
        if self._node.life != life:
            return
        self._working = False
        if self._node.up and self._catch_up.behind and not self._waiting:
            self._waiting = True
            self._node.while_up(PAUSE_MS, self._look_again)

    def _look_again(self) -> None:
        self._waiting = False
        self.step()

    def _apply(self, ready: Range) -> None:
        """Form and proof first: what fails there is the fault of the peer that sent the range. What fails after it is not."""
        node, proof = self._node, ready.response.proof
        try:
            blocks = read_range(ready)
            fault = node.world.sets.fault_of_proof(node.chain, proof)
            if fault is not None:
                raise fault
        except ProtocolError as error:
            sender = int.from_bytes(ready.peer_id, "big")
            node.world.refused(node.index, sender, ready, error)
            self._catch_up.refuse(ready, str(error))
            self._away[sender] = FOREVER_MS
            return
        node.commit_range(blocks, proof)

    def _drop(self, drop: DropPeer) -> None:
        node, sender = self._node, int.from_bytes(drop.peer_id, "big")
        now_ms = node.world.clock.now_ms
        if self._away.get(sender, 0) <= now_ms:
            self._away[sender] = now_ms + AWAY_MS
            if not drop.reason.startswith(LATE):
                node.world.charged(node, str(sender), drop.reason)
        node.world.network.faults["peer dropped"] += 1


def _peer(sender: int) -> PeerId:
    return PeerId(sender.to_bytes(2, "big"))
