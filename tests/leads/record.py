"""Who led each view of an epoch, as the headers of a running chain show it, and who should have, from the specification.

Reads by JSON-RPC and shares no code with the schedule: seed, stakes and credit come from the chain as numbers, and the draw is
made here once more. Judges chance nowhere; that is ``fit``'s.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

import msgspec

from deploy.devnet import calls
from deploy.devnet.net import Node
from deploy.devnet.process import DevnetError
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import Address

WORKER_SETS_PREFIX: Final = 0x51
WORK_TICKETS_MIN: Final = 8
BATCH: Final = 30
"""Calls in one request."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, all of whose blocks are final. Accounts by their addresses as text."""

    epoch: int
    seed: bytes
    stakes: dict[str, int]
    """The validators in the order of their table."""
    credit: dict[str, int]
    """The worker set as it drew, in the order of addresses."""
    tickets: int
    led: dict[int, str]
    """Who proposed the block of each view that has one."""
    skipped: tuple[int, ...]
    """Views that a quorum skipped."""
    told: Counter[str]
    """Missed views of each worker, as the blocks' own events count them."""

    @cached_property
    def work_leads(self) -> bool:
        return self.tickets >= WORK_TICKETS_MIN and sum(self.credit.values()) > 0

    def by_work(self, view: int) -> bool:
        """Whether credit draws the leader of a view."""
        return self.work_leads and view % 3 != 0

    def due(self, view: int) -> str:
        """Who is drawn for a view: a ticket of a hash, and a walk along stakes or credit."""
        weights = dict(self.stakes)
        if self.by_work(view):
            outside = {name: amount for name, amount in self.credit.items() if name not in self.stakes}
            weights = {name: self.credit.get(name, 0) for name in self.stakes} | outside
        ticket = self._draw(view) % sum(weights.values())
        for name, weight in weights.items():
            if ticket < weight:
                return name
            ticket -= weight
        raise AssertionError("the ticket is below the sum of the weights")

    def _draw(self, view: int) -> int:
        tag = sha256(b"omnitensor/leader/1").digest()
        data = tag + tag
        for part in (self.seed, self.epoch.to_bytes(8, "big"), view.to_bytes(8, "big")):
            data += len(part).to_bytes(4, "big") + part
        return int.from_bytes(sha256(data).digest(), "big")

    @cached_property
    def missed(self) -> Counter[str]:
        """Views that each worker was drawn for by its credit and that were skipped."""
        return Counter(self.due(view) for view in self.skipped if self.by_work(view))

    @cached_property
    def led_by_work(self) -> Counter[str]:
        return Counter(name for view, name in self.led.items() if self.by_work(view))

    @cached_property
    def led_by_stake(self) -> Counter[str]:
        return Counter(name for view, name in self.led.items() if not self.by_work(view))

    @property
    def turns_of_work(self) -> Counter[str]:
        """Views that each worker was drawn for, led or missed."""
        return self.led_by_work + self.missed

    def faults(self) -> list[str]:
        """What does not hold of it; empty where all does."""
        found = [
            f"epoch {self.epoch}: view {view} was led by {name}, and {self.due(view)} was drawn"
            for view, name in sorted(self.led.items())
            if name != self.due(view)
        ]
        views = sorted([*self.led, *self.skipped])
        if views != list(range(1, len(views) + 1)):
            found.append(f"epoch {self.epoch}: views that were neither led nor skipped, or both: {views}")
        if self.told != self.missed:
            found.append(f"epoch {self.epoch}: missed {dict(self.missed)}, charged for {dict(self.told)}")
        return found


def read_epoch(node: Node, epoch: int, blocks: int) -> EpochRecord:
    """An epoch of so many blocks that is over, from a node that keeps its blocks and sets. Raises CallError or Unanswered.

    A header says in which view the block below it was notarized, so of the boundary block, above which the next epoch votes,
    nothing tells the view. The record ends below it.
    """
    first, boundary = epoch * blocks + 1, (epoch + 1) * blocks
    led: dict[int, str] = {}
    skipped: list[int] = []
    told: Counter[str] = Counter()
    below: dict[str, Any] = {}
    heights = range(first, boundary + 1)
    blocks_of_it, events_of_it = (
        _of_each(node, method, heights) for method in ("chain.block", "chain.events")
    )
    for block, events in zip(blocks_of_it, events_of_it, strict=True):
        header = block["header"]
        named = header["attendance"]
        if below and named is not None:
            led[named["view"]] = below["proposer"]
            skipped += range(named["parent_view"] + 1, named["view"])
        for event in events["events"]:
            if event["kind"] == "worker.missed":
                told[event["worker"]] += event["views"]
        below = header
    credit, tickets = credit_of(node, epoch)
    return EpochRecord(
        epoch,
        _seed(node, epoch, blocks),
        {
            each["address"]: each["weight"]
            for each in node.call("chain.validators", epoch=epoch)["validators"]
        },
        credit,
        tickets,
        led,
        tuple(skipped),
        told,
    )


def _of_each(node: Node, method: str, heights: Sequence[int]) -> list[dict[str, Any]]:
    """What a method says of each height. Raises DevnetError for the first that it says nothing of."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(heights), BATCH):
        asked = [
            {"jsonrpc": "2.0", "id": height, "method": method, "params": {"height": height}}
            for height in heights[start : start + BATCH]
        ]
        _, body = calls.post(node.endpoint, json.dumps(asked).encode(), 60.0)
        answers = {each["id"]: each for each in json.loads(body)}
        for height in heights[start : start + BATCH]:
            if "result" not in answers[height]:
                raise DevnetError(f"{method} says nothing of a block", value=answers[height].get("error"))
            found.append(answers[height]["result"])
    return found


def credit_of(node: Node, epoch: int) -> tuple[dict[str, int], int]:
    """The credit that draws an epoch's leaders, and the tickets behind it, from the row of the state."""
    key = bytes([WORKER_SETS_PREFIX]) + epoch.to_bytes(8, "big")
    row = node.call("state.row", key=key.hex())["value"]
    if row is None:
        return {}, 0
    entries, tickets = msgspec.msgpack.decode(bytes.fromhex(row))
    return {format_address(Address(address)): credit for address, _, credit in entries}, tickets


def _seed(node: Node, epoch: int, blocks: int) -> bytes:
    """The beacon at the boundary below; of epoch 0 the hash of the genesis block."""
    header = node.call("chain.block", height=epoch * blocks)["header"]
    return bytes.fromhex(header["beacon"] if epoch else header["hash"])


def now(node: Node, blocks: int) -> int:
    """The epoch of the block above the head."""
    return max(0, node.height()) // blocks
