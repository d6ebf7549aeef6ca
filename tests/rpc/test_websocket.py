"""Subscriptions over real WebSockets: everything in order, filtered as asked, and slow clients dropped with a reason."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from omnitensor.protocol import limits
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import Amount
from rpc.server import RpcServer
from tests.rpc.world import Client, TestBackend
from tests.state.chain_fixtures import START_MS, key

SECONDS_MAX = 120.0


class Ear:
    """A WebSocket and what it has heard."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, client: Client) -> None:
        self.socket = socket
        self.client = client
        self.waiting: list[dict[str, Any]] = []
        self._next = 0

    @classmethod
    async def connect(cls, client: Client) -> Ear:
        return cls(await client.http.ws_connect(client.url + "/ws"), client)

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._next += 1
        self.client.called.add(method)
        await self.socket.send_json({"jsonrpc": "2.0", "id": self._next, "method": method, "params": params})
        while True:
            heard = await self.socket.receive_json(timeout=SECONDS_MAX)
            if heard.get("id") == self._next:
                return heard  # type: ignore[no-any-return]
            self.waiting.append(heard)

    async def subscribe(self, topic: str, **wanted: Any) -> str:
        answer = await self.ask("subscribe.open", topic=topic, filter=wanted)
        return str(answer["result"]["subscription"])

    async def hear(self, count: int) -> list[dict[str, Any]]:
        """The parameters of the next events."""
        heard = self.waiting[:count]
        del self.waiting[:count]
        while len(heard) < count:
            heard.append(await self.socket.receive_json(timeout=SECONDS_MAX))
        for one in heard:
            assert one["jsonrpc"] == "2.0"
            assert one["method"] == "subscribe.event"
            assert "id" not in one
        return [one["params"] for one in heard]

    async def silent(self) -> bool:
        await asyncio.sleep(0.05)
        await self.socket.send_json({"jsonrpc": "2.0", "id": "last", "method": "chain.supply"})
        return (await self.socket.receive_json(timeout=SECONDS_MAX)).get("id") == "last" and not self.waiting


async def test_any_method_works_and_blocks_come_in_order(client: Client, backend: TestBackend) -> None:
    ear = await Ear.connect(client)
    assert (await ear.ask("chain.status"))["result"]["height"] == 0
    name = await ear.subscribe("blocks")
    made = [backend.commit() for _ in range(20)]
    heard = await ear.hear(20)
    assert [one["subscription"] for one in heard] == [name] * 20
    assert [one["topic"] for one in heard] == ["blocks"] * 20
    assert [one["event"]["height"] for one in heard] == list(range(1, 21))
    assert [one["event"]["hash"] for one in heard] == [one.block.hash.hex() for one in made]
    assert heard[0]["event"]["timestamp_ms"] == START_MS + 1_000
    assert heard[0]["event"]["proposer"] == format_address(key("v0").address)
    assert (await ear.ask("subscribe.close", subscription=name))["result"] == {"closed": True}
    backend.commit()
    assert await ear.silent()
    assert (await ear.ask("subscribe.close", subscription=name))["error"]["code"] == -32001
    await ear.socket.close()


async def test_transactions_with_filters(client: Client, backend: TestBackend) -> None:
    ear = await Ear.connect(client)
    everything = await ear.subscribe("transactions")
    a1s = await ear.subscribe("transactions", address=format_address(key("a1").address))
    nobodys = await ear.subscribe("transactions", address=format_address(key("nobody").address))
    a0, a1, a2 = key("a0"), key("a1"), key("a2")
    made = backend.commit(
        (a0, Transfer(a2.address, Amount(1))),
        (a1, Transfer(a2.address, Amount(2))),
        (a2, Transfer(a1.address, Amount(3))),
        (a0, Transfer(a2.address, Amount(10**18))),
    )
    heard = await ear.hear(6)
    ids = [transaction.id.hex() for transaction in made.block.transactions]
    assert [one["event"]["id"] for one in heard if one["subscription"] == everything] == ids
    assert [one["event"]["id"] for one in heard if one["subscription"] == a1s] == [ids[1], ids[2]]
    assert not [one for one in heard if one["subscription"] == nobodys]
    last = [one["event"] for one in heard if one["subscription"] == everything][-1]
    assert (last["kind"], last["code"], last["height"], last["index"]) == ("transfer", "balance", 1, 3)
    assert last["sender"] == format_address(a0.address)
    await ear.socket.close()


async def test_all_clients_hear_the_same(client: Client, backend: TestBackend) -> None:
    ears = [await Ear.connect(client) for _ in range(5)]
    for ear in ears:
        await ear.subscribe("blocks")
    for _ in range(5):
        backend.commit()
    for ear in ears:
        assert [one["event"]["height"] for one in await ear.hear(5)] == [1, 2, 3, 4, 5]
        await ear.socket.close()


async def test_subscribing_needs_a_socket(client: Client) -> None:
    assert await client.fault("subscribe.open", {"topic": "blocks"}) == (-32009, "socket_only")
    assert await client.fault("subscribe.close", {"subscription": "1"}) == (-32009, "socket_only")


async def test_bad_subscriptions(client: Client) -> None:
    ear = await Ear.connect(client)
    for params in (
        {"topic": "nonsense"},
        {},
        {"topic": "blocks", "filter": {"colour": "red"}},
        {"topic": "blocks", "filter": {"address": "omnit1"}},
        {"topic": "items", "filter": {"campaign": "x"}},
    ):
        answer = await ear.ask("subscribe.open", **params)
        assert answer["error"]["code"] == -32602
    for item in range(limits.rpc_subscriptions_max):
        await ear.subscribe("items", item=item)
    answer = await ear.ask("subscribe.open", topic="blocks")
    assert (answer["error"]["code"], answer["error"]["data"]["code"]) == (-32003, "limit")
    await ear.socket.close()


async def test_one_subscription_to_one_thing_is_enough(client: Client, backend: TestBackend) -> None:
    """Each said again would have every transaction encoded and sent once more, for nothing."""
    ear = await Ear.connect(client)
    first = await ear.subscribe("blocks")
    answer = await ear.ask("subscribe.open", topic="blocks")
    assert answer["error"]["data"] == {
        "code": "duplicate",
        "reason": "this connection has this subscription already",
        "value": first,
        "remedy": "use that one",
    }
    assert (await ear.ask("subscribe.close", subscription=first))["result"]["closed"]
    await ear.subscribe("blocks")
    await ear.subscribe("transactions")
    await ear.socket.close()


async def test_batches_notifications_and_nonsense(client: Client) -> None:
    ear = await Ear.connect(client)
    await ear.socket.send_str("{")
    assert (await ear.socket.receive_json(timeout=SECONDS_MAX))["error"]["code"] == -32700
    await ear.socket.send_json({"jsonrpc": "2.0", "method": "chain.supply"})
    await ear.socket.send_json([{"jsonrpc": "2.0", "method": "chain.supply", "id": n} for n in (1, 2)])
    assert [one["id"] for one in await ear.socket.receive_json(timeout=SECONDS_MAX)] == [1, 2]
    await ear.socket.close()


async def test_binary_and_oversized_messages_end_it(client: Client) -> None:
    ear = await Ear.connect(client)
    await ear.socket.send_bytes(b"{}")
    ended = await ear.socket.receive(timeout=SECONDS_MAX)
    assert ended.type is aiohttp.WSMsgType.CLOSE
    assert "text" in ended.extra
    ear = await Ear.connect(client)
    await ear.socket.send_str(" " * (limits.rpc_body_bytes_max + 1))
    ended = await ear.socket.receive(timeout=SECONDS_MAX)
    assert ended.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_slow_client_is_dropped_with_a_reason(
    client: Client, backend: TestBackend, server: RpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "rpc_queue_events_max", 1)
    slow, quick = await Ear.connect(client), await Ear.connect(client)
    monkeypatch.undo()
    await slow.subscribe("blocks")
    await slow.subscribe("transactions")
    await quick.subscribe("blocks")
    backend.commit(
        (key("a0"), Transfer(key("a1").address, Amount(1)))
    )  # two events at once for a queue of one
    assert (await quick.hear(1))[0]["event"]["height"] == 1
    while True:
        ended = await slow.socket.receive(timeout=SECONDS_MAX)
        if ended.type is not aiohttp.WSMsgType.TEXT:
            break
    assert ended.type is aiohttp.WSMsgType.CLOSE
    assert ended.data == aiohttp.WSCloseCode.TRY_AGAIN_LATER
    assert "too slow" in ended.extra
    backend.commit()
    assert (await quick.hear(1))[0]["event"]["height"] == 2
    assert len(server._sockets) == 1
    await quick.socket.close()


async def test_client_that_stops_reading_is_dropped(server: RpcServer, backend: TestBackend) -> None:
    """Full buffers of the kernel and of the server hold up nobody else and don't grow."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    (socket,) = server._sockets._sockets
    message = json.dumps({"x": "y" * 200_000}).encode()
    for _ in range(limits.rpc_queue_events_max * 2):
        socket.send(message)
        if socket.dropped:
            break
        await asyncio.sleep(0)
    assert "too slow" in socket.dropped
    async with asyncio.timeout(SECONDS_MAX):
        await server._sockets._empty.wait()
    writer.close()


async def test_sockets_by_client_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "rpc_websockets_per_client_max", 2)
    ears = [await Ear.connect(client) for _ in range(2)]
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await Ear.connect(client)
    assert caught.value.status == 503
    await ears[0].socket.close()
    async with asyncio.timeout(SECONDS_MAX):
        while len(ears) < 3:
            with suppress(aiohttp.WSServerHandshakeError):  # until the server has seen that it closed
                ears.append(await Ear.connect(client))
    for ear in ears[1:]:
        await ear.socket.close()


async def test_stopping_says_so(backend: TestBackend, called: set[str]) -> None:
    from tests.rpc.world import serve

    server = await serve(backend)
    client = Client(server, called)
    ear = await Ear.connect(client)
    stop = asyncio.create_task(server.stop())
    ended = await ear.socket.receive(timeout=SECONDS_MAX)
    assert ended.type is aiohttp.WSMsgType.CLOSE
    assert "shutting down" in ended.extra
    await stop
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.raw("{}")
    await client.close()
