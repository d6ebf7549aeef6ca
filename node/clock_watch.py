"""Compares this machine's clock with what peers say of theirs, and tells the operator. Changes nothing: no vote, block or peer.

For the blocks of a node whose clock is ahead others wait, and one that is behind waits with its votes; neither is told. Peers may
lie, so it is the median that counts: whoever has most of the voices can raise a warning, or keep one back, and nothing else.
"""

import asyncio
import ipaddress
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from omnitensor.protocol import limits
from p2p.interface import PeerInfo
from p2p.peers import network_group

LOOK_SECONDS: Final = 5.0

log = structlog.get_logger("clock")


@dataclass(frozen=True, slots=True)
class ClockStatus:
    """How this machine's clock stands to its peers'."""

    ahead_ms: int | None = None
    """How far it is ahead of their median; None where too few say theirs."""
    peers: int = 0
    """Voices that were counted."""
    wrong: bool = False
    """Whether it has been further off for a while than a block may be ahead of a clock."""


class ClockWatch:
    """Looks every few seconds; says once when the clock and the peers' part, and once when they agree again."""

    def __init__(self, peers: Callable[[], Sequence[PeerInfo]], drift_ms: Callable[[], int]) -> None:
        """``drift_ms``: how far a block may be ahead of a voter's clock."""
        self._peers: Final = peers
        self._drift_ms: Final = drift_ms
        self._since_ms: int | None = None
        """Since when it looks otherwise than was said last."""
        self.status = ClockStatus()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look(time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000)

    def look(self, wall_ms: int, monotonic_ms: int) -> None:
        """Takes in what the peers have said. Only what has been so for a while is said of the clock: a busy moment is no news."""
        voices = _voices(self._peers())
        off = [_off_ms(peer, wall_ms - monotonic_ms) for peer in voices]
        ahead_ms = -median(off) if len(off) >= limits.clock_voices_min else None
        wrong = self.status.wrong
        # Half as far is near enough to be right again: at the very bound it would be said over and over.
        bound_ms = self._drift_ms() // 2 if wrong else self._drift_ms()
        if ahead_ms is None or (abs(ahead_ms) > bound_ms) == wrong:
            self._since_ms = None
        elif self._since_ms is None:
            self._since_ms = monotonic_ms
        elif monotonic_ms - self._since_ms >= limits.clock_wrong_ms_min:
            self._since_ms, wrong = None, not wrong
            self._say(wrong, ahead_ms, len(voices))
        self.status = ClockStatus(ahead_ms, len(voices), wrong)

    def _say(self, wrong: bool, ahead_ms: int, voices: int) -> None:
        if not wrong:
            log.warning("this machine's clock agrees with its peers' again", ahead_ms=ahead_ms, peers=voices)
            return
        log.warning(
            f"this machine's clock is {'ahead of' if ahead_ms > 0 else 'behind'} its peers'",
            ahead_ms=ahead_ms,
            peers=voices,
            remedy="set it, and have a time service keep it right (chrony, systemd-timesyncd): a validator with a wrong clock"
            " votes late, or has its blocks refused",
        )


def median(values: Iterable[int]) -> int:
    """The middle one; of two in the middle the one nearer to zero, so that half of the voices alone are never enough."""
    ranked = sorted(values)
    return min(ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2], key=abs)


def _voices(peers: Sequence[PeerInfo]) -> list[PeerInfo]:
    """Peers whose clocks count. Where this node dialled a few that say theirs, these alone: any stranger can dial a node, and as
    often as it has addresses. Else all that do, but of those who dialled it one of each network."""
    speaking = [peer for peer in peers if peer.clock_ms is not None and peer.rtt_ms is not None]
    dialled = [peer for peer in speaking if peer.outbound]
    if len(dialled) >= limits.clock_dialled_min:
        return dialled
    callers = {_network(peer): peer for peer in sorted(speaking, key=_seniority) if not peer.outbound}
    return [*dialled, *callers.values()]


def _seniority(peer: PeerInfo) -> tuple[int, bytes]:
    """The one that came first is the last in line, and so the one that speaks for its network."""
    return -peer.connected_ms, peer.peer_id


def _network(peer: PeerInfo) -> object:
    """Whom a peer that dialled this node speaks for: its part of the network; itself in a private one, where no stranger is."""
    try:
        private = ipaddress.ip_address(peer.host.partition("%")[0]).is_private
    except ValueError:
        private = False
    return peer.peer_id if private else network_group(peer.host)


def _off_ms(peer: PeerInfo, here_ms: int) -> int:
    """How far a peer's clock is ahead of this one; ``here_ms`` is how far this one is ahead of the monotonic clock.

    What it said was on its way for a while, in which it seems to fall behind: by at most about the time there and back.
    """
    assert peer.clock_ms is not None and peer.rtt_ms is not None, "it has a voice"
    off_ms = peer.clock_ms - here_ms
    return off_ms if off_ms > 0 else min(0, off_ms + peer.rtt_ms)
