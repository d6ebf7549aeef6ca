"""Counting votes and convicting: tallies against plain arithmetic, evidence that can't be built without its conflict."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from consensus.stake.evidence import ConflictingCertificates, ConflictingVotes, NoConflict
from consensus.stake.safety import SafetyError, VoteRecord, fault_of_proposal, fault_of_vote
from consensus.stake.tally import VoteBook
from omnitensor.protocol.types import Epoch, Hash, View
from omnitensor.protocol.votes import SKIP_ID, VoteKind
from tests.consensus.worlds import Workshop

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
A, B, C = Hash(b"a" * 32), Hash(b"b" * 32), Hash(b"c" * 32)
SHOP = Workshop((3, 5, 7, 11, 13))
BALLOTS = [(N, A), (N, B), (N, C), (F, A), (F, B), (S, SKIP_ID)]
CONVICTS = {(N, N), (F, F), (S, F), (F, S)}


def convicts(first: tuple[VoteKind, Hash], second: tuple[VoteKind, Hash]) -> bool:
    """As the specification lists it."""
    kinds = (first[0], second[0])
    return kinds in CONVICTS and (kinds[0] != kinds[1] or first[1] != second[1])


@pytest.mark.parametrize(("first", "second"), list(product(BALLOTS, BALLOTS)), ids=str)
def test_two_votes_convict_just_when_the_specification_says(
    first: tuple[VoteKind, Hash], second: tuple[VoteKind, Hash]
) -> None:
    one, two = SHOP.vote(first[0], 4, first[1], 1), SHOP.vote(second[0], 4, second[1], 1)
    fault = fault_of_vote(View(0), {first[0]: first[1]}, VoteRecord(second[0], View(4), second[1]))
    if convicts(first, second):
        assert ConflictingVotes(one, two).culprits == (1,)
        assert isinstance(fault, SafetyError)
        with pytest.raises(NoConflict):
            ConflictingVotes(one, replace(two, view=5))
        with pytest.raises(NoConflict):
            ConflictingVotes(one, replace(two, signer=2))
        with pytest.raises(NoConflict):
            ConflictingVotes(one, replace(two, epoch=Epoch(1)))
    else:
        assert fault is None
        with pytest.raises(NoConflict):
            ConflictingVotes(one, two)


def test_certificates_convict_who_signed_both() -> None:
    skip = SHOP.certificate(S, 4, signers=(0, 2, 3, 4))
    final = SHOP.certificate(F, 4, A, (1, 2, 3, 4))
    assert ConflictingCertificates(skip, final).culprits == (2, 3, 4)
    for first, second in (
        (skip, SHOP.certificate(N, 4, A)),
        (skip, replace(final, view=5)),
        (final, SHOP.certificate(F, 4, A)),
        (SHOP.certificate(S, 4, signers=(0,)), SHOP.certificate(F, 4, A, (1,))),
    ):
        with pytest.raises(NoConflict):
            ConflictingCertificates(first, second)


def test_floor_and_shape_of_what_may_be_signed() -> None:
    assert fault_of_vote(View(4), {}, VoteRecord(N, View(4), A)) is not None
    assert fault_of_vote(View(4), {}, VoteRecord(N, View(5), A)) is None
    assert fault_of_vote(View(0), {}, VoteRecord(N, View(5), SKIP_ID)) is not None
    assert fault_of_vote(View(0), {}, VoteRecord(S, View(5), A)) is not None
    assert fault_of_proposal(View(0), False, {}, View(1)) is None
    assert fault_of_proposal(View(0), True, {}, View(1)) is not None
    assert fault_of_proposal(View(0), False, {N: A}, View(1)) is not None
    assert fault_of_proposal(View(1), False, {}, View(1)) is not None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(BALLOTS)), max_size=40))
def test_tally_against_arithmetic(votes: list[tuple[int, tuple[VoteKind, Hash]]]) -> None:
    """Any order of votes: a certificate comes exactly with the vote that completes a quorum, and says who signed."""
    book = VoteBook(View(4), SHOP.table, SHOP.scheme)
    weights = [3, 5, 7, 11, 13]
    taken: dict[tuple[int, VoteKind], list[Hash]] = {}
    certified: set[tuple[VoteKind, Hash]] = set()
    for signer, (kind, candidate_id) in votes:
        vote = SHOP.vote(kind, 4, candidate_id, signer)
        mine = taken.setdefault((signer, kind), [])
        new = candidate_id not in mine and len(mine) < 2
        assert book.knows(vote) is not new
        counted = book.add(vote)
        assert counted.new is new
        if not new:
            assert counted.certificate is None
            assert counted.conflict is None
            continue
        before = [(k, c) for (s, k), ids in taken.items() if s == signer for c in ids]
        assert (counted.conflict is not None) == any(convicts(old, (kind, candidate_id)) for old in before)
        mine.append(candidate_id)
        backers = [s for s in range(5) if candidate_id in taken.get((s, kind), [])]
        weight = sum(weights[s] for s in backers)
        assert book.weight(kind, candidate_id) == weight
        due = 3 * weight > 2 * sum(weights) and (kind, candidate_id) not in certified
        assert (counted.certificate is not None) == due
        if counted.certificate is not None:
            certified.add((kind, candidate_id))
            SHOP.verifier.verify_certificate(counted.certificate)
            assert list(SHOP.table.indexes(counted.certificate.signers) or ()) == backers
