"""Chains with finality proofs over several epochs, for the tests of storage: what a node has on disk after some time."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from omnitensor.protocol.bodies import StakeWithdraw, Transfer, ValidatorEdit
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import NANO, Amount, Hash, View
from omnitensor.protocol.votes import Candidate
from state.chain import Chain
from state.genesis import Genesis
from state.ledger.prepared import Prepared
from tests.sdk.small_chain import finality_proof
from tests.state.chain_fixtures import build, key, make_genesis, order

EPOCH_BLOCKS = 4
PARAMS = Params(
    block_interval_ms=100, epoch_blocks=EPOCH_BLOCKS, evidence_epochs=3, unbonding_blocks=4 * EPOCH_BLOCKS
)


@cache
def genesis_of(accounts: int = 40) -> Genesis:
    return make_genesis(accounts=accounts, params=PARAMS)


def grow(chain: Chain, blocks: int) -> None:
    """Final blocks with a few transfers each, to accounts old and new; in every tenth a validator takes another name."""
    for _ in range(blocks):
        grow_one(chain)


def grow_one(chain: Chain) -> None:
    block = build(chain, orders_above(chain))
    candidate = Candidate(chain.epoch, View(block.header.height), View(0), Hash(bytes(32)), block.hash)
    chain.commit(block.hash, finality_proof(chain.validator_table(), candidate, chain_id=chain.chain_id))


def orders_above(chain: Chain) -> list[Prepared]:
    height = chain.head.height + 1
    orders = []
    for place in range(3):
        sender = key(f"a{(height + place) % 4}")
        receiver = key(f"a{place + 4}" if height & 1 else f"new{height}-{place}").address
        nonce = chain.reader().account(sender.address).nonce
        orders.append(
            order(sender, nonce, Transfer(receiver, Amount(height + place)), valid_until=height + 100)
        )
    if height == 1:
        orders += [
            order(key("a0"), place, Transfer(key(name).address, Amount(100 * NANO)))
            for place, name in enumerate(("v1", "v2"))
        ]
    if height % 10 == 0:
        nonce = chain.reader().account(key("v1").address).nonce
        orders.append(
            order(key("v1"), nonce, ValidatorEdit(None, None, None, f"n{height}"), valid_until=height + 9)
        )
    if height == 3:
        orders.append(order(key("v2"), 0, StakeWithdraw(Amount(7))))
    return orders


def grown(folder: Path, blocks: int, accounts: int = 40) -> Chain:
    chain = Chain.create(folder / "chain", genesis_of(accounts))
    grow(chain, blocks)
    return chain


def rows(chain: Chain) -> dict[bytes, bytes]:
    """Every row of a database."""
    return dict(chain._store.scan(b"\x01", None))
