"""R5: a quorum stands behind a block that is invalid here. It stops, says why, saves what helps, and serves on."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from node.service import Node
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import BlockError
from omnitensor.protocol.types import Hash
from omnitensor.protocol.votes import VoteKind
from p2p.messages import BlocksRequest, BlocksResponse
from state.chain import Chain
from tests.lessons.scene import Scene, opened
from tests.node.node_kit import height_of, is_peer, make_folders, node_at, stranger, transfer, until
from tests.node.voters import Voters

WRONG_ROOT = Hash(b"x" * 32)


def get(node: Node, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{node._rpc.port}{path}", timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def call(node: Node, method: str) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{node._rpc.port}/", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["result"]


def saved(node: Node, block: Block) -> dict[str, Any]:
    """The report beside the block, which is whole."""
    name = f"{block.header.height}-{block.hash.hex()[:16]}"
    folder = node.config.disputes_path
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.block", f"{name}.json"]
    for path in (folder, *folder.iterdir()):
        assert path.stat().st_mode & 0o077 == 0
    read = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert decode(Block, (folder / read["block_file"]).read_bytes()) == block
    assert isinstance(read, dict)
    return read


def assert_fields(read: dict[str, Any], true: Block, wrong: Block) -> None:
    header = true.header
    assert read["differing_fields"] == {
        "state_root": {"in_the_block": WRONG_ROOT.hex(), "computed_here": header.state_root.hex()},
        "weight_used": {"in_the_block": 7, "computed_here": header.weight_used},
    }
    assert (read["height"], read["block"]) == (1, wrong.hash.hex())
    assert read["header"]["state_root"] == wrong.header.state_root.hex()
    assert read["header_computed_here"]["state_root"] == header.state_root.hex()
    assert read["transactions"] == [transaction.id.hex() for transaction in true.transactions]
    for name in ("node_version", "chain_id", "genesis", "parent", "parent_state_root", "fault"):
        assert read[name], name


@pytest.mark.parametrize("kind", [VoteKind.NOTARIZE, VoteKind.FINALIZE])
async def test_a_halt_can_be_looked_into(tmp_path: Path, kind: VoteKind) -> None:
    async with opened(tmp_path) as scene, stranger(scene.folders.genesis, scene.node) as peer:
        true, wrong = await halt(scene, peer, kind)
        report = scene.halted or ""
        gives = f"execution gives {true.header.weight_used}"
        for part in ("block 1 ", wrong.hash.hex(), "weight_used of the block is wrong: 7", gives):
            assert part in report, report
        assert "disputes/1-" in report
        assert "issue tracker" in report
        assert str(tmp_path) not in report, "strangers may read it over RPC"
        read = saved(scene.node, wrong)
        assert_fields(read, true, wrong)
        assert read["candidate"]["block_hash"] == wrong.hash.hex()
        assert read["certificate"]["kind"] == kind
        assert read["parent_state_root"] == scene.folders.genesis.block.header.state_root.hex()
        # It goes on serving, and says that it is not to be relied on.
        status, text = await asyncio.to_thread(get, scene.node, "/ready")
        assert status == 503
        assert "halted" in text
        assert (await asyncio.to_thread(get, scene.node, "/health"))[0] == 200
        assert (await asyncio.to_thread(call, scene.node, "chain.status"))["height"] == 0
        assert "halted" in (await asyncio.to_thread(call, scene.node, "node.info"))["not_ready_reason"]
        assert is_peer(scene.node, peer)
        assert not scene.node.failed.is_set()
    # As the operator's guide has it: the chain and the block are enough to see it again.
    config = scene.node.config
    [block_file] = config.disputes_path.glob("*.block")
    chain = Chain.open(config.chain_path)
    try:
        with pytest.raises(BlockError, match="weight_used"):
            chain.check(decode(Block, block_file.read_bytes()))
    finally:
        chain.close()


async def halt(scene: Scene, peer: Any, kind: VoteKind) -> tuple[Block, Block]:
    """The true block, and the wrong one that everybody else stands behind."""
    voters = scene.voters
    true = voters.block(1, transactions=[transfer("alice", 0)])
    wrong = Block(replace(true.header, state_root=WRONG_ROOT, weight_used=7), true.transactions)
    candidate = voters.candidate(1, wrong)
    peer.host.send(scene.id, voters.proposal(candidate, wrong))
    peer.host.send(scene.id, voters.certificate(kind, 1, candidate.id, signers=scene.others))
    await until("the node halts, and has saved", lambda: "aved" in (scene.halted or ""))
    return true, wrong


async def test_it_halts_all_the_same_where_nothing_can_be_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene, stranger(scene.folders.genesis, scene.node) as peer:
        scene.node.config.disputes_path.write_text("a file in the folder's place")
        await halt(scene, peer, VoteKind.NOTARIZE)
        assert "could not be saved" in (scene.halted or "")
        assert str(tmp_path) not in (scene.halted or ""), "strangers may read it over RPC"
        assert not scene.node.failed.is_set()


async def test_a_wrong_block_in_a_sync_ends_the_node_with_the_same_report(tmp_path: Path) -> None:
    folders = make_folders(tmp_path)
    voters = Voters(folders, tmp_path)
    true = voters.block(1, transactions=[transfer("alice", 0)])
    wrong = Block(replace(true.header, state_root=WRONG_ROOT, weight_used=7), true.transactions)
    proof = voters.proof(voters.candidate(1, wrong))
    node = node_at(folders.extra("follower"))
    await node.start()
    try:
        answers: Any = {BlocksRequest: lambda *_: BlocksResponse((encode(wrong),), (), proof)}
        async with stranger(folders.genesis, node, height=1, answers=answers) as peer:
            await until("the node gives up", node.failed.is_set)
            for part in ("height 1", wrong.hash.hex(), "weight_used", "disputes/1-", "report both"):
                assert part in str(node.failure), node.failure
            assert is_peer(node, peer), "it is no fault of whoever sent it"
            assert height_of(node) == 0
        read = saved(node, wrong)
        assert_fields(read, true, wrong)
        assert read["candidate"] is None
    finally:
        await node.stop()
        voters.close()
