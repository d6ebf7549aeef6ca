"""What the state's trie costs at a million rows: a block of 1,000 touched keys with its synced write, proofs, and a start.

The rows are accounts. A block's time is that of hashing what changed, changing the trie, and writing rows and pages in one synced
batch; the floor is the same write without the pages, in turns with it, so that a noisy machine slows both alike.
"""

import gc
import random
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Final

from omnitensor.protocol.codec import encode
from omnitensor.protocol.state_proof import proves_absence, proves_presence
from omnitensor.protocol.types import Amount, Hash
from state import pages, trie
from state.commitment import Commitment, commitment_of
from state.pages import StoredPages
from state.records import Account
from state.schema import ACCOUNTS, SCHEMA_VERSION
from state.store import Batch, Stamp, Store

ROWS = 1_000_000
TOUCHED = 1_000
BLOCKS = 40
PROOFS = 2_000
ROWS_PER_WRITE: Final = 20_000


def measure() -> dict[str, float]:
    """Fills a database with ``ROWS`` accounts, opens it again, and changes ``TOUCHED`` of them ``BLOCKS`` times."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain"
        root = _fill(path)
        gc.collect()
        store = Store.open(path)
        try:
            start = time.perf_counter()
            commitment = pages.load(store)
            load_s = time.perf_counter() - start
            assert commitment.root() == root
            found = _blocks(store, commitment)
            return {**found, "commitment_load_s_1m": round(load_s, 2)}
        finally:
            store.close()


def _key(index: int) -> bytes:
    return ACCOUNTS.prefix_bytes + b"\x00" + sha256(b"account %d" % index).digest()


def _value(number: int) -> bytes:
    return encode(Account(Amount(10**12 + number), number & 0xFFFF))


def _fill(path: Path) -> Hash:
    Store.create(path, Stamp(SCHEMA_VERSION, "benchmark", Hash(bytes(32))), []).close()
    store = Store.open(path)
    commitment = commitment_of((_key(index), _value(index)) for index in range(ROWS))
    for start in range(0, ROWS, ROWS_PER_WRITE):
        store.write(
            [(_key(index), _value(index)) for index in range(start, min(start + ROWS_PER_WRITE, ROWS))]
        )
    part: Batch = []
    for place, page in trie.pages(commitment.node):
        part += pages.rows_of({place: page})
        if len(part) == ROWS_PER_WRITE:
            store.write(part)
            part = []
    store.write(part)
    store.close()
    return commitment.root()


def _blocks(store: Store, commitment: Commitment) -> dict[str, float]:
    stored = StoredPages(store, commitment)
    chance = random.Random(1)
    whole_s: list[float] = []
    floor_s: list[float] = []
    for block in range(1, BLOCKS + 1):
        # Each write has keys of its own, so that neither finds what the other has brought into memory.
        keys = [_key(chance.randrange(ROWS)) for _ in range(TOUCHED)]
        others = [_key(chance.randrange(ROWS)) for _ in range(TOUCHED)]
        gc.collect()
        start = time.perf_counter()
        store.write([(key, _value(block)) for key in others])
        between = time.perf_counter()
        rows: Batch = [(key, _value(block)) for key in keys]
        changed = commitment.changed(rows, stored.read)
        store.write(rows + pages.rows_of(changed.writes))
        stored.committed(changed.writes)
        floor_s.append(between - start)
        whole_s.append(time.perf_counter() - between)
        commitment = changed.commitment
    return {
        "commitment_ms_1m_1000": round(1000 * median(whole_s), 1),
        "commitment_floor_ms_1m_1000": round(1000 * median(floor_s), 1),
        "proof_bytes_p50": float(_proof_bytes(commitment, stored, chance)),
    }


def _proof_bytes(commitment: Commitment, stored: StoredPages, chance: random.Random) -> int:
    """The median size of proofs, half of them of absence; each is checked."""
    sizes: list[int] = []
    for number in range(PROOFS):
        if number & 1:
            key = _key(ROWS + number)
            proof = commitment.prove(key, stored.read)
            assert proves_absence(commitment.root(), key, proof)
        else:
            key = _key(chance.randrange(ROWS))
            proof = commitment.prove(key, stored.read)
            assert not proves_absence(commitment.root(), key, proof)
            assert not proves_presence(commitment.root(), key, b"", proof)
        sizes.append(len(encode(proof)))
    return round(median(sizes))


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:32} {value}")
