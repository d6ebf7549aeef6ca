"""Disks with no room left, real ones of two MiB: it says where to make room, and nothing half-written is believed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from datalayer.store import ContentStore
from node import snapshot_work
from node.safety_files import DiskFiles
from node.setup import make_folder
from node.snapshot_part import Part
from node.storage import StorageKeeper, StoragePolicy
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import Height
from state.chain import Chain
from state.reader import Reader
from state.snapshots import taking
from state.snapshots.files import SnapshotFile
from tests.storage.chains import EPOCH_BLOCKS, genesis_of, grow, grown

PAGE = 4_096
Disk = Callable[[], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of its own, of two MiB."""
    mounted: list[Path] = []

    def put() -> Path:
        place = tmp_path / "disk"
        place.mkdir(mode=0o700)
        line = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(line, capture_output=True, check=False).returncode:
            pytest.skip("no right to mount")
        mounted.append(place)
        return place

    yield put
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def fill(place: Path, free: int = 0) -> Path:
    """Takes all room but some pages."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    os.truncate(filler, filler.stat().st_size - free * PAGE)
    return filler


def says_what_to_do(text: str, place: Path) -> bool:
    return (
        "the disk is full" in text
        and f"make room on the disk of {place}" in text
        and "0 MiB of 2 MiB are free" in text
    )


class Standing:
    """A chain that neither grows nor is pruned."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    def reader(self) -> Reader:
        return self.chain.reader()

    async def prune(self, below: Height) -> int:
        raise AssertionError("the policy prunes nothing")


async def test_a_snapshot_that_has_no_room_says_where_to_make_some(tmp_path: Path, disk: Disk) -> None:
    chain, place = grown(tmp_path, EPOCH_BLOCKS), disk()
    snapshots = place / "snapshots"
    snapshots.mkdir()
    filler = fill(place)
    keeper = StorageKeeper(Standing(chain), chain.genesis_hash, StoragePolicy(snapshots, 1, 2, False, 0))
    try:
        with capture_logs() as logs:
            keeper.head_moved(syncing=False)
            assert keeper._taking is not None
            await keeper._taking
        [entry] = [each for each in logs if each["event"] == "no snapshot taken"]
        assert says_what_to_do(entry["error"], snapshots), entry
        filler.unlink()
        with capture_logs() as logs:
            keeper.head_moved(syncing=False)
            await keeper._taking
        assert [each["event"] for each in logs] == ["snapshot taken"]
    finally:
        await keeper.stop()
        chain.close()


def test_a_snapshot_that_a_command_takes_says_the_same(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "genesis.json").write_text(genesis_of().to_json(), encoding="utf-8")
    home, place = tmp_path / "home", disk()
    make_folder(home, tmp_path / "genesis.json", {})
    chain = Chain.open(home / "chain", genesis_of())
    grow(chain, EPOCH_BLOCKS)
    chain.close()
    fill(place)
    (home / "snapshots").symlink_to(place)
    with pytest.raises(StorageError) as refused:
        snapshot_work.create(home, 0.0)
    assert says_what_to_do(str(refused.value), home / "snapshots"), refused.value


def test_a_chunk_of_which_half_had_room_is_not_taken_for_whole(tmp_path: Path, disk: Disk) -> None:
    """The system writes what has room, and says how much that was by a number alone."""
    chain, place = grown(tmp_path, EPOCH_BLOCKS), disk()
    with SnapshotFile(taking.take(chain.reader(), chain.genesis_hash, tmp_path / "taken")) as file:
        part = Part(place / "snapshots", file.encoded)
    chain.close()
    missing = part.missing()
    fill(place, free=4)
    with pytest.raises(StorageError) as refused:
        part.put(missing[0], bytes(16 * PAGE))
    assert says_what_to_do(str(refused.value), place / "snapshots"), refused.value
    assert part.missing() == missing
    part.close()


def test_notes_and_votes_that_have_no_room_say_so(disk: Disk) -> None:
    place = disk()
    (place / "content").mkdir()
    files, store = DiskFiles(place / "safety"), ContentStore(place / "content", 1 << 20)
    files.lock()
    files.append("log", b"one")
    fill(place)
    with pytest.raises(StorageError) as refused:
        files.append("log", bytes(2 * PAGE))
    assert says_what_to_do(str(refused.value), place / "safety"), refused.value
    with pytest.raises(StorageError) as refused, store._reading(b"r"):  # type: ignore[arg-type] # names it alone
        (place / "content" / "note").write_bytes(bytes(PAGE))
    assert says_what_to_do(str(refused.value), place / "content"), refused.value
    files.unlock()
    store.close()


def test_a_command_that_has_no_room_says_where_to_make_some(disk: Disk) -> None:
    place = disk()
    home = place / "home"
    home.mkdir(mode=0o700)
    fill(place)
    code = "import sys; from node.entry import main; sys.argv = sys.argv[1:]; main()"
    line = [sys.executable, "-c", code, "omnitensor-node", "keys", "create", "--home", str(home)]
    done = subprocess.run(line, capture_output=True, check=False, text=True)
    assert done.returncode == 1
    [said] = done.stderr.splitlines()
    assert f"make room on the disk of {home}" in said, said
