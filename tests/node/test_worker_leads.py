"""A worker without stake leads blocks of a net of four validators, is killed, and leads again when it is back; the chain goes on.

The validators run in this process, the worker in one of its own. Credit is given by a step that the test adds (``credited``).
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from node.keys import load
from node.service import Node
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Address, Epoch, Height
from omnitensor.sdk import ChainIdentity, Client
from state.ledger import transition, worker_sets
from tests.node import credited
from tests.node.node_kit import account_key, assert_agreement, height_of, make_folders, running, until
from tests.node.test_processes import Process

PARAMS = Params(block_interval_ms=100, delta_ms=400, standstill_ms=1_000, epoch_blocks=6)
WORKER = account_key("worker").address
CREDIT = 4**10
SECONDS = 300.0


def led_by_worker(node: Node, above: int = 0) -> list[int]:
    """Heights of final blocks that the worker proposed."""
    reader = node.application.reader()
    found = []
    for height in range(above + 1, reader.head.height + 1):
        block = reader.block(Height(height))
        assert block is not None
        if block.header.proposer == WORKER:
            found.append(height)
    return found


def led_inside_epochs(node: Node) -> list[int]:
    """Those of them that are no boundary: of a boundary nothing tells the view."""
    return [height for height in led_by_worker(node) if height % PARAMS.epoch_blocks]


def missed(node: Node, above: int) -> list[tuple[int, Address]]:
    """Epoch and account of whom blocks show to have missed its view."""
    reader = node.application.reader()
    return [
        (dict(event.fields)["epoch"], dict(event.fields)["worker"])  # type: ignore[misc]  # as the ledger says it
        for height in range(above + 1, reader.head.height + 1)
        for event in reader.block_events(Height(height))
        if event.kind == "worker.missed"
    ]


def credit_of(node: Node, epoch: int) -> int | None:
    workers = worker_sets.worker_set(node.application.reader(), Epoch(epoch))
    return None if workers is None else {e.address: e.credit for e in workers.entries}.get(WORKER)


@pytest.mark.timeout(1_500)
async def test_a_worker_leads_is_killed_and_leads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make_folders(tmp_path / "net", params=PARAMS)
    home = folders.extra("worker")
    validators = {
        account_key(f"v{number}").address: (folders.keys(number).consensus_public, CREDIT)
        for number in range(4)
    }
    given = {**validators, WORKER: (load(home / "keys").consensus_public, 3 * CREDIT)}
    credited.write(tmp_path / "work.json", given)
    monkeypatch.setattr(transition, "END_OF_BLOCK", credited.steps(given))
    async with running(folders.homes) as nodes:
        bootstrap = ",".join(f"127.0.0.1:{node.network.listen_port}" for node in nodes)
        arguments = ("--p2p-bootstrap", bootstrap)

        def start() -> Process:
            extra = {credited.VARIABLE: str(tmp_path / "work.json")}
            return Process(home, *arguments, module="tests.node.credited", extra=extra)

        worker = start()
        try:
            await until("the worker leads", lambda: len(led_inside_epochs(nodes[0])) >= 2, SECONDS)
            assert led_by_worker(nodes[0])[0] > 2 * PARAMS.epoch_blocks, "from epoch 2 on"
            worker.signal(signal.SIGKILL)
            worker.wait()
            killed_at = height_of(nodes[0])
            await until("the chain goes on", lambda: height_of(nodes[0]) >= killed_at + 4, SECONDS)
            await until(
                "it is charged", lambda: WORKER in {who for _, who in missed(nodes[0], killed_at)}, SECONDS
            )
            epoch = next(at for at, who in missed(nodes[0], killed_at) if who == WORKER)
            assert credit_of(nodes[0], epoch + 1) in {3 * CREDIT >> 2 * n for n in range(1, 30)}
            back_at = height_of(nodes[0])
            worker = start()
            await until("it leads again", lambda: led_by_worker(nodes[0], back_at), SECONDS)
            await until(
                "all have the blocks",
                lambda: min(map(height_of, nodes)) >= led_by_worker(nodes[0], back_at)[0],
                SECONDS,
            )
            assert_agreement(nodes)
            assert all(node.driver is not None and node.driver.halted is None for node in nodes)
            await asyncio.to_thread(follow_by_light_client, nodes[0], worker, tmp_path)
        finally:
            worker.kill()
        assert "refused to sign" not in worker.text()
        assert "Traceback" not in worker.text()


def follow_by_light_client(node: Node, worker: Process, folder: Path) -> None:
    """Light clients know no leaders: one follows all epochs from genesis, over the worker's own node."""
    chain = node.application.chain
    identity = ChainIdentity(chain.chain_id, chain.genesis_hash.hex())
    endpoint = f"http://127.0.0.1:{worker.rpc_port}"
    with Client(endpoint, chain=identity, home=folder / "client") as client:
        head = client.verified_head()
        assert head.height > 2 * PARAMS.epoch_blocks
        led = led_inside_epochs(node)[0]
        assert client.proven_header(led).proposer == WORKER
    told = [worker.call("chain.block", height=height)["result"] for height in range(1, led + 1)]
    leads = [block["lead"] for block in told]  # type: ignore[index]  # a record
    assert leads[-1] == {"view": leads[-1]["view"], "drawn_by": "work", "votes": False}
    assert leads[0]["drawn_by"] == "stake", "nothing is credited for the first epochs"
    assert leads[PARAMS.epoch_blocks - 1] is None, "of a boundary nothing tells the view"
    assert all(lead["view"] % 3 for lead in leads if lead and lead["drawn_by"] == "work")
