"""The chain as consensus and sync share it: what one commits while the other checks, and that nothing local is called invalid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import structlog

from consensus.stake import effects as fx
from node.chain_work import DivergedError
from node.driver import Checked
from node.service import Node
from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import Hash, Height, TimeMs, View
from omnitensor.protocol.votes import Candidate, FinalityProof
from p2p.messages import BlocksRequest
from tests.node.node_kit import PARAMS, height_of, make_folders, node_at
from tests.node.voters import Voters


@dataclass
class Bench:
    """A node that does not run, and everybody's keys."""

    node: Node
    voters: Voters

    async def check(self, candidate: Candidate, block: Block, *below: Block) -> Checked | None:
        return await self.node.application.check(candidate, block, lambda: below)

    async def sync(self, *blocks: Block, proof: FinalityProof) -> None:
        await self.node.application.commit_range(blocks, proof)

    async def commit(self, *chain: tuple[Candidate, Block], proof: FinalityProof) -> None:
        finalized = tuple(fx.Finalized(candidate, block) for candidate, block in chain)
        await self.node.application.commit(fx.Commit(finalized, proof, (), View(proof.candidate.view)))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    folders = make_folders(tmp_path)
    made = Bench(node_at(folders.homes[0]), Voters(folders, tmp_path))
    yield made
    await made.node.stop()
    made.voters.close()


async def test_a_valid_block_is_valid_and_a_wrong_one_says_why(bench: Bench) -> None:
    voters = bench.voters
    block = voters.block(1)
    assert await bench.check(voters.candidate(1, block), block) == Checked(None)
    header = msgspec.structs.replace(block.header, state_root=Hash(bytes(32)))
    wrong = Block(header, block.transactions)
    found = await bench.check(voters.candidate(1, wrong), wrong)
    assert found is not None
    assert "state_root" in str(found.fault)


async def test_a_notarized_block_that_lost_against_sync_is_no_invalid_block(bench: Bench) -> None:
    """View 1's block was notarized and passed over; sync commits the chain that left it out, and then its check comes."""
    voters = bench.voters
    lost = voters.block(1, at_ms=voters.genesis.time_ms + 150)
    lost_candidate = voters.candidate(1, lost)
    won = voters.block(2)
    won_candidate = voters.candidate(2, won)
    await bench.sync(won, proof=voters.proof(won_candidate))
    # An answer "invalid" would make the core halt as soon as it sees the notarization of view 1.
    assert await bench.check(lost_candidate, lost) is None


async def test_a_child_of_a_block_that_lost_does_not_end_the_node(bench: Bench) -> None:
    voters = bench.voters
    lost = voters.block(1, at_ms=voters.genesis.time_ms + 150)
    lost_candidate = voters.candidate(1, lost)
    child = voters.block(3, lost)
    assert await bench.check(lost_candidate, lost) == Checked(None)
    won = voters.block(2)
    await bench.sync(won, proof=voters.proof(voters.candidate(2, won)))
    assert await bench.check(voters.candidate(3, child, lost_candidate), child, lost) is None


async def test_what_sync_committed_meanwhile_is_valid_and_committed_once(bench: Bench) -> None:
    voters = bench.voters
    (c1, b1, _), (c2, b2, p2), (c3, b3, p3) = voters.final_chain(3)
    assert await bench.check(c1, b1) == Checked(None)
    await bench.sync(b1, b2, proof=p2)
    assert await bench.check(c2, b2) == Checked(None)
    await bench.commit((c1, b1), (c2, b2), proof=p2)
    assert height_of(bench.node) == 2
    assert await bench.check(c3, b3) == Checked(None)
    await bench.commit((c1, b1), (c2, b2), (c3, b3), proof=p3)
    assert height_of(bench.node) == 3
    await bench.sync(b1, b2, b3, proof=p3)
    assert bench.node.application.final_point() is not None


async def test_two_final_blocks_at_one_height_stop_the_node(bench: Bench) -> None:
    """More than a third of the stake is hostile then: nothing is silently kept or undone."""
    voters = bench.voters
    one, other = voters.block(1), voters.block(1, at_ms=voters.genesis.time_ms + 150)
    await bench.sync(one, proof=voters.proof(voters.candidate(1, one)))
    candidate = voters.candidate(1, other)
    with pytest.raises(DivergedError, match="two blocks of one height"):
        await bench.commit((candidate, other), proof=voters.proof(candidate))


async def test_a_block_pushed_out_of_memory_is_executed_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many losing blocks fill the chain's memory; what the core still counts on is neither invalid nor lost."""
    monkeypatch.setattr(limits, "pending_blocks_max", 4)
    voters = bench.voters
    wanted = voters.block(1)
    wanted_candidate = voters.candidate(1, wanted)
    assert await bench.check(wanted_candidate, wanted) == Checked(None)
    for view in range(2, 8):
        other = voters.block(view, at_ms=voters.genesis.time_ms + 100 + view)
        assert await bench.check(voters.candidate(view, other), other) == Checked(None)
    assert not bench.node.application.chain.is_executed(wanted.hash), "the scene is set"
    monkeypatch.setattr(limits, "pending_blocks_max", 256)
    child = voters.block(8, voters_parent(voters, wanted))
    monkeypatch.setattr(limits, "pending_blocks_max", 4)
    candidate = voters.candidate(8, child, wanted_candidate)
    assert await bench.check(candidate, child, wanted) == Checked(None)
    await bench.commit((wanted_candidate, wanted), (candidate, child), proof=voters.proof(candidate))
    assert height_of(bench.node) == 2


def voters_parent(voters: Voters, block: Block) -> Block:
    """The same block, surely executed at the builder."""
    voters.chain.check(block)
    return block


async def test_no_room_for_another_block_is_no_fault_of_the_block(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "pending_blocks_max", 64)
    voters = bench.voters
    chain: list[tuple[Candidate, Block]] = []
    for view in range(1, 5):
        above = chain[-1] if chain else None
        block = voters.block(view, above[1] if above else None)
        chain.append((voters.candidate(view, block, above[0] if above else None), block))
    monkeypatch.setattr(limits, "pending_blocks_max", 3)
    for candidate, block in chain[:3]:
        assert await bench.check(candidate, block) == Checked(None)
    last, block = chain[3]
    assert await bench.check(last, block, *(b for _, b in chain[:3])) is None
    await bench.commit(*chain[:2], proof=voters.proof(chain[1][0]))
    assert await bench.check(last, block, *(b for _, b in chain[:3])) == Checked(None)


async def test_a_disk_that_fails_is_never_an_invalid_block(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    voters = bench.voters
    block = voters.block(1)

    def broken(*_: object) -> None:
        raise StorageError("the database is damaged")

    monkeypatch.setattr(bench.node.application.chain, "check", broken)
    with pytest.raises(StorageError):
        await bench.check(voters.candidate(1, block), block)


async def test_build_on_a_lost_parent_builds_nothing(bench: Bench) -> None:
    build = fx.Build(
        View(1), Hash(b"p" * 32), Hash(b"q" * 32), bench.voters.chain.head.height, TimeMs(1), None
    )
    assert await bench.node.application.build(build, lambda: ()) is None


async def test_proofs_above_a_range_are_kept_for_the_block_they_prove(bench: Bench) -> None:
    """A node that was synced in ranges that end between proofs can serve others and start consensus again."""
    voters = bench.voters
    chain = voters.final_chain(4)
    blocks = [block for _, block, _ in chain]
    proof = chain[2][2]
    await bench.sync(blocks[0], blocks[1], proof=proof)
    assert bench.node.application.final_point() is None
    await bench.sync(blocks[2], blocks[3], proof=chain[3][2])
    reader = bench.node.application.reader()
    assert reader.proof(blocks[2].header.height) == proof
    assert reader.proof(blocks[3].header.height) == chain[3][2]


async def test_a_node_claims_no_block_that_it_cannot_prove(bench: Bench) -> None:
    """A peer that asks for what was claimed, and gets nothing, would take this node for a liar."""
    voters, handler = bench.voters, bench.node._handler
    assert (handler.head().height, handler.head().hash) == (0, voters.genesis.hash)
    (_, b1, p1), (_, b2, _), (_, b3, p3) = voters.final_chain(3)
    await bench.sync(b1, proof=p1)
    await bench.sync(b2, proof=p3)  # as after a crash between the blocks of a range
    assert height_of(bench.node) == 2
    claimed = handler.head()
    assert (claimed.height, claimed.hash, claimed.view) == (1, b1.hash, p1.candidate.view)
    assert handler._blocks(BlocksRequest(claimed.height, 1)) is not None
    assert handler._blocks(BlocksRequest(Height(2), 1)) is None
    await bench.sync(b3, proof=p3)
    assert (handler.head().height, handler.head().hash) == (3, b3.hash)


async def test_a_range_that_this_node_computes_otherwise_is_its_own_fault(bench: Bench) -> None:
    """A quorum made it final: the peer that sent it is not to blame, and the node must not go on as if."""
    voters = bench.voters
    block = voters.block(1)
    wrong = Block(msgspec.structs.replace(block.header, weight_used=1), block.transactions)
    with pytest.raises(DivergedError, match="invalid here"):
        await bench.sync(wrong, proof=voters.proof(voters.candidate(1, wrong)))
    assert height_of(bench.node) == 0


@pytest.mark.parametrize("away", [True, False])
async def test_a_node_measures_its_attendance_and_says_when_its_validator_is_jailed(
    tmp_path: Path, away: bool
) -> None:
    params = msgspec.structs.replace(PARAMS, epoch_blocks=3, downtime_epochs=1, jail_share_max_bps=2_500)
    folders = make_folders(tmp_path, params=params)
    node, voters = node_at(folders.homes[0]), Voters(folders, tmp_path)
    me = node.application.epoch.me
    assert me is not None
    voters.quiet = me if away else (me + 1) % 4
    chain = voters.final_chain(3)
    try:
        await node.application.commit_range(tuple(block for _, block, _ in chain[:2]), chain[1][2])
        share = "0.0" if away else "10000.0"
        assert f"omnitensor_attendance_bps {share}" in node.metrics.text().decode().splitlines()
        with structlog.testing.capture_logs() as said:
            await node.application.commit_range((chain[2][1],), chain[2][2])
        told = [line for line in said if "jailed" in line["event"]]
        assert len(told) == int(away)
        assert (node.application.epoch.me is None) == away, "it does not vote in the next epoch"
    finally:
        await node.stop()
        voters.close()
