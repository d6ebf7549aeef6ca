"""Makes small chains for tests: genesis with known keys, signed transactions, blocks on a chain."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from omnitensor.protocol import bls
from omnitensor.protocol.blocks import Block, beacon_message
from omnitensor.protocol.bodies import BodyBase
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.params import Params
from omnitensor.protocol.transactions import signed, unsigned
from omnitensor.protocol.types import NANO, Amount, Hash, Height, TimeMs
from omnitensor.protocol.votes import Attendance
from state.chain import Chain
from state.genesis import Genesis, GenesisAccount, GenesisValidator
from state.ledger.prepared import Prepared, prepare
from tests.attendance import attended

CHAIN_ID = "test-chain"
START_MS = 1_700_000_000_000


def key(name: str) -> SigningKey:
    """A key that a name gives."""
    return SigningKey(sha256(name.encode()).digest())


def consensus_secret(name: str) -> bytes:
    return bls.keygen(sha256(b"consensus" + name.encode()).digest())


def genesis_validator(name: str, stake: int = 100_000 * NANO) -> GenesisValidator:
    secret = consensus_secret(name)
    return GenesisValidator(
        key(name).address, name, Amount(stake), 1_000, bls.sk_to_pk(secret), bls.pop_prove(secret)
    )


def make_genesis(
    accounts: int = 4, params: Params | None = None, balance: int = 1_000 * NANO, chain_id: str = CHAIN_ID
) -> Genesis:
    """Validators v0..v3, and accounts a0, a1, ..."""
    return Genesis(
        chain_id,
        TimeMs(START_MS),
        params or Params(),
        tuple(GenesisAccount(key(f"a{i}").address, Amount(balance)) for i in range(accounts)),
        tuple(genesis_validator(f"v{i}") for i in range(4)),
    ).checked()


def order(
    sender: SigningKey,
    nonce: int,
    body: BodyBase,
    *,
    signer: SigningKey | None = None,
    chain_id: str = CHAIN_ID,
    max_fee: int = NANO,
    tip: int = 0,
    valid_until: int = 1_000,
) -> Prepared:
    """A signed transaction, prepared."""
    by = signer or sender
    transaction = unsigned(
        chain_id=chain_id,
        sender=sender.address,
        nonce=nonce,
        valid_until=Height(valid_until),
        max_fee=Amount(max_fee),
        tip=Amount(tip),
        body=body,  # type: ignore[arg-type] # every body is one of the union
        signer=by.public,
    )
    return prepare(signed(transaction, by.sign(transaction.id)))


def reveal(chain: Chain, height: int, proposer: str) -> bytes:
    return bls.sign(consensus_secret(proposer), beacon_message(chain.chain_id, Height(height)))


def build(
    chain: Chain,
    transactions: list[Prepared] | tuple[Prepared, ...] = (),
    *,
    parent: Hash | None = None,
    height: int | None = None,
    proposer: str = "v0",
    timestamp_ms: int | None = None,
) -> Block:
    """A block on the head (or another executed parent at ``height - 1``), at the earliest or at a time."""
    number = chain.head.height + 1 if height is None else height
    return chain.build(
        chain.head.hash if parent is None else parent,
        TimeMs(START_MS if timestamp_ms is None else timestamp_ms),
        key(proposer).address,
        reveal(chain, number, proposer),
        list(transactions),
        attendance(chain, parent),
    )


def attendance(
    chain: Chain, parent: Hash | None = None, signers: tuple[int, ...] = (0, 1, 2)
) -> Attendance | None:
    """Some voters of the block on which another is built: the head, or another executed one."""
    pending = None if parent is None else chain.pending_block(parent)
    below = chain.head.header if pending is None else pending.header
    epoch = epoch_of(Height(below.height + 1), chain.params)
    if epoch != chain.epoch:
        return None  # the first of an epoch whose set is not final yet
    table = chain.validator_table(epoch)
    return attended(
        below, table, lambda index, message: bls.sign(secret_of(table.key(index)), message), signers
    )


@lru_cache(maxsize=64)
def secret_of(consensus_key: bytes) -> bytes:
    """Whose it is of v0, v1, ..., also of those that have another key by now."""
    names = (name for number in range(64) for name in (f"v{number}", f"v{number}-anew"))
    return next(s for s in map(consensus_secret, names) if bls.sk_to_pk(s) == consensus_key)


def new_chain(folder: Path, genesis: Genesis | None = None) -> Chain:
    return Chain.create(folder / "chain", genesis or make_genesis())
