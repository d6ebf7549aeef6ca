"""Peers that were slow to give content: asked after all others for a while. Knows ids and the time it is told."""

from collections import OrderedDict
from typing import Final

from omnitensor.protocol import limits
from p2p.messages import PeerId


class SlowPeers:
    """Bounded: who has been in it longest is forgotten first."""

    def __init__(self) -> None:
        self._until: Final[OrderedDict[PeerId, int]] = OrderedDict()

    def mark(self, peer_id: PeerId, now_ms: int) -> bool:
        """Remembers a peer as slow from now on; False where it counted as slow already."""
        fresh = not self.has(peer_id, now_ms)
        self._until[peer_id] = now_ms + limits.fetch_slow_ms
        self._until.move_to_end(peer_id)
        while len(self._until) > limits.fetch_slow_peers_max:
            self._until.popitem(last=False)
        return fresh

    def has(self, peer_id: PeerId, now_ms: int) -> bool:
        """Whether a peer counts as slow now."""
        return self._until.get(peer_id, now_ms) > now_ms
