"""What an operator does with snapshots: lists, makes, hands on, verifies and loads them. A function a command; prints nothing."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datalayer.files import disk_errors
from node import config as configuration
from node import trust
from node.storage import WANTED
from omnitensor.protocol.disk import is_full, make_room
from omnitensor.protocol.errors import StorageError
from state.chain import Chain
from state.genesis import Genesis
from state.snapshots import loading, taking
from state.snapshots.chunks import read_chunk
from state.snapshots.files import SnapshotFile, heights_in, name_of
from state.snapshots.manifest import CHUNKS, SnapshotError
from state.store import LockedStoreError, held, sync_folder

POLL_SECONDS: Final = 0.2

Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Shown:
    """A snapshot, for people."""

    height: int
    hash: str
    rows: int
    bytes: int
    path: Path

    @property
    def checkpoint(self) -> str:
        """What to give to whoever is to believe it."""
        return f"{self.height}:{self.hash}"


def shown(path: Path) -> Shown:
    """Raises SnapshotError where the file is none."""
    with SnapshotFile(path) as file:
        header = file.manifest.header
        return Shown(header.height, header.hash.hex(), file.manifest.rows, file.size, path)


def listed(home: Path) -> list[Shown]:
    """Snapshots in a node's folder, the newest first. Files that are none are left out."""
    folder = _config(home).snapshots_path
    found: list[Shown] = []
    for height in heights_in(folder):
        try:
            found.append(shown(folder / name_of(height)))
        except SnapshotError:
            continue
    return found


def create(home: Path, wait_seconds: float) -> Shown:
    """The snapshot of a stopped node's head where that is a boundary; a running node takes one at its next boundary.

    Raises SnapshotError where there can be none, or none came in time.
    """
    config = _config(home)
    folder = config.snapshots_path
    try:
        chain = Chain.open(config.chain_path, Genesis.load(config.genesis_path))
    except LockedStoreError:
        return _asked_for(folder, wait_seconds)
    try:
        with disk_errors(folder):
            taking.clean(folder)
            return shown(taking.take(chain.reader(), chain.genesis_hash, folder))
    finally:
        chain.close()


def _asked_for(folder: Path, wait_seconds: float) -> Shown:
    """Asks the node that runs here for a snapshot, and waits for it."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(heights_in(folder))
    (folder / WANTED).touch()
    end = time.monotonic() + wait_seconds
    while time.monotonic() < end:
        fresh = [height for height in heights_in(folder) if height not in before]
        if fresh:
            return shown(folder / name_of(fresh[0]))
        time.sleep(POLL_SECONDS)
    raise SnapshotError(
        "the running node has not taken a snapshot yet",
        value=f"{wait_seconds:.0f} s",
        remedy="it takes one at its next boundary: see snapshot list, or wait longer with --wait",
    )


def export(home: Path, height: int | None, out: Path) -> Shown:
    """Copies a snapshot, the newest without a height, to a file that must not exist."""
    if out.exists():
        raise StorageError("there is a file already", value=out, remedy="choose another --out")
    folder = _config(home).snapshots_path
    heights = heights_in(folder)
    if not heights or (height is not None and height not in heights):
        raise SnapshotError(
            "there is no such snapshot",
            value=height,
            remedy="see snapshot list; snapshot create makes one",
        )
    source = folder / name_of(heights[0] if height is None else height)
    found = shown(source)
    building = out.with_name(out.name + ".new")
    try:
        shutil.copyfile(source, building)
        with building.open("rb") as file:
            os.fsync(file.fileno())
        building.rename(out)
        sync_folder(out.parent)
    except OSError as error:
        # Half a file would keep a full disk full; and the system names the file that was read.
        with contextlib.suppress(OSError):
            building.unlink(missing_ok=True)
        raise StorageError(
            f"the snapshot can't be written ({error.strerror})",
            value=out,
            remedy=f"{make_room(out)}; or choose another folder"
            if is_full(error)
            else "choose a folder that you may write to, with room for it, and run it again",
        ) from error
    return Shown(found.height, found.hash, found.rows, found.bytes, out)


def verify(home: Path, path: Path, checkpoint: str, tell: Tell) -> Shown:
    """Checks all that an import checks, and writes nothing. Raises SnapshotError naming what is wrong."""
    genesis = Genesis.load(_config(home).genesis_path)
    with SnapshotFile(path) as source:
        trust.follow(source.manifest, source.steps(), genesis, trust.parse_checkpoint(checkpoint), _now_ms())
        loading.check_block(source)
        for index in range(CHUNKS):
            read_chunk(index, source.manifest.chunks[index], source.chunk(index))
            tell(index + 1, CHUNKS)
    return shown(path)


def import_from(
    home: Path, path: Path, checkpoint: str, *, replace: bool, tell: Tell
) -> tuple[Shown, Path | None]:
    """Makes the node's database of a snapshot. An empty chain makes room; another one only where ``replace`` is given.

    Returns the snapshot, and where the database is that was there before. Raises StorageError; then nothing has changed.
    """
    config = _config(home)
    genesis = Genesis.load(config.genesis_path)
    _look_before(config.chain_path, genesis, replace=replace)
    with SnapshotFile(path) as source:
        follower = trust.follow(
            source.manifest, source.steps(), genesis, trust.parse_checkpoint(checkpoint), _now_ms()
        )
        made = loading.made_path(config.chain_path)
        if not _is_made(made, genesis, source):
            loading.load(source, follower.kept(source.steps()), genesis, made, tell)
    aside = put_in_place(config.chain_path, genesis)
    return shown(path), aside


def _is_made(made: Path, genesis: Genesis, source: SnapshotFile) -> bool:
    """Whether an earlier try has made the database of this snapshot and was killed before it moved it; another's is removed."""
    if not made.exists():
        return False
    try:
        chain = Chain.open(made, genesis)
        found = chain.head.hash
        chain.close()
    except LockedStoreError:
        raise
    except StorageError:
        found = None
    if found == source.manifest.header.hash:
        return True
    shutil.rmtree(made)
    return False


def _look_before(chain_path: Path, genesis: Genesis, *, replace: bool) -> None:
    """Refuses to take the place of a chain that has blocks, unless it is told to; and of one that a node is using."""
    if not chain_path.exists():
        return
    try:
        chain = Chain.open(chain_path, genesis)
    except LockedStoreError:
        raise
    except StorageError as error:
        if replace:
            return
        raise SnapshotError(
            "there is a database already, and it can't be opened",
            value=error.reason,
            remedy="give --replace to move it aside",
        ) from error
    height = chain.head.height
    chain.close()
    if height and not replace:
        raise SnapshotError(
            "there is a chain already",
            value=f"height {height}",
            remedy="give --replace to move it aside, or choose another --home",
        )


def put_in_place(chain_path: Path, genesis: Genesis) -> Path | None:
    """Moves a finished database to the chain's place, and what was there aside; an empty chain is removed.

    Returns where the old one is. A kill in between leaves no chain in its place; doing it again ends it.
    """
    aside: Path | None = None
    if chain_path.exists():
        aside = free_name(chain_path)
        with held(chain_path):  # a node may have been started meanwhile
            chain_path.rename(aside)
    loading.move(chain_path)
    if aside is not None and _is_empty(aside, genesis):
        shutil.rmtree(aside)
        aside = None
    return aside


def _is_empty(path: Path, genesis: Genesis) -> bool:
    """Whether a database holds genesis alone. What can't be opened is worth keeping."""
    try:
        chain = Chain.open(path, genesis)
    except StorageError:
        return False
    height = chain.head.height
    chain.close()
    return height == 0


def free_name(path: Path) -> Path:
    """A name beside a database under which to keep it."""
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    return aside


def _config(home: Path) -> configuration.Config:
    return configuration.load(home, configuration.Sources())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
