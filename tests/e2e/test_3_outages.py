"""Validators that are away: with one of four down blocks go on; with two they stop, and go on when one is back."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence

import pytest

from deploy.devnet import calls, ports, process
from deploy.devnet.net import Node
from omnitensor.protocol.keys import SigningKey
from tests.e2e.town import PATIENCE_S, Town

pytestmark = [pytest.mark.timeout(1_200), pytest.mark.xdist_group("e2e")]

QUIET_SECONDS = 4.0
"""Eight block intervals."""
UNDER_WAY_MAX = 3
"""Blocks above the highest final one for which whoever is killed may have signed enough already."""


def heights(nodes: Sequence[Node]) -> dict[str, int]:
    return {node.name: node.height() for node in nodes}


def test_blocks_go_on_with_one_of_four_down(town: Town) -> None:
    last, others = town.nodes[3], town.nodes[:3]
    last.kill()
    reached = town.wait_blocks(others[0], 6)
    for node in others:
        calls.until(f"{node.name} is there", lambda node=node: node.height() >= reached, PATIENCE_S)  # type: ignore[misc]
    assert last.height() == -1


def test_blocks_stop_with_two_down(town: Town) -> None:
    up = town.nodes[:2]
    town.nodes[2].kill()
    last = max(heights(up).values()) + UNDER_WAY_MAX
    stood_since, before = time.monotonic(), heights(up)

    def stands() -> bool:
        nonlocal stood_since, before
        now = heights(up)
        if now != before:
            stood_since, before = time.monotonic(), now
        return time.monotonic() - stood_since > QUIET_SECONDS

    # What was under way when the third fell may still become final, on a busy machine late; nothing may after that.
    calls.until("blocks stop", stands, PATIENCE_S)
    assert all(height > 0 for height in before.values()), "they answer nevertheless"
    time.sleep(QUIET_SECONDS)
    assert max(heights(up).values()) <= last, "two of four made a block final"


def test_blocks_go_on_when_one_returns(town: Town) -> None:
    first, third = town.nodes[0], town.nodes[2]
    stopped_at = first.height()
    third.start()
    calls.until("blocks go on", lambda: first.height() > stopped_at + 3, PATIENCE_S)
    calls.until("the third catches up", lambda: third.height() > stopped_at + 3, PATIENCE_S)


def test_the_last_one_catches_up_and_votes(town: Town) -> None:
    last = town.nodes[3]
    last.start()
    goal = town.first.height()
    calls.until("the last one catches up", lambda: last.height() >= goal, PATIENCE_S)
    calls.until("all four serve", lambda: all(node.is_ready() for node in town.nodes), PATIENCE_S)
    since = last.height()
    town.wait_blocks(town.first, 12)

    def leads() -> bool:
        lines = town.first.call("chain.blocks", limit=100)["blocks"]
        return any(line["proposer"] == last.address and line["height"] > since for line in lines)

    calls.until("it leads a block that becomes final", leads, PATIENCE_S, every_s=0.5)


def test_validator_that_lost_its_chain_fetches_it_again(town: Town) -> None:
    """As the operator's guide says: `chain/` goes away, `init` runs again, keys and safety store stay."""
    node = town.nodes[2]
    assert node.stop() == 0, node.tail()
    shutil.rmtree(node.home / "chain")
    votes = (node.home / "safety" / "votes").read_bytes()
    genesis = str(node.home / "genesis.json")
    made = process.run(process.NODE, "init", "--home", str(node.home), "--genesis", genesis)
    assert made.returncode == 0, made.stderr
    assert (node.home / "safety" / "votes").read_bytes() == votes
    town.witness.forget(node)
    node.start()
    goal = town.first.height()
    calls.until("it has all blocks again", lambda: node.height() >= goal, PATIENCE_S, on_wait=town.check)
    calls.until("it votes again", lambda: "finalize" in votes_of(node), PATIENCE_S)


def test_new_node_without_stake_follows(town: Town) -> None:
    home = town.net.folder / "observer"
    rpc_port, p2p_port = ports.free_ports(2)
    flags = {
        "genesis": str(town.net.folder / "genesis.json"),
        "rpc-listen": f"127.0.0.1:{rpc_port}",
        "p2p-listen": f"127.0.0.1:{p2p_port}",
        "p2p-bootstrap": f"127.0.0.1:{town.first.p2p_port}",
    }
    given = [part for name, value in flags.items() for part in (f"--{name}", value)]
    made = process.run(process.NODE, "init", "--home", str(home), *given)
    assert made.returncode == 0, made.stderr
    observer = Node("observer", home, SigningKey.generate(), rpc_port, p2p_port)
    try:
        observer.start()
        goal = town.first.height() + 3
        calls.until("it follows the chain", lambda: observer.height() >= goal, PATIENCE_S)
        theirs = town.first.call("chain.block", height=goal)["header"]["hash"]
        assert observer.call("chain.block", height=goal)["header"]["hash"] == theirs
        assert votes_of(observer) == ""
        assert observer.stop() == 0, observer.tail()
    finally:
        observer.kill()


def votes_of(node: Node) -> str:
    """The lines of a node's metrics that count votes above zero."""
    return "\n".join(re.findall(r"^omnitensor_votes_cast_total\S* [1-9].*$", node.metrics(), re.MULTILINE))
