"""What the end-to-end tests share: a net of four validators, reviewers, people, and a witness who writes everything down.

Real processes and real sockets; the tests see what any user sees.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.devnet import calls, cast
from deploy.devnet.net import Net, Node
from deploy.devnet.people import Person
from deploy.devnet.process import DevnetError, Program

WITNESS_SECONDS: Final = 0.4
PATIENCE_S: Final = 240.0
"""For what comes soon by itself: nothing waits so long but on a machine where everything waits for a processor."""
SUPPLY: Final = 10**9 * 10**9


class Witness:
    """Asks every node, all the time, which blocks are final, and where the money is; keeps every answer that disagrees."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self._nodes = nodes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)
        self._asking = threading.Lock()
        self.hashes: Final[dict[int, str]] = {}
        self.seen_by: Final[dict[str, int]] = {node.name: 0 for node in nodes}
        self.disagreements: Final[list[str]] = []
        self.supplies = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)

    def forget(self, node: Node) -> None:
        """From now on a node may answer with lower heights than it did: it has lost its chain."""
        with self._asking:
            self.seen_by[node.name] = 0

    def _run(self) -> None:
        while not self._stop.wait(WITNESS_SECONDS):
            for node in self._nodes:
                try:
                    with self._asking:
                        self._ask(node)
                except (calls.Unanswered, calls.CallError):
                    continue

    def _ask(self, node: Node) -> None:
        # Everything since the last look, and the block before it: what was final is asked for again.
        known = self.seen_by[node.name]
        page = node.call("chain.blocks", limit=10)["blocks"]
        while page and page[-1]["height"] > known:
            page += node.call("chain.blocks", before=page[-1]["height"], limit=10)["blocks"]
        for line in page:
            height, found = int(line["height"]), str(line["hash"])
            if self.hashes.setdefault(height, found) != found:
                self.disagreements.append(f"{node.name} has {found} at {height}, not {self.hashes[height]}")
        top = int(page[0]["height"])
        if top < known:
            self.disagreements.append(f"{node.name} went from height {known} back to {top}")
        self.seen_by[node.name] = top
        supply = node.call("chain.supply")
        parts = [supply["accounts"], supply["burned"], *supply["modules"].values()]
        if sum(int(part) for part in parts) != SUPPLY:
            self.disagreements.append(f"{node.name} around height {top}: the supply is {supply}")
        self.supplies += 1


@dataclass
class Town:
    """Everything that runs, and who lives there."""

    net: Net
    witness: Witness
    folder: Path
    reviewers: dict[str, Program] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    api_keys: dict[str, Path] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.net.nodes

    @property
    def first(self) -> Node:
        return self.nodes[0]

    def person(self, name: str) -> Person:
        """Somebody of the genesis, logged in."""
        if name not in self.people:
            self.people[name] = cast.log_in(self.net, name, self.first)
        return self.people[name]

    def stranger(self, name: str) -> Person:
        """Somebody who is not logged in."""
        return Person(name, self.folder / "strangers" / name, self.first.endpoint)

    def balance(self, name: str) -> int:
        return int(self.first.call("account.get", address=self.net.address(name))["balance"])

    def items(self, campaign: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.first.call("item.list", campaign=campaign, limit=100)["items"]
        return found

    def wait_blocks(self, node: Node, more: int, timeout_s: float = PATIENCE_S) -> int:
        """Until the node has so many more final blocks; the height of the last of them."""
        goal = node.height() + more
        calls.until(f"{node.name} reaches height {goal}", lambda: node.height() >= goal, timeout_s)
        return goal

    def check(self) -> None:
        """Raises DevnetError where a process that should run has ended."""
        self.net.check()
        cast.check_reviewers(list(self.reviewers.values()))


def sum_fees(node: Node, address: str) -> int:
    """Fees of everything that an account ever sent."""
    found, cursor = 0, None
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = node.call("tx.by_address", address=address, limit=100, **more)
        found += sum(int(line["fee"]) for line in page["transactions"] if line["sender"] == address)
        cursor = page["next"]
        if cursor is None:
            return found


def files_with(folders: Iterable[Path], mark: bytes) -> list[Path]:
    """Files below folders that hold some bytes, while processes write, move and remove there; read anew until nothing moves."""
    while True:
        found, moved = [], False
        for folder in folders:
            for parent, _, names in os.walk(folder):
                for path in (Path(parent, name) for name in names):
                    try:
                        found += [path] if mark in path.read_bytes() else []
                    except FileNotFoundError:
                        moved = True
        if found or not moved:
            return found


def log_of(town: Town) -> str:
    """The end of every log, for a failure's report."""
    programs: list[Program] = [*town.nodes, *town.reviewers.values()]
    return "\n".join(f"--- {program.name}\n{program.tail(3_000)}" for program in programs)


__all__ = ["PATIENCE_S", "SUPPLY", "DevnetError", "Town", "Witness", "files_with", "log_of", "sum_fees"]
