"""The soak's eyes: what reads its chains sees a fork, a proof of too few, of others or of nobody, a gap, a wrong leader."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from omnitensor.protocol.types import BlsSignature, Hash
from omnitensor.protocol.votes import FinalityProof, VoteKind
from tests.node.node_kit import make_folders
from tests.node.voters import Voters
from tests.simulation.application import Committed
from tests.simulation.scenario import Scenario
from tests.soak.chains import ChainCheckers, Roll, _faults_of_sets, _replay

LENGTH = 4
FAR = 10**6


@pytest.fixture(scope="module")
def voters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Voters]:
    folder = tmp_path_factory.mktemp("voters")
    made = Voters(make_folders(folder), folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def chain(voters: Voters) -> list[Committed]:
    blocks = [Committed(block, proof) for _, block, proof in voters.final_chain(LENGTH)]
    return [Committed(voters.genesis.block, None), *blocks]


def seen(voters: Voters, *chains: list[Committed]) -> list[str]:
    genesis = voters.genesis
    order = [entry.address for entry in voters.table.entries]
    roll = Roll(genesis, order, order[-1], FAR)
    scenario = Scenario(
        seed=0,
        weights=(100_000,) * 4,
        byzantine={3: "double_voter"},
        epoch_blocks=genesis.params.epoch_blocks,
        block_interval_ms=genesis.params.block_interval_ms,
    )
    checkers = ChainCheckers(scenario, roll, genesis.chain_id)
    for index, one in enumerate(chains):
        _replay(checkers, index, one, int(time.time() * 1_000) + FAR)
    checkers.finish(list(enumerate(chains)))
    return checkers.violations


def with_proof(chain: list[Committed], proof: FinalityProof | None) -> list[Committed]:
    return [*chain[:-1], Committed(chain[-1].block, proof)]


def test_true_chains_pass(voters: Voters, chain: list[Committed]) -> None:
    assert seen(voters, chain, chain[:-1], chain) == []


def test_every_wrong_is_seen(voters: Voters, chain: list[Committed]) -> None:
    true = chain[-1].proof
    assert true is not None
    candidate = true.candidate

    def by(*signers: int) -> FinalityProof:
        return FinalityProof(
            candidate, voters.certificate(VoteKind.FINALIZE, candidate.view, candidate.id, signers)
        )

    forged = replace(true.certificate, signature=BlsSignature(b"\xc0" + bytes(95)))
    others = replace(by(1, 2, 3).certificate, signers=by(0, 1, 2).certificate.signers)
    strange = replace(chain[-1].block, header=replace(chain[-1].block.header, state_root=Hash(b"s" * 32)))
    cases = {
        "FORK": [chain, [*chain[:-1], Committed(strange, true)]],
        "stake": [with_proof(chain, by(0, 1))],
        "was not signed so": [with_proof(chain, FinalityProof(candidate, forged))],
        "not signed so": [with_proof(chain, FinalityProof(candidate, others))],
        "lost or changed": [with_proof(chain, None)],
        "committed height": [[*chain[:2], *chain[3:]]],
        "something else": [with_proof(chain, chain[1].proof)],
    }
    for says, chains in cases.items():
        assert any(says in violation for violation in seen(voters, *chains)), (says, seen(voters, *chains))


def test_a_leader_that_was_removed_is_seen(voters: Voters, chain: list[Committed]) -> None:
    order = [entry.address for entry in voters.table.entries]
    led = next(entry.block.header.proposer for entry in chain[1:])
    order.sort(key=lambda address: address == led)
    long_ago = Roll(voters.genesis, order, led, -FAR)
    in_time = Roll(voters.genesis, order, led, FAR)

    class OnDisk:
        blocks = chain
        sets: dict[int, None] = {}  # noqa: RUF012  # of this one test

    assert _faults_of_sets(OnDisk(), in_time, order) == []  # type: ignore[arg-type]  # as much of one as is looked at
    assert _faults_of_sets(OnDisk(), long_ago, order)  # type: ignore[arg-type]  # the same
