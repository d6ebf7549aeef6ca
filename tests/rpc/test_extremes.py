"""Every method with every parameter at the extremes of what JSON can say, and HTTP likewise: answers and typed errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import Address
from rpc.methods import TABLE
from rpc.server import RpcServer
from tests.extremes import NUMBERS
from tests.rpc.world import Client, TestBackend, upload_order
from tests.state.chain_fixtures import key

INTERNAL = -32603
BATCH = 40
ADDRESSES = tuple(
    format_address(address)
    for address in (key("a0").address, Address(b"\1" + bytes(32)), Address(b"\2" + b"\xff" * 32))
)
HASH = "0" * 64
TEXTS = (
    "",
    "0",
    "9" * 18,
    "9" * 19,
    "9" * 20,
    str(2**64 - 1),
    str(2**64),
    "9" * 5_000,
    HASH,
    "f" * 64,
    HASH + "\n",
    "\u0663",
    "\0",
    "\U0010ffff" * 60,
    ":",
    f"{2**64 - 1}:{2**64 - 1}",
    f"{2**64}:0",
    *ADDRESSES,
)
VALUES: tuple[Any, ...] = (
    *NUMBERS,
    *(2**64, 2**64 + 1, 2**70, -1, -(2**63), -(2**63) - 1, 1e308, -0.0, 0.5),
    *TEXTS,
    *(None, True, False, [], {}, [[]], [None] * 1_000),
)
USUAL: dict[str, Any] = {
    "address": ADDRESSES[0],
    "validator": ADDRESSES[0],
    "holder": ADDRESSES[0],
    "delegator": ADDRESSES[0],
    "account": ADDRESSES[0],
    "vault": ADDRESSES[2],
    "contributor": ADDRESSES[0],
    "worker": ADDRESSES[0],
    "commitment": HASH,
    "job": HASH,
    "id": HASH,
    "key": HASH,
    "receipt": HASH,
    "campaign": 1,
    "competition": 1,
    "item": 1,
    "batch": 1,
    "round": 1,
    "unit": 0,
    "season": 0,
    "height": 1,
    "proposal": 1,
    "epoch": 0,
    "from_epoch": 0,
    "count": 1,
    "limit": 10,
    "topic": "blocks",
    "transaction": "00",
}


def calls(method: Any) -> Iterator[dict[str, Any]]:
    """Parameters with one at an extreme; those that must be there beside it as they usually are."""
    required = [field.name for field in msgspec.structs.fields(method.params) if field.required]
    usual = {name: USUAL.get(name, 1) for name in required}
    for name in method.names:
        for value in VALUES:
            yield {**usual, name: value}


@pytest.mark.parametrize("method", list(TABLE), ids=lambda method: method.name)
async def test_parameters(client: Client, backend: TestBackend, method: Any) -> None:
    if method.needs_socket:
        return
    made = [
        {"jsonrpc": "2.0", "id": number, "method": method.name, "params": params}
        for number, params in enumerate(calls(method))
    ]
    for start in range(0, len(made), BATCH):
        batch = made[start : start + BATCH]
        answers = await client.message(batch)
        for answer in [answers] if isinstance(answers, dict) else answers:
            error = answer.get("error", {})
            assert error.get("code") != INTERNAL, (batch[answer["id"] - start], error)
        assert isinstance(answers, list), (batch, answers)


async def test_ids_and_envelopes(client: Client) -> None:
    for value in (*VALUES, "\ud800", {"\ud800": "\ud800"}):
        for name in ("id", "method", "params", "jsonrpc"):
            request = {"jsonrpc": "2.0", "id": 1, "method": "chain.status", name: value}
            status, body = await client.raw(json.dumps(request))
            assert status in (200, 204, 400), (name, value, status)
            if body:
                answer = json.loads(body)
                error = answer.get("error", {}) if isinstance(answer, dict) else {}
                assert error.get("code") != INTERNAL, (request, answer)


async def test_subscriptions(client: Client) -> None:
    async with client.http.ws_connect(client.url + "/ws") as socket:
        for method in ("subscribe.open", "subscribe.close"):
            for name in TABLE.get(method).names:
                for value in VALUES:
                    params = {"topic": "blocks", "subscription": "x", name: value}
                    params = {key: given for key, given in params.items() if key in TABLE.get(method).names}
                    await socket.send_str(
                        json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
                    )
                    answer = json.loads((await socket.receive()).data)
                    while "id" not in answer:
                        answer = json.loads((await socket.receive()).data)
                    assert answer.get("error", {}).get("code") != INTERNAL, (params, answer)


async def test_uploads(client: Client, server: RpcServer) -> None:
    data = b"content"
    order = upload_order(data, key("a0"))
    for name in order:
        for value in VALUES:
            status, answer = await client.send("POST", "/uploads", json={**order, name: value})
            assert status < 500, (name, value, answer)
    for name in order["content"]:
        for value in VALUES:
            changed = {**order, "content": {**order["content"], name: value}}
            status, answer = await client.send("POST", "/uploads", json=changed)
            assert status < 500, (name, value, answer)
    for leaves in ([], [HASH], [HASH] * 2, [HASH] * 1_000):
        status, answer = await client.send("POST", "/uploads", json={**order, "leaf_hashes": leaves})
        assert status < 500, answer


RANGES = (
    "bytes=0-0",
    "bytes=-0",
    "bytes=-1",
    "bytes=0-",
    "bytes=7-",
    "bytes=6-",
    f"bytes={2**63 - 1}-",
    f"bytes={2**63}-{2**64}",
    f"bytes=0-{2**64}",
    f"bytes=-{2**63}",
    f"bytes=-{2**64}",
    f"bytes={2**70}-{2**71}",
    "bytes=" + "9" * 4_000 + "-",
    "bytes=-" + "9" * 4_000,
    "bytes=3-2",
    "bytes=0-1,3-4",
    "bytes=\u0663-",
    "bytes=a-b",
    "bytes=",
    "\xff",
)


async def test_ranges_of_content_and_what_a_request_says_besides(client: Client, server: RpcServer) -> None:
    data = b"content"
    _, begun = await client.begin(data, key("a0"))
    upload, token = begun["upload"], begun["token"]
    for index in (0, 1, 99_999):
        status, answer = await client.send("PUT", f"/uploads/{upload}/chunks/{index}", token, data=b"")
        assert status < 500, answer
    for authorization in ("Bearer \xff", "Bearer", "", "Bearer " + "a" * 4_000, "\u00e9 \u00e9"):
        status, answer = await client.send(
            "GET", f"/uploads/{upload}", headers={"Authorization": authorization}
        )
        assert status == 401, answer
    status, _ = await client.send("PUT", f"/uploads/{upload}/chunks/0", token, data=data)
    assert status == 204
    status, stored = await client.send("POST", f"/uploads/{upload}/finish", token)
    assert status == 200
    path = f"/content/{stored['chunk_root']}"
    for text in RANGES:
        for verb in ("GET", "HEAD"):
            status, answer = await client.send(verb, path, headers={"Range": text})
            assert status in (200, 206, 400, 416), (text, status, answer)
    for name in ("If-Range", "If-Modified-Since", "If-None-Match", "Content-Type", "X-Request-Id"):
        for value in ("\xff", "9" * 4_000, "Thu, 01 Jan 9999999 00:00:00 GMT", ""):
            status, answer = await client.send("GET", path, headers={name: value, "Range": "bytes=0-1"})
            assert status < 500, (name, value, answer)
    for name in (
        "Authorization",
        "Range",
        "Origin",
        "Host",
        "X-Request-Id",
        "Content-Type",
        "Accept",
        "If-Range",
    ):
        for value in (b"Bearer \xff", b"\xff", b"bytes=\xff-", b"\xc3\xa9", b"a" * 4_000):
            for line in (
                f"GET /uploads/{upload}",
                f"GET {path}",
                "POST /",
                "OPTIONS /",
                "GET /ws",
                "GET /%ff",
            ):
                status, answer = await raw(server, line, name, value)
                assert status < 500, (line, name, value, answer)


async def raw(server: RpcServer, line: str, name: str, value: bytes) -> tuple[int, bytes]:
    """The answer to a request with a header that no client library would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    host = b"" if name == "Host" else b"Host: localhost\r\n"
    head = f"{line} HTTP/1.1\r\n".encode() + host + b"Content-Length: 0\r\nConnection: close\r\n"
    writer.write(head + name.encode() + b": " + value + b"\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return int(answer.split(b" ", 2)[1]), answer
