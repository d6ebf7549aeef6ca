"""What clients are told of blocks that a node has pruned: an error that names the first height kept, never an empty answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import Amount, Height
from tests.rpc.world import Client, TestBackend, serve
from tests.state.chain_fixtures import key

BLOCKS, FIRST = 12, 8
SPONSOR, POOR = key("a0"), key("poor")


@pytest.fixture
async def world(
    tmp_path: Path, called: set[str]
) -> AsyncIterator[tuple[TestBackend, Client, list[str], list[str]]]:
    """A node that has pruned what is below ``FIRST``, with the hashes and transactions of all its blocks."""
    backend = TestBackend(tmp_path)
    committed = [backend.commit((SPONSOR, Transfer(POOR.address, Amount(7)))) for _ in range(BLOCKS)]
    while backend.chain.prune(Height(FIRST)):
        pass
    server = await serve(backend)
    client = Client(server, called)
    hashes = [one.block.hash.hex() for one in committed]
    ids = [one.block.transactions[0].id.hex() for one in committed]
    yield backend, client, hashes, ids
    await client.close()
    await server.stop()
    backend.close()


async def test_blocks_and_events(world: tuple[TestBackend, Client, list[str], list[str]]) -> None:
    _, client, hashes, _ = world
    assert (await client.call("chain.status"))["first_block"] == FIRST
    for method in ("chain.block", "chain.events"):
        error = (await client.ask(method, {"height": FIRST - 1}))["error"]
        assert (error["code"], error["data"]["code"], error["data"]["value"]) == (
            -32010,
            "pruned",
            str(FIRST - 1),
        )
        assert f"the first block that it keeps is {FIRST}" in error["data"]["remedy"]
        assert (await client.ask(method, {"height": BLOCKS + 1}))["error"]["code"] == -32001
        assert "error" not in await client.ask(method, {"height": FIRST})
        assert "error" not in await client.ask(method, {"height": 0}), "genesis is always kept"
    error = (await client.ask("chain.block", {"hash": hashes[2]}))["error"]
    assert error["code"] == -32001
    assert f"the first that is kept {FIRST}" in error["data"]["remedy"]
    error = (await client.ask("chain.block", {"height": FIRST, "history": True})).get("error")
    assert error is None, "the tree over all blocks is whole"


async def test_lists_of_blocks_end_where_blocks_do(
    world: tuple[TestBackend, Client, list[str], list[str]],
) -> None:
    _, client, _, _ = world
    page = await client.call("chain.blocks", limit=100)
    assert [line["height"] for line in page["blocks"]] == list(range(BLOCKS, FIRST - 1, -1))
    assert (await client.ask("chain.blocks", {"before": page["next"]}))["error"]["code"] == -32010
    assert (await client.call("chain.blocks", before=1))["blocks"][0]["height"] == 0


async def test_transactions(world: tuple[TestBackend, Client, list[str], list[str]]) -> None:
    _, client, _, ids = world
    assert (await client.call("tx.get", id=ids[FIRST - 1]))["status"] == "final"
    gone = await client.call("tx.get", id=ids[0])
    assert (gone["status"], gone["first_block"]) == ("unknown", FIRST)
    page = await client.call("tx.by_address", address=format_address(SPONSOR.address), limit=100)
    assert [line["height"] for line in page["transactions"]] == list(range(BLOCKS, FIRST - 1, -1))
    assert (page["next"], page["first_block"]) == (None, FIRST)


async def test_the_block_of_a_snapshot_has_no_events_here(tmp_path: Path, called: set[str]) -> None:
    """A node that began with a snapshot has its block, and must not say that nothing happened in it."""
    backend = TestBackend(tmp_path)
    backend.commit((SPONSOR, Transfer(POOR.address, Amount(7))))
    before = backend.chain.reader().encoded_block(Height(1))
    backend.commit((SPONSOR, Transfer(POOR.address, Amount(7))))
    assert before is not None
    while backend.chain.prune(Height(2)):
        pass
    backend.chain._store.write([(b"\x02" + (1).to_bytes(8, "big"), before)])
    backend.chain._reader = backend.chain._new_reader(backend.chain.head)
    server = await serve(backend)
    client = Client(server, called)
    assert (await client.call("chain.block", height=1))["header"]["height"] == 1
    assert (await client.ask("chain.events", {"height": 1}))["error"]["code"] == -32010
    await client.close()
    await server.stop()
    backend.close()
