"""A node's program with one more step at the end of its blocks, which credits work: ``python -m tests.node.credited start``.

No work is done in it. What the step gives is frozen, charged for missed views and drawn from by the ledger's own rules; all
else is the product. All nodes of a net must give the same. The workers stand in the file that CREDITED_WORK names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.types import Address, BlsPublicKey, Epoch
from omnitensor.protocol.workers import WorkerEntry, WorkerSet
from state.ledger import registry, transition, worker_sets

VARIABLE = "CREDITED_WORK"
TICKETS = 8

Credited = Mapping[Address, tuple[BlsPublicKey, int]]
"""Consensus key and credit of an epoch, by account."""


def steps(credited: Credited) -> tuple[Callable[..., Any], ...]:
    """The steps at the end of a block, and one more that gives each boundary the set of the epoch after the next."""
    entries = tuple(WorkerEntry(address, *credited[address]) for address in sorted(credited))

    def give(view: Any, ctx: Any) -> tuple[()]:
        if is_boundary(ctx.height, ctx.params):
            worker_sets.fix(view, Epoch(ctx.epoch + 2), WorkerSet(entries, TICKETS))
        return ()

    return (*registry.END_OF_BLOCK, give)


def write(path: Path, credited: Credited) -> None:
    rows = {address.hex(): [key.hex(), amount] for address, (key, amount) in credited.items()}
    path.write_text(json.dumps(rows), encoding="utf-8")


def read(path: Path) -> Credited:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {
        Address(bytes.fromhex(address)): (BlsPublicKey(bytes.fromhex(key)), amount)
        for address, (key, amount) in rows.items()
    }


if __name__ == "__main__":
    from node.cli import main

    transition.__dict__["END_OF_BLOCK"] = steps(read(Path(os.environ[VARIABLE])))
    main()
