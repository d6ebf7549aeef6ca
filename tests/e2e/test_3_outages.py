"""Validators that are away: with one of four down blocks go on; with two they stop, and go on when one is back."""

from __future__ import annotations

import time

from deploy.devnet import calls
from tests.e2e.town import Town


def test_blocks_go_on_with_one_of_four_down(town: Town) -> None:
    last, others = town.nodes[3], town.nodes[:3]
    last.kill()
    reached = town.wait_blocks(others[0], 6)
    assert all(node.height() >= reached - 2 for node in others)
    assert last.height() == -1


def test_blocks_stop_with_two_down(town: Town) -> None:
    up = town.nodes[:2]
    town.nodes[2].kill()
    time.sleep(1.5)  # what was under way when it fell may still become final
    before = {node.name: node.height() for node in up}
    time.sleep(8)
    assert {node.name: node.height() for node in up} == before, "two of four made a block final"
    assert all(height > 0 for height in before.values()), "they answer nevertheless"


def test_blocks_go_on_when_one_returns(town: Town) -> None:
    first, third = town.nodes[0], town.nodes[2]
    stopped_at = first.height()
    third.start()
    calls.until("blocks go on", lambda: first.height() > stopped_at + 3, 40)
    calls.until("the third catches up", lambda: third.height() >= first.height() - 2, 20)


def test_the_last_one_catches_up_and_votes(town: Town) -> None:
    last = town.nodes[3]
    last.start()
    goal = town.first.height()
    calls.until("the last one catches up", lambda: last.height() >= goal, 30)
    calls.until("all four serve", lambda: all(node.is_ready() for node in town.nodes), 30)
    since = last.height()
    town.wait_blocks(town.first, 12)

    def leads() -> bool:
        lines = town.first.call("chain.blocks", limit=100)["blocks"]
        return any(line["proposer"] == last.address and line["height"] > since for line in lines)

    calls.until("it leads a block that becomes final", leads, 40, every_s=0.5)
