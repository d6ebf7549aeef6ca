"""Messages that cost more to read than to send: many values in little text, and heaps of what is no JSON at all."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from omnitensor.protocol import limits
from rpc import jsonrpc
from rpc import server as rpc_server
from rpc.jsonrpc import RpcError, parse
from tests.rpc.world import Client, TestBackend, serve

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes so long for a few requests that a client may have as many again."""
    shown = SimpleNamespace(monotonic=lambda: 1_000.0, perf_counter=time.perf_counter)
    monkeypatch.setattr(rpc_server, "time", shown)


def filled(value: bytes, bytes_max: int = MIB) -> bytes:
    """A call whose parameters are as many of a value as there is room for."""
    count = (bytes_max - 100) // (len(value) + 1)
    return b'{"jsonrpc":"2.0","method":"chain.supply","params":[' + b",".join([value] * count) + b'],"id":1}'


@pytest.mark.parametrize("value", [b"{}", b"[]", b"1", b'{"a":1}', b"[[[[]]]]", b'""'])
def test_a_message_of_very_many_values_is_not_read(value: bytes) -> None:
    body = filled(value)
    assert len(body) <= limits.rpc_body_bytes_max
    with pytest.raises(RpcError) as caught:
        parse(body)
    assert caught.value.data.code == "limit"
    assert "values" in caught.value.data.reason


def test_what_clients_send_is_within_the_limit() -> None:
    call = {"jsonrpc": "2.0", "method": "tx.submit", "params": {"transaction": "ab" * 2_000}, "id": 1}
    batch = json.dumps([call] * limits.rpc_batch_calls_max).encode()
    assert len(parse(batch).calls) == limits.rpc_batch_calls_max
    leaves = json.dumps({"leaf_hashes": ["ab" * 32] * (limits.content_bytes_max // limits.chunk_bytes)})
    assert jsonrpc.weight(leaves.encode()) < limits.rpc_calls_burst_max // 4
    assert jsonrpc.weight(json.dumps(call | {"params": {}}).encode()) == 1


@pytest.mark.parametrize("body", [b"{", b"no JSON", b"[1,]", b"\xff"])
async def test_what_can_not_be_read_counts(backend: TestBackend, called: set[str], body: bytes) -> None:
    server = await serve(backend, calls_per_second=1, calls_burst=5)
    client = Client(server, called)
    statuses = [(await client.raw(body))[0] for _ in range(20)]
    await client.close()
    await server.stop()
    assert statuses[:5] == [200] * 5
    assert 429 in statuses[5:]


@pytest.mark.parametrize("value", [b'"' + b"a" * 1_000 + b'"', b"{}"])
async def test_a_message_counts_by_what_it_costs(
    backend: TestBackend, called: set[str], value: bytes
) -> None:
    body = filled(value, 20_000)
    server = await serve(backend, calls_per_second=1, calls_burst=2 * jsonrpc.weight(body) + 5)
    client = Client(server, called)
    statuses = [(await client.raw(body))[0] for _ in range(3)]
    await client.close()
    await server.stop()
    assert jsonrpc.weight(body) >= 19
    assert statuses == [200, 200, 429]


async def test_it_counts_on_a_socket_too(backend: TestBackend, called: set[str]) -> None:
    body = filled(b"{}", 20_000)
    server = await serve(backend, calls_per_second=1, calls_burst=2 * jsonrpc.weight(body) + 5)
    client = Client(server, called)
    socket = await client.http.ws_connect(client.url + "/ws")
    codes = []
    for _ in range(3):
        await socket.send_str(body.decode())
        codes.append(json.loads((await socket.receive()).data)["error"]["code"])
    await socket.close()
    await client.close()
    await server.stop()
    assert codes == [-32602, -32602, -32005]


async def test_orders_to_upload_count_too(backend: TestBackend, called: set[str]) -> None:
    body = b'{"leaf_hashes":[' + b",".join([b'""'] * 8_000) + b"]}"
    server = await serve(backend, calls_per_second=1, calls_burst=jsonrpc.weight(body) + 5)
    client = Client(server, called)
    statuses = [(await client.send("POST", "/uploads", data=body))[0] for _ in range(2)]
    await client.close()
    await server.stop()
    assert statuses == [400, 429]
