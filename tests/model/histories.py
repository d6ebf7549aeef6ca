"""Long random histories of all kinds of orders: as many transactions as asked for, the same ones for the same seed."""

from __future__ import annotations

import random
import time
from collections import Counter

from omnitensor.protocol.params import Params
from tests.model.orders import KINDS, TRIED, step
from tests.model.scene import PARAMS_OF_SCENE, Scene, table_of

BLOCK_END = 12
"""A block has about so many orders,"""
RUSH = 2_000
"""and one order in so many begins a rush."""


def history(seed: int, transactions: int, report_every: int = 0, params: Params = PARAMS_OF_SCENE) -> Scene:
    """Plays a history to its end; whatever the ledger and the model disagree about is an AssertionError."""
    chance, scene = random.Random(seed), Scene(params)
    began = time.monotonic()
    try:
        rush, reported = 0, report_every
        while scene.sent < transactions:
            rush -= 1
            if chance.randrange(RUSH) == 0:
                rush = 90  # a block that fills up
            if rush < 0 and chance.randrange(BLOCK_END) == 0:
                scene.end_block()
                continue
            step(scene, chance, chance.choice(KINDS))
            if report_every and scene.sent >= reported:
                reported += report_every
                rate = scene.sent / (time.monotonic() - began)
                print(
                    f"{scene.sent} transactions, height {scene.model.height}, {rate:.0f} a second",
                    flush=True,
                )
        scene.close()
    finally:
        scene.stop()
    return scene


def never_ok(scene: Scene) -> list[str]:
    """Kinds that nothing came of: a history that leaves them out says nothing of them."""
    return [kind for kind in TRIED if not scene.outcomes[kind, "ok"]]


def ends(scene: Scene) -> str:
    """What became of proposals, by content."""
    found = Counter(
        f"{row.content.KIND} {ENDS[row.status]}" for row in scene.model.proposals.values() if row.status > 2
    )
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items()))


ENDS = (*("",) * 3, "executed", "failed", "rejected", "vetoed", "no_quorum", "expired", "cancelled")


def told(scene: Scene) -> str:
    refused = sum(n for (_, code), n in scene.outcomes.items() if code != "ok" and code[0] != "-")
    impossible = sum(n for (_, code), n in scene.outcomes.items() if code[0] == "-")
    return "\n".join(
        (
            table_of(scene.outcomes),
            f"proposals: {ends(scene)}",
            f"{scene.sent} transactions ({refused} refused, {impossible} that can't stand in a block) in"
            f" {len(scene.blocks)} blocks; no unit made or lost; replayed to the same roots",
            f"final root {scene.roots[-1].hex()}",
        )
    )
