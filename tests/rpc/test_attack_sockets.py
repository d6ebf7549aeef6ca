"""WebSockets in the hands of strangers: who asks and does not listen, and who subscribes to everything at once."""

from __future__ import annotations

import asyncio
import json

import pytest

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block, BlockResult, Event, Receipt
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.types import Amount, Hash, Weight
from rpc import topics
from rpc.feed import CommittedBlock
from rpc.server import RpcServer
from rpc.topics import BlockEvents, Filter
from tests.rpc.world import TestBackend
from tests.state.chain_fixtures import key, order

SENDERS = [key(f"a{number}") for number in range(8)]


async def test_answers_do_not_pile_up_for_who_does_not_listen(server: RpcServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport of a socket has it
    (socket,) = server._sockets._sockets
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}).encode()
    frame = b"\x81" + bytes([0x80 | len(call)]) + bytes(4) + call  # masked with zeros
    assert len(call) < 126
    largest = 0
    for _ in range(60):
        writer.write(frame * 20)
        await asyncio.sleep(0.02)
        largest = max(largest, socket._waiting_bytes)
        if socket.dropped:
            break
    answer = limits.rpc_response_bytes_max  # one answer may come on top
    assert 0 < largest <= limits.rpc_queue_answers_bytes_max + answer // 4
    assert not socket.dropped
    writer.close()


def block_of(backend: TestBackend, count: int) -> CommittedBlock:
    """A block of so many transfers, each to somebody else."""
    header = backend.reader().head.header
    transactions, receipts = [], []
    for number in range(count):
        to = key(f"to{number}").address
        made = order(SENDERS[number % 8], number // 8, Transfer(to, Amount(1)))
        transactions.append(made.transaction)
        events = (Event("transfer", (("to", to), ("amount", 1))),)
        receipts.append(
            Receipt(Hash(number.to_bytes(32, "big")), "ok", "", Amount(1), Amount(0), Weight(1), events)
        )
    return CommittedBlock(Block(header, tuple(transactions)), BlockResult(tuple(receipts), ()))


def test_narrow_filters_look_at_what_suits_them(
    backend: TestBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = BlockEvents(block_of(backend, 400))
    looks = 0
    real = topics._Said.suits

    def counted(said: topics._Said, wanted: Filter) -> bool:
        nonlocal looks
        looks += 1
        return real(said, wanted)

    monkeypatch.setattr(topics._Said, "suits", counted)
    for number in range(100):
        heard = list(events.matching(Filter("transactions", address=bytes(key(f"to{number}").address))))
        assert [json.loads(one)["index"] for one in heard] == [number]
        assert not list(events.matching(Filter("transactions", item=number)))
        assert not list(events.matching(Filter("transactions", campaign=number)))
    assert looks == 100
    assert len(list(events.matching(Filter("transactions")))) == 400


def test_one_block_of_the_most_transactions_drops_no_subscriber() -> None:
    assert limits.rpc_queue_events_max > limits.block_transactions_max
