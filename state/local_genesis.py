"""The genesis of a chain on one machine, for trying things out: `python -m state.local_genesis` writes what `genesis.json` holds.

Its keys are derived from names that stand here, so everybody has them. They must never hold money that is worth anything.
"""

import sys
from hashlib import sha256
from typing import Final

from omnitensor.protocol import bls
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import NANO, Amount, TimeMs
from state.genesis import Genesis, GenesisAccount, GenesisValidator

CHAIN_ID: Final = "omnitensor-local"
TIME_MS: Final = TimeMs(1_760_000_000_000)
VALIDATORS: Final = ("validator-1", "validator-2", "validator-3", "validator-4")
ACCOUNTS: Final = ("sponsor", "contributor-1", "contributor-2")

PARAMS: Final = Params(
    block_interval_ms=500,
    delta_ms=500,
    standstill_ms=2_000,
    epoch_blocks=30,
    season_epochs=20,
    season_pool=Amount(1_000 * NANO),
    evidence_epochs=7,
    unbonding_blocks=240,
    first_campaign_id=1_234,
    batch_wait_blocks=4,
    seed_delay_blocks=2,
    seat_accept_blocks=20,
    report_commit_blocks=60,
    report_reveal_blocks=30,
    challenge_blocks=6,
    submission_reveal_blocks=120,
    synthetic_units_max=4,
    proposal_deposit_blocks=600,
    proposal_voting_blocks=240,
    proposal_timelock_blocks=60,
)
"""Half a second a block, and windows of seconds where a public chain has hours."""


def development_key(name: str) -> SigningKey:
    """The account key of a name: seed ``SHA256("omnitensor-local/account/" + name)``. Public; for local use only."""
    return SigningKey(sha256(f"{CHAIN_ID}/account/{name}".encode()).digest())


def development_consensus_secret(name: str) -> bytes:
    """The consensus key of a name: ``bls.keygen(SHA256("omnitensor-local/consensus/" + name))``. Public; for local use only."""
    return bls.keygen(sha256(f"{CHAIN_ID}/consensus/{name}".encode()).digest())


def local_genesis() -> Genesis:
    """Four validators of equal stake, a sponsor and two contributors."""
    accounts = [GenesisAccount(development_key(name).address, Amount(10_000 * NANO)) for name in VALIDATORS]
    accounts += [GenesisAccount(development_key(name).address, Amount(1_000_000 * NANO)) for name in ACCOUNTS]
    return Genesis(CHAIN_ID, TIME_MS, PARAMS, tuple(accounts), tuple(map(_validator, VALIDATORS))).checked()


def _validator(name: str) -> GenesisValidator:
    secret = development_consensus_secret(name)
    return GenesisValidator(
        address=development_key(name).address,
        name=name,
        stake=Amount(100_000 * NANO),
        commission_bps=1_000,
        consensus_key=bls.sk_to_pk(secret),
        proof_of_possession=bls.pop_prove(secret),
    )


if __name__ == "__main__":
    sys.stdout.write(local_genesis().to_json())
