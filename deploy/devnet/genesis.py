"""The genesis of a net on this machine: the parameters of the project's `genesis.json`, with fresh keys and balances."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.devnet.process import ROOT
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.parameter_rules import params_from
from omnitensor.protocol.types import Amount, BlsPublicKey, BlsSignature, TimeMs
from state import genesis as state_genesis

TEMPLATE: Final = ROOT / "genesis.json"
"""Parameters of a devnet: windows of blocks scaled down from hours to seconds (240 blocks are two minutes), and a first
campaign of the number that the documentation's example has."""


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
    project: dict[str, Any] = json.loads(TEMPLATE.read_text(encoding="utf-8"))["params"]
    genesis = state_genesis.Genesis(
        chain_id=chain_id,
        time_ms=TimeMs(int(time.time() * 1_000)),
        params=params_from({**project, **params}),
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
