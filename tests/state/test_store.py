"""The database on a real disk: kills at any instant, flipped bytes, lost files, second processes, other chains."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import NANO, Amount, Hash, Height
from state import opening, store
from state.chain import Chain
from state.ledger.supply import check_everything
from state.records import HashRow, PageRow
from state.schema import HEAD, HISTORY, PAGES
from state.store import DamagedStoreError, ForeignStoreError, LockedStoreError, Snapshot, Stamp, Store
from tests.state.chain_fixtures import build, key, make_genesis, new_chain, order

ROOT = Path(__file__).resolve().parents[2]
KILLS = 15
FLIPS = 40


def grown(folder: Path, blocks: int = 12) -> Path:
    """A chain of some blocks on disk, closed; opened once in between, so that it has tables as well as a log."""
    chain = new_chain(folder)
    for height in range(1, blocks + 1):
        body = Transfer(key(f"a{height % 3 + 1}").address, Amount(height))
        block = build(chain, [order(key("a0"), height - 1, body)])
        chain.commit(block.hash, None)
        if height == blocks // 2:
            chain.close()
            chain = Chain.open(folder / "chain")
    chain.close()
    return folder / "chain"


def verified(chain: Chain) -> int:
    """Height of a chain whose every block and row was hashed again."""
    opening.verify(Snapshot(chain._store._raw), chain._tip)
    check_everything(chain.reader())
    return chain.head.height


def test_killed_at_any_instant_it_opens_at_a_whole_block(tmp_path: Path) -> None:
    genesis = make_genesis()
    new_chain(tmp_path, genesis).close()
    chance = random.Random(1)
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.state.commit_until_killed", str(tmp_path / "chain")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        first = child.stdout.readline()
        assert first.startswith("committing"), "the child could not open what the last kill left"
        # So many words later, and then at any instant: a busy machine does little in a given time.
        said = [first, *(child.stdout.readline() for _ in range(chance.randrange(3, 12)))]
        time.sleep(chance.random() * 0.02)
        child.kill()
        said += child.stdout.read().splitlines()
        child.stdout.close()
        child.wait()
        heights = {
            word: int(height) for word, _, height in (line.partition(" ") for line in said if " " in line)
        }
        chain = Chain.open(tmp_path / "chain", genesis)
        height = verified(chain)
        chain.close()
        assert heights.get("committed", 0) <= height <= heights["committing"]
    assert height > KILLS, "the kills came too early to mean anything"


def test_flipped_bytes_are_refused_or_change_nothing(tmp_path: Path) -> None:
    """Every outcome but a wrong answer is right: refused at open, refused at a read, or the byte held nothing."""
    source = grown(tmp_path)
    whole = Chain.open(source)
    expected = dict(whole._store.scan(b"\x01", None))
    head = whole.head.hash
    whole.close()
    chance = random.Random(2)
    outcomes = {"refused": 0, "older": 0, "same": 0}
    for trial in range(FLIPS):
        copy = tmp_path / f"flip{trial}"
        shutil.copytree(source, copy)
        files = [path for path in sorted(copy.iterdir()) if path.stat().st_size and path.name != "LOG"]
        victim = chance.choice(files)
        data = bytearray(victim.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        victim.write_bytes(data)
        try:
            chain = Chain.open(copy)
        except StorageError:
            outcomes["refused"] += 1
            continue
        try:
            served = dict(chain._store.scan(b"\x01", None))
            verified(chain)
        except StorageError:
            outcomes["refused"] += 1
        else:
            if chain.head.hash == head:
                assert served == expected, f"{victim.name} was damaged, and served"
                outcomes["same"] += 1
            else:  # a tail of the log that was cut reads as blocks never written
                assert all(expected.get(k) == v for k, v in served.items() if k[0] == 2)
                outcomes["older"] += 1
        finally:
            chain.close()
    assert outcomes["refused"] > FLIPS // 2, outcomes


@pytest.mark.parametrize("suffix", ["CURRENT", "MANIFEST", ".ldb"])
def test_a_lost_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = grown(tmp_path)
    lost = [file for file in path.iterdir() if suffix in file.name]
    assert lost
    for file in lost:
        file.unlink()
    with pytest.raises(DamagedStoreError, match="omnitensor-node doctor"):
        Chain.open(path)


def test_an_emptied_folder_is_not_taken_for_a_new_database(tmp_path: Path) -> None:
    (tmp_path / "chain").mkdir()
    with pytest.raises(StorageError):
        Chain.open(tmp_path / "chain")
    with pytest.raises(StorageError, match="omnitensor-node init"):
        Chain.open(tmp_path / "absent")


def test_a_second_opening_is_refused_and_leaves_the_first_alone(tmp_path: Path) -> None:
    chain = new_chain(tmp_path)
    program = (
        "import sys; from pathlib import Path; from state.chain import Chain; Chain.open(Path(sys.argv[1]))"
    )
    for _ in range(2):
        with pytest.raises(LockedStoreError, match="stop the other node"):
            Chain.open(tmp_path / "chain")
        other = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "chain")], cwd=ROOT, capture_output=True, text=True
        )
        assert other.returncode != 0
        assert "LockedStoreError" in other.stderr
    block = build(chain)
    chain.commit(block.hash, None)
    chain.close()
    Chain.open(tmp_path / "chain").close()


def test_another_chain_or_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_chain(tmp_path).close()
    path = tmp_path / "chain"
    with pytest.raises(ForeignStoreError, match="another chain"):
        Chain.open(path, make_genesis(accounts=5))
    with pytest.raises(StorageError, match="something"):
        Chain.create(path, make_genesis())
    monkeypatch.setattr(opening, "SCHEMA_VERSION", opening.SCHEMA_VERSION + 1)
    with pytest.raises(ForeignStoreError, match=r"another version.*run init again"):
        Chain.open(path)


def test_an_interrupted_creation_leaves_nothing_that_opens(tmp_path: Path) -> None:
    """A database is made beside its place; what a kill leaves there is thrown away by the next creation."""
    half = tmp_path / "chain.new"
    half.mkdir()
    (half / "000001.log").write_bytes(b"half")
    with pytest.raises(StorageError):
        Chain.open(tmp_path / "chain")
    new_chain(tmp_path).close()
    assert not half.exists()


def test_a_batch_is_written_whole_and_synced(tmp_path: Path) -> None:
    made = Store.create(tmp_path / "db", Stamp(1, "x", make_genesis().hash), [(b"\x01a", b"1")])
    snapshot = made.snapshot()
    made.write([(b"\x01a", None), (b"\x01b", b"2")])
    assert made.get(b"\x01a") is None
    assert snapshot.get(b"\x01a") == b"1"
    assert list(made.scan(b"\x01", b"\x02")) == [(b"\x01b", b"2")]
    made.close()
    made.close()
    for read in (lambda: made.get(b"\x01b"), lambda: snapshot.get(b"\x01a"), lambda: made.write([])):
        with pytest.raises(StorageError, match="closed"):
            read()


def test_a_head_that_says_another_state_is_refused(tmp_path: Path) -> None:
    """Planted: rows changed behind the checksums, as a fault of this software would."""
    path = grown(tmp_path, blocks=3)
    chain = Chain.open(path)
    account = chain.reader().account(key("a0").address)
    full = b"\x11" + key("a0").address
    place, page = next(chain._store.scan(PAGES.prefix_bytes, None))
    entries = decode(PageRow, page).entries
    for rows in (
        [(full, encode(type(account)(Amount(account.balance + NANO), account.nonce)))],
        [(full, None)],
        [(HEAD.full_key(b""), None)],
        [(b"\x02" + Height(2).to_bytes(8, "big"), None)],
        [(place, None)],
        [(place, encode(PageRow(entries[:-1] + b"?")))],
        [(place, encode(PageRow(entries[64:])))],
        [(place, b"no page")],
        [(place[:-1] + b"\x09", encode(PageRow(entries[:64])))],
        [(place + b"\x00", encode(PageRow(entries)))],
        [(HISTORY.full_key(2, 0), None)],
        [(HISTORY.full_key(2, 0), encode(HashRow(Hash(bytes(32)))))],
    ):
        before = [(k, chain._store.get(k)) for k, _ in rows]
        chain._store.write(rows)
        chain.close()
        with pytest.raises((DamagedStoreError, StorageError)):
            Chain.open(path)
        raw = store.plyvel.DB(str(path))
        for k, v in before:
            raw.delete(k) if v is None else raw.put(k, v, sync=True)
        raw.close()
        chain = Chain.open(path)
    chain.close()
    assert os.path.exists(path / "CURRENT")
