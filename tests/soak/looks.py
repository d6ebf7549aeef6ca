"""What can be seen over RPC while the soak goes on: no height goes back or changes, no unit is made or lost.

Shares no code with the node. The chains themselves are read from disk at the end (``chains``).
"""

import threading
from collections.abc import Sequence
from typing import Any, Final

from deploy.devnet import calls
from tests.soak.net import HousedNode

LOOK_SECONDS: Final = 0.5
SUPPLY: Final = 10**9 * 10**9


class Looks:
    """Looks at every node twice a second, from a thread of its own."""

    def __init__(self, nodes: Sequence[HousedNode]) -> None:
        self._nodes = tuple(nodes)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="looks", daemon=True)
        self._hashes: dict[int, tuple[str, str]] = {}
        self._seen: dict[str, int] = {}
        self.looks = 0
        self.violations: Final[list[str]] = []

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Looks once more, and stops."""
        self.stop()
        for node in self._nodes:
            self._look(node, above=max(0, self._seen.get(node.name, 0) - 2))

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(60)

    @property
    def height(self) -> int:
        return max(self._hashes, default=0)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for node in self._nodes:
                try:
                    self._look(node, above=max(0, self._seen.get(node.name, 0) - 2))
                except (calls.Unanswered, calls.CallError):
                    continue

    def _look(self, node: HousedNode, above: int) -> None:
        top = int(node.call("chain.status")["height"])
        known = self._seen.get(node.name, 0)
        if top < known:
            self.violations.append(f"{node.name} went from height {known} back to {top}")
        self._seen[node.name] = max(top, known)
        for height in range(above + 1, top + 1):
            self._block(node, height, node.call("chain.block", height=height)["header"])
        supply = node.call("chain.supply")
        parts = [supply["accounts"], supply["burned"], *supply["modules"].values()]
        if sum(int(part) for part in parts) != SUPPLY:
            self.violations.append(f"{node.name} around height {top}: the supply is {supply}")
        self.looks += 1

    def _block(self, node: HousedNode, height: int, header: dict[str, Any]) -> None:
        found = (str(header["hash"]), str(header["parent"]))
        if self._hashes.setdefault(height, found) != found:
            self.violations.append(
                f"FORK: {node.name} has {found[0]} at {height}, another {self._hashes[height][0]}"
            )
        below = self._hashes.get(height - 1)
        if below is not None and below[0] != found[1]:
            self.violations.append(f"block {height} of {node.name} does not follow block {height - 1}")
