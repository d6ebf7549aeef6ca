"""A running node takes snapshots and prunes; another begins with a snapshot file, by the commands an operator has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node import snapshot_work, storage
from node.cli import commands
from node.service import Node
from node.snapshot_work import listed
from node.storage import WANTED
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.params import Params
from state import pruning
from state.chain import Chain
from state.snapshots import loading
from state.store import LockedStoreError
from tests.node.node_kit import (
    ANY_PORT,
    PARAMS,
    Folders,
    height_of,
    make_folders,
    node_at,
    running,
    transfer,
    until,
)

EPOCH_BLOCKS = 5
NET = Params(
    block_interval_ms=PARAMS.block_interval_ms,
    delta_ms=PARAMS.delta_ms,
    standstill_ms=PARAMS.standstill_ms,
    epoch_blocks=EPOCH_BLOCKS,
    evidence_epochs=2_000,
    unbonding_blocks=10_005,
)
SETTINGS: dict[str, Any] = ANY_PORT | {"snapshots.every": 2, "snapshots.keep": 2}


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What clients and peers need is days of blocks; here it is a few."""
    for module in (pruning, storage):
        monkeypatch.setattr(module, "kept_least", lambda params: 6)


def cli(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments], standalone_mode=False)


def refusal(*arguments: str | Path) -> str:
    result = cli(*arguments)
    assert isinstance(result.exception, ProtocolError), result.output
    return str(result.exception)


def ran(*arguments: str | Path) -> str:
    result = cli(*arguments)
    assert result.exception is None, result.exception
    return result.stdout


async def grown(folders: Folders, until_true: Callable[[Node], object], **settings: object) -> None:
    node = node_at(folders.homes[0], **settings)
    await node.start()
    try:
        for nonce in range(4):
            await node._backend.submit(transfer("alice", nonce).encoded)
        await until("the node came so far", lambda: until_true(node))
    finally:
        await node.stop()


async def test_a_node_takes_snapshots_prunes_and_another_begins_with_one(
    tmp_path: Path, short_windows: None
) -> None:
    folders = make_folders(tmp_path / "net", 1, NET)
    home, keep = folders.homes[0], {"snapshots__every": 2, "snapshots__keep": 1, "storage__mode": "prune"}

    def far(node: Node) -> bool:
        return node.application.reader().first_block >= 2 * EPOCH_BLOCKS and len(listed(home)) == 1

    await grown(folders, far, **keep)
    found = json.loads(ran("snapshot", "list", "--home", home, "--json"))
    assert len(found) == 1
    assert found[0]["height"] % (2 * EPOCH_BLOCKS) == 0
    assert found[0]["checkpoint"] == f"{found[0]['height']}:{found[0]['hash']}"
    assert found[0]["checkpoint"] in ran("snapshot", "list", "--home", home)
    out = tmp_path / "one.snapshot"
    ran("snapshot", "export", "--home", home, "--out", out)
    assert "choose another --out" in refusal("snapshot", "export", "--home", home, "--out", out)
    assert "see snapshot list" in refusal("snapshot", "export", "--home", home, "--height", "3", "--out", "x")

    new = folders.extra("new", **{"snapshots.every": 0})
    ran("snapshot", "verify", "--home", new, "--from", out)
    shown = json.loads(ran("snapshot", "import", "--home", new, "--from", out, "--json"))
    assert (shown["height"], shown["aside"]) == (found[0]["height"], None)
    assert sorted(path.name for path in new.iterdir() if path.name.startswith("chain")) == ["chain"]
    assert "give --replace" in refusal("snapshot", "import", "--home", new, "--from", out)
    again = json.loads(ran("snapshot", "import", "--home", new, "--from", out, "--json", "--replace"))
    assert Path(again["aside"]).name == "chain.aside-1"

    async with running([home, new]) as (old, young):
        start = height_of(old)
        await until("the young node followed", lambda: height_of(young) > start + 2)
        assert young.application.reader().first_block == found[0]["height"] + 1


async def test_a_running_node_takes_one_that_is_asked_for(tmp_path: Path) -> None:
    folders = make_folders(tmp_path / "net", 1, NET)
    home = folders.homes[0]
    (home / "snapshots").mkdir()
    (home / "snapshots" / WANTED).touch()
    await grown(folders, lambda node: listed(home) and not node._storage._taking, snapshots__every=0)
    assert not (home / "snapshots" / WANTED).exists()
    # And of a stopped node there is one only where it stands on a boundary.
    text = refusal("snapshot", "create", "--home", home) if height_at(home) % EPOCH_BLOCKS else ""
    assert not text or "snapshots.every" in text


def height_at(home: Path) -> int:
    node = node_at(home)
    height = height_of(node)
    node.application.chain.close()
    return height


async def test_a_running_node_is_waited_for(tmp_path: Path) -> None:
    folders = make_folders(tmp_path / "net", 1, NET)
    async with running(folders.homes) as _:
        text = refusal("snapshot", "create", "--home", folders.homes[0], "--wait", "0")
        assert "wait longer with --wait" in text
        assert "stop the other node" in refusal(
            "snapshot", "import", "--home", folders.homes[0], "--from", folders.genesis_file
        )


def test_too_few_blocks_are_not_kept(tmp_path: Path) -> None:
    folders = make_folders(tmp_path / "net", 1, NET)
    with pytest.raises(pruning.KeepError, match=r"storage.keep_blocks = 0.*storage.mode = archive"):
        node_at(folders.homes[0], storage__mode="prune", storage__keep_blocks=7)


def test_wrong_files_and_checkpoints_are_refused(tmp_path: Path) -> None:
    folders = make_folders(tmp_path / "net", 1, NET)
    home = folders.homes[0]
    assert "not a snapshot file" in refusal(
        "snapshot", "import", "--home", home, "--from", folders.genesis_file
    )
    assert "no snapshots" in ran("snapshot", "list", "--home", home)
    assert "there is no node here" in refusal("snapshot", "list", "--home", tmp_path / "nowhere")


async def test_an_import_leaves_a_node_that_was_started_meanwhile_alone(tmp_path: Path) -> None:
    """The database is locked while its folder is moved; and a move that was killed half-way is ended by the next try."""
    folders = make_folders(tmp_path / "net", 1, NET)
    genesis, path = folders.genesis, folders.homes[0] / "chain"
    made = loading.made_path(path)
    Chain.create(made, genesis).close()
    chain = Chain.open(path, genesis)
    with pytest.raises(LockedStoreError):
        snapshot_work.put_in_place(path, genesis)
    chain.close()
    assert path.exists()
    assert made.exists()
    path.rename(path.with_name("chain.aside-1"))  # as a kill between the two moves leaves it
    assert snapshot_work.put_in_place(path, genesis) is None
    Chain.open(path, genesis).close()


async def test_governance_may_raise_what_is_kept_at_least(
    tmp_path: Path, short_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that was enough when the node started does not end it, and does not prune what is needed now."""
    folders = make_folders(tmp_path / "net", 1, NET)
    node = node_at(folders.homes[0], storage__mode="prune", storage__keep_blocks=6)
    monkeypatch.setattr(storage, "kept_least", lambda params: 10**6)
    await node.start()
    await until("blocks", lambda: height_of(node) > 10)
    assert await node._storage._prune_piece() == 0
    assert not node.failed.is_set()
    await node.stop()
