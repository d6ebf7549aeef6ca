"""JSON-RPC 2.0 to the letter, over a real socket: each error's number, batches, notifications, and bytes that are no JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc.jsonrpc import Call, RpcError, parse
from tests.rpc.world import Client, TestBackend


def request(method: str = "chain.supply", **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "id": 1, **more}


NO_JSON = [
    b"",
    b"{",
    b'{"jsonrpc": "2.0", "method": "chain.supply", "params": {}, "id": 1',
    b"[1,]",
    b'{"jsonrpc": "2.0", "method": "chain.supply", "id": NaN}',
    b'{"jsonrpc": "2.0", "method": "chain.supply", "id": Infinity}',
    b'{"jsonrpc": "2.0", "method": "chain.supply", "id": -Infinity}',
    b'{"jsonrpc": "2.0", "method": "chain.supply", "id": 1e999}',
    b'{"jsonrpc": "2.0", "method": "chain.supply", "id": 01}',
    b'{"jsonrpc": "2.0", "method": "chain.supply", "id": ' + b"9" * 5_000 + b"}",
    b'{"jsonrpc": "2.0", "method": "chain.supply", "id": 1, "id": 2}',
    b'{"jsonrpc": "2.0", "method": "chain.block", "params": {"height": 0, "height": 0}, "id": 1}',
    b'{"jsonrpc": "2.0", "method": "chain.supply", "id": "\\ud800"}',
    b'{"jsonrpc": "2.0", "method": "chain.supply", "id": "\xff"}',
    '{"jsonrpc": "2.0", "method": "chain.supply", "id": 1}'.encode("utf-16"),
    b'\xef\xbb\xbf{"jsonrpc": "2.0", "method": "chain.supply", "id": 1}',
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 50 + b"1" + b"}" * 50,
    b'"' + b'\\"' * 200_000,
    b"{'jsonrpc': '2.0'}",
    b'{"jsonrpc": "2.0"} {}',
]


@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
async def test_parse_error(client: Client, body: bytes) -> None:
    status, answer = await client.raw(body)
    assert status == 200
    error = json.loads(answer)
    assert error["error"]["code"] == -32700
    assert error["error"]["message"] == "Parse error"
    assert error["id"] is None


NO_REQUEST: list[Any] = [
    1,
    "text",
    None,
    True,
    {},
    {"jsonrpc": "2.0", "id": 1},
    {"method": "chain.supply", "id": 1},
    {"jsonrpc": "1.0", "method": "chain.supply", "id": 1},
    {"jsonrpc": 2.0, "method": "chain.supply", "id": 1},
    {"jsonrpc": "2.0", "method": 1, "id": 1},
    {"jsonrpc": "2.0", "method": "chain.supply", "params": "x", "id": 1},
    {"jsonrpc": "2.0", "method": "chain.supply", "params": None, "id": 1},
    {"jsonrpc": "2.0", "method": "chain.supply", "id": 1, "more": 1},
    {"jsonrpc": "2.0", "method": "chain.supply", "id": True},
    {"jsonrpc": "2.0", "method": "chain.supply", "id": []},
    {"jsonrpc": "2.0", "method": "chain.supply", "id": {}},
    {"jsonrpc": "2.0", "method": "chain.supply", "id": "x" * 129},
    {"jsonrpc": "2.0", "method": "chain.supply", "id": 2**64},
]


@pytest.mark.parametrize("value", NO_REQUEST, ids=range(len(NO_REQUEST)))
async def test_invalid_request(client: Client, value: Any) -> None:
    answer = await client.message(value)
    assert answer["error"]["code"] == -32600
    assert answer["error"]["message"] == "Invalid Request"
    given = value.get("id") if isinstance(value, dict) else None
    assert answer["id"] == (1 if given == 1 and given is not True else None)


async def test_method_not_found(client: Client) -> None:
    for name in ("chain.none", "", "rpc.none", "__init__", "subscribe.event"):
        answer = await client.message(request(name))
        assert answer["error"]["code"] == -32601
        assert answer["error"]["message"] == "Method not found"
        assert answer["id"] == 1


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("chain.block", {"height": "x"}),
        ("chain.block", {"height": -1}),
        ("chain.block", {"height": 2**63}),
        ("chain.block", {"height": 1.5}),
        ("chain.block", {"height": True}),
        ("chain.block", {"heights": 1}),
        ("chain.block", {"hash": "00"}),
        ("chain.block", {"hash": "A" * 64}),
        ("chain.block", {"height": 0, "hash": "00" * 32}),
        ("chain.block", [0, None, 1]),
        ("chain.supply", [1]),
        ("chain.supply", {"x": 1}),
        ("chain.blocks", {"limit": 0}),
        ("chain.blocks", {"limit": 101}),
        ("account.get", {}),
        ("account.get", []),
        ("account.get", {"address": 1}),
        ("account.get", {"address": "omnit1nonsense"}),
        ("account.get", {"address": "x" * 1_000}),
        ("tx.submit", {"tx": ""}),
        ("tx.submit", {"tx": "0"}),
        ("tx.submit", {"tx": "zz"}),
        ("tx.submit", {"tx": "00" * 200_000}),
        ("tx.get", {"id": None}),
        ("tx.by_address", {"address": "omnit1", "cursor": ""}),
        ("campaign.get", {"campaign": "x"}),
        ("campaign.get", {"campaign": ""}),
        ("campaign.get", {"campaign": "9" * 30}),
        ("campaign.list", {"status": "nonsense"}),
        ("campaign.list", {"cursor": "x"}),
        ("campaign.list", {"cursor": str(2**64)}),
        ("item.get", {"item": "1"}),
    ],
)
async def test_invalid_params(client: Client, method: str, params: Any) -> None:
    answer = await client.ask(method, params)
    assert answer["error"]["code"] == -32602
    assert answer["error"]["message"] == "Invalid params"
    assert answer["error"]["data"]["reason"]


async def test_internal_error_says_nothing_of_the_inside(client: Client, backend: TestBackend) -> None:
    backend.fault = RuntimeError("secret of the inside")
    status, answer = await client.raw(json.dumps(request("chain.status")))
    assert status == 200
    assert json.loads(answer)["error"]["code"] == -32603
    assert json.loads(answer)["error"]["message"] == "Internal error"
    assert b"secret" not in answer
    backend.fault = None
    await client.call("chain.status")


async def test_params_by_position_and_by_name(client: Client) -> None:
    by_name = await client.call("chain.block", height=0)
    by_position = (await client.ask("chain.block", [0]))["result"]
    assert by_name == by_position
    assert (await client.ask("chain.block", [None, by_name["header"]["hash"]]))["result"] == by_name


@pytest.mark.parametrize("id_", [0, -5, 1.5, "text", "ü€", "", None, 2**53])
async def test_any_id_comes_back(client: Client, id_: Any) -> None:
    answer = await client.message(request(id=id_))
    assert answer["id"] == id_
    assert type(answer["id"]) is type(id_)
    assert "result" in answer


async def test_notifications_get_no_answer_whatever_they_meet(client: Client) -> None:
    for method, params in (("chain.supply", {}), ("chain.none", {}), ("chain.block", {"height": "x"})):
        assert await client.message({"jsonrpc": "2.0", "method": method, "params": params}) is None


async def test_batch(client: Client) -> None:
    answers = await client.message(
        [
            request(id=1),
            {"jsonrpc": "2.0", "method": "chain.supply"},
            request("chain.none", id="2"),
            1,
            {"foo": "boo"},
            request("chain.block", params={"height": 0}, id=5),
        ]
    )
    assert [(answer["id"], answer.get("error", {}).get("code")) for answer in answers] == [
        (1, None),
        ("2", -32601),
        (None, -32600),
        (None, -32600),
        (5, None),
    ]


async def test_batch_of_notifications_gets_no_answer(client: Client) -> None:
    assert await client.message([{"jsonrpc": "2.0", "method": "chain.supply"}] * 3) is None


async def test_empty_batch_and_batch_of_nonsense(client: Client) -> None:
    answer = await client.message([])
    assert answer["error"]["code"] == -32600
    assert answer["id"] is None
    answers = await client.message([1, 2, 3])
    assert [one["error"]["code"] for one in answers] == [-32600] * 3


async def test_batch_over_the_limit(client: Client) -> None:
    assert len(await client.message([request(id=number) for number in range(100)])) == 100
    answer = await client.message([request(id=number) for number in range(101)])
    assert answer["error"]["code"] == -32600
    assert answer["error"]["data"]["code"] == "limit"
    assert answer["error"]["data"]["value"] == "101"


async def test_body_over_the_limit(client: Client) -> None:
    for body in (b" " * (1024 * 1024 + 1), b'{"a": "' + b"x" * 2_000_000):
        status, answer = await client.raw(body)
        assert status == 413
        assert json.loads(answer)["error"]["code"] == -32600
        assert json.loads(answer)["error"]["data"]["code"] == "limit"
    padded = json.dumps(request()).encode()
    assert (await client.raw(padded + b" " * (1024 * 1024 - len(padded))))[0] == 200


async def test_chunked_body_over_the_limit(client: Client) -> None:
    async def pieces() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    async with client.http.post(
        client.url + "/", data=pieces(), headers={"Content-Type": "application/json"}
    ) as answer:
        assert answer.status == 413


async def test_depth_counts_brackets_outside_strings(client: Client) -> None:
    assert "result" in await client.message(request(id="[" * 100))
    nested: Any = 1
    for _ in range(14):
        nested = [nested]
    assert (await client.message(request(params=[nested])))["error"]["code"] == -32602
    for _ in range(4):
        nested = [nested]
    answer = json.loads((await client.raw(json.dumps(request(params=[nested]))))[1])
    assert answer["error"]["code"] == -32700
    assert answer["error"]["data"]["code"] == "depth"


async def test_large_answers_to_a_batch_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from omnitensor.protocol import limits

    monkeypatch.setattr(limits, "rpc_response_bytes_max", 2_000)
    answers = await client.message([request("chain.params", id=number) for number in range(5)])
    codes = [answer.get("error", {}).get("code") for answer in answers]
    assert codes[0] is None
    assert codes[-1] == -32003
    assert len(answers) == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Whatever comes is a request or a typed error; nothing else is raised."""
    code = 0
    try:
        assert parse(body).calls
    except RpcError as error:
        code = error.code
    assert code in (0, -32700, -32600)


@given(
    method=st.text(max_size=20),
    params=st.lists(st.integers(), max_size=3)
    | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    id_=st.none() | st.integers(-(2**63), 2**63) | st.text(max_size=20),
)
def test_reads_what_the_standard_library_writes(method: str, params: Any, id_: Any) -> None:
    body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": id_}, ensure_ascii=False)
    try:
        encoded = body.encode()
    except UnicodeEncodeError:
        return
    assert parse(encoded).calls == (Call(method, params, id_, is_notification=False),)
