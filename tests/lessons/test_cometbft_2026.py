"""CometBFT 2026: block time was derived from fields of votes that their signatures did not cover, so anybody could move it.

Here a vote signs chain, epoch, kind, view and candidate, and a candidate binds a block by its hash. So every field of what
carries a decision is changed in turn, those inside it included: the change is refused, or all that is derived stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consensus.schedule.leaders import LeaderSchedule
from consensus.stake.verify import Verifier
from omnitensor.protocol.blocks import Block, beacon_message
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Epoch, Height, TimeMs, View
from omnitensor.protocol.votes import Candidate, Certificate, FinalityProof, Proposal, Vote, VoteKind
from state.chain import Chain
from tests.node.node_kit import make_folders, transfer
from tests.node.voters import Voters

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE


@pytest.fixture(scope="module")
def voters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Voters]:
    folder = tmp_path_factory.mktemp("voters")
    made = Voters(make_folders(folder), folder)
    yield made
    made.close()


def changed(value: Any) -> Iterator[Any]:
    """Other values in a field's place: near ones, and what a forger would like."""
    found: list[Any] = []
    if isinstance(value, int):
        found = [value + 1, value - 1, 0, 1, 2, 3, 2**32]
    elif isinstance(value, bytes):
        flipped = value[:-1] + bytes([value[-1] ^ 1]) if value else b"\x01"
        found = [flipped, bytes(len(value)), b"\xff" * len(value), value + b"\x00", value[:-1]]
    elif isinstance(value, str):
        found = [value + "x", value[:-1]]
    yield from (other for other in found if other != value)


def variants(record: Any) -> Iterator[tuple[str, Any]]:
    """A record's wire form with one leaf, one element or one order changed, by the path of what was changed."""
    yield from _variants(msgspec.msgpack.decode(encode(record), type=Any, strict=True), "")


def _variants(plain: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(plain, list):
        for other in changed(plain):
            yield path, other
        return
    for place, part in enumerate(plain):
        for where, other in _variants(part, f"{path}.{place}"):
            yield where, [*plain[:place], other, *plain[place + 1 :]]
    if plain and path:
        yield f"{path}:less", plain[:-1]
        yield f"{path}:twice", [*plain, plain[-1]]
        yield f"{path}:turned", plain[::-1]


def read(kind: type[Any], plain: Any) -> Any:
    """As a peer's bytes are read. Raises ProtocolError."""
    try:
        data = msgspec.msgpack.encode(plain)
    except OverflowError:
        data = b""
    return decode(kind, data)


def refused_or(
    kind: type[Any], true: Any, verify: Callable[[Any], None], derived: Callable[[Any], object]
) -> int:
    """Every variant is refused, or says the same; how many were tried."""
    verify(true)
    expected, tried = derived(true), 0
    for path, plain in variants(true):
        tried += 1
        try:
            other = read(kind, plain)
            verify(other)
        except ProtocolError:
            continue
        if other != true:
            assert derived(other) == expected, path
    return tried


def test_cometbft_2026_no_field_of_a_proposal_can_be_changed(voters: Voters) -> None:
    parent = voters.block(1)
    below = voters.candidate(1, parent)
    block = voters.block(4, parent, [transfer("alice", 0)])
    justification = (
        voters.certificate(N, 1, below.id),
        voters.certificate(S, 2),
        voters.certificate(S, 3),
    )
    proposal = voters.proposal(voters.candidate(4, block, below), block, justification)
    verifier = Verifier(voters.genesis.chain_id, voters.table, voters.schedule)

    def derived(one: Proposal) -> object:
        """What a node takes from a proposal: everything but which genuine votes the certificates inside are made of."""
        said = [(c.kind, c.epoch, c.view, c.candidate_id) for c in one.justification]
        return one.candidate, one.block, said, one.leader_vote

    assert refused_or(Proposal, proposal, verifier.verify_proposal, derived) > 300


def test_cometbft_2026_no_field_of_a_finality_proof_can_be_changed(voters: Voters) -> None:
    block = voters.block(1)
    proof = voters.proof(voters.candidate(1, block))
    verifier = Verifier(voters.genesis.chain_id, voters.table, voters.schedule)
    assert refused_or(FinalityProof, proof, verifier.verify_finality, encode) > 50


def test_cometbft_2026_no_field_of_a_vote_or_certificate_can_be_changed(voters: Voters) -> None:
    candidate = voters.candidate(1, voters.block(1))
    verifier = Verifier(voters.genesis.chain_id, voters.table, voters.schedule)
    for kind, named in ((N, candidate.id), (F, candidate.id)):
        assert refused_or(Vote, voters.vote(1, kind, 1, named), verifier.verify_vote, encode) > 20
        certificate = voters.certificate(kind, 1, named)
        assert refused_or(Certificate, certificate, verifier.verify_certificate, encode) > 20
    assert refused_or(Vote, voters.vote(1, S, 5), verifier.verify_vote, encode) > 20


def test_cometbft_2026_a_candidate_binds_every_field_of_a_block(voters: Voters) -> None:
    """Time, beacon, roots, proposer, each transaction: another block is not the candidate's."""
    block = voters.block(1, transactions=[transfer("alice", 0), transfer("bob", 0)])
    candidate = voters.candidate(1, block)
    verifier = Verifier(voters.genesis.chain_id, voters.table, voters.schedule)

    def verify(one: Block) -> None:
        verifier.verify_candidate(candidate, one)

    assert refused_or(Block, block, verify, encode) > 100
    ids = {read_candidate(plain).id for _, plain in variants(candidate) if fits(plain)}
    assert candidate.id not in ids
    assert len(ids) > 10


def fits(plain: Any) -> bool:
    try:
        read_candidate(plain)
    except ProtocolError:
        return False
    return True


def read_candidate(plain: Any) -> Candidate:
    found = read(Candidate, plain)
    assert isinstance(found, Candidate)
    return found


def test_cometbft_2026_who_signed_a_certificate_moves_nothing(voters: Voters, tmp_path: Path) -> None:
    """The one thing in a decision that no vote covers is which quorum it is made of; two nodes saw different ones.

    Nothing that follows differs: the next block, its time and beacon, the leaders of the next epoch, the root of the state.
    """
    chains = [Chain.create(tmp_path / name, voters.genesis) for name in ("one", "other")]
    try:
        block = voters.block(1, transactions=[transfer("alice", 0)])
        candidate = voters.candidate(1, block)
        quorums = ((0, 1, 2), (1, 2, 3))
        heads = []
        for chain, signers in zip(chains, quorums, strict=True):
            proof = FinalityProof(candidate, voters.certificate(F, 1, candidate.id, signers))
            chain.check(block)
            chain.commit(block.hash, proof)
            assert chain.head.proof == proof
            heads.append(chain.head)
        assert heads[0].proof != heads[1].proof
        assert heads[0].header == heads[1].header
        above = [
            chain.build(
                chain.head.hash,
                TimeMs(block.header.timestamp_ms + 100),
                voters.table.entries[voters.leader(2)].address,
                voters.keys[voters.leader(2)].sign(beacon_message(voters.genesis.chain_id, Height(2))),
                [transfer("alice", 1)],
            )
            for chain in chains
        ]
        assert encode(above[0]) == encode(above[1])
        leaders = [
            [
                LeaderSchedule(chain.validator_table(), chain.head.header.beacon).leader(View(v))
                for v in range(1, 99)
            ]
            for chain in chains
        ]
        assert leaders[0] == leaders[1]
        assert chains[0].validator_table(Epoch(0)).hash == chains[1].validator_table(Epoch(0)).hash
    finally:
        for chain in chains:
            chain.close()
