"""A validator whose disk takes longer than a view lasts: its votes come late, and not one of them contradicts another."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from node.safety_files import DiskFiles
from omnitensor.protocol.votes import Vote
from tests.lessons.workbench import contradictions
from tests.node.node_kit import (
    PARAMS,
    Stranger,
    assert_agreement,
    height_of,
    make_folders,
    running,
    stranger,
    until,
)

QUICK = replace(PARAMS, delta_ms=150, standstill_ms=400)
VIEW_SECONDS = 3 * QUICK.delta_ms / 1_000
BLOCKS = 8


def said_by(who: Stranger) -> dict[int, list[tuple[object, int, bytes]]]:
    """What each validator was heard to sign."""
    found: dict[int, list[tuple[object, int, bytes]]] = {}
    for heard in who.heard:
        if isinstance(heard, Vote):
            found.setdefault(heard.signer, []).append((heard.kind, heard.view, bytes(heard.candidate_id)))
    return found


async def test_a_slow_disk_convicts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = make_folders(tmp_path, params=QUICK)
    slow, chance, waits = folders.homes[0] / "safety", Random(5), []
    real = DiskFiles.sync

    def sync(files: DiskFiles, name: str) -> None:
        if files._folder == slow:
            waits.append(chance.choice((0.0, 0.5, 1.2, 2.0)) * VIEW_SECONDS)
            time.sleep(waits[-1])
        real(files, name)

    monkeypatch.setattr(DiskFiles, "sync", sync)
    async with running(folders.homes) as nodes, stranger(folders.genesis, *nodes) as listener:
        await until("blocks", lambda: min(height_of(node) for node in nodes) >= BLOCKS)
        await until("it is late for whole views", lambda: max(waits, default=0) > VIEW_SECONDS)
        me = nodes[0].application.epoch.me
        assert me is not None
        await until("and it votes all the same", lambda: me in said_by(listener))
        heard = said_by(listener)
        for signer, signed in heard.items():
            assert contradictions(signed) == [], (signer, signed)  # type: ignore[arg-type]  # kinds are kinds
        for node in nodes:
            assert node._evidence.held() == ()
            assert node.driver is not None
            assert node.driver.halted is None
        assert_agreement(nodes)
