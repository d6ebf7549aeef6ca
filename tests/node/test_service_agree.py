"""Four validators in one process, with real databases and sockets: they agree, carry transactions, and come back after a stop."""

from __future__ import annotations

from pathlib import Path

from tests.node.node_kit import (
    assert_agreement,
    height_of,
    make_folders,
    node_at,
    running,
    transfer,
    until,
)


async def test_four_agree_and_one_comes_back(tmp_path: Path) -> None:
    folders = make_folders(tmp_path)
    async with running(folders.homes) as nodes:
        await until("5 blocks", lambda: min(map(height_of, nodes)) >= 5)
        pay = transfer("alice", 0)
        await nodes[0]._backend.submit(pay.encoded)
        await until(
            "the payment is final everywhere",
            lambda: all(node.application.reader().receipt(pay.id) for node in nodes),
        )
        last = nodes.pop()
        await last.stop()
        reached = height_of(nodes[0])
        await until("three go on", lambda: height_of(nodes[0]) >= reached + 4)
        back = node_at(folders.homes[3], nodes)
        nodes.append(back)
        await back.start()
        await until("the fourth is as far again", lambda: height_of(back) >= reached + 8)
        assert back.driver is not None
        assert back.driver.core.me is not None, "it votes again"
        assert_agreement(nodes)
