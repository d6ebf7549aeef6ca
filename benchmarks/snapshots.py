"""How long a snapshot of a million rows takes: taken from a chain, and made into another node's database, every row checked.

The rows are accounts. An import is what a new node does: the manifest, the finality of its header, every chunk, the database with
its trie, and the start of a node on it.
"""

import gc
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from node import trust
from omnitensor.protocol import bls
from omnitensor.protocol.blocks import beacon_message
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import NANO, Address, Amount, BlsSignature, Hash, Height, TimeMs, View
from omnitensor.protocol.votes import Candidate, Certificate, FinalityProof, VoteKind
from state.chain import Chain
from state.genesis import Genesis, GenesisAccount, GenesisValidator
from state.snapshots import loading, taking
from state.snapshots.files import SnapshotFile

ROWS = 1_000_000
EPOCH_BLOCKS = 2
CHAIN_ID = "benchmark"


def measure() -> dict[str, float]:
    """Makes a chain of ``ROWS`` accounts, takes its snapshot at the first boundary, and imports that."""
    with tempfile.TemporaryDirectory() as folder:
        genesis = _genesis()
        path, take_s = _taken(Path(folder), genesis)
        size = path.stat().st_size
        gc.collect()
        start = time.perf_counter()
        with SnapshotFile(path) as source:
            follower = trust.follow(source.manifest, source.steps(), genesis, None, EPOCH_BLOCKS)
            loading.load(source, follower.kept(source.steps()), genesis, Path(folder) / "new")
            rows = source.manifest.rows
        import_s = time.perf_counter() - start
        return {
            "snapshot_import_rows_s": round(rows / import_s),
            "snapshot_import_s_1m": round(import_s, 1),
            "snapshot_take_s_1m": round(take_s, 1),
            "snapshot_bytes_1m": float(size),
        }


def _genesis() -> Genesis:
    owner = SigningKey(sha256(b"snapshots").digest())
    validator = GenesisValidator(
        owner.address, "bench", Amount(100_000 * NANO), 0, bls.sk_to_pk(_secret()), bls.pop_prove(_secret())
    )
    accounts = tuple(
        GenesisAccount(Address(b"\x00" + sha256(b"snapshot %d" % index).digest()), Amount(NANO))
        for index in range(ROWS)
    )
    return Genesis(CHAIN_ID, TimeMs(0), Params(epoch_blocks=EPOCH_BLOCKS), accounts, (validator,)).checked()


def _secret() -> bytes:
    return bls.keygen(sha256(b"snapshots").digest())


def _taken(folder: Path, genesis: Genesis) -> tuple[Path, float]:
    chain = Chain.create(folder / "chain", genesis)
    proposer = genesis.validators[0].address
    for height in range(1, EPOCH_BLOCKS + 1):
        reveal = bls.sign(_secret(), beacon_message(CHAIN_ID, Height(height)))
        block = chain.build(chain.head.hash, TimeMs(height), proposer, reveal, [])
        candidate = Candidate(chain.epoch, View(height), View(0), Hash(bytes(32)), block.hash)
        chain.commit(block.hash, _proof(chain, candidate))
    start = time.perf_counter()
    path = taking.take(chain.reader(), genesis.hash, folder / "snapshots")
    took = time.perf_counter() - start
    chain.close()
    return path, took


def _proof(chain: Chain, candidate: Candidate) -> FinalityProof:
    """The one validator's."""
    bits = chain.validator_table().bitmap({0})
    unsigned = Certificate(
        VoteKind.FINALIZE, candidate.epoch, candidate.view, candidate.id, bits, BlsSignature(bytes(96))
    )
    signature = bls.aggregate([bls.sign(_secret(), unsigned.message(CHAIN_ID))])
    return FinalityProof(
        candidate,
        Certificate(
            VoteKind.FINALIZE, candidate.epoch, candidate.view, candidate.id, bits, BlsSignature(signature)
        ),
    )


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:32} {value}")
