"""Final transactions a second of one durable node, and of four: real processes, real sockets, signed transfers over JSON-RPC.

Everything runs on this machine, the clients too: they sign beforehand, and send batches to all nodes while blocks become final.
Counted is what a subscriber hears to be final, from the first transfer that is sent to the last that is final.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from deploy.devnet.net import Net, Node, Plan
from deploy.devnet.process import DevnetError
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.codec import encode
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.transactions import signed, unsigned
from omnitensor.protocol.types import NANO, Amount, Height

CHAIN_ID: Final = "omnitensor-bench"
SENDERS: Final = 400
TRANSFERS: Final = {1: 16_000, 4: 10_000}
"""By number of nodes: some ten seconds of each."""
BATCH: Final = 100
WAITING_MAX: Final = 8_000
"""Sent and not final: below what a mempool takes, above what two blocks take."""
CONNECTIONS: Final = 2
"""To each node."""
SECONDS_MAX: Final = 150.0
FEE_MAX: Final = Amount(10**8)
VALID_BLOCKS: Final = 5_000


def measure() -> dict[str, float]:
    """Final transfers a second by number of nodes."""
    return {f"tps_final_{nodes}": final_per_second(nodes, count) for nodes, count in TRANSFERS.items()}


def final_per_second(validators: int, count: int) -> float:
    """Of a net of so many validators, over so many transfers."""
    plan = Plan(
        chain_id=CHAIN_ID,
        validators=validators,
        balances={f"sender-{number}": 1_000 * NANO for number in range(SENDERS)},
        settings={"rpc-calls-per-second": "0"},
    )
    with (
        tempfile.TemporaryDirectory(prefix="omnitensor-bench-") as folder,
        Net.create(Path(folder) / "net", plan) as net,
    ):
        keys = [net.accounts[f"sender-{number}"] for number in range(SENDERS)]
        bodies = _signed_batches(keys, count, validators)
        net.start()
        net.wait_ready()
        seconds = asyncio.run(asyncio.wait_for(_seconds_to_finality(net, bodies, count), SECONDS_MAX))
        net.stop()
    return round(count / seconds, 1)


def _signed_batches(keys: Sequence[SigningKey], count: int, nodes: int) -> list[list[bytes]]:
    """For each node the bodies of requests: batches of transfers, each sender's in order and always to the same node."""
    calls: list[list[bytes]] = [[] for _ in range(nodes)]
    for number in range(count):
        place = number % len(keys)
        key = keys[place]
        draft = unsigned(
            chain_id=CHAIN_ID,
            sender=key.address,
            nonce=number // len(keys),
            valid_until=Height(VALID_BLOCKS),
            max_fee=FEE_MAX,
            tip=Amount(0),
            body=Transfer(to=keys[(place + 1) % len(keys)].address, amount=Amount(1)),
            signer=key.public,
        )
        order = encode(signed(draft, key.sign(draft.id))).hex()
        calls[place % nodes].append(
            b'{"jsonrpc":"2.0","id":%d,"method":"tx.submit","params":{"tx":"%s"}}' % (number, order.encode())
        )
    return [
        [b"[" + b",".join(of_node[at : at + BATCH]) + b"]" for at in range(0, len(of_node), BATCH)]
        for of_node in calls
    ]


@dataclass
class Progress:
    """What was sent, and what a subscriber heard to be final."""

    sent: int = 0
    final: int = 0


async def _seconds_to_finality(net: Net, bodies: Sequence[Sequence[bytes]], count: int) -> float:
    progress, moved = Progress(), asyncio.Event()
    listening = asyncio.Event()
    ear = asyncio.create_task(_listen(net.nodes[0], progress, moved, listening, count))
    await listening.wait()
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for node, of_node in zip(net.nodes, bodies, strict=True):
            waiting = list(of_node)
            for _ in range(CONNECTIONS):
                group.create_task(_send(node, waiting, progress, moved))
    ended = await ear
    return ended - started


async def _send(node: Node, bodies: list[bytes], progress: Progress, moved: asyncio.Event) -> None:
    """Sends batches until none is left, and waits while too much waits."""
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        while bodies:
            if progress.sent - progress.final > WAITING_MAX:
                moved.clear()
                await moved.wait()
                continue
            body = bodies.pop(0)
            progress.sent += BATCH
            async with session.post(node.endpoint + "/", data=body) as answer:
                said = await answer.read()
            if b'"error"' in said:
                raise DevnetError(f"{node.name} refused a transfer", value=said[:300])


async def _listen(
    node: Node, progress: Progress, moved: asyncio.Event, listening: asyncio.Event, count: int
) -> float:
    """When the last of so many transactions was heard to be final."""
    async with aiohttp.ClientSession() as session, session.ws_connect(node.endpoint + "/ws") as socket:
        await socket.send_str(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscribe.open", "params": {"topic": "blocks"}})
        )
        async for message in socket:
            said = json.loads(message.data)
            if "error" in said:
                raise DevnetError("a subscription was refused", value=said["error"])
            if said.get("method") == "subscribe.event":
                progress.final += said["params"]["event"]["transactions"]
                moved.set()
            listening.set()
            if progress.final >= count:
                return time.perf_counter()
    raise DevnetError(f"{node.name} closed the subscription", value=f"after {progress.final} transactions")


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
