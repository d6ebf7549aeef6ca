"""kill -9 at random instants, on a real database: in commits, snapshots, pruning, loads, migrations; it opens whole every time.

``make kills`` runs hundreds; the suite a few. Each case has a folder of its own, which goes on from what the last kill left.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from node import trust
from omnitensor.protocol.types import Height
from state import indexing, migration, opening
from state.chain import Chain
from state.ledger.supply import check_everything
from state.reader import Reader
from state.schema import STEPS
from state.snapshots import loading, taking
from state.snapshots.chunks import read_chunk
from state.snapshots.files import SUFFIX, SnapshotFile, heights_in, name_of
from state.snapshots.manifest import CHUNKS
from state.store import Snapshot
from tests.state.chain_fixtures import START_MS
from tests.storage.chains import EPOCH_BLOCKS, PARAMS, genesis_of, grow, grow_one, grown, rows
from tests.storage.forks import Say, fresh_process, in_a_child, killed_after

NOW_MS = START_MS + PARAMS.block_interval_ms
BLOCKS_MAX = 120
"""A chain that has grown so far is begun anew: what is verified after each kill is all of it."""


@dataclass
class Tally:
    kills: int = 0
    """Processes that were killed before they ended by themselves."""
    ended: int = 0
    opened: int = 0
    by_case: dict[str, int] = field(default_factory=dict)


def whole(path: Path) -> int:
    """The height of a chain, every block, row, page and index of which was looked at. Raises where one is not right."""
    chain = Chain.open(path, genesis_of())
    try:
        opening.verify(Snapshot(chain._store._raw), chain._tip)
        check_everything(chain.reader())
        indexing.verify(chain._store)
        nothing_below(chain.reader(), rows(chain))
        return int(chain.head.height)
    finally:
        chain.close()


def nothing_below(reader: Reader, found: dict[bytes, bytes]) -> None:
    """Pruned blocks are gone whole: none of the blocks that are kept is missing, none of the others is there."""
    heights = {int.from_bytes(key[1:], "big") for key in found if key[0] == 2}
    assert heights == {0, *range(reader.first_block, reader.head.height + 1)}, (
        "a block is missing, or too many"
    )


# -- cases: ``work`` in a process that is killed, ``check`` in another one afterwards


def commit(folder: Path, say: Say) -> None:
    chain = Chain.open(folder / "chain", genesis_of())
    while True:
        say(f"committing {chain.head.height + 1}")
        grow_one(chain)
        say(f"committed {chain.head.height}")


def check_commit(folder: Path, said: list[str]) -> None:
    heights = {word: int(height) for word, height in (line.split(" ") for line in said)}
    height = whole(folder / "chain")
    assert heights.get("committed", 0) <= height <= heights["committing"], (height, heights)


def snapshot(folder: Path, say: Say) -> None:
    """Snapshots of boundaries one after the other, on a thread, while blocks go on."""
    taking.HEAPED_BYTES_MAX = 2_000  # type: ignore[misc]  # few rows here, and they shall go over the disk
    chain = Chain.open(folder / "chain", genesis_of())
    taking.clean(folder / "snapshots")
    say(f"committing {chain.head.height + 1}")
    while True:
        while chain.head.height % EPOCH_BLOCKS or not chain.head.height:
            say(f"committing {chain.head.height + 1}")
            grow_one(chain)
            say(f"committed {chain.head.height}")
        (folder / "snapshots" / name_of(chain.head.height)).unlink(missing_ok=True)
        reader = chain.reader()
        thread = threading.Thread(
            target=lambda reader=reader: taking.take(reader, chain.genesis_hash, folder / "snapshots")
        )
        thread.start()
        say(f"committing {chain.head.height + 1}")
        grow_one(chain)
        say(f"committed {chain.head.height}")
        thread.join()
        taking.keep_newest(folder / "snapshots", 1)


def check_snapshot(folder: Path, said: list[str]) -> None:
    check_commit(folder, said)
    for height in heights_in(folder / "snapshots"):
        with SnapshotFile(folder / "snapshots" / name_of(height)) as source:
            trust.follow(source.manifest, source.steps(), genesis_of(), None, NOW_MS)
            for index in range(CHUNKS):
                read_chunk(index, source.manifest.chunks[index], source.chunk(index))
    taking.clean(folder / "snapshots")
    left = [path.name for path in (folder / "snapshots").glob("*") if not path.name.endswith(SUFFIX)]
    assert not left, left


def prune(folder: Path, say: Say) -> None:
    chain = Chain.open(folder / "chain", genesis_of())
    say(f"committing {chain.head.height + 1}")
    while True:
        say(f"committing {chain.head.height + 1}")
        grow(chain, 1)
        say(f"committed {chain.head.height}")
        for below in range(chain.reader().first_block, chain.head.height - 3):
            chain.prune(Height(below))


def load(folder: Path, say: Say) -> None:
    """From a snapshot into an empty place, again and again."""
    loading.BYTES_PER_WRITE = 1  # type: ignore[misc]  # a write a chunk: many instants to be killed at
    source_path = folder / "snapshots" / name_of(heights_in(folder / "snapshots")[0])
    say("loading 0")
    while True:
        with SnapshotFile(source_path) as source:
            follower = trust.follow(source.manifest, source.steps(), genesis_of(), None, NOW_MS)
            loading.load(source, follower.kept(source.steps()), genesis_of(), folder / "loaded")
        say("loaded 1")
        shutil.rmtree(folder / "loaded")


def check_load(folder: Path, said: list[str]) -> None:
    path = folder / "loaded"
    height = heights_in(folder / "snapshots")[0]
    if path.exists() and not (said and said[-1].startswith("loaded")):
        assert whole(path) == height
        shutil.rmtree(path)
    elif path.exists():
        shutil.rmtree(path)  # the child was killed in the middle of removing it


def migrate(folder: Path, say: Say) -> None:
    """Opens a database of the layout before, which was made of this one; ends by itself when it is through."""
    migration.PIECE = 1  # type: ignore[misc]  # an epoch a piece
    say("migrating 0")
    Chain.open(folder / "chain", genesis_of()).close()


def unmigrate(folder: Path) -> None:
    chain = Chain.open(folder / "chain", genesis_of())
    old = [(key, None) for key in rows(chain) if key[0] == STEPS.prefix]
    chain._store.write([*old, (migration.LAYOUT_KEY, None), (migration.PLACE_KEY, None)])
    chain.close()


def check_migrate(folder: Path, said: list[str]) -> None:
    whole(folder / "chain")
    chain = Chain.open(folder / "chain", genesis_of())
    reader = chain.reader()
    epochs = range(reader.first_step, reader.head.header.epoch)
    assert len(epochs) >= 3
    assert all(reader.step(epoch) for epoch in epochs)
    assert migration.layout_of(chain._store) == migration.LAYOUT_VERSION
    chain.close()
    unmigrate(folder)


@dataclass(frozen=True)
class Case:
    name: str
    work: Callable[[Path, Say], None]
    check: Callable[[Path, list[str]], None]
    longest_s: float
    """Kills come within so long of the first word."""


CASES = (
    Case("commit", commit, check_commit, 0.12),
    Case("snapshot", snapshot, check_snapshot, 0.25),
    Case("prune", prune, check_commit, 0.15),
    Case("load", load, check_load, 0.35),
    Case("migrate", migrate, check_migrate, 0.08),
)


def prepare(case: Case, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chain = grown(folder, 6 * EPOCH_BLOCKS)
    taking.take(chain.reader(), chain.genesis_hash, folder / "snapshots")
    chain.close()
    if case.name == "migrate":
        unmigrate(folder)


def run(root: Path, kills: int, seed: int, tell: Callable[[str], None] = lambda line: None) -> Tally:
    """So many kills, the cases in turn. Raises AssertionError where one left what does not open whole."""
    chance, tally = random.Random(seed), Tally()
    grown_to = dict.fromkeys((case.name for case in CASES), BLOCKS_MAX)
    turn = 0
    while tally.kills < kills:
        case = CASES[turn % len(CASES)]
        turn += 1
        assert turn < 4 * kills + 40, "processes end by themselves before they are killed"
        folder = root / case.name
        if grown_to[case.name] >= BLOCKS_MAX:
            in_a_child(lambda case=case, folder=folder: prepare(case, folder))
            grown_to[case.name] = 0
        delay = chance.random() * case.longest_s
        said, ended = killed_after(delay, lambda say, case=case, folder=folder: case.work(folder, say))
        in_a_child(lambda case=case, folder=folder, said=said: case.check(folder, said))
        tally.ended += ended
        tally.kills += not ended
        tally.opened += 1
        tally.by_case[case.name] = tally.by_case.get(case.name, 0) + (not ended)
        numbers = [int(line.split(" ")[1]) for line in said if line.startswith("committed")]
        grown_to[case.name] = max(grown_to[case.name], *numbers, 0) if numbers else grown_to[case.name]
        if turn % 25 == 0:
            tell(f"{tally.kills} kills, {tally.opened} openings, all whole")
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=250)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()

    def tell(line: str) -> None:
        print(line)
        fresh_process()

    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        tally = run(Path(folder), options.kills, options.seed, tell)
    print(
        f"{tally.kills} kills ({', '.join(f'{name} {count}' for name, count in tally.by_case.items())}), "
        f"{tally.opened} openings, every one at a whole block with the right root; {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
