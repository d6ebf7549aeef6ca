"""Power cuts, simulated under a real database: what was written and not synced is lost, in part, or torn.

A library loaded before all others (``syncs.c``) writes down what was synced, file by file. A process commits, prunes, loads or
migrates until it is killed; then every file is cut to what was surely on disk and some of the rest, its end nonsense now and
then. Names and removals are taken to be on disk in their order, as journalling file systems have it. No block that was said to
be committed may be missing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.storage import kills
from tests.storage.forks import fresh_process, in_a_child, killed_after

SOURCE = Path(__file__).with_name("syncs.c")
REPORT = "SYNCS_REPORT"
CASES = tuple(case for case in kills.CASES if case.name in ("commit", "prune", "load", "migrate"))


def compiled(folder: Path) -> Path | None:
    """The library, or None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "syncs.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


Sizes = dict[tuple[int, str], int]
"""By inode and name. A folder may have been moved; ``CURRENT`` and snapshots are written under another name."""


def synced_sizes(report: Path) -> Sizes:
    """How much of each file was on disk, as last written down."""
    sizes: Sizes = {}
    for line in report.read_text().splitlines():
        size, inode, path = line.split("\t")
        name = Path(path).name
        if name.endswith(".dbtmp"):
            name = "CURRENT"
        sizes[int(inode), name.replace(".new", ".snapshot")] = int(size)
    return sizes


def cut_power(root: Path, sizes: Sizes, chance: random.Random) -> int:
    """Every file below a folder as a disk may have it when the power comes back; how many bytes are gone or nonsense."""
    lost = 0
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.name in ("LOCK", "OWNER", "LOG", "LOG.old"):
            continue
        data, sure = path.read_bytes(), sizes.get((path.stat().st_ino, path.name), 0)
        if len(data) <= sure:
            continue
        left = bytearray(data[: chance.randint(sure, len(data))])
        if len(left) > sure and chance.random() < 0.4:
            start = chance.randint(sure, len(left) - 1)
            left[start:] = (
                bytes(len(left) - start) if chance.random() < 0.5 else chance.randbytes(len(left) - start)
            )
        lost += sum(a != b for a, b in zip(left, data, strict=False)) + len(data) - len(left)
        path.write_bytes(left)
    return lost


def run(root: Path, cuts: int, seed: int, tell: Callable[[str], None] = lambda line: None) -> dict[str, int]:
    """So many cuts, the cases in turn; raises AssertionError where something acknowledged is missing, or not whole."""
    chance = random.Random(seed)
    report = root / "synced"
    report.touch()
    os.environ[REPORT] = str(report)
    counts = {"cuts": 0, "lost": 0}
    for turn in range(cuts):
        case = CASES[turn % len(CASES)]
        folder = root / case.name
        if turn % (len(CASES) * 25) < len(CASES):
            in_a_child(lambda case=case, folder=folder: kills.prepare(case, folder))
        delay = chance.random() * case.longest_s
        said, _ = killed_after(delay, lambda say, case=case, folder=folder: case.work(folder, say))
        counts["lost"] += cut_power(folder, synced_sizes(report), chance) > 0
        counts["cuts"] += 1
        in_a_child(lambda case=case, folder=folder, said=said: case.check(folder, said))
        if turn % 25 == 24:
            tell(f"{counts['cuts']} power cuts, {counts['lost']} of them lost something that was not synced")
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="power-") as folder:
        if "LD_PRELOAD" not in os.environ:
            library = compiled(Path(folder))
            if library is None:
                print("power cuts are left out: there is no C compiler")
                return 0
            command = [sys.executable, "-m", "tests.storage.power", *sys.argv[1:]]
            return subprocess.run(
                command, env=os.environ | {"LD_PRELOAD": str(library)}, check=False
            ).returncode
        began = time.monotonic()

        def tell(line: str) -> None:
            print(line)
            fresh_process()

        counts = run(Path(folder).resolve(), options.cuts, options.seed, tell)
    print(
        f"{counts['cuts']} power cuts, {counts['lost']} lost something that was not synced, and no block that was committed; "
        f"{time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
