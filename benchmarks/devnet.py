"""What a net of four validators on this machine does: time to finality, memory of a node, time to be back after kill -9.

Real processes, started as the devnet starts them. Measures alone; `benchmarks.run` prints and writes.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil

from deploy.devnet import calls
from deploy.devnet.net import Net, Node, Plan
from deploy.devnet.process import DevnetError

BLOCKS: Final = 80
"""Blocks whose finality is timed, after the first few."""
BLOCKS_SKIPPED: Final = 5
RECOVERIES: Final = 3
SECONDS_MAX: Final = 180.0


def measure(blocks: int = BLOCKS, recoveries: int = RECOVERIES) -> dict[str, float]:
    """Names and values for the results file; ratios to the configured block interval, MB of 10**6 bytes, seconds."""
    with (
        tempfile.TemporaryDirectory(prefix="omnitensor-bench-") as folder,
        Net.create(Path(folder) / "net", Plan(chain_id="omnitensor-bench")) as net,
    ):
        net.start()
        net.wait_ready()
        interval_ms = net.nodes[0].call("chain.status")["block_interval_ms"]
        delays_ms = asyncio.run(asyncio.wait_for(_finality_delays(net.nodes, blocks), SECONDS_MAX))
        memory = max(psutil.Process(node.pid).memory_info().rss for node in net.nodes)
        recovery = statistics.median(_recovery_seconds(net.nodes[-1]) for _ in range(recoveries))
        net.stop()
    intervals = [delay / interval_ms for delay in delays_ms]
    return {
        "finality_block_intervals_p50": round(statistics.median(intervals), 3),
        "finality_block_intervals_p95": round(statistics.quantiles(intervals, n=20)[-1], 3),
        "node_rss_mb": round(memory / 1e6, 1),
        "recovery_s": round(recovery, 2),
    }


async def _finality_delays(nodes: Sequence[Node], blocks: int) -> list[float]:
    """Milliseconds from each block's timestamp until each node told a subscriber that it is final: all nodes together."""
    heard = await asyncio.gather(*(_listen(node, blocks) for node in nodes))
    return [delay for delays in heard for delay in delays]


async def _listen(node: Node, blocks: int) -> list[float]:
    delays: list[float] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(node.endpoint + "/ws") as socket:
        await socket.send_str(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscribe.open", "params": {"topic": "blocks"}})
        )
        async for message in socket:
            now_ms = time.time() * 1_000
            event = _event_of(json.loads(message.data))
            if event is not None:
                delays.append(now_ms - event["timestamp_ms"])
            if len(delays) >= blocks + BLOCKS_SKIPPED:
                return delays[BLOCKS_SKIPPED:]
    raise DevnetError(f"{node.name} closed the subscription", value=f"after {len(delays)} blocks")


def _event_of(message: dict[str, Any]) -> dict[str, Any] | None:
    """The block that a notification tells of; None for the answer to the subscription."""
    if "error" in message:
        raise DevnetError("a subscription was refused", value=message["error"])
    if message.get("method") != "subscribe.event":
        return None
    event: dict[str, Any] = message["params"]["event"]
    return event


def _recovery_seconds(node: Node) -> float:
    """Seconds from kill -9 until the node, started again at once, answers chain.status."""
    started = time.monotonic()
    node.kill()
    node.start()
    calls.until(f"{node.name} answers again", lambda: node.height() >= 0, SECONDS_MAX, every_s=0.02)
    return time.monotonic() - started


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
