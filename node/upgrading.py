"""Ends a node right before a block that needs newer software, once its peers have got what made the block below final."""

import asyncio
from collections.abc import Callable
from typing import Final

from omnitensor.protocol.types import Height
from state.ledger import upgrades
from state.reader import Reader

UPGRADE_LINGER_SECONDS: Final = 3.0
"""How long a node that has to be upgraded still answers its peers: some may need its last votes and blocks to get as far."""


class UpgradeWatch:
    """Looks at every new head."""

    def __init__(self, reader: Callable[[], Reader]) -> None:
        """Raises UpgradeError where the chain can't go on with this software as it is."""
        self._reader = reader
        self._due = asyncio.Event()
        head = reader()
        upgrades.check_known(head, Height(head.head.height + 1))

    def head_moved(self) -> None:
        reader = self._reader()
        if upgrades.missing(reader, Height(reader.head.height + 1)) is not None:
            self._due.set()

    async def run(self) -> None:
        """Waits; raises UpgradeError a little after the last block that this software can make."""
        await self._due.wait()
        await asyncio.sleep(UPGRADE_LINGER_SECONDS)
        reader = self._reader()
        upgrades.check_known(reader, Height(reader.head.height + 1))
