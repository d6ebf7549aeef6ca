"""How a world on the real ledger begins: accounts and keys of validators and users, genesis, and sets read from the state."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from consensus.schedule.leaders import LeaderSchedule
from consensus.stake.verify import Verifier
from omnitensor.protocol.epochs import boundary_of
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.parameter_rules import check_params
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import NANO, Address, Amount, BlsPublicKey, Epoch, TimeMs
from omnitensor.protocol.votes import FinalityProof
from state.genesis import Genesis, GenesisAccount, GenesisValidator
from tests.simulation.application import CHAIN_ID
from tests.simulation.epochs import EpochSet
from tests.simulation.ledger_chain import LedgerChain
from tests.simulation.network import EPOCH_MS
from tests.simulation.scenario import Scenario, jail_share_of

if TYPE_CHECKING:
    from tests.simulation.node import SimNode

USERS = 3
BALANCE = 1_000 * NANO
WORKER_BOND = 10 * NANO
EVIDENCE_EPOCHS = 4
ATTENDANCE_MIN_BPS, DOWNTIME_SLASH_BPS = 5_000, 1


def account_key(name: str) -> SigningKey:
    return SigningKey(sha256(f"{CHAIN_ID}/{name}".encode()).digest())


def params_of(scenario: Scenario) -> Params:
    """Short epochs and windows; a validator's weight in the scenario is its stake in whole OMNIT."""
    params = Params(
        block_interval_ms=scenario.block_interval_ms,
        delta_ms=scenario.delta_ms,
        standstill_ms=scenario.standstill_ms,
        clock_drift_ms=scenario.clock_drift_ms,
        epoch_blocks=scenario.epoch_blocks,
        validators_max=scenario.seats or 100,
        evidence_epochs=EVIDENCE_EPOCHS,
        validator_stake_min=Amount(NANO),
        unbonding_blocks=(EVIDENCE_EPOCHS + 1) * scenario.epoch_blocks,
        batch_wait_blocks=3,
        seed_delay_blocks=2,
        attendance_min_bps=ATTENDANCE_MIN_BPS,
        downtime_epochs=max(1, scenario.jail_epochs),
        downtime_slash_bps=DOWNTIME_SLASH_BPS,
        jail_blocks=scenario.epoch_blocks,
        jail_share_max_bps=jail_share_of(scenario),
    )
    return replace(params, worker_bond_min=Amount(WORKER_BOND)) if scenario.workers else params


class LedgerSets:
    """Epochs as each node reads them from its own state, and whose key is whose."""

    def __init__(
        self, scenario: Scenario, scheme: Any, secrets: list[bytes], keys: list[BlsPublicKey]
    ) -> None:
        self._scheme = scheme
        self._secrets = dict(zip(keys, secrets, strict=True))
        self.accounts = [account_key(f"validator {index}") for index in range(scenario.parties)]
        self.users = [account_key(f"user {number}") for number in range(USERS)]
        self.validator_at = {key.address: index for index, key in enumerate(self.accounts)}
        self.genesis = self._genesis(scenario, keys)
        table = self.genesis.table
        schedule = LeaderSchedule(table, self.genesis.hash)
        self.by_number: dict[int, EpochSet] = {
            0: EpochSet(
                table,
                schedule,
                Verifier(CHAIN_ID, table, schedule, scheme),
                tuple(self.validator_at[Address(entry.address)] for entry in table.entries),
                TimeMs(EPOCH_MS),
                boundary_of(Epoch(0), self.genesis.params),
            )
        }

    def _genesis(self, scenario: Scenario, keys: list[BlsPublicKey]) -> Genesis:
        params = params_of(scenario)
        check_params(params)
        accounts = [GenesisAccount(key.address, Amount(BALANCE)) for key in (*self.accounts, *self.users)]
        validators = [
            GenesisValidator(
                self.accounts[index].address,
                f"validator {index}",
                Amount(weight * NANO),
                0,
                keys[index],
                self._scheme.pop_prove(self._secrets[keys[index]]),
            )
            for index, weight in enumerate(scenario.weights)
            if index not in scenario.late
        ]
        return Genesis(CHAIN_ID, TimeMs(EPOCH_MS), params, tuple(accounts), tuple(validators))

    def new_chain(self) -> LedgerChain:
        return LedgerChain(self.genesis)

    def reporter_key(self, validator: int) -> SigningKey:
        """The key that a validator's node reports evidence with."""
        return account_key(f"reporter {validator}")

    def new_key(self, secret: bytes) -> BlsPublicKey:
        """Another consensus key for somebody; its secret is kept."""
        key: BlsPublicKey = self._scheme.key(secret)
        self._secrets[key] = secret
        return key

    def secret_of(self, node: SimNode) -> bytes:
        """The secret of the key that a node votes with now."""
        return self._secrets[node.key]

    def address_of(self, validator: int) -> Address:
        return self.accounts[validator].address

    def above(self, chain: LedgerChain) -> EpochSet:
        """The epoch of the block above a chain's head, as its state has it."""
        view = chain.work.epoch
        made = EpochSet(
            view.table,
            view.schedule,
            view.verifier,
            tuple(self.validator_at[Address(entry.address)] for entry in view.table.entries),
            view.began_ms,
            boundary_of(view.number, self.genesis.params),
            tuple(self.validator_at[Address(entry.address)] for entry in view.schedule.workers),
        )
        self.by_number.setdefault(view.number, made)
        return made

    def fault_of_proof(self, chain: LedgerChain, proof: FinalityProof) -> ProtocolError | None:
        """Why a chain's owner does not believe a finality proof, or None."""
        return chain.work.fault_of_proof(proof)
