"""Content over HTTP: uploads that stop and go on, by whom and how much; downloads whole, in ranges and from peers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from datalayer.store import ContentStore
from omnitensor.protocol import limits
from omnitensor.protocol.bodies import Scope, SessionKeyAdd, Transfer
from omnitensor.protocol.content import ContentId, content_id_of
from omnitensor.protocol.types import Amount, Height
from rpc import limiter
from tests.rpc.world import MIB, Client, TestBackend, serve, store_content, upload_order
from tests.state.chain_fixtures import key

ALICE = key("a0")
DATA = hashlib.shake_256(b"upload").digest(65_539) * 40  # two and a half chunks
ROOT = content_id_of(DATA).chunk_root


def chunk_of(index: int) -> bytes:
    return DATA[index * MIB : (index + 1) * MIB]


async def put(client: Client, begun: dict[str, str], index: int, data: bytes) -> int:
    status, _ = await client.send(
        "PUT", f"/uploads/{begun['upload']}/chunks/{index}", begun["token"], data=data
    )
    return status


async def code_of(client: Client, verb: str, path: str, token: str = "", **more: object) -> tuple[int, str]:
    status, body = await client.send(verb, path, token, **more)
    assert set(body["error"]["data"]) == {"code", "reason", "value", "remedy"}
    return status, body["error"]["data"]["code"]


async def test_upload_and_download(client: Client, backend: TestBackend) -> None:
    status, begun = await client.begin(DATA, ALICE)
    assert status == 200
    assert begun["missing"] == [[0, 3]]
    assert begun["stored"] is False
    for index in range(3):
        assert await put(client, begun, index, chunk_of(index)) == 204
    status, done = await client.send("POST", f"/uploads/{begun['upload']}/finish", begun["token"])
    assert status == 200
    assert done["chunk_root"] == ROOT.hex()
    assert done["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert done["cid"].startswith("bafkrei")
    assert backend.content.has(ROOT)
    status, body = await client.send("GET", f"/content/{ROOT.hex()}")
    assert (status, body) == (200, DATA)


async def test_interrupted_upload_goes_on_even_after_a_restart(
    backend: TestBackend, tmp_path: Path, called: set[str]
) -> None:
    first = await serve(backend)
    client = Client(first, called)
    _, begun = await client.begin(DATA, ALICE)
    assert await put(client, begun, 1, chunk_of(1)) == 204
    assert (await client.send("GET", f"/uploads/{begun['upload']}", begun["token"]))[1]["missing"] == [
        [0, 1],
        [2, 3],
    ]
    await client.close()
    await first.stop()
    backend.content.close()
    backend.content = ContentStore(tmp_path / "content", 64 * MIB)
    second = await serve(backend)
    client = Client(second, called)
    assert await put(client, begun, 0, chunk_of(0)) == 401, "tokens end with the process"
    _, again = await client.begin(DATA, ALICE)
    assert again["upload"] == begun["upload"]
    assert again["missing"] == [[0, 1], [2, 3]]
    path = f"/uploads/{again['upload']}/finish"
    assert await code_of(client, "POST", path, again["token"]) == (409, "incomplete")
    for index in (0, 2):
        assert await put(client, again, index, chunk_of(index)) == 204
    assert (await client.send("POST", path, again["token"]))[0] == 200
    assert (await client.send("POST", path, again["token"]))[0] == 200, (
        "an answer that got lost can be asked for again"
    )
    _, stored = await client.begin(DATA, ALICE)
    assert stored["stored"] is True
    assert stored["missing"] == []
    assert (await client.send("POST", f"/uploads/{stored['upload']}/finish", stored["token"]))[0] == 200
    assert (await client.send("GET", f"/uploads/{stored['upload']}", stored["token"]))[1]["stored"] is True
    await client.close()
    await second.stop()


async def test_chunk_cut_off_in_the_middle_leaves_nothing(client: Client, backend: TestBackend) -> None:
    _, begun = await client.begin(DATA, ALICE)
    port = int(client.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"PUT /uploads/{begun['upload']}/chunks/0 HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {begun['token']}\r\nContent-Length: {MIB}\r\n\r\n"
    )
    writer.write(head.encode() + chunk_of(0)[: MIB // 2])
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.1)
    assert (await client.send("GET", f"/uploads/{begun['upload']}", begun["token"]))[1]["missing"] == [[0, 3]]
    assert await put(client, begun, 0, chunk_of(0)) == 204


async def test_one_client_does_not_take_all_places_for_chunks(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks that arrive for two minutes each kept everybody else from uploading. A node's own machine is exempt otherwise."""
    share = limits.rpc_uploads_per_client_max
    assert limits.rpc_uploads_max >= 4 * share
    _, begun = await client.begin(DATA, ALICE)
    port = int(client.url.rpartition(":")[2])
    head = (
        f"PUT /uploads/{begun['upload']}/chunks/0 HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {begun['token']}\r\nContent-Length: {MIB}\r\nExpect: 100-continue\r\n\r\n"
    )
    monkeypatch.setattr(limiter, "is_own_machine", lambda client: False)
    slow = []
    for _ in range(share):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(chunk_of(0)[:1_000])
        slow.append(writer)
    async with asyncio.timeout(60):
        while await put(client, begun, 1, chunk_of(1)) != 503:  # until the server has got to the last of them
            await asyncio.sleep(0.01)
    monkeypatch.setattr(limiter, "is_own_machine", lambda client: True)
    assert await put(client, begun, 1, chunk_of(1)) == 204, "others are served"
    monkeypatch.setattr(limiter, "is_own_machine", lambda client: False)
    slow[0].close()
    async with asyncio.timeout(60):
        while await put(client, begun, 2, chunk_of(2)) != 204:
            await asyncio.sleep(0.01)
    for writer in slow[1:]:
        writer.close()


async def test_finishing_twice_at_once_is_finishing_once(
    client: Client, backend: TestBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client whose patience ends while a large file is hashed asks again, and gets the same answer."""
    finish, finished = backend.content.finish, []

    def slow(upload_id: str) -> ContentId:
        finished.append(upload_id)
        time.sleep(0.3)
        return finish(upload_id)

    _, begun = await client.begin(DATA, ALICE)
    for index in range(3):
        assert await put(client, begun, index, chunk_of(index)) == 204
    monkeypatch.setattr(backend.content, "finish", slow)
    path = f"/uploads/{begun['upload']}/finish"
    impatient = asyncio.create_task(client.send("POST", path, begun["token"]))
    async with asyncio.timeout(120):
        while not finished:
            await asyncio.sleep(0.01)
    impatient.cancel()
    answers = await asyncio.gather(*(client.send("POST", path, begun["token"]) for _ in range(3)))
    assert [status for status, _ in answers] == [200] * 3
    assert finished == [begun["upload"]]


async def test_wrong_chunks(client: Client) -> None:
    leaves = [hashlib.sha256(b"\0" + chunk_of(index)).hexdigest() for index in range(3)]
    _, begun = await client.begin(DATA, ALICE, leaf_hashes=leaves)
    path = f"/uploads/{begun['upload']}/chunks/"
    for index, wrong in ((0, chunk_of(1)), (2, chunk_of(2) + b"x"), (2, b""), (3, b"x")):
        assert await code_of(client, "PUT", f"{path}{index}", begun["token"], data=wrong) == (
            422,
            "wrong_chunk",
        )
    assert await code_of(client, "PUT", path + "0", begun["token"], data=bytes(MIB + 1)) == (413, "limit")
    assert (await client.send("PUT", path + "-1", begun["token"], data=b"x"))[0] == 404
    for index in range(3):
        assert await put(client, begun, index, chunk_of(index)) == 204


async def test_wrong_content_is_found_at_the_end(client: Client) -> None:
    _, begun = await client.begin(DATA, ALICE)
    for index in range(3):
        assert await put(client, begun, index, bytes(len(chunk_of(index)))) == 204
    path = f"/uploads/{begun['upload']}/finish"
    assert await code_of(client, "POST", path, begun["token"]) == (422, "wrong_content")
    assert await code_of(client, "POST", path, begun["token"]) == (404, "no_upload")
    assert (await client.begin(DATA, ALICE))[1]["missing"] == [[0, 3]]


async def test_wrong_leaf_hashes_and_empty_content(client: Client) -> None:
    order = upload_order(DATA, ALICE, leaf_hashes=["00" * 32] * 3)
    assert await code_of(client, "POST", "/uploads", json=order) == (400, "leaf_hashes")
    assert await code_of(client, "POST", "/uploads", json=upload_order(b"", ALICE)) == (400, "empty")


async def test_tokens(client: Client) -> None:
    _, begun = await client.begin(DATA, ALICE)
    _, other = await client.begin(b"other", ALICE)
    path = f"/uploads/{begun['upload']}/chunks/0"
    for token in ("", "00" * 32, other["token"], begun["token"][:-1], begun["token"] + "0"):
        assert await code_of(client, "PUT", path, token, data=chunk_of(0)) == (401, "upload_token")
    headers = {"Authorization": f"Basic {begun['token']}"}
    assert await code_of(client, "PUT", path, data=chunk_of(0), headers=headers) == (401, "upload_token")
    assert await code_of(client, "PUT", "/uploads/" + "0" * 32 + "/chunks/0", begun["token"], data=b"") == (
        401,
        "upload_token",
    )
    _, fresh = await client.begin(DATA, ALICE)
    assert await put(client, begun, 0, chunk_of(0)) == 401, "a new token ends the one before"
    assert await put(client, fresh, 0, chunk_of(0)) == 204


async def test_dropped_upload(client: Client, backend: TestBackend) -> None:
    _, begun = await client.begin(DATA, ALICE)
    assert (await client.send("DELETE", f"/uploads/{begun['upload']}", begun["token"]))[0] == 204
    assert backend.content.usage().total == 0
    assert await put(client, begun, 0, chunk_of(0)) == 401


async def test_orders_that_do_not_count(client: Client, backend: TestBackend) -> None:
    stranger = key("nobody")
    good = upload_order(DATA, ALICE)
    other_content = upload_order(b"other", ALICE)["content"]
    hour = 3_600_000
    cases = [
        (upload_order(DATA, ALICE, chain_id="other-chain"), 403, "signature"),
        ({**good, "signature": "00" * 64}, 403, "signature"),
        ({**good, "expires_ms": good["expires_ms"] + 1}, 403, "signature"),
        ({**good, "content": other_content}, 403, "signature"),
        ({**good, "account": upload_order(DATA, key("a1"))["account"]}, 403, "signature"),
        (upload_order(DATA, ALICE, expires_in_ms=-1), 403, "upload_expired"),
        (upload_order(DATA, ALICE, expires_in_ms=25 * hour), 403, "upload_expired"),
        (upload_order(DATA, ALICE, signer=stranger), 403, "upload_scope"),
        (upload_order(DATA, stranger), 403, "upload_account"),
    ]
    for order, status, code in cases:
        assert await code_of(client, "POST", "/uploads", json=order) == (status, code)
    assert backend.content.usage().uploads == 0
    assert (await client.send("POST", "/uploads", json=good))[0] == 200


async def test_malformed_orders(client: Client) -> None:
    good = upload_order(DATA, ALICE)
    for changes in (
        {"account": "omnit1x"},
        {"signer": "00"},
        {"signature": "zz" * 64},
        {"expires_ms": "soon"},
        {"more": 1},
        {"content": {**good["content"], "size": -1}},
        {"content": {**good["content"], "size": limits.content_bytes_max + 1}},
        {"content": {**good["content"], "chunk_root": "A" * 64}},
        {"content": None},
    ):
        assert (await client.send("POST", "/uploads", json={**good, **changes}))[0] == 400
    assert (await client.send("POST", "/uploads", data=b"{"))[0] == 400
    assert (await client.send("POST", "/uploads", data=b" " * (MIB + 1)))[0] == 413
    twice = json.dumps(good)[:-1] + ', "account": "x"}'
    assert (await client.send("POST", "/uploads", data=twice.encode()))[0] == 400


async def test_session_keys(client: Client, backend: TestBackend) -> None:
    uploader, reviewer, other = key("uploader"), key("reviewer"), key("other")
    backend.commit(
        (ALICE, SessionKeyAdd(uploader.public, int(Scope.UPLOAD), Height(3), Amount(10**12))),
        (ALICE, SessionKeyAdd(reviewer.public, int(Scope.REVIEW), Height(100), Amount(10**12))),
        (key("a1"), SessionKeyAdd(other.public, 7, Height(100), Amount(10**12))),
    )
    assert (await client.begin(DATA, ALICE, signer=uploader))[0] == 200
    for signer in (reviewer, other):
        order = upload_order(DATA, ALICE, signer=signer)
        assert await code_of(client, "POST", "/uploads", json=order) == (403, "upload_scope")
    backend.commit()
    assert (await client.begin(DATA, ALICE, signer=uploader))[0] == 200
    backend.commit()
    order = upload_order(DATA, ALICE, signer=uploader)
    assert await code_of(client, "POST", "/uploads", json=order) == (403, "upload_scope"), "its time is over"


async def test_token_ends_with_the_order(backend: TestBackend, called: set[str]) -> None:
    from rpc.server import RpcConfig, RpcServer, wall_clock_ms

    ahead = [0]
    server = RpcServer(backend, RpcConfig(port=0), clock_ms=lambda: wall_clock_ms() + ahead[0])
    await server.start()
    client = Client(server, called)
    _, begun = await client.begin(DATA, ALICE, expires_in_ms=60_000)
    assert await put(client, begun, 0, chunk_of(0)) == 204
    ahead[0] = 60_001
    assert await put(client, begun, 1, chunk_of(1)) == 401
    await client.close()
    await server.stop()


async def test_quota(backend: TestBackend, tmp_path: Path, called: set[str]) -> None:
    backend.content.close()
    backend.content = ContentStore(tmp_path / "small", 64 * MIB, owner_bytes_max=4 * MIB)
    server = await serve(backend)
    client = Client(server, called)
    assert (await client.begin(DATA, ALICE))[0] == 200
    assert await code_of(client, "POST", "/uploads", json=upload_order(DATA[::-1], ALICE)) == (507, "quota")
    assert (await client.begin(DATA[::-1], key("a1")))[0] == 200, "another account has its own"
    huge = ContentId(bytes(32), 65 * MIB, bytes(32))  # type: ignore[arg-type]
    order = upload_order(b"", key("a2"), content=huge)
    assert await code_of(client, "POST", "/uploads", json=order) == (507, "quota")
    await client.close()
    await server.stop()


async def test_uploads_are_counted_until_they_are_submitted(
    backend: TestBackend, tmp_path: Path, called: set[str]
) -> None:
    """Whoever goes on submitting what it uploads is not held up, though a node looks at the chain but now and then."""
    from rpc.server import RpcConfig, RpcServer, wall_clock_ms

    backend.content.close()
    backend.content = ContentStore(tmp_path / "few", 64 * MIB, owner_uploads_max=2)
    ahead = [0]
    server = RpcServer(backend, RpcConfig(port=0), clock_ms=lambda: wall_clock_ms() + ahead[0])
    await server.start()
    client = Client(server, called)

    async def uploaded(data: bytes) -> bool:
        status, begun = await client.begin(data, ALICE)
        if status == 200:
            assert await put(client, begun, 0, data) == 204
            assert (await client.send("POST", f"/uploads/{begun['upload']}/finish", begun["token"]))[0] == 200
        return status == 200

    assert [await uploaded(data) for data in (b"one", b"two", b"three")] == [True, True, False]
    status, refusal = await client.begin(b"three", ALICE)
    assert status == 507
    assert refusal["error"]["data"] == {
        "code": "quota",
        "reason": "this account has too many uploads that no submission refers to",
        "value": "2 uploads",
        "remedy": "submit what is uploaded first, or wait; at most 2 at a time",
    }
    assert backend.settled == 1, "it does not have the chain searched for every refusal"
    backend.named |= {content_id_of(b"one").chunk_root, content_id_of(b"two").chunk_root}
    ahead[0] += limits.content_settle_ms_min
    assert [await uploaded(data) for data in (b"three", b"four", b"five")] == [True, True, False]
    assert backend.settled == 2
    await client.close()
    await server.stop()


async def test_account_without_money(client: Client, backend: TestBackend) -> None:
    poor = key("poor")
    assert await code_of(client, "POST", "/uploads", json=upload_order(DATA, poor)) == (403, "upload_account")
    backend.commit((ALICE, Transfer(poor.address, Amount(1))))
    assert (await client.begin(DATA, poor))[0] == 200


@pytest.mark.parametrize(
    ("given", "status", "first", "last"),
    [
        ("bytes=0-0", 206, 0, 0),
        ("bytes=5-", 206, 5, len(DATA) - 1),
        ("bytes=-7", 206, len(DATA) - 7, len(DATA) - 1),
        (f"bytes={MIB - 3}-{MIB + 3}", 206, MIB - 3, MIB + 3),
        (f"bytes=10-{len(DATA) * 2}", 206, 10, len(DATA) - 1),
        (f"bytes={len(DATA)}-", 416, 0, 0),
        ("bytes=9-3", 416, 0, 0),
        ("bytes=0-1,5-6", 416, 0, 0),
        ("lines=1-2", 416, 0, 0),
    ],
)
async def test_ranges(
    client: Client, backend: TestBackend, given: str, status: int, first: int, last: int
) -> None:
    store_content(backend.content, DATA, b"")
    async with client.http.get(f"{client.url}/content/{ROOT.hex()}", headers={"Range": given}) as answer:
        assert answer.status == status
        body = await answer.read()
        if status == 206:
            assert body == DATA[first : last + 1]
            assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"


async def test_head_and_headers(client: Client, backend: TestBackend) -> None:
    page = b"<html><script>alert(1)</script></html>"
    content = store_content(backend.content, page, b"")
    async with client.http.head(f"{client.url}/content/{content.chunk_root.hex()}") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Length"] == str(len(page))
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Disposition"] == "attachment"
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert await answer.read() == b""


async def test_content_comes_from_peers(client: Client, backend: TestBackend) -> None:
    path = f"/content/{ROOT.hex()}"
    assert await code_of(client, "GET", path) == (404, "not_found")
    assert (await client.send("HEAD", path))[0] == 404
    backend.elsewhere[ROOT] = DATA
    assert await client.send("GET", path, headers={"Range": "bytes=1-3"}) == (206, DATA[1:4])
    assert backend.content.has(ROOT)


async def test_too_many_wait_for_peers(
    client: Client, backend: TestBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, begun = asyncio.Event(), list[object]()

    async def slow(root: object) -> bool:
        begun.append(root)
        await released.wait()
        return False

    monkeypatch.setattr(backend, "fetch", slow)
    asks = [asyncio.create_task(client.send("GET", f"/content/{number:064x}")) for number in range(16)]
    async with asyncio.timeout(120):
        while len(begun) < len(asks):
            await asyncio.sleep(0.01)
    assert await code_of(client, "GET", "/content/" + "f" * 64) == (503, "busy")
    released.set()
    assert {status for status, _ in await asyncio.gather(*asks)} == {404}


async def test_one_client_does_not_take_all_places_for_fetches(
    client: Client, backend: TestBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content that comes slowly, asked for by one, kept everybody else from what has to be fetched."""
    share = limits.rpc_fetches_per_client_max
    assert limits.rpc_fetches_max >= 4 * share
    released, begun = asyncio.Event(), list[object]()

    async def slow(root: object) -> bool:
        begun.append(root)
        await released.wait()
        return False

    async def ask(number: int) -> asyncio.Task[tuple[int, Any]]:
        count = len(begun)
        task = asyncio.create_task(client.send("GET", f"/content/{number:064x}"))
        async with asyncio.timeout(120):
            while len(begun) == count:
                await asyncio.sleep(0.01)
        return task

    monkeypatch.setattr(backend, "fetch", slow)
    monkeypatch.setattr(limiter, "is_own_machine", lambda client: False)
    asks = [await ask(number) for number in range(share)]
    assert await code_of(client, "GET", "/content/" + "f" * 64) == (503, "busy")
    # What is fetched already takes no further place; and others are served.
    same = asyncio.create_task(client.send("GET", f"/content/{0:064x}"))
    monkeypatch.setattr(limiter, "is_own_machine", lambda client: True)
    asks.append(await ask(share))
    released.set()
    assert {status for status, _ in await asyncio.gather(same, *asks)} == {404}
    monkeypatch.setattr(limiter, "is_own_machine", lambda client: False)
    released.clear()
    again = [await ask(100 + number) for number in range(share)]
    released.set()
    assert {status for status, _ in await asyncio.gather(*again)} == {404}


async def test_facts_of_what_was_uploaded(client: Client) -> None:
    text = "Grüße aus dem Netz\n".encode()
    _, begun = await client.begin(text, ALICE)
    assert await put(client, begun, 0, text) == 204
    _, done = await client.send("POST", f"/uploads/{begun['upload']}/finish", begun["token"])
    assert done["media"] == {
        "media_type": "text/plain",
        "size": 21,
        "characters": 19,
        "lines": 1,
        "words": 4,
        "language": "und",
    }
