"""Hands final blocks to whoever listens, in order. Lives on the event loop's thread; keeps no history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from omnitensor.protocol.blocks import Block, BlockResult


@dataclass(frozen=True, slots=True)
class CommittedBlock:
    """A final block and what executing it said."""

    block: Block
    result: BlockResult


Listener = Callable[[CommittedBlock], None]


class BlockFeed:
    """One publisher (the node), many listeners. A listener does not block and does not raise."""

    def __init__(self) -> None:
        self._listeners: dict[int, Listener] = {}
        self._next = 0

    def publish(self, committed: CommittedBlock) -> None:
        """Call once for every final block, in order of height, after it is on disk."""
        for listener in tuple(self._listeners.values()):
            listener(committed)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls ``listener`` for every block from now on, until the returned function is called."""
        key = self._next
        self._next += 1
        self._listeners[key] = listener
        return lambda: self._listeners.pop(key, None) and None
