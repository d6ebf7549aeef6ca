"""Work credit in a simulated world, and an oracle of whom it draws: shares no code with the product's schedule.

On the ledger the credit stands in the state, given at each boundary for the epoch after the next by a step of the world's own: no
work is done there, but its sets are kept, charged and drawn from by the ledger's rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any

from omnitensor.protocol.types import Address, Epoch
from omnitensor.protocol.workers import WorkerEntry, WorkerSet
from state.ledger import worker_sets
from tests.simulation.scenario import Scenario

ENOUGH_TICKETS, STAKE_EVERY = 8, 3
TAG = sha256(b"omnitensor/leader/1").digest()


@dataclass(frozen=True)
class Credit:
    """What was credited for an epoch: party and amount, ascending by party, and how many tickets in all."""

    amounts: tuple[tuple[int, int], ...] = ()
    tickets: int = 0

    def __bool__(self) -> bool:
        return bool(self.amounts)


@dataclass(frozen=True)
class Facts:
    """What an epoch's leaders are drawn from: seed, party and weight in the order of the table, and credit."""

    seed: bytes
    members: tuple[tuple[int, int], ...]
    credit: Credit


def credit_of(scenario: Scenario, epoch: int, seed: bytes) -> Credit:
    """Most epochs have enough work, some too little, some none. Where validators work as well, they may be in no table."""
    if not scenario.workers:
        return Credit()
    random = Random(f"credit {scenario.seed} {epoch} {seed.hex()}")
    if random.random() < 0.1:
        return Credit()
    tickets = random.randint(1, 7) if random.random() < 0.15 else random.randint(8, 100)
    working = list(range(scenario.size, scenario.parties))
    if all(scenario.workers):
        validators: list[int] = []  # all work is hostile
    else:
        validators = [v for v in range(scenario.size) if not scenario.ledger and random.random() < 0.3]
    amounts = [(party, random.choice((0, 1, 10, 10, 30)) * 2**30) for party in (*validators, *working)]
    return Credit(tuple(amounts), tickets)


def worker_set(credit: Credit, address_of: Callable[[int], Address], keys: Sequence[Any]) -> WorkerSet:
    entries = [WorkerEntry(address_of(party), keys[party], amount) for party, amount in credit.amounts]
    return WorkerSet(tuple(sorted(entries, key=lambda entry: entry.address)), credit.tickets)


def drawn_leader(
    seed: bytes,
    epoch: int,
    view: int,
    members: Sequence[tuple[Any, int]],
    credit: Sequence[tuple[Any, int]],
    tickets: int,
) -> Any:
    """Who leads a view, from the specification: validators in the order of the table, then other workers as they are given."""
    ballot = list(members)
    if tickets >= ENOUGH_TICKETS and view % STAKE_EVERY and sum(amount for _, amount in credit):
        amounts, voters = dict(credit), [who for who, _ in members]
        ballot = [(who, amounts.get(who, 0)) for who in voters]
        ballot += [(who, amount) for who, amount in credit if who not in voters]
    data = TAG + TAG
    for part in (seed, epoch.to_bytes(8, "big"), view.to_bytes(8, "big")):
        data += len(part).to_bytes(4, "big") + part
    ticket = int.from_bytes(sha256(data).digest(), "big") % sum(weight for _, weight in ballot)
    for who, weight in ballot:
        if ticket < weight:
            return who
        ticket -= weight
    raise AssertionError("a ticket beyond all weights")


def giving(scenario: Scenario, addresses: Sequence[Address], keys: Sequence[Any]) -> Callable[..., Any]:
    """A step at the end of a block that fixes, at a boundary, the worker set of the epoch after the next."""

    def give(view: Any, ctx: Any) -> tuple[()]:
        if ctx.height % scenario.epoch_blocks == 0:
            epoch = ctx.epoch + 2
            credit = given(scenario, epoch)
            if credit:
                worker_sets.fix(view, Epoch(epoch), worker_set(credit, addresses.__getitem__, keys))
        return ()

    return give


def given(scenario: Scenario, epoch: int) -> Credit:
    """What that step gives."""
    return credit_of(scenario, epoch, b"given")
