"""Who gets in: hosts, origins, content types, rates, connections; and the pages for operators."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from omnitensor.protocol import limits
from rpc import limiter
from rpc import server as rpc_server
from rpc.limiter import RateLimiter, client_of
from rpc.server import RpcServer
from tests.rpc.world import Client, TestBackend, serve

SECONDS_MAX = 120.0
CALL = json.dumps({"jsonrpc": "2.0", "method": "chain.supply", "id": 1})


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:9644", "localhost", "LOCALHOST:1", "[::1]:9644", "192.168.1.5", "0.0.0.0:80"],
)
async def test_known_hosts(client: Client, host: str) -> None:
    assert (await client.raw(CALL, Host=host))[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9644", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", ":80"],
)
async def test_other_hosts_are_refused_everywhere(client: Client, host: str) -> None:
    status, body = await client.raw(CALL, Host=host)
    assert status == 403
    assert json.loads(body)["error"]["data"]["code"] == "host"
    for path in ("/ws", "/metrics", "/content/" + "00" * 32):
        assert (await client.send("GET", path, headers={"Host": host}))[0] == 403


async def test_configured_host(backend: TestBackend, called: set[str]) -> None:
    server = await serve(backend, hosts=("node.example",))
    client = Client(server, called)
    assert (await client.raw(CALL, Host="node.example:9644"))[0] == 200
    assert (await client.raw(CALL, Host="other.example"))[0] == 403
    await client.close()
    await server.stop()


async def test_origins(backend: TestBackend, client: Client, server: RpcServer, called: set[str]) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        status, body = await client.raw(CALL, Origin=origin)
        assert status == 403
        assert json.loads(body)["error"]["data"]["code"] == "origin"
    assert (await client.raw(CALL, Origin=client.url))[0] == 200
    open_server = await serve(backend, origins=("https://app.example",))
    other = Client(open_server, called)
    async with other.http.post(
        other.url + "/",
        data=CALL,
        headers={"Content-Type": "application/json", "Origin": "https://app.example"},
    ) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    async with other.http.options(
        other.url + "/uploads", headers={"Origin": "https://app.example"}
    ) as answer:
        assert answer.status == 204
        assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    async with other.http.options(other.url + "/", headers={"Origin": "https://evil.example"}) as answer:
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
    await other.close()
    await open_server.stop()


async def test_socket_of_another_origin_is_refused(client: Client) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    status, _ = await client.send("GET", "/ws", headers={**headers, "Origin": "https://evil.example"})
    assert status == 403


async def test_content_type_must_be_json(client: Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        status, _ = await client.raw(CALL, **{"Content-Type": kind})
        assert status == 415
    assert (await client.raw(CALL, **{"Content-Type": "application/json; charset=utf-8"}))[0] == 200


async def test_compressed_bodies_are_refused(client: Client) -> None:
    import gzip

    status, _ = await client.raw(gzip.compress(CALL.encode()), **{"Content-Encoding": "gzip"})
    assert status == 415


async def test_other_verbs_and_paths(client: Client) -> None:
    assert (await client.send("GET", "/"))[0] == 405
    assert (await client.send("PUT", "/"))[0] == 405
    assert (await client.send("GET", "/nothing"))[0] == 404
    assert (await client.send("GET", "/content/../../etc/passwd"))[0] == 404
    assert (await client.send("GET", "/content/" + "A" * 64))[0] == 404


async def test_pages_for_operators(client: Client, backend: TestBackend) -> None:
    assert await client.send("GET", "/health") == (200, {"status": "ok", "height": 0})
    assert await client.send("GET", "/ready") == (200, {"ready": True, "reason": ""})
    backend.not_ready("behind by 90 blocks")
    assert await client.send("GET", "/ready") == (503, {"ready": False, "reason": "behind by 90 blocks"})
    status, body = await client.send("GET", "/metrics")
    assert status == 200
    assert b"omnitensor_height 1" in body


async def test_rate_by_client(
    backend: TestBackend, called: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    shown = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(rpc_server, "time", shown)
    server = await serve(backend, calls_per_second=5, calls_burst=10)
    client = Client(server, called)
    batch = json.dumps([json.loads(CALL)] * 10)
    assert (await client.raw(batch))[0] == 200
    status, body = await client.raw(CALL)
    assert status == 429
    error = json.loads(body)["error"]
    assert error["code"] == -32005
    assert error["data"]["code"] == "rate"
    assert (await client.send("GET", "/health"))[0] == 429
    now[0] += 0.5
    assert (await client.raw(CALL))[0] == 200
    await client.close()
    await server.stop()


async def test_metrics_count_by_what_they_cost(backend: TestBackend, called: set[str]) -> None:
    """Their text takes milliseconds on the event loop: two hundred a second would leave a node time for nothing else."""
    server = await serve(backend, calls_per_second=1, calls_burst=2 * limits.rpc_metrics_calls)
    client = Client(server, called)
    assert [(await client.send("GET", "/metrics"))[0] for _ in range(3)] == [200, 200, 429]
    await client.close()
    await server.stop()


def test_limiter_fills_steadily_and_forgets() -> None:
    limiter = RateLimiter(per_second=10, burst=20, clients_max=3)
    assert limiter.take("a", 20, 0.0)
    assert not limiter.take("a", 1, 0.05)
    assert limiter.take("a", 1, 0.1)
    assert limiter.take("b", 20, 0.1)
    assert not limiter.take("a", 21, 1_000.0)
    assert limiter.take("a", 20, 1_000.0)
    for name in "cdefgh":
        limiter.take(name, 1, 1_000.0)
    assert len(limiter._buckets) == 3
    assert RateLimiter(per_second=0).take("a", 10**9, 0.0)


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, ""),
        ("unix", "unix"),
    ],
)
def test_who_a_client_is(host: str | None, client: str) -> None:
    assert client_of(host) == client


async def test_connections_over_the_limit_are_closed(
    server: RpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "rpc_connections_max", 3)
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert await ended(reader)
    writer.close()
    held[0][1].close()
    await held[0][1].wait_closed()
    async with asyncio.timeout(SECONDS_MAX):
        while not (await first_line(server)).startswith(b"HTTP/1.1 200"):
            await asyncio.sleep(0.01)  # until the server has seen that one closed
    for _, each in held[1:]:
        each.close()


async def first_line(server: RpcServer) -> bytes:
    """Of the answer to whoever connects and asks now; nothing where it is turned away."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        found = await reader.readline()
        writer.close()
    except ConnectionError:
        return b""
    return found


async def test_one_client_does_not_take_all_connections(
    server: RpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need but ask once a minute to keep each; clients on the node's own machine, as here, are exempt otherwise."""
    monkeypatch.setattr(limits, "rpc_connections_per_client_max", 3)
    monkeypatch.setattr(limiter, "is_own_machine", lambda client: client == "")
    held = []
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        held.append(writer)
    refused, fourth = await asyncio.open_connection("127.0.0.1", server.port)
    assert await ended(refused)
    monkeypatch.setattr(limiter, "is_own_machine", lambda client: client == "127.0.0.1")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
    for each in (*held, fourth, writer):
        each.close()


def test_whose_connections_are_counted() -> None:
    share = limits.rpc_connections_per_client_max
    assert limits.rpc_connections_max >= 4 * share
    assert limiter.has_place("10.0.0.1", ["10.0.0.1"] * (share - 1) + ["10.0.0.2"] * share)
    assert not limiter.has_place("10.0.0.1", ["10.0.0.1"] * share)
    assert not limiter.has_place("2001:db8::1", [f"2001:db8::{number:x}" for number in range(2, share + 2)])
    for own in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert limiter.has_place(own, [own] * limits.rpc_connections_max)


async def ended(reader: asyncio.StreamReader) -> bool:
    """Waits until the other side closes, gently or not."""
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def test_connection_that_says_nothing_is_closed(
    backend: TestBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(backend)
    asked = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    talker_reader, talker = await asyncio.open_connection("127.0.0.1", server.port)
    talker.write(asked)
    assert (await talker_reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
    # Whoever has asked once may take time, and is watched no more.
    assert not server._silent
    monkeypatch.setattr(limits, "rpc_request_ms_max", 200)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: local")  # and no more of it
    async with asyncio.timeout(SECONDS_MAX):
        assert await ended(reader)
    for _ in range(2):
        await asyncio.sleep(0.3)
        talker.write(asked)
        assert (await talker_reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
    talker.close()
    writer.close()
    await server.stop()


async def test_body_that_never_ends(
    client: Client, server: RpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "rpc_receive_ms_max", 200)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    async with asyncio.timeout(SECONDS_MAX):
        assert (await reader.readline()).startswith(b"HTTP/1.1 503")
    writer.close()


async def test_every_request_has_an_id_in_answer_and_log(client: Client) -> None:
    with capture_logs() as logs:
        async with client.http.get(client.url + "/health") as answer:
            request_id = answer.headers["X-Request-Id"]
        async with client.http.get(client.url + "/health") as answer:
            assert answer.headers["X-Request-Id"] != request_id
    lines = [line for line in logs if line["event"] == "rpc.request"]
    assert lines[0]["request_id"] == request_id
    assert lines[0]["status"] == 200
    assert lines[0]["client"] == "127.0.0.1"


async def test_a_bug_is_logged_with_its_request(client: Client, backend: TestBackend) -> None:
    backend.fault = RuntimeError("boom")
    with capture_logs() as logs:
        status, body = await client.send("GET", "/ready")
    assert status == 500
    assert body["error"]["code"] == -32603
    assert any(line["event"] == "rpc.bug" for line in logs)
