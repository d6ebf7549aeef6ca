"""A running chain whose validators change from epoch to epoch, and what tests ask of it. It stands still when it is made."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from omnitensor.light import Checkpoint
from omnitensor.protocol import bls
from omnitensor.protocol.bodies import StakeWithdraw, ValidatorEdit, ValidatorRegister
from omnitensor.protocol.types import NANO, Amount, Epoch, Hash, Height
from omnitensor.sdk import (
    ChainIdentity,
    Client,
    Wallet,
)
from tests.sdk.small_chain import CHAIN_ID, FAST, SmallChain
from tests.state.chain_fixtures import consensus_secret, key

EPOCH_BLOCKS = 8
PARAMS = msgspec.structs.replace(
    FAST,
    epoch_blocks=EPOCH_BLOCKS,
    validator_stake_min=Amount(1_000 * NANO),
    evidence_epochs=100_000,  # it stands still for all tests that use it, and its genesis is to be trusted until the last
)
EPOCHS_MIN = 4


def registration(name: str) -> ValidatorRegister:
    secret = consensus_secret(name)
    return ValidatorRegister(Amount(5_000 * NANO), bls.sk_to_pk(secret), bls.pop_prove(secret), 1_000, name)


def make_moving_chain(tmp_path_factory: pytest.TempPathFactory) -> SmallChain:
    """Runs, and had another set of voters in each of three epochs; it stands still in the middle of an epoch."""
    found = SmallChain(tmp_path_factory.mktemp("node"), PARAMS)
    anew = consensus_secret("v1-anew")
    changes = {
        "second": registration("v4"),
        "v1": ValidatorEdit(bls.sk_to_pk(anew), bls.pop_prove(anew), None, None),
        "v3": StakeWithdraw(Amount(100_000 * NANO)),
    }
    with Client(found.endpoint, home=tmp_path_factory.mktemp("home")) as client:
        for name, body in changes.items():
            client.execute(Wallet(key(name), key(name).address), body)
            epoch = found.chain.epoch  # the order's, or a later one: two changes never share a boundary
            found.until(lambda epoch=epoch: found.chain.epoch > epoch)  # type: ignore[misc] # a lambda's default
    last = max(EPOCHS_MIN, found.chain.epoch + 2)
    found.until(lambda: found.chain.epoch >= last and found.chain.head.height % EPOCH_BLOCKS == 4)
    found.is_paused = True
    sets = [found.chain.validator_table(Epoch(epoch)).entries for epoch in range(found.chain.epoch + 1)]
    assert len(set(sets)) >= 4
    return found


def identity(chain: SmallChain) -> ChainIdentity:
    return ChainIdentity(CHAIN_ID, chain.genesis_hash.hex())


def stored(home: Path, chain: SmallChain) -> Path:
    return home / "light" / f"{chain.genesis_hash.hex()}.json"


def block_hash(chain: SmallChain, height: int) -> Hash:
    block = chain.reader().block(Height(height))
    assert block is not None
    return block.hash


def checkpoint(chain: SmallChain, height: int) -> Checkpoint:
    return Checkpoint(Height(height), block_hash(chain, height))


def newest_boundary(chain: SmallChain) -> int:
    return chain.chain.epoch * EPOCH_BLOCKS
