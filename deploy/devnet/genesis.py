"""The genesis of a net on this machine: the project's `genesis.json` with windows of seconds instead of hours, and fresh keys."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.devnet.process import ROOT
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.types import Amount, BlsPublicKey, BlsSignature, TimeMs
from state import genesis as state_genesis
from state.parameters import params_from

PARAMS: Final[Mapping[str, Any]] = {
    "block_interval_ms": 500,
    "first_campaign_id": 1234,
    "batch_wait_blocks": 8,
    "seat_accept_blocks": 20,
    "report_commit_blocks": 240,
    "report_reveal_blocks": 120,
    "challenge_blocks": 16,
    "submission_reveal_blocks": 120,
    "unbonding_blocks": 120,
}
"""A window of 240 blocks is two minutes here. The first campaign is task 1234, as in the documentation's example."""


@dataclass(frozen=True)
class GenesisValidator:
    """A validator from the beginning: whose it is, and what its node made public. ``stake`` in nanoOMNIT."""

    account: SigningKey
    name: str
    stake: int
    consensus_key: str
    proof_of_possession: str


def write_genesis(
    path: Path,
    chain_id: str,
    validators: Sequence[GenesisValidator],
    balances: Mapping[SigningKey, int],
    params: Mapping[str, Any],
) -> None:
    """Writes a genesis document; all that nobody holds is the reserve. Raises GenesisError."""
    project: dict[str, Any] = json.loads((ROOT / "genesis.json").read_text(encoding="utf-8"))["params"]
    genesis = state_genesis.Genesis(
        chain_id=chain_id,
        time_ms=TimeMs(int(time.time() * 1_000)),
        params=params_from({**project, **PARAMS, **params}),
        accounts=tuple(
            state_genesis.GenesisAccount(key.address, Amount(amount)) for key, amount in balances.items()
        ),
        validators=tuple(
            state_genesis.GenesisValidator(
                each.account.address,
                each.name,
                Amount(each.stake),
                0,
                BlsPublicKey(bytes.fromhex(each.consensus_key)),
                BlsSignature(bytes.fromhex(each.proof_of_possession)),
            )
            for each in validators
        ),
    )
    path.write_text(genesis.checked().to_json(), encoding="utf-8")
