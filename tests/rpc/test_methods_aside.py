"""What is not there, what a node says of itself, items that are heard of, heavy reads, and batches of transactions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from omnitensor.protocol.bodies import (
    Transfer,
)
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import Amount
from rpc.methods import TABLE
from tests.rpc.test_methods import CONTRIBUTOR, PARAMS, POOR, SPONSOR, Story
from tests.rpc.world import Client, TestBackend, serve
from tests.state.chain_fixtures import key, make_genesis, order


@pytest.fixture
def backend(tmp_path: Path) -> AsyncIterator[TestBackend]:
    made = TestBackend(tmp_path, make_genesis(params=PARAMS))
    yield made  # type: ignore[misc]
    made.close()


async def test_what_is_not_there(client: Client) -> None:
    for method, params in (
        ("campaign.get", {"campaign": 9}),
        ("item.get", {"item": 9}),
        ("item.list", {"campaign": 9}),
        ("submission.get", {"campaign": 9, "commitment": "00" * 32}),
        ("review.batch", {"batch": 9, "round": 1}),
    ):
        assert await client.fault(method, params) == (-32001, "not_found")
    nobody = await client.call("review.assignments", validator=format_address(POOR.address))
    assert nobody == {"assignments": [], "next": None}


async def test_node_methods(client: Client, backend: TestBackend) -> None:
    (peer,) = (await client.call("p2p.peers"))["peers"]
    assert peer["address"] == "10.0.0.1:9645"
    info = await client.call("node.info")
    assert (info["name"], info["view"], info["peers"], info["ready"]) == ("test node", 7, 1, True)
    assert info["content"]["quota_bytes"] == 64 * 1024 * 1024
    assert info["validator"] == format_address(key("v0").address)
    document = await client.call("rpc.discover")
    assert {one["name"] for one in document["methods"]} == {method.name for method in TABLE}


async def test_items_are_heard_of(client: Client, backend: TestBackend) -> None:
    async with client.http.ws_connect(client.url + "/ws") as socket:
        for topic, wanted in (
            ("items", {"campaign": 1}),
            ("items", {"campaign": "2"}),
            ("items", {"item": 1}),
        ):
            await socket.send_json(
                {
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "subscribe.open",
                    "params": {"topic": topic, "filter": wanted},
                }
            )
            assert "result" in await socket.receive_json()
        story = Story(backend)
        story.open()
        story.contribute()
        await socket.send_json({"jsonrpc": "2.0", "id": "end", "method": "chain.status"})
        heard = []
        while (one := await socket.receive_json(timeout=120)).get("id") != "end":
            heard.append(one["params"])
    of_campaign = [one["event"] for one in heard if one["subscription"] == "1"]
    assert [one["kind"] for one in of_campaign][:2] == ["item.revealed", "item.queued"]
    assert {one["campaign"] for one in of_campaign} == {1}
    assert {one["contributor"] for one in of_campaign} == {format_address(CONTRIBUTOR.address)}
    assert not [one for one in heard if one["subscription"] == "2"]
    of_item = [one["event"] for one in heard if one["subscription"] == "3"]
    assert of_item == [one for one in of_campaign if one["item"] == 1]


async def test_heavy_reads_do_not_hold_up_others(backend: TestBackend, called: set[str]) -> None:
    import asyncio

    server = await serve(backend)
    client = Client(server, called)
    for _ in range(30):
        backend.commit()
    heavy = [client.call("chain.blocks", limit=30) for _ in range(12)]
    answers = await asyncio.gather(*heavy, client.call("chain.supply"))
    assert all(len(page["blocks"]) == 30 for page in answers[:-1])
    await client.close()
    await server.stop()


async def test_transactions_in_a_batch_are_answered_one_by_one_in_their_order(
    client: Client, backend: TestBackend
) -> None:
    orders = [order(SPONSOR, nonce, Transfer(POOR.address, Amount(5))) for nonce in range(5)]
    calls: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": number, "method": "tx.submit", "params": {"tx": one.encoded.hex()}}
        for number, one in enumerate(orders)
    ]
    calls[2]["params"] = {"tx": "00"}
    calls.insert(3, {"jsonrpc": "2.0", "id": "between", "method": "chain.status"})
    calls.append({"jsonrpc": "2.0", "method": "tx.submit", "params": {"tx": orders[2].encoded.hex()}})
    _, body = await client.raw(json.dumps(calls))
    answers = json.loads(body)
    assert [answer["id"] for answer in answers] == [0, 1, 2, "between", 3, 4]
    assert [answers[at]["result"]["id"] for at in (0, 1, 4, 5)] == [orders[n].id.hex() for n in (0, 1, 3, 4)]
    assert answers[2]["error"]["code"] == -32002
    assert answers[3]["result"]["height"] == 0
    assert len(backend.mempool) == 5
