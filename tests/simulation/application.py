"""What a simulated node needs of its chain, and the simplest one: a chain of hashes. ``ledger_chain`` has the real ledger.

In the chain of hashes a block's validity depends on the block alone: one whose base fee is ``POISON`` is invalid for everybody.
What was committed outlives a crash; what was only executed does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from consensus.stake.effects import Build
from consensus.stake.events import FinalPoint
from node.chain_work import DivergedError, ProofsAhead
from node.driver import Checked
from omnitensor.protocol.blocks import Block, Header, transactions_root
from omnitensor.protocol.codec import encode
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
from omnitensor.protocol.votes import Attendance, Candidate, FinalityProof
from p2p.messages import BlocksRequest, BlocksResponse
from p2p.ranges import assemble_blocks

if TYPE_CHECKING:
    from tests.simulation.node import SimNode

CHAIN_ID = "simulation"
POISON = 666
EMPTY_ROOT = transactions_root(())

Below = Callable[[], Sequence[Block]]
"""The unfinal blocks under a block as consensus has them, oldest first."""


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
        attendance=None,
    )
    return Block(header, ())


def genesis_block(timestamp_ms: int) -> Block:
    root = Header(
        1, CHAIN_ID, Height(0), Epoch(0), ZERO_HASH, TimeMs(timestamp_ms), Address(bytes(33)), b"", ZERO_HASH,
        1, Weight(0), EMPTY_ROOT, ZERO_HASH, ZERO_HASH, ZERO_HASH, ZERO_HASH, ZERO_HASH, ZERO_HASH, None,
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

    def attach(self, node: SimNode) -> None:
        """The node whose chain this is."""

    def restart(self) -> None:
        """Begin anew from what is durable."""

    def build(self, order: Build, proposer: Address, below: Below, salt: int = 0) -> Block | None:
        """A leader's block. ``salt`` is 0 but for machines that share a key, whose blocks are never the same."""

    def make(
        self,
        parent: Hash,
        proposer: Address,
        timestamp_ms: int,
        epoch: int,
        *,
        salt: int,
        attendance: Attendance | None,
        poison: bool = False,
    ) -> Block | None:
        """Another block than ``build`` would make, for hostile leaders: valid, another for each salt; invalid when poisoned.

        ``attendance`` is of the parent, as in the order to build on it.
        None where the parent is not one to build upon, or no block can be made.
        """

    def judge(self, candidate: Candidate, block: Block, below: Below) -> Checked | None:
        """The verdict on a block, executed on its parent; None when it can't be judged now."""

    def commit(self, blocks: Sequence[Block], proof: FinalityProof) -> int:
        """Children of the head after those that are final already; ``proof`` is of the last. How many were new."""

    def commit_range(self, blocks: Sequence[Block], proof: FinalityProof) -> int:
        """As ``commit``, for the sync: ``proof`` is of the last or of one above it. Raises DivergedError."""

    def answer(self, request: BlocksRequest) -> BlocksResponse | None:
        """Final blocks for a peer."""

    def header(self, block_hash: Hash) -> Header | None:
        """Header of a block on which another can be built: the head, or one executed above it."""

    def head(self) -> FinalPoint | None:
        """Where a core begins; None while the head is final only through a block above it."""

    def below_epoch(self) -> Header:
        """Header of the boundary below the epoch of the block above the head."""


class HashChain:
    """The simplest application: nothing but blocks that follow one another."""

    def __init__(self, genesis: Block, epoch_blocks: int = 10**9) -> None:
        self.epoch_blocks = epoch_blocks
        self.committed = [Committed(genesis, None)]
        self._executed: dict[Hash, Header] = {}
        self._proofs = ProofsAhead()

    def attach(self, node: SimNode) -> None:
        """It needs nothing of a node."""

    def restart(self) -> None:
        self._executed = {}
        self._proofs = ProofsAhead()

    def build(self, order: Build, proposer: Address, below: Below, salt: int = 0) -> Block | None:
        parent = self.header(order.parent_hash)
        if parent is None:
            return None
        epoch = parent.height // self.epoch_blocks
        block = make_block(parent, proposer, order.timestamp_ms, epoch, salt=salt)
        self._executed[block.hash] = block.header
        return block

    def make(
        self,
        parent: Hash,
        proposer: Address,
        timestamp_ms: int,
        epoch: int,
        *,
        salt: int,
        attendance: Attendance | None,
        poison: bool = False,
    ) -> Block | None:
        header = self.header(parent)
        if header is None:
            return None
        return make_block(header, proposer, timestamp_ms, epoch, salt=salt, poison=poison)

    def judge(self, candidate: Candidate, block: Block, below: Below) -> Checked | None:
        header = block.header
        if header.height < len(self.committed):
            return Checked(None) if self.committed[header.height].block.hash == block.hash else None
        return None if self.header(Hash(header.parent)) is None else Checked(self.check(block))

    def check(self, block: Block) -> str | None:
        """Why a block is invalid on its parent, which is known; or None."""
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

    def commit(self, blocks: Sequence[Block], proof: FinalityProof) -> int:
        assert proof.candidate.block_hash == blocks[-1].hash, "a proof of another block"
        new = [block for block in blocks if block.header.height >= len(self.committed)]
        for block in new:
            assert block.hash in self._executed, "committed without being executed here"
            assert block.header.parent == self.committed[-1].block.hash, "not a child of the head"
            self.committed.append(Committed(block, proof if block is blocks[-1] else None))
        self._forget()
        return len(new)

    def commit_range(self, blocks: Sequence[Block], proof: FinalityProof) -> int:
        self._proofs.put(proof)
        count = 0
        for block in blocks:
            height = block.header.height
            if height < len(self.committed):
                if self.committed[height].block.hash != block.hash:
                    raise DivergedError("a quorum made two blocks of one height final", block)
                continue
            if block.header.parent != self.committed[-1].block.hash:
                raise DivergedError("a quorum made a block final that does not stand on the final one", block)
            fault = self.check(block)
            if fault is not None:
                raise DivergedError(f"a quorum made a block final that is invalid here ({fault})", block)
            self.committed.append(Committed(block, self._proofs.take(block.hash)))
            count += 1
        self._forget()
        return count

    def _forget(self) -> None:
        height = len(self.committed) - 1
        self._executed = {key: h for key, h in self._executed.items() if h.height > height}

    def answer(self, request: BlocksRequest) -> BlocksResponse | None:
        def at(height: int) -> Committed | None:
            return self.committed[height] if height < len(self.committed) else None

        return assemble_blocks(
            request,
            lambda height: None if (entry := at(height)) is None else encode(entry.block),
            lambda height: None if (entry := at(height)) is None else entry.block.header,
            lambda height: None if (entry := at(height)) is None else entry.proof,
        )

    def head(self) -> FinalPoint | None:
        last = self.committed[-1]
        header = last.block.header
        if header.height == 0 or (last.proof is not None and header.height % self.epoch_blocks == 0):
            return FinalPoint.root(last.block.hash, header.height, TimeMs(header.timestamp_ms), last.proof)
        if last.proof is None:
            return None
        return FinalPoint(
            View(last.proof.candidate.view),
            last.proof.candidate.id,
            Hash(last.proof.candidate.block_hash),
            Height(header.height),
            TimeMs(header.timestamp_ms),
            last.proof,
        )

    def below_epoch(self) -> Header:
        height = self.committed[-1].block.header.height
        return self.committed[height - height % self.epoch_blocks].block.header

    def header(self, block_hash: Hash) -> Header | None:
        head = self.committed[-1].block.header
        return head if head.hash == block_hash else self._executed.get(block_hash)
