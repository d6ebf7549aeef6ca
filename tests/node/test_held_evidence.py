"""Evidence that a node holds: validators and workers are told apart, and workers can't take all the room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from node import evidence as held_module
from node.evidence import HeldEvidence
from omnitensor.protocol import limits
from omnitensor.protocol.ballots import Vote, VoteKind
from omnitensor.protocol.evidence import ConflictingVotes
from omnitensor.protocol.types import Address, BlsPublicKey, BlsSignature, Epoch, Hash, View
from omnitensor.protocol.votes import ValidatorEntry
from omnitensor.protocol.workers import WorkerEntry, WorkerSet
from state.overlay import DictBase, Overlay
from state.records import ValidatorSet
from state.schema import VALIDATOR_SETS, WORKER_SETS

VALIDATORS, WORKERS = 4, 64


def address(number: int) -> Address:
    return Address(b"\0" + number.to_bytes(32, "big"))


def key(number: int) -> BlsPublicKey:
    return BlsPublicKey(number.to_bytes(48, "big"))


def twice(signer: int, epoch: int = 0, view: int = 1) -> ConflictingVotes:
    votes = [
        Vote(
            VoteKind.NOTARIZE,
            Epoch(epoch),
            View(view),
            Hash(bytes([n]) * 32),
            signer,
            BlsSignature(bytes(96)),
        )
        for n in (1, 2)
    ]
    return ConflictingVotes.of(*votes)


@dataclass
class Room:
    """A node's evidence over four validators; in each of three epochs other workers lead, and in epoch 2 validator 0 is one."""

    view: Overlay
    held: HeldEvidence

    @classmethod
    def make(cls) -> Room:
        view = Overlay(DictBase())
        for epoch in range(3):
            voters = range(1 if epoch == 2 else 0, VALIDATORS)
            entries = tuple(ValidatorEntry(address(n), key(n), 10) for n in voters)
            view.put(VALIDATOR_SETS, ValidatorSet(Hash(bytes(32)), entries), epoch)
            first = 100 * (epoch + 1)
            working = [0] * (epoch == 2) + list(range(first, first + WORKERS - (epoch == 2)))
            workers = tuple(WorkerEntry(address(n), key(n), 5) for n in working)
            view.put(WORKER_SETS, WorkerSet(workers, 8), epoch)
        reader: Any = view
        return cls(view, HeldEvidence(lambda: reader))

    def take(self, evidence: ConflictingVotes) -> bool:
        leaders = self.held.wanted(evidence)
        if leaders is not None:
            self.held.put(evidence, leaders)
        return leaders is not None


@pytest.fixture
def room() -> Room:
    return Room.make()


def test_one_piece_a_worker_is_held_and_validators_always_find_room(room: Room) -> None:
    taken = sum(
        room.take(twice(VALIDATORS + place, epoch, view))
        for epoch in range(2)
        for place in range(WORKERS)
        for view in (1, 2)
    )
    assert taken == limits.evidence_of_workers_max == 2 * WORKERS
    assert not room.take(twice(VALIDATORS - 1, 2)), (
        "in epoch 2 the first worker has the index after three validators"
    )
    assert all(room.take(twice(number)) for number in range(VALIDATORS))
    assert len(room.held.all()) == limits.evidence_of_workers_max + VALIDATORS


def test_who_is_accused_as_a_worker_is_still_accused_as_a_validator(room: Room) -> None:
    assert room.take(twice(VALIDATORS - 1, 2)), "validator 0, which only leads in epoch 2"
    assert room.take(twice(0, 0)), "and voted twice in epoch 0"
    assert not room.take(twice(0, 1))


def test_each_epoch_of_a_workers_faults_counts_for_itself(room: Room) -> None:
    """As on chain: it contradicts itself once before a boundary and once after it, before the first is on chain."""
    again = WorkerSet((WorkerEntry(address(100), key(100), 5),), 8)
    room.view.put(WORKER_SETS, again, 1)
    assert room.take(twice(VALIDATORS, 0))
    assert room.take(twice(VALIDATORS, 1))
    assert not room.take(twice(VALIDATORS, 1, view=2))


def test_nobody_beyond_the_schedule_is_accused(room: Room) -> None:
    assert not room.take(twice(VALIDATORS + WORKERS))
    assert not room.take(twice(VALIDATORS, 7)), "an epoch that is not kept"
    assert held_module.leaders_of(room.view, twice(0, 7)) is None
