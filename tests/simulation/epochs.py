"""Validator sets that change: who votes and leads in which epoch of a simulated world, drawn from the boundary block below it.

So all who agree on the boundary agree on the set. Hostile weight stays within what is tolerated in every epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from consensus.schedule.leaders import LeaderSchedule
from consensus.stake.verify import Verifier
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.errors import ProtocolError, SignatureError
from omnitensor.protocol.types import ACCOUNT_VERSION, Address, Epoch, Hash, Height, TimeMs
from omnitensor.protocol.votes import FinalityProof, ValidatorEntry, ValidatorTable
from tests.simulation.application import Application, HashChain, genesis_block
from tests.simulation.network import EPOCH_MS
from tests.simulation.scenario import Scenario, tolerated
from tests.simulation.workers import Facts, credit_of, worker_set

if TYPE_CHECKING:
    from tests.simulation.node import SimNode
    from tests.simulation.world import Product

ATTEMPTS = 20
"""Sets drawn before the scenario's own weights are taken."""


@dataclass(frozen=True)
class EpochSet:
    """An epoch of the world. ``members[i]`` is the node at index ``i`` of the table."""

    table: ValidatorTable
    schedule: LeaderSchedule
    verifier: Verifier
    members: tuple[int, ...]
    began_ms: TimeMs
    boundary: Height
    workers: tuple[int, ...] = ()
    """Parties that lead and do not vote, in the order of the schedule."""

    def seat_of(self, node: int) -> int | None:
        return self.members.index(node) if node in self.members else None

    def lead_of(self, party: int) -> int | None:
        """Its index in the schedule."""
        leaders = (*self.members, *self.workers)
        return leaders.index(party) if party in leaders else None


def address_of(node: int) -> Address:
    return Address(bytes([ACCOUNT_VERSION]) + node.to_bytes(32, "big"))


class Sets:
    """All epochs of a world, by the boundary below them."""

    def __init__(
        self,
        chain_id: str,
        scenario: Scenario,
        product: Product,
        scheme: Any,
        secrets: list[bytes],
        keys: list[Any],
    ) -> None:
        self._chain_id = chain_id
        self._scenario = scenario
        self._product = product
        self._scheme = scheme
        self._secrets = secrets
        self._keys = keys
        self._genesis = genesis_block(EPOCH_MS)
        self._made: dict[Hash, EpochSet] = {}
        self.by_number: dict[int, EpochSet] = {}
        self.facts: dict[int, Facts] = {}
        """What an epoch's leaders are drawn from, as drawn here."""
        self.of(self._genesis.header)

    def address_of(self, validator: int) -> Address:
        return address_of(validator)

    def new_chain(self) -> HashChain:
        return HashChain(self._genesis, self._scenario.epoch_blocks)

    def secret_of(self, node: SimNode) -> bytes:
        """The secret of the key that a node votes with."""
        return self._secrets[node.validator]

    def above(self, chain: Application) -> EpochSet:
        """The epoch of the block above a chain's head."""
        return self.of(chain.below_epoch())

    def fault_of_proof(self, chain: Application, proof: FinalityProof) -> ProtocolError | None:
        """Why a chain's owner does not believe a finality proof, or None."""
        below = proof.candidate.epoch * self._scenario.epoch_blocks
        if below >= len(chain.committed):
            return SignatureError("a proof of an epoch whose validators are not known", value=below)
        try:
            self.of(chain.committed[below].block.header).verifier.verify_finality(proof)
        except ProtocolError as error:
            return error
        return None

    def of(self, below: Header) -> EpochSet:
        """The epoch above a boundary block."""
        made = self._made.get(below.hash)
        if made is None:
            number = Epoch(below.height // self._scenario.epoch_blocks)
            weights = self._weights(number, below.hash)
            entries = tuple(
                ValidatorEntry(address_of(node), self._keys[node], weight) for node, weight in weights
            )
            table = self._product.table(number, entries)
            credit = credit_of(self._scenario, number, below.hash)
            workers = worker_set(credit, address_of, self._keys)
            schedule = (
                LeaderSchedule(table, below.hash, workers) if credit else LeaderSchedule(table, below.hash)
            )
            verifier = self._product.verifier(self._chain_id, table, schedule, self._scheme)
            boundary = Height((number + 1) * self._scenario.epoch_blocks)
            members = tuple(node for node, _ in weights)
            leading = tuple(int.from_bytes(entry.address[1:], "big") for entry in schedule.workers)
            made = EpochSet(table, schedule, verifier, members, TimeMs(below.timestamp_ms), boundary, leading)
            self._made[below.hash] = made
            if self.by_number.setdefault(number, made) is made:
                self.facts[number] = Facts(bytes(below.hash), tuple(weights), credit)
        return made

    def _weights(self, epoch: int, seed: Hash) -> list[tuple[int, int]]:
        """Node and weight: some leave for an epoch, some come back, some stakes change."""
        scenario = self._scenario
        own = list(enumerate(scenario.weights))
        if epoch == 0:
            return own
        random = Random(f"set {epoch} {seed.hex()}")
        for _ in range(ATTEMPTS):
            drawn = [
                (node, random.randint(1, 40) if random.random() < 0.3 else weight)
                for node, weight in own
                if random.random() > 0.2
            ]
            hostile = sum(weight for node, weight in drawn if node in scenario.byzantine)
            if len(drawn) >= 3 and hostile <= tolerated(tuple(weight for _, weight in drawn)):
                return drawn
        return own
