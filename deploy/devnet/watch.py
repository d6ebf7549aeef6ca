"""Follows items and batches over a node's JSON-RPC and tells what changes: seats, bytes fetched, reports, verdicts, pay."""

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from deploy.devnet import calls
from deploy.devnet.net import Node
from deploy.devnet.teller import Teller
from omnitensor.protocol.amounts import format_omnit

SETTLED: Final = frozenset({"paid", "rejected", "undecided"})
PAGE: Final = 100
LOOK_SECONDS: Final = 0.4
_FETCHED: Final = re.compile(r"^omnitensor_content_fetched_bytes_total ([0-9.e+]+)$", re.MULTILINE)

SEAT_WORDS: Final = {
    "committed": "commits to its scores; nobody else can read them yet",
    "revealed": "reveals its scores",
    "declined": "declines the seat",
    "missed": "missed its time",
}


class Watch:
    """What was seen so far of some campaigns. ``look`` tells what is new."""

    def __init__(
        self,
        node: Node,
        nodes: Sequence[Node],
        campaigns: Sequence[int],
        names: Mapping[str, str],
        teller: Teller,
    ) -> None:
        """``names``: of addresses, and of files by their chunk roots."""
        self._node: Final = node
        self._nodes: Final = nodes
        self._campaigns: Final = campaigns
        self._names: Final = names
        self._teller: Final = teller
        self._statuses: Final[dict[int, str]] = {}
        self._seats: Final[dict[tuple[int, int, str], str]] = {}
        self._fetched: Final[dict[str, int]] = {}

    def items(self) -> list[dict[str, Any]]:
        """All items of the campaigns, in order."""
        found: list[dict[str, Any]] = []
        for campaign in self._campaigns:
            found += self._node.call("item.list", campaign=campaign, limit=PAGE)["items"]
        return sorted(found, key=lambda item: int(item["item"]))

    def look(self) -> list[dict[str, Any]]:
        """All items, after telling what changed since the last look."""
        items = self.items()
        for batch in sorted({int(item["batch"]) for item in items if item.get("batch") is not None}):
            self._look_at_batch(batch)
        self._look_at_content()
        for item in items:
            self._look_at_item(item)
        return items

    def _look_at_batch(self, batch: int) -> None:
        found = self._node.call("review.batch", batch=batch, round=1)
        for seat in found["seats"]:
            key = (batch, int(found["round"]), seat["validator"])
            before, now = self._seats.get(key), seat["state"]
            if before == now:
                continue
            self._seats[key] = now
            name = self._name(seat["validator"])
            if before is None:
                self._teller.say(
                    f"batch {batch} of campaign {found['campaign']}: {name} is drawn for {len(found['items'])} items"
                )
            if now in SEAT_WORDS:
                self._teller.say(f"batch {batch}: {name} {SEAT_WORDS[now]}")

    def _look_at_content(self) -> None:
        for node in self._nodes:
            if not node.running:
                continue
            match = _FETCHED.search(node.metrics())
            fetched = round(float(match[1])) if match else 0
            more = fetched - self._fetched.get(node.name, 0)
            if more > 0:
                self._teller.say(f"{node.name} fetched {more:,} bytes from its peers, each chunk checked")
            self._fetched[node.name] = fetched

    def _look_at_item(self, item: Mapping[str, Any]) -> None:
        number, status = int(item["item"]), str(item["status"])
        before = self._statuses.get(number)
        if before == status:
            return
        self._statuses[number] = status
        name = f"item {number} ({self._name(item['content']['chunk_root'])})"
        if status == "accepted" or (status == "paid" and before != "accepted"):
            self._teller.good(
                f"{name} accepted: {_scores(item)}, {format_omnit(int(item['paid']))} paid so far"
            )
        if status == "paid":
            self._teller.good(f"{name} paid in full: {format_omnit(int(item['paid']))}")
        elif status in ("rejected", "undecided"):
            reasons = ", ".join(item.get("reasons") or ("no reason given",))
            self._teller.bad(f"{name} {status} for {reasons}: {_scores(item)}")

    def _name(self, key: str) -> str:
        return self._names.get(key, key[:16])


class WatchThread:
    """Looks every half second while others work."""

    def __init__(self, watch: Watch) -> None:
        self._watch: Final = watch
        self._stop: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="watch", daemon=True)
        self.items: list[dict[str, Any]] = []
        """As of the last look."""

    def __enter__(self) -> "WatchThread":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends after the look that is under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.items = self._watch.look()
            except calls.Unanswered:
                continue  # whoever waits for the story checks that the processes run


def _scores(item: Mapping[str, Any]) -> str:
    scores = item.get("scores")
    if not scores:
        return "not scored"
    if isinstance(scores, Mapping):
        return ", ".join(f"{name} {value}" for name, value in scores.items())
    names = ("completeness", "accuracy", "relevance")
    return ", ".join(f"{name} {value}" for name, value in zip(names, scores, strict=False))
