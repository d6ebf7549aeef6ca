"""The stake proof: finality in message delays, what certificates cost, and how fast the simulator is.

Finality is measured in virtual time, on a network that delays every message by the same and loses none, with validators that
compute in no time: what is left is the protocol. Certificates are real BLS12-381, timed against one verification in the same run.
"""

import time
from statistics import mean, median
from typing import Any, Final

from consensus.schedule.leaders import LeaderSchedule
from consensus.stake.scheme import BlsScheme
from consensus.stake.verify import Verifier
from omnitensor.protocol import bls
from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import Address, Epoch, Hash, View
from omnitensor.protocol.votes import (
    Certificate,
    FinalityProof,
    Proposal,
    ValidatorEntry,
    ValidatorTable,
    VoteKind,
    vote_message,
)
from tests.simulation.network import Weather
from tests.simulation.node import SimNode
from tests.simulation.scenario import Scenario, scenario_of
from tests.simulation.world import World

DELAY_MS: Final = 100
BLOCKS = 50
SIZES = (4, 21, 100)
SIMULATED_SEEDS = 40
REPEATS: Final = 5


class EvenWorld(World):
    """A world in which every message takes ``DELAY_MS``; notes when blocks are proposed and when each node has them final."""

    def __init__(self, size: int) -> None:
        super().__init__(
            Scenario(
                seed=0,
                weights=(10,) * size,
                block_interval_ms=1,
                delta_ms=DELAY_MS,
                execution_ms=0,
                disk_ms=0,
            )
        )
        self.network.weather = Weather(DELAY_MS, DELAY_MS)
        self.proposed: dict[bytes, int] = {}
        self.waits: list[int] = []

    def spoken(self, node: SimNode, message: Any) -> None:
        super().spoken(node, message)
        if isinstance(message, Proposal):
            self.proposed.setdefault(bytes(message.candidate.block_hash), self.clock.now_ms)

    def committed(self, node: SimNode, count: int, proof: FinalityProof | None) -> None:
        super().committed(node, count, proof)
        for entry in node.chain.committed[-count:]:
            self.waits.append(self.clock.now_ms - self.proposed[bytes(entry.block.hash)])

    def play(self, blocks: int) -> None:
        """Until every node has so many blocks."""
        for node in self.nodes:
            self.clock.at(0, node.start)
        self.clock.run(blocks * 10 * DELAY_MS, lambda: self._reached(blocks))


def finality() -> dict[str, float]:
    """Message delays from a proposal to its finality, mean over nodes and blocks, and from one block to the next."""
    found: dict[str, float] = {}
    for size, suffix in ((4, ""), (21, "_21")):
        world = EvenWorld(size)
        world.play(BLOCKS)
        first = [entry.block for entry in world.nodes[0].chain.committed[1:]]
        starts = [world.proposed[bytes(block.hash)] for block in first]
        found[f"finality_message_delays{suffix}"] = mean(world.waits) / DELAY_MS
        found[f"block_message_delays{suffix}"] = (starts[-1] - starts[0]) / (len(starts) - 1) / DELAY_MS
    return found


def certificates() -> dict[str, float]:
    """For several validator counts: bytes, milliseconds to add up and to verify, and how many plain verifications that is."""
    found: dict[str, float] = {}
    scheme = BlsScheme()
    for size in SIZES:
        secrets = [bls.keygen(b"certificate %d" % index + bytes(32)) for index in range(size)]
        entries = tuple(
            ValidatorEntry(Address(bytes([0]) + index.to_bytes(32, "big")), bls.sk_to_pk(secret), 10)
            for index, secret in enumerate(secrets)
        )
        table = ValidatorTable(Epoch(0), entries)
        seed = Hash(bytes(32))
        verifier = Verifier("bench", table, LeaderSchedule(table, seed), scheme)
        signers = tuple(range(table.quorum_weight // 10 + 1))[:size]
        chosen = Hash(b"\x01" * 32)
        message = vote_message("bench", Epoch(0), VoteKind.FINALIZE, View(7), chosen)
        signatures = [bls.sign(secrets[index], message) for index in signers]
        building, verifying, plain = [], [], []
        for _ in range(REPEATS):
            start = time.perf_counter()
            total = scheme.new_sum()
            for signature in signatures:
                total.add(signature)
            certificate = Certificate(
                VoteKind.FINALIZE, Epoch(0), View(7), chosen, table.bitmap(signers), total.signature()
            )
            building.append(time.perf_counter() - start)
            start = time.perf_counter()
            verifier.verify_certificate(certificate)
            verifying.append(time.perf_counter() - start)
            start = time.perf_counter()
            assert bls.verify(table.key(0), message, signatures[0])
            plain.append(time.perf_counter() - start)
        found |= {
            f"certificate_bytes_{size}": len(encode(certificate)),
            f"certificate_build_ms_{size}": median(building) * 1_000,
            f"certificate_verify_ms_{size}": median(verifying) * 1_000,
            f"certificate_verify_per_bls_verify_{size}": median(verifying) / median(plain),
        }
    return found


def simulation() -> dict[str, float]:
    """Virtual seconds a second of one core, over the first seeds of the default mix."""
    start = time.process_time()
    virtual_ms = sum(World(scenario_of(seed)).run().virtual_ms for seed in range(SIMULATED_SEEDS))
    return {"simulation_speed": virtual_ms / 1_000 / (time.process_time() - start)}


def measure() -> dict[str, float]:
    """All three. Takes about half a minute."""
    return finality() | certificates() | simulation()


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:40} {value:.3f}")
