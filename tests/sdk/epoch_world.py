"""A chain over several epochs whose validators change, with what a light client is given of it. Real ledger, real signatures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from omnitensor.light import Checkpoint, Step, TrustedPoint, begin
from omnitensor.protocol import bls
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.bodies import BodyBase, StakeWithdraw, Transfer, ValidatorEdit, ValidatorRegister
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import NANO, Address, Amount, BlsPublicKey, Epoch, Hash, Height, TimeMs, View
from omnitensor.protocol.votes import Candidate, FinalityProof, ValidatorTable
from state.chain import Chain
from state.genesis import Genesis, GenesisAccount
from tests.sdk.small_chain import finality_proof
from tests.state.chain_fixtures import START_MS, build, consensus_secret, genesis_validator, key, order

EPOCH_BLOCKS: Final = 3
EPOCHS: Final = 5
"""Those that are over; the chain ends in the middle of the next."""
NOW_MS: Final = START_MS + 60_000
FILLED: Final = (1, 4)
"""Epochs whose boundary is final through a filler."""
CHAIN_ID: Final = "epoch-world"

VOTERS: Final = (
    "v0 v1 v2 v3",
    "v0 v1 v2 v3 v4",  # v4 registered
    "v0 v1-anew v2 v3 v4",  # v1 has another key
    "v0 v1-anew v2 v4",  # v3 took its stake out
    "v0 v1-anew v2 v4",
    "v0 v1-anew v2 v4",
)
"""Whose keys vote, by epoch, as the orders below should make it."""


def consensus_key(name: str) -> BlsPublicKey:
    return bls.sk_to_pk(consensus_secret(name))


def orders() -> dict[int, tuple[str, BodyBase]]:
    """By height: what is ordered in the second block of an epoch counts from the next one on."""
    new, fourth = consensus_secret("v1-anew"), consensus_secret("v4")
    return {
        2: (
            "v4",
            ValidatorRegister(
                Amount(100_000 * NANO), consensus_key("v4"), bls.pop_prove(fourth), 1_000, "fourth"
            ),
        ),
        5: ("v1", ValidatorEdit(consensus_key("v1-anew"), bls.pop_prove(new), None, None)),
        8: ("v3", StakeWithdraw(Amount(100_000 * NANO))),
        10: ("v0", Transfer(key("nobody").address, Amount(7))),
    }


@dataclass(frozen=True)
class EpochWorld:
    """The chain, and by height its headers and why they are final."""

    chain: Chain
    headers: tuple[Header, ...]
    proofs: dict[int, FinalityProof]
    tables: tuple[ValidatorTable, ...]
    """By epoch."""
    steps: tuple[Step, ...]
    """By epoch."""

    @property
    def genesis(self) -> TrustedPoint:
        return self.point(0)

    def point(self, height: int) -> TrustedPoint:
        """Trust in the block at a height."""
        header = self.headers[height]
        table = self.tables[height // EPOCH_BLOCKS]
        return begin(header, table, Checkpoint(Height(height), header.hash), header.chain_id)


def genesis(chain_id: str = CHAIN_ID) -> Genesis:
    return Genesis(
        chain_id,
        TimeMs(START_MS),
        Params(epoch_blocks=EPOCH_BLOCKS),
        tuple(GenesisAccount(key(f"v{n}").address, Amount(200_000 * NANO)) for n in range(5)),
        tuple(genesis_validator(f"v{n}") for n in range(4)),
    ).checked()


def make_world(folder: Path, chain_id: str = CHAIN_ID) -> EpochWorld:
    chain = Chain.create(folder / "chain", genesis(chain_id))
    headers, proofs = [chain.head.header], {}
    tables, steps = [chain.validator_table()], list[Step]()
    given, nonces = orders(), dict[str, int]()
    for height in range(1, EPOCHS * EPOCH_BLOCKS + 2):
        prepared = []
        if height in given:
            name, body = given[height]
            nonces[name] = nonces.get(name, -1) + 1
            prepared.append(order(key(name), nonces[name], body, chain_id=chain_id, valid_until=100))
        block = build(chain, prepared)
        assert len(block.transactions) == len(prepared)
        table, epoch = chain.validator_table(), chain.epoch
        candidate = Candidate(epoch, View(height), View(0), Hash(bytes(32)), block.hash)
        if height % EPOCH_BLOCKS == 0 and epoch in FILLED:
            candidate = Candidate(epoch, View(height + 4), View(height), candidate.id, block.hash)
        proofs[height] = finality_proof(table, candidate, chain_id=chain_id)
        chain.commit(block.hash, proofs[height])
        headers.append(block.header)
        if height % EPOCH_BLOCKS == 0:
            following = chain.validator_table()
            same = following.entries == table.entries
            steps.append(Step(block.header, proofs[height], None if same else following.entries))
            tables.append(following)
    return EpochWorld(chain, tuple(headers), proofs, tuple(tables), tuple(steps))


def names(table: ValidatorTable) -> str:
    """Whose keys are in a table, in the order of VOTERS."""
    known = {consensus_key(name): name for line in VOTERS for name in line.split()}
    return " ".join(sorted(known[entry.consensus_key] for entry in table.entries))


def lone_table(epoch: int, name: str = "v0", weight: int = 1) -> ValidatorTable:
    """One voter."""
    from omnitensor.protocol.votes import ValidatorEntry

    address: Address = key(name).address
    return ValidatorTable(Epoch(epoch), (ValidatorEntry(address, consensus_key(name), weight),))
