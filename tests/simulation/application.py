"""What a block does, for the simulation: a chain of hashes. The real ledger can stand in its place behind ``Application``.

A block's validity depends on the block alone: one whose base fee is ``POISON`` is invalid for everybody. What was committed
outlives a crash; what was only executed does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from consensus.stake.effects import Build
from consensus.stake.events import FinalPoint
from omnitensor.protocol.blocks import Block, Header, transactions_root
from omnitensor.protocol.types import (
    ZERO_HASH,
    Address,
    Epoch,
    Hash,
    Height,
    TimeMs,
    View,
    Weight,
)
from omnitensor.protocol.votes import FinalityProof

CHAIN_ID = "simulation"
POISON = 666
EMPTY_ROOT = transactions_root(())


def state_after(parent_state: bytes, height: int, proposer: bytes, salt: int) -> Hash:
    return Hash(sha256(b"state" + parent_state + bytes([height % 256]) + proposer + bytes([salt])).digest())


def make_block(
    parent: Header,
    proposer: Address,
    timestamp_ms: int,
    epoch: int = 0,
    *,
    salt: int = 0,
    poison: bool = False,
) -> Block:
    """A block on a parent. Different salts give different valid blocks."""
    height = parent.height + 1
    header = Header(
        version=1,
        chain_id=CHAIN_ID,
        height=Height(height),
        epoch=Epoch(epoch),
        parent=parent.hash,
        timestamp_ms=TimeMs(timestamp_ms),
        proposer=proposer,
        beacon_reveal=bytes([salt]),
        beacon=ZERO_HASH,
        base_fee=POISON if poison else 1,
        weight_used=Weight(0),
        transactions_root=EMPTY_ROOT,
        receipts_root=ZERO_HASH,
        work_root=ZERO_HASH,
        state_root=state_after(parent.state_root, height, proposer, salt),
        validators_hash=ZERO_HASH,
        next_validators_hash=ZERO_HASH,
        history_root=ZERO_HASH,
    )
    return Block(header, ())


def genesis_block(timestamp_ms: int) -> Block:
    root = Header(
        1, CHAIN_ID, Height(0), Epoch(0), ZERO_HASH, TimeMs(timestamp_ms), Address(bytes(33)), b"", ZERO_HASH,
        1, Weight(0), EMPTY_ROOT, ZERO_HASH, ZERO_HASH, ZERO_HASH, ZERO_HASH, ZERO_HASH, ZERO_HASH,
    )  # fmt: skip
    return Block(root, ())


@dataclass(frozen=True)
class Committed:
    block: Block
    proof: FinalityProof | None
    """None for a block that became final through a descendant."""


class Application(Protocol):
    """What a simulated node needs of its chain. ``committed`` is durable, oldest first, genesis at 0."""

    committed: list[Committed]
    epoch_blocks: int

    def build(self, order: Build, proposer: Address, salt: int) -> Block | None: ...

    def check(self, block: Block) -> str | None:
        """Execute a block on its parent, which must have a ``header`` here; why it is invalid, or None."""

    def commit(self, blocks: Sequence[Block], proof: FinalityProof) -> None:
        """Consecutive children of the head, executed before; ``proof`` is of the last."""

    def restart(self) -> None:
        """Forget what was not committed."""

    def header(self, block_hash: Hash) -> Header | None:
        """Header of a block on which another can be built: the head, or one executed above it."""

    def head(self) -> FinalPoint: ...

    def below_epoch(self) -> Header: ...


class HashChain:
    """The simplest application: nothing but blocks that follow one another."""

    def __init__(self, genesis: Block, epoch_blocks: int = 10**9) -> None:
        self.epoch_blocks = epoch_blocks
        self.committed = [Committed(genesis, None)]
        self._executed: dict[Hash, Header] = {}

    def build(self, order: Build, proposer: Address, salt: int) -> Block | None:
        parent = self.header(order.parent_hash)
        if parent is None:
            return None
        epoch = parent.height // self.epoch_blocks
        block = make_block(parent, proposer, order.timestamp_ms, epoch, salt=salt)
        self._executed[block.hash] = block.header
        return block

    def check(self, block: Block) -> str | None:
        header = block.header
        parent = self.header(Hash(header.parent))
        assert parent is not None, "executed before its parent"
        if header.base_fee == POISON:
            return "poisoned"
        salt = header.beacon_reveal[0] if header.beacon_reveal else 0
        if header.state_root != state_after(parent.state_root, header.height, header.proposer, salt):
            return "wrong state root"
        self._executed[block.hash] = header
        return None

    def commit(self, blocks: Sequence[Block], proof: FinalityProof) -> None:
        assert proof.candidate.block_hash == blocks[-1].hash, "a proof of another block"
        for place, block in enumerate(blocks):
            assert block.hash in self._executed, "committed without being executed here"
            assert block.header.parent == self.committed[-1].block.hash, "not a child of the head"
            self.committed.append(Committed(block, proof if place == len(blocks) - 1 else None))
        head = self.committed[-1].block.header
        self._executed = {key: h for key, h in self._executed.items() if h.height > head.height}

    def restart(self) -> None:
        self._executed = {}

    def head(self) -> FinalPoint:
        last = self.committed[-1]
        header = last.block.header
        assert last.proof is not None or header.height == 0, "the head always has a proof"
        if last.proof is None or header.height % self.epoch_blocks == 0:
            return FinalPoint.root(last.block.hash, header.height, TimeMs(header.timestamp_ms), last.proof)
        return FinalPoint(
            View(last.proof.candidate.view),
            last.proof.candidate.id,
            Hash(last.proof.candidate.block_hash),
            Height(header.height),
            TimeMs(header.timestamp_ms),
            last.proof,
        )

    def below_epoch(self) -> Header:
        """Header of the boundary below the epoch of the block above the head."""
        height = self.committed[-1].block.header.height
        return self.committed[height - height % self.epoch_blocks].block.header

    def header(self, block_hash: Hash) -> Header | None:
        head = self.committed[-1].block.header
        return head if head.hash == block_hash else self._executed.get(block_hash)
