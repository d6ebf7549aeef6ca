"""How fast blocks (of transfers, delegations, or mixed) are replayed, as a share of bare Ed25519 verification on the same cores.

Replay is what a node does with a block from a peer: decode, hash, check every signature, execute, compute all roots, write it
durably. Bare verification is libsodium alone in as many threads as there are cores, on the same messages. Both are timed in
turns, block by block, so that a noisy machine slows both alike.
"""

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Final

from nacl.bindings import crypto_sign_open

from omnitensor.protocol import bls
from omnitensor.protocol.blocks import beacon_message
from omnitensor.protocol.bodies import BodyBase, Delegate, Scope, SessionKeyAdd, Transfer
from omnitensor.protocol.codec import encode
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.params import Params
from omnitensor.protocol.transactions import signed, unsigned
from omnitensor.protocol.types import NANO, Address, Amount, Hash, Height, TimeMs
from state.blocks import decode_block
from state.chain import Chain
from state.genesis import Genesis, GenesisAccount, GenesisValidator
from state.ledger.prepared import Prepared, prepare
from tests.attendance import attended

ACCOUNTS = 4_000
BLOCKS = 12
TRANSFERS = 2_000
THREADS = 2
STRIDE = 7_919
"""A prime, so that blocks go to accounts all over the others."""
CHAIN_ID = "benchmark"
VALIDATOR = SigningKey(sha256(b"validator").digest())

Signed = tuple[bytes, bytes]
"""Signature and message as libsodium takes them, and the key."""


def measure() -> dict[str, float]:
    """Builds blocks of transfers among ``ACCOUNTS`` accounts, then replays them into another database."""
    return replayed(0)


def replayed(others: int, kinds: Sequence[str] = ("transfers",)) -> dict[str, float]:
    """The same on a state that has so many accounts besides; where there are any, each transfer goes to another one of them.

    ``kinds`` of ``KINDS``; the names of what is measured of the first one are plain, and of others begin with the kind.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        keys = [SigningKey(sha256(b"replay %d" % index).digest()) for index in range(ACCOUNTS)]
        genesis = _genesis(keys, others)
        Chain.create(place / "clean", genesis).close()
        found: dict[str, float] = {}
        for kind in kinds:
            # A delegation weighs as much as three transfers: fewer of them fill a block.
            count = TRANSFERS * 3 // 4 if kind == "delegations" else TRANSFERS
            blocks, signatures = _build(_copy(place, "built"), keys, KINDS[kind](keys, others), count)
            measured = _replay(_copy(place, "replayed"), blocks, signatures)
            if kind != kinds[0]:
                measured = {f"{kind}_{name}": value for name, value in measured.items() if "share" in name}
            found |= measured
        return found


def _copy(place: Path, name: str) -> Path:
    """The database of genesis once more: at a million accounts, making it takes longer than all the rest."""
    shutil.rmtree(place / name, ignore_errors=True)
    shutil.copytree(place / "clean", place / name)
    return place / name


BodyOf = Callable[[int, int], BodyBase]
"""The body of a transaction by its block's height and its place there, signed by the account of ``_sender``."""


def _sender(height: int, index: int, accounts: int) -> int:
    """Every block has other pairs: each transfer touches two accounts of its own wherever that is possible."""
    return (index * 2 + height) % accounts


def _transfers(keys: Sequence[SigningKey], others: int) -> BodyOf:
    def body(height: int, index: int) -> BodyBase:
        receiver = keys[(_sender(height, index, len(keys)) + 1) % len(keys)].address
        if others:
            receiver = _other((height * TRANSFERS + index) * STRIDE % others)
        return Transfer(receiver, Amount(index + 1))

    return body


def _delegations(keys: Sequence[SigningKey], others: int) -> BodyOf:
    return lambda height, index: Delegate(VALIDATOR.address, Amount(10 * NANO + index))


def _mixed(keys: Sequence[SigningKey], others: int) -> BodyOf:
    """Of ten, six transfers, three delegations, and a session key."""
    transfer, delegation = _transfers(keys, others), _delegations(keys, others)

    def body(height: int, index: int) -> BodyBase:
        if index % 10 == 9:
            key = SigningKey(sha256(b"session %d %d" % (height, index)).digest())
            return SessionKeyAdd(key.public, int(Scope.REVIEW), Height(10_000), Amount(10**12))
        return delegation(height, index) if index % 10 > 5 else transfer(height, index)

    return body


KINDS: Final[dict[str, Callable[[Sequence[SigningKey], int], BodyOf]]] = {
    "transfers": _transfers,
    "delegations": _delegations,
    "mixed": _mixed,
}


def _other(index: int) -> Address:
    """An account that never signs."""
    return Address(b"\x00" + sha256(b"other %d" % index).digest())


def _genesis(keys: Sequence[SigningKey], others: int) -> Genesis:
    secret = _secret()
    validator = GenesisValidator(
        VALIDATOR.address, "bench", Amount(100_000 * NANO), 0, bls.sk_to_pk(secret), bls.pop_prove(secret)
    )
    accounts = [GenesisAccount(key.address, Amount(1_000 * NANO)) for key in keys]
    accounts += [GenesisAccount(_other(index), Amount(NANO)) for index in range(others)]
    return Genesis(CHAIN_ID, TimeMs(0), Params(), tuple(accounts), (validator,)).checked()


def _secret() -> bytes:
    return bls.keygen(sha256(b"replay").digest())


def _build(
    folder: Path, keys: Sequence[SigningKey], body: BodyOf, count: int
) -> tuple[list[bytes], list[list[Signed]]]:
    """Blocks as bytes, and their signatures as a bare verifier takes them."""
    chain = Chain.open(folder)
    nonces = [0] * len(keys)
    blocks: list[bytes] = []
    signatures: list[list[Signed]] = []
    for height in range(1, BLOCKS + 1):
        transfers: list[Prepared] = []
        for index in range(count):
            sender = _sender(height, index, len(keys))
            transfers.append(_signed(keys[sender], nonces[sender], body(height, index)))
            nonces[sender] += 1
        reveal = bls.sign(_secret(), beacon_message(CHAIN_ID, Height(height)))
        attendance = attended(
            chain.head.header, chain.validator_table(), lambda _, message: bls.sign(_secret(), message)
        )
        block = chain.build(chain.head.hash, TimeMs(height), VALIDATOR.address, reveal, transfers, attendance)
        assert len(block.transactions) == count, "a block does not hold so many"
        committed = chain.commit(block.hash, None)
        assert all(receipt.ok for receipt in committed.result.receipts), (
            "what is refused is no work to measure"
        )
        blocks.append(encode(block))
        signatures.append([(t.transaction.signature + t.id, t.transaction.signer) for t in transfers])
    chain.close()
    return blocks, signatures


def _signed(sender: SigningKey, nonce: int, body: BodyBase) -> Prepared:
    transaction = unsigned(
        chain_id=CHAIN_ID,
        sender=sender.address,
        nonce=nonce,
        valid_until=Height(10_000),
        max_fee=Amount(NANO),
        tip=Amount(0),
        body=body,  # type: ignore[arg-type] # every body is one of the union
        signer=sender.public,
    )
    return prepare(signed(transaction, sender.sign(transaction.id)))


def _replay(
    folder: Path, blocks: Sequence[bytes], signatures: Sequence[Sequence[Signed]]
) -> dict[str, float]:
    chain = Chain.open(folder)
    replay_s: list[float] = []
    bare_s: list[float] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for encoded, of_block in zip(blocks, signatures, strict=True):
            bare_s.append(_timed_bare(pool, of_block))
            gc.collect()
            start = time.perf_counter()
            prepared = decode_block(encoded)
            chain.check(prepared)
            chain.commit(Hash(prepared.hash), None)
            replay_s.append(time.perf_counter() - start)
            bare_s[-1] = (bare_s[-1] + _timed_bare(pool, of_block)) / 2
    chain.close()
    shares = [bare / replay for bare, replay in zip(bare_s, replay_s, strict=True)]
    return {
        "replay_share_of_ed25519": round(median(shares), 3),
        "replay_transfers_per_second": round(TRANSFERS / median(replay_s)),
        "ed25519_per_second": round(TRANSFERS / median(bare_s)),
        "cores": float(os.cpu_count() or 1),
    }


def _timed_bare(pool: ThreadPoolExecutor, items: Sequence[Signed]) -> float:
    """Seconds for verifying all in threads, with nothing else done."""
    share = -(-len(items) // THREADS)
    start = time.perf_counter()
    list(pool.map(_verify, [items[i : i + share] for i in range(0, len(items), share)]))
    return time.perf_counter() - start


def _verify(items: Sequence[Signed]) -> None:
    for message, public in items:
        crypto_sign_open(message, public)


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:32} {value}")
