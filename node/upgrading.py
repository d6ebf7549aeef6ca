"""Ends a node right before a block that needs newer software, once its peers have got what made the block below final.

Until then it warns: of every upgrade that is planned and that this software does not know.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from omnitensor.protocol.types import U32_MAX, Height
from state.ledger import upgrades
from state.reader import Reader

UPGRADE_LINGER_SECONDS: Final = 3.0
"""How long a node that has to be upgraded still answers its peers: some may need its last votes and blocks to get as far."""
WARN_BLOCKS: Final = 1_000
"""It warns again after so many blocks."""
_EVER: Final = Height(U32_MAX)

log = structlog.get_logger("node")


class UpgradeWatch:
    """Looks at every new head."""

    def __init__(self, reader: Callable[[], Reader]) -> None:
        """Raises UpgradeError where the chain can't go on with this software as it is."""
        self._reader = reader
        self._due = asyncio.Event()
        self._warned_at: int | None = None
        head = reader()
        upgrades.check_known(head, Height(head.head.height + 1))
        self.head_moved()

    def head_moved(self) -> None:
        reader = self._reader()
        unknown = upgrades.missing(reader, _EVER)
        if unknown is None:
            return
        at, row = unknown
        height = reader.head.height
        if at <= height + 1:
            self._due.set()
        if self._warned_at is None or height >= self._warned_at + WARN_BLOCKS or self._due.is_set():
            self._warned_at = height
            log.warning(
                "an upgrade comes that this software does not know",
                upgrade=row.name,
                version=row.version,
                height=at,
                blocks_left=at - 1 - height,
            )

    async def run(self) -> None:
        """Waits; raises UpgradeError a little after the last block that this software can make."""
        await self._due.wait()
        await asyncio.sleep(UPGRADE_LINGER_SECONDS)
        reader = self._reader()
        upgrades.check_known(reader, Height(reader.head.height + 1))
