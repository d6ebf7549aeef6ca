"""The real ledger behind a simulated node: chain, execution, trie, genesis, mempool and base fee, on a simulated database.

Everything in ``state`` is the product's, and so is what a node does with it (``node.chain_work``). Simulated are the disk below
LevelDB's face and, where the world says so, the consensus signatures.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from consensus.stake.effects import Build
from consensus.stake.events import FinalPoint
from node.chain_work import ChainWork
from node.driver import Checked
from omnitensor.protocol.blocks import Block, Header, beacon_message
from omnitensor.protocol.errors import BlockError
from omnitensor.protocol.limits import block_bytes_max
from omnitensor.protocol.types import Address, BlsSignature, Epoch, Hash, Height, TimeMs
from omnitensor.protocol.votes import Attendance, Candidate, FinalityProof
from p2p.messages import BlocksRequest, BlocksResponse
from p2p.ranges import assemble_blocks
from state import opening
from state.chain import HEADER_ROOM_BYTES, Chain, NoRoomError
from state.chain import Committed as Done
from state.genesis import Genesis
from state.ledger.prepared import Prepared
from state.mempool import Mempool
from state.store import Batch, Stamp
from tests.simulation.application import POISON, Below, Committed
from tests.simulation.sim_store import SimDb

if TYPE_CHECKING:
    from tests.simulation.node import SimNode


class LedgerChain:
    """One node's. ``attach`` it before anything else."""

    def __init__(self, genesis: Genesis) -> None:
        self.genesis = genesis
        self.epoch_blocks: int = genesis.params.epoch_blocks
        self.committed = [Committed(genesis.block, None)]

    def attach(self, node: SimNode) -> None:
        self._node = node
        self.db = SimDb(node.disk)
        self._open((opening.stamp_of(self.genesis), opening.first_rows(self.genesis)))
        self._read_committed()

    def restart(self) -> None:
        """As a node starts: the database is opened and checked, and what was only in memory is gone."""
        self.chain.signatures.close()
        self.db.power_off(self._node.world.random)
        self._open(None)
        self._read_committed()

    def _open(self, first: tuple[Stamp, Batch] | None) -> None:
        world = self._node.world
        store = world.product.database.over(self.db, first)
        self.chain = Chain.on(store, self.genesis, world.scheme)
        self.work = ChainWork(self.chain, None, world.scheme)
        self.mempool = Mempool(self.chain.reader(), self.chain.chain_id, self.chain.signatures)

    def _read_committed(self) -> None:
        """What the database holds; blocks that are in memory already are only compared."""
        reader = self.chain.reader()
        known = {entry.block.hash: entry.block for entry in self.committed}
        self.committed = [Committed(self.genesis.block, None)]
        for height in range(1, reader.head.height + 1):
            block = reader.block(Height(height))
            assert block is not None, "a block below the head is there"
            self.committed.append(Committed(known.get(block.hash, block), reader.proof(Height(height))))

    # -- building and judging

    def build(self, order: Build, proposer: Address, below: Below, salt: int = 0) -> Block | None:
        self.work.execute(tuple(below()))
        if not self.chain.is_executed(order.parent_hash):
            return None
        waiting = self._waiting(order.parent_hash)
        timestamp_ms = TimeMs(order.timestamp_ms + salt)
        reveal = self._reveal(order.parent_height)
        return self.work.build(replaced_time(order, timestamp_ms), proposer, reveal, waiting[salt:])

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
        earliest_ms = header.timestamp_ms + self.chain.params.block_interval_ms
        time_ms = TimeMs(max(timestamp_ms, earliest_ms) + salt)
        try:
            block = self.chain.build(
                parent,
                time_ms,
                proposer,
                self._reveal(header.height),
                self._waiting(parent)[salt:],
                attendance,
            )
        except (BlockError, NoRoomError):
            return None
        if poison:
            return Block(replace(block.header, base_fee=POISON), block.transactions)
        if block.header.epoch != epoch:
            return Block(replace(block.header, epoch=Epoch(epoch)), block.transactions)
        return block

    def _reveal(self, parent_height: int) -> BlsSignature:
        return BlsSignature(self._node.sign(beacon_message(self.chain.chain_id, Height(parent_height + 1))))

    def _waiting(self, parent: Hash) -> list[Prepared]:
        return self.mempool.select(
            self.chain.reader().next_base_fee,
            self.chain.params.block_weight_max,
            block_bytes_max - HEADER_ROOM_BYTES,
            self.chain.pending_ids(parent),
        )

    def judge(self, candidate: Candidate, block: Block, below: Below) -> Checked | None:
        not_its_turn = self.work.leader_fault(candidate, block)
        if not_its_turn is not None:
            return not_its_turn
        checked = self.work.check(block, ())
        return checked if checked is not None else self.work.check(block, tuple(below()))

    # -- committing

    def commit(self, blocks: Sequence[Block], proof: FinalityProof) -> int:
        return self._done(self.work.commit(tuple(blocks), proof))

    def commit_range(self, blocks: Sequence[Block], proof: FinalityProof) -> int:
        self.work.expect(proof)
        return sum(self._done(self.work.commit_next(block)) for block in blocks)

    def _done(self, done: Sequence[Done]) -> int:
        reader = self.chain.reader()
        for one in done:
            self.mempool.on_commit(one.block, reader)
            self.committed.append(Committed(one.block, reader.proof(one.block.header.height)))
        return len(done)

    def answer(self, request: BlocksRequest) -> BlocksResponse | None:
        reader = self.chain.reader()

        def header_at(height: int) -> Header | None:
            return self.committed[height].block.header if height < len(self.committed) else None

        return assemble_blocks(
            request,
            lambda height: reader.encoded_block(Height(height)),
            header_at,
            lambda height: reader.proof(Height(height)),
        )

    # -- looking

    def receipts(self) -> Counter[str]:
        """What became of the transactions in its final blocks: by kind where they were carried out, else by why not."""
        found: Counter[str] = Counter()
        reader = self.chain.reader()
        for entry in self.committed:
            for transaction in entry.block.transactions:
                placed = reader.receipt(transaction.id)
                assert placed is not None, "every final transaction has a receipt"
                ok = placed.receipt.ok
                found[f"{transaction.body.KIND} done" if ok else f"failed: {placed.receipt.code}"] += 1
            for event in reader.block_events(entry.block.header.height):
                if event.kind.startswith(("seat.", "validator.")):
                    found[event.kind] += 1
        return found

    def head(self) -> FinalPoint | None:
        return self.work.standing()[1]

    def header(self, block_hash: Hash) -> Header | None:
        pending = self.chain.pending_block(block_hash)
        if pending is not None:
            return pending.header
        head = self.chain.head
        return head.header if head.hash == block_hash else None

    def below_epoch(self) -> Header:
        height = self.chain.head.height
        return self.committed[height - height % self.epoch_blocks].block.header


def replaced_time(order: Build, timestamp_ms: TimeMs) -> Build:
    return dataclasses.replace(order, timestamp_ms=timestamp_ms)
