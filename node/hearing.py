"""How a validator that starts waits for the others before it signs anything: until they have gone on, or for a bounded while."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from omnitensor.protocol import limits

LISTEN_BLOCKS: Final = 2
"""Blocks that the others add meanwhile: a validator may have voted one view ahead of the newest final one."""
LISTEN_SECONDS: Final = 5.0
"""How long it waits, besides so many blocks and one, when it hears nothing new."""
LISTEN_PAUSE_SECONDS: Final = 0.05
LISTEN_TIMES_MAX: Final = 4
"""And in all so many times as long: whoever claims ever higher blocks does not keep a validator from signing."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a node knows of the others at a moment."""

    peers: int
    target: int
    """The highest final block that a believed peer claims."""
    height: int
    """This node's own."""


async def listen(
    look: Callable[[], Heard],
    wanted: int,
    interval_seconds: float,
    *,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Waits until ``wanted`` peers are heard, they have gone on, and this node has followed; False where it never came to that.

    What the validator signed before is below what is final then. Otherwise one whose record was set back to an old copy would
    sign in views in which it has signed since: also one that is back before the others have left the view in which it went. With
    nobody there, or nobody that goes on, it signs after a while: all may have been away.

    The while is counted in pauses, of which a busy machine grants fewer in the same time, and from the last that was new: a peer
    more, or a higher block. Others on a busy machine are slow, and are waited for as long as they go on. To wait longer is never
    less safe; that it ends, whatever peers say, is for the clock to see to.
    """
    patience = LISTEN_SECONDS + (LISTEN_BLOCKS + 1) * interval_seconds
    left = pauses = max(1, round(patience / LISTEN_PAUSE_SECONDS))
    end, first, newest = clock() + LISTEN_TIMES_MAX * patience, None, (0, 0)
    while left and clock() < end:
        heard = look()
        enough = min(heard.peers, wanted)
        if enough == wanted:
            first = heard.target if first is None else first
            # Where there is no block yet, nobody has signed anything that matters.
            gone_on = not wanted or not first or heard.target >= first + LISTEN_BLOCKS
            if gone_on and heard.target - heard.height < limits.sync_behind_blocks_min:
                return True
        if enough > newest[0] or heard.target > newest[1]:
            newest, left = (max(enough, newest[0]), max(heard.target, newest[1])), pauses
        left -= 1
        await pause(LISTEN_PAUSE_SECONDS)
    return False
