"""What to do next to catch up with the chain, and whether a range that came is in good form. Opens no socket, knows no clock.

``p2p.sync`` decides whom to ask for which blocks and whom to believe; here that meets the chain. ``syncing`` carries it out
on the event loop, the simulation in virtual time.
"""

from dataclasses import dataclass
from typing import Final

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block, transactions_root
from omnitensor.protocol.errors import BlockError
from omnitensor.protocol.types import Height
from p2p.messages import BlocksRequest, BlocksResponse, PeerId, Pruned, Response
from p2p.ranges import read_blocks
from p2p.sync import DropPeer, Fetch, Progress, Range, Sync

UNRELIABLE_POINTS: Final = limits.peer_charge_points_max * 3 // 5
"""For a peer that is dropped. The charge outlives the connection: who comes back and claims the same again is banned."""
FORGED_POINTS: Final = limits.peer_charge_points_max
"""For a range that is not what its proof makes final."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is due: blocks to ask for, peers to drop, and the range to verify and commit next, if it is here."""

    fetches: tuple[Fetch, ...]
    drops: tuple[DropPeer, ...]
    ready: Range | None


class CatchUp:
    """One node's catching up. Call ``step`` after every event and a few times a second."""

    def __init__(self, height: int, now_ms: int) -> None:
        self._sync = Sync(height, now_ms)

    # -- what the node hears

    def peer_status(self, peer_id: PeerId, height: int) -> None:
        self._sync.peer_status(peer_id, height)

    def peer_gone(self, peer_id: PeerId) -> None:
        self._sync.peer_gone(peer_id)

    def answered(self, fetch: Fetch, response: Response | None) -> None:
        """The answer to a fetch; None: the peer does not hold it."""
        if isinstance(response, BlocksResponse):
            self._sync.received(fetch.ticket, response)
        elif isinstance(response, Pruned):
            self._sync.pruned(fetch.ticket, response.first_height)
        else:
            self._sync.failed(fetch.ticket, "does not hold blocks that it claims")

    def unanswered(self, fetch: Fetch, reason: str) -> None:
        self._sync.failed(fetch.ticket, reason)

    # -- what it does

    def step(self, height: int, now_ms: int) -> Step:
        """``height`` is that of the last final block here, however it came."""
        self._sync.applied(height, now_ms)
        actions = self._sync.next(now_ms)
        return Step(
            tuple(action for action in actions if isinstance(action, Fetch)),
            tuple(action for action in actions if isinstance(action, DropPeer)),
            self._sync.ready(),
        )

    def refuse(self, ready: Range, reason: str) -> None:
        """The range is wrong in its form or its proof: whoever sent it is dropped. What fails after that is not the peer's."""
        self._sync.invalid(ready.ticket, reason)

    @property
    def behind(self) -> bool:
        """Whether a believed peer is further than this node."""
        progress = self._sync.progress()
        return progress.target > progress.height

    @property
    def unheld(self) -> int | None:
        """The next block, where no peer that is ahead keeps it."""
        return self._sync.unheld

    @property
    def syncing(self) -> bool:
        return self._sync.syncing

    @property
    def progress(self) -> Progress:
        return self._sync.progress()


def read_range(ready: Range) -> tuple[Block, ...]:
    """Blocks of a range in good form, which are final if its proof holds. Raises ProtocolError."""
    request = BlocksRequest(Height(ready.from_height), len(ready.response.blocks))
    blocks = read_blocks(request, ready.response)
    for block in blocks:
        # The proof covers headers; other transactions under a true header are the sender's forgery.
        if transactions_root(block.transactions) != block.header.transactions_root:
            raise BlockError("a block's transactions are not under its header's root", value=block.hash)
    return blocks
