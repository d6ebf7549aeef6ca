"""The chains that a soak leaves on disk, held to the simulator's checkers: the same module, which shares no code with the core.

Reads closed databases; asks no node.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from omnitensor.protocol import bls
from omnitensor.protocol.types import Address, Epoch, Height
from omnitensor.protocol.votes import Certificate, Vote
from state.chain import Chain
from state.genesis import Genesis
from state.schema import CONVICTIONS
from tests.simulation.application import Committed
from tests.simulation.checkers import Checkers
from tests.simulation.scenario import Scenario

Members = tuple[tuple[int, int], ...]
"""Validator and weight by index in an epoch's table."""


class Roll:
    """Who ought to vote in an epoch: everybody of genesis, and from the epoch after the conviction on all but the convicted.

    Reckoned from genesis and one height; what the nodes say of their sets is held against it.
    """

    def __init__(
        self, genesis: Genesis, order: Sequence[Address], convict: Address, convicted_at: int
    ) -> None:
        """``order`` gives validators their numbers; ``convicted_at`` is a height."""
        number = {address: place for place, address in enumerate(order)}
        self._epoch_blocks = genesis.params.epoch_blocks
        self._last_with = (convicted_at - 1) // self._epoch_blocks
        rows = sorted(genesis.validators, key=lambda row: row.address)
        self._all: Members = tuple((number[row.address], row.stake // 10**9) for row in rows)
        self._rest: Members = tuple(m for m in self._all if m[0] != number[convict])
        self._keys = {number[row.address]: row.consensus_key for row in rows}

    def members(self, epoch: int) -> Members:
        return self._all if epoch <= self._last_with else self._rest

    def keys(self, epoch: int, bitmap: bytes) -> list[bytes]:
        bits = int.from_bytes(bitmap, "little")
        return [
            bytes(self._keys[who]) for place, (who, _) in enumerate(self.members(epoch)) if bits >> place & 1
        ]


class ChainCheckers(Checkers):
    """Of votes that were said while nobody listened only the certificate is left: its signature is looked at instead."""

    def __init__(self, scenario: Scenario, roll: Roll, chain_id: str) -> None:
        super().__init__(scenario, roll.members)
        self._roll = roll
        self._chain_id = chain_id
        self.signatures = 0

    def _earned(self, holder: int, certificate: Certificate) -> None:
        if certificate in self._seen:
            return
        self._seen.add(certificate)
        keys = self._roll.keys(certificate.epoch, certificate.signers)
        message = certificate.message(self._chain_id)
        self.signatures += 1
        if not bls.SCHEME.fast_aggregate_verify(keys, message, certificate.signature):
            self.violated(
                f"node {holder} holds a certificate of view {certificate.view} that was not signed so"
            )


class Read:
    """One node's chain as it is on disk."""

    def __init__(self, home: Path, genesis: Genesis) -> None:
        chain = Chain.open(home / "chain", genesis)
        try:
            reader = chain.reader()
            self.blocks: Final[list[Committed]] = [Committed(genesis.block, None)]
            for height in range(1, reader.head.height + 1):
                block = reader.block(Height(height))
                assert block is not None, f"{home.name}: block {height} is missing below its head"
                self.blocks.append(Committed(block, reader.proof(Height(height))))
            self.convicted: Final = {Address(key): row.height for key, row in reader.scan(CONVICTIONS)}
            self.sets: Final[Mapping[int, Members | None]] = {
                epoch: _weights(chain, epoch) for epoch in (0, reader.head.header.epoch)
            }
        finally:
            chain.close()


def _weights(chain: Chain, epoch: int) -> Members | None:
    from state.ledger import epochs

    table = epochs.table_of(chain.reader(), Epoch(epoch))
    return None if table is None else tuple((0, entry.weight) for entry in table.entries)


def check(
    homes: Sequence[Path],
    genesis: Genesis,
    order: Sequence[Address],
    convict: Address,
    votes: Sequence[Vote],
    now_ms: int,
) -> tuple[list[str], dict[str, int]]:
    """Violations, and figures, of the chains in these folders, and of votes that were heard.

    ``order`` numbers validators as ``homes`` does, the convict last; ``now_ms`` is the clock's time.
    """
    chains = [Read(home, genesis) for home in homes]
    heights = {chain.convicted.get(convict) for chain in chains}
    violations = [
        f"{home.name} has convicted {sorted(address.hex() for address in chain.convicted)}"
        for home, chain in zip(homes, chains, strict=True)
        if set(chain.convicted) != {convict}
    ]
    convicted_at = next(iter(heights))
    if convicted_at is None or len(heights) != 1:
        return [*violations, f"the heights of the conviction are {heights}"], {}
    roll = Roll(genesis, order, convict, convicted_at)
    scenario = Scenario(
        seed=0,
        weights=tuple(weight for _, weight in sorted(roll.members(0))),
        byzantine={len(order) - 1: "double_voter"},
        epoch_blocks=genesis.params.epoch_blocks,
        block_interval_ms=genesis.params.block_interval_ms,
        clock_drift_ms=genesis.params.clock_drift_ms,
    )
    checkers = ChainCheckers(scenario, roll, genesis.chain_id)
    for index, chain in enumerate(chains):
        _replay(checkers, index, chain.blocks, now_ms)
    checkers.finish([(index, chain.blocks) for index, chain in enumerate(chains)])
    for vote in votes:
        members = roll.members(vote.epoch)
        if vote.signer < len(members):
            checkers.spoken(members[vote.signer][0], vote)
    violations += checkers.violations
    violations += [fault for chain in chains for fault in _faults_of_sets(chain, roll, order)]
    last = chains[0].blocks[-1].block.header
    figures = {
        "blocks": max(len(chain.blocks) for chain in chains) - 1,
        "epochs": last.epoch + 1,
        "votes heard": len(votes),
        "certificates verified": checkers.signatures,
        "convicted at height": convicted_at,
    }
    return violations, figures


def _replay(checkers: Checkers, index: int, blocks: Sequence[Committed], now_ms: int) -> None:
    """Gives a chain to the checkers as it was committed: up to each block that has a proof of its own.

    What is above the last proof (a sync was under way) must be final by another's chain: ``finish`` says where it is not.
    """
    part: list[Committed] = []
    for entry in blocks[1:]:
        part.append(entry)
        if entry.proof is not None:
            if entry.proof.candidate.block_hash != entry.block.hash:
                checkers.violated(
                    f"node {index} keeps a proof of something else at {entry.block.header.height}"
                )
            checkers.committed(index, part, entry.proof, now_ms)
            part = []


def _faults_of_sets(chain: Read, roll: Roll, order: Sequence[Address]) -> list[str]:
    """Who led and who voted, against who ought to."""
    faults = []
    for entry in chain.blocks[1:]:
        header = entry.block.header
        if order.index(header.proposer) not in {who for who, _ in roll.members(header.epoch)}:
            faults.append(
                f"block {header.height} is by {header.proposer.hex()}, who does not vote in its epoch"
            )
    for epoch, found in chain.sets.items():
        expected = [weight for _, weight in roll.members(epoch)]
        if found is not None and [weight for _, weight in found] != expected:
            faults.append(f"the set of epoch {epoch} weighs {found}, where it ought to weigh {expected}")
    return faults
