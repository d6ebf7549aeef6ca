"""What a net of four validators on this machine does: time to finality, memory of a node, time to be back after kill -9.

Real processes, started as the devnet starts them, with transfers under way all the time. Measures alone; `benchmarks.run` prints
and writes.
"""

import asyncio
import contextlib
import itertools
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil

from deploy.devnet import calls
from deploy.devnet.net import Net, Node, Plan
from deploy.devnet.process import DevnetError
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.codec import encode
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.transactions import signed, unsigned
from omnitensor.protocol.types import NANO, Amount, Height

BLOCKS: Final = 80
"""Blocks whose finality is timed, after the first few."""
BLOCKS_SKIPPED: Final = 5
RECOVERIES: Final = 3
SECONDS_MAX: Final = 120.0
CHAIN_ID: Final = "omnitensor-bench"
TRANSFERS_PER_SECOND: Final = 20
FEE_MAX: Final = Amount(10**8)
VALID_BLOCKS: Final = 1_000


def measure(blocks: int = BLOCKS, recoveries: int = RECOVERIES) -> dict[str, float]:
    """Names and values for the results file; ratios to the configured block interval, MB of 10**6 bytes, seconds."""
    plan = Plan(chain_id=CHAIN_ID, balances={"payer": 10_000 * NANO})
    with (
        tempfile.TemporaryDirectory(prefix="omnitensor-bench-") as folder,
        Net.create(Path(folder) / "net", plan) as net,
    ):
        net.start()
        net.wait_ready()
        interval_ms = net.nodes[0].call("chain.status")["block_interval_ms"]
        heard = asyncio.run(asyncio.wait_for(_hear_blocks(net, blocks), SECONDS_MAX))
        memory = max(psutil.Process(node.pid).memory_info().rss for node in net.nodes)
        recovery = statistics.median(_recovery_seconds(net, net.nodes[-1]) for _ in range(recoveries))
        net.stop()
    finality = [(block.heard_ms - block.timestamp_ms) / interval_ms for found in heard for block in found]
    times = [block.timestamp_ms for block in heard[0]]
    intervals = [(later - earlier) / interval_ms for earlier, later in itertools.pairwise(times)]
    transfers = sum(block.transactions for block in heard[0])
    return {
        "finality_block_intervals_p50": round(statistics.median(finality), 3),
        "finality_block_intervals_p95": round(statistics.quantiles(finality, n=20)[-1], 3),
        "block_intervals_p50": round(statistics.median(intervals), 3),
        "block_intervals_p95": round(statistics.quantiles(intervals, n=20)[-1], 3),
        "devnet_transfers_per_second": round(1_000 * transfers / (times[-1] - times[0]), 1),
        "node_rss_mb": round(memory / 1e6, 1),
        "recovery_s": round(recovery, 2),
    }


@dataclass(frozen=True)
class Heard:
    """A block as a subscriber of one node heard that it is final."""

    heard_ms: float
    timestamp_ms: int
    transactions: int


async def _hear_blocks(net: Net, blocks: int) -> list[list[Heard]]:
    """What a subscriber of each node hears, while transfers are sent to all of them in turn."""
    load = asyncio.create_task(_send_transfers(net))
    try:
        return await asyncio.gather(*(_listen(node, blocks) for node in net.nodes))
    finally:
        load.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await load


async def _send_transfers(net: Net) -> None:
    payer, payee = net.accounts["payer"], SigningKey.generate()
    async with aiohttp.ClientSession() as session:
        for nonce in itertools.count():
            node = net.nodes[nonce % len(net.nodes)]
            draft = unsigned(
                chain_id=CHAIN_ID,
                sender=payer.address,
                nonce=nonce,
                valid_until=Height(VALID_BLOCKS),
                max_fee=FEE_MAX,
                tip=Amount(0),
                body=Transfer(to=payee.address, amount=Amount(1)),
                signer=payer.public,
            )
            order = encode(signed(draft, payer.sign(draft.id))).hex()
            call = {"jsonrpc": "2.0", "id": nonce, "method": "tx.submit", "params": {"tx": order}}
            async with session.post(node.endpoint + "/", json=call) as answer:
                found = await answer.json()
            if "error" in found:
                raise DevnetError(f"{node.name} refused a transfer", value=found["error"])
            await asyncio.sleep(1 / TRANSFERS_PER_SECOND)


async def _listen(node: Node, blocks: int) -> list[Heard]:
    heard: list[Heard] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(node.endpoint + "/ws") as socket:
        await socket.send_str(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscribe.open", "params": {"topic": "blocks"}})
        )
        async for message in socket:
            now_ms = time.time() * 1_000
            event = _event_of(json.loads(message.data))
            if event is not None:
                heard.append(Heard(now_ms, event["timestamp_ms"], event["transactions"]))
            if len(heard) >= blocks + BLOCKS_SKIPPED:
                return heard[BLOCKS_SKIPPED:]
    raise DevnetError(f"{node.name} closed the subscription", value=f"after {len(heard)} blocks")


def _event_of(message: dict[str, Any]) -> dict[str, Any] | None:
    """The block that a notification tells of; None for the answer to the subscription."""
    if "error" in message:
        raise DevnetError("a subscription was refused", value=message["error"])
    if message.get("method") != "subscribe.event":
        return None
    event: dict[str, Any] = message["params"]["event"]
    return event


def _recovery_seconds(net: Net, node: Node) -> float:
    """Seconds from kill -9 until the node, started again at once, answers chain.status."""
    started = time.monotonic()
    node.kill()
    node.start()
    calls.until(
        f"{node.name} answers again",
        lambda: node.height() >= 0,
        SECONDS_MAX,
        every_s=0.02,
        on_wait=net.check,
    )
    return time.monotonic() - started


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
