"""Faults of a disk, at random, on real databases: each is refused, or what is served is a state that once was, row for row.

``make storage-faults`` plays a thousand and power cuts besides (``power``); the suite a few. A state that once was is one that
the database had after one of its writes: a log whose end is missing cannot be told from blocks that were never written.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from node import trust
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import Height
from state.chain import Chain
from state.snapshots import loading, taking
from state.snapshots.files import SnapshotFile
from state.store import Batch
from tests.storage.chains import EPOCH_BLOCKS, genesis_of, grow, rows
from tests.storage.forks import fresh_process, in_a_child
from tests.storage.kills import NOW_MS

UNREAD = ("LOG", "LOG.old", "LOCK", "OWNER")
"""Files of the folder that hold nothing of the database."""
TRIALS_PER_CHILD = 40
HEALED_EVERY = 10

Fault = Callable[[Path, random.Random, Path], str]
"""Damages a database's folder; says how. The last path is an older copy of it."""


def files_of(folder: Path, kind: str = "") -> list[Path]:
    """A database's files that are not empty, of a kind (a part of the name)."""
    found = [path for path in sorted(folder.iterdir()) if path.name not in UNREAD and kind in path.name]
    return [path for path in found if path.stat().st_size]


def flip(kind: str) -> Fault:
    def fault(folder: Path, chance: random.Random, older: Path) -> str:
        path = chance.choice(files_of(folder, kind) or files_of(folder))
        data = bytearray(path.read_bytes())
        count = chance.choice([1, 1, 2, 8])
        for _ in range(count):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        return f"{count} bits of {path.name}"

    return fault


def sector(folder: Path, chance: random.Random, older: Path) -> str:
    """A sector of zeros, of nonsense, or of another place in the file."""
    path = chance.choice(files_of(folder))
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data)) // 512 * 512
    size = len(data[at : at + 512])
    other = chance.randrange(len(data))
    new = chance.choice([bytes(size), chance.randbytes(size), bytes(data[other : other + size])])
    data[at : at + len(new)] = new
    path.write_bytes(data)
    return f"a sector of {path.name}"


def cut(folder: Path, chance: random.Random, older: Path) -> str:
    path = chance.choice(files_of(folder))
    size = chance.choice([0, chance.randrange(path.stat().st_size)])
    path.write_bytes(path.read_bytes()[:size])
    return f"{path.name} cut to {size} bytes"


def remove(folder: Path, chance: random.Random, older: Path) -> str:
    paths = chance.sample(files_of(folder), chance.choice([1, 1, 2]))
    for path in paths:
        path.unlink()
    return "removed " + ", ".join(path.name for path in paths)


def swap(folder: Path, chance: random.Random, older: Path) -> str:
    """Two tables in each other's place."""
    tables = files_of(folder, ".ldb")
    if len(tables) < 2:
        return cut(folder, chance, older)
    one, two = chance.sample(tables, 2)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    return f"{one.name} and {two.name} swapped"


def append(folder: Path, chance: random.Random, older: Path) -> str:
    path = chance.choice(files_of(folder))
    path.write_bytes(path.read_bytes() + chance.choice([bytes(600), chance.randbytes(600)]))
    return f"nonsense behind {path.name}"


def set_back(folder: Path, chance: random.Random, older: Path) -> str:
    """Some files as they were in an older copy, as a restore that was interrupted leaves them."""
    paths = [path for path in files_of(older) if chance.random() < 0.5] or files_of(older)[:1]
    for path in paths:
        shutil.copyfile(path, folder / path.name)
    return "older: " + ", ".join(path.name for path in paths)


FAULTS: tuple[Fault, ...] = (
    flip(".log"),
    flip(".ldb"),
    flip(".ldb"),
    flip("MANIFEST"),
    flip("CURRENT"),
    sector,
    cut,
    remove,
    swap,
    append,
    set_back,
)


def digest(found: dict[bytes, bytes]) -> bytes:
    """Of every row, in order."""
    hasher = sha256()
    for key, value in sorted(found.items()):
        hasher.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value)
    return hasher.digest()


def prepare(root: Path) -> set[bytes]:
    """A database with tables, a log, pruned blocks, an older copy of it, and a snapshot; the states that it ever had."""
    states: set[bytes] = set()
    chain = Chain.create(root / "chain", genesis_of())

    def watch(chain: Chain) -> Chain:
        write = chain._store.write

        def watched(batch: Batch) -> None:
            write(batch)
            states.add(digest(rows(chain)))

        chain._store.write = watched  # type: ignore[method-assign]
        states.add(digest(rows(chain)))
        return chain

    watch(chain)
    for part in range(5):
        grow(chain, EPOCH_BLOCKS)
        if part == 3:
            taking.take(chain.reader(), chain.genesis_hash, root / "snapshots")
            chain.close()
            shutil.copytree(root / "chain", root / "older")
        chain.close()
        chain = watch(Chain.open(root / "chain", genesis_of()))
    while chain.prune(Height(2 * EPOCH_BLOCKS)):
        pass
    grow(chain, 3)
    chain.close()
    return states


def trial(root: Path, number: int, states: set[bytes], fault: Fault, chance: random.Random) -> str:
    """What came of one fault: refused, same or older. Raises AssertionError where something else was served."""
    folder = root / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / "chain", folder)
    how = fault(folder, chance, root / "older")
    outcome = served(folder, states, how)
    if outcome == "refused" and number % HEALED_EVERY == 0:
        heal(root, folder)
    return outcome


def served(folder: Path, states: set[bytes], how: str) -> str:
    """Opens a database as a node does, and reads all that it would serve."""
    try:
        chain = Chain.open(folder, genesis_of())
    except StorageError as error:
        if not error.remedy:
            raise AssertionError(f"{how}: the refusal does not say what to do") from error
        return "refused"
    try:
        found = rows(chain)
        height = chain.head.height
    except StorageError:
        return "refused"
    finally:
        chain.close()
    assert digest(found) in states, f"{how}: what is served at height {height} never was"
    return "same" if height == 5 * EPOCH_BLOCKS + 3 else "older"


def heal(root: Path, folder: Path) -> None:
    """What the remedy says: the damaged database is moved away, and one is made of a snapshot."""
    shutil.rmtree(folder)
    path = next((root / "snapshots").iterdir())
    with SnapshotFile(path) as source:
        follower = trust.follow(source.manifest, source.steps(), genesis_of(), None, NOW_MS)
        loading.load(source, follower.kept(source.steps()), genesis_of(), folder)
    chain = Chain.open(folder, genesis_of())
    assert chain.head.height == 4 * EPOCH_BLOCKS
    grow(chain, 2)
    chain.close()


def run(
    root: Path, trials: int, seed: int, tell: Callable[[str], None] = lambda line: None
) -> dict[str, int]:
    """So many faults, every kind in turn."""
    states = in_a_child(lambda: prepare(root))
    counts = {"refused": 0, "same": 0, "older": 0}
    for start in range(0, trials, TRIALS_PER_CHILD):
        numbers = range(start, min(start + TRIALS_PER_CHILD, trials))

        def work(numbers: range = numbers) -> list[str]:
            return [
                trial(root, n, states, FAULTS[n % len(FAULTS)], random.Random(f"{seed}/{n}")) for n in numbers
            ]

        for outcome in in_a_child(work):
            counts[outcome] += 1
        tell(f"{numbers.stop} faults: {counts}")
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()

    def tell(line: str) -> None:
        print(line)
        fresh_process()

    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        counts = run(Path(folder), options.faults, options.seed, tell)
    print(
        f"{options.faults} faults: {counts['refused']} refused, {counts['same']} changed nothing, {counts['older']} served an "
        f"earlier whole block; none was served wrongly; {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
