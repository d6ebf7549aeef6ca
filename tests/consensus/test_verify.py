"""What verification lets through: the genuine, whole; and of everything else nothing, malformed bitmaps and keys included."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.errors import BlockError, SignatureError
from omnitensor.protocol.types import BlsSignature, Epoch, Hash, View
from omnitensor.protocol.votes import SKIP_ID, Certificate, FinalityProof, Proposal, Vote, VoteKind
from tests.consensus.worlds import Workshop
from tests.simulation.scheme import RealScheme

SHOP = Workshop()
WIDE = Workshop((7, 1, 1, 30, 5, 9, 2, 2, 11, 4))
ID = Hash(bytes(range(32)))
INFINITY = BlsSignature(b"\xc0" + bytes(95))


def refused(check: Callable[[], object], error: type[Exception] = SignatureError) -> None:
    with pytest.raises(error):
        check()


@pytest.mark.parametrize(
    "change",
    [
        {"view": 6},
        {"candidate_id": Hash(b"\7" * 32)},
        {"candidate_id": SKIP_ID},
        {"kind": VoteKind.FINALIZE},
        {"kind": VoteKind.SKIP},
        {"kind": VoteKind.SKIP, "candidate_id": SKIP_ID},
        {"epoch": Epoch(1)},
        {"signer": 2},
        {"signer": 4},
        {"signer": 65_535},
        {"view": 0},
        {"signature": INFINITY},
        {"signature": BlsSignature(bytes(96))},
    ],
    ids=str,
)
def test_every_field_of_a_vote_is_bound(change: dict[str, object]) -> None:
    good = SHOP.vote(VoteKind.NOTARIZE, 5, ID, 1)
    SHOP.verifier.verify_vote(good)
    bad = replace(good, **change)
    refused(lambda: SHOP.verifier.verify_vote(bad))
    assert SHOP.verifier.verify_votes([good, bad, good], [1, 2, 3]) == [True, False, True]


def test_no_votes_are_no_trouble() -> None:
    assert SHOP.verifier.verify_votes([], []) == []


@pytest.mark.parametrize(
    "signers",
    [b"", b"\x0f\x00", b"\x1f", b"\x8f", b"\xff", b"\x00", b"\x03", bytes(13)],
    ids=lambda b: b.hex() or "empty",
)
def test_malformed_or_light_bitmaps(signers: bytes) -> None:
    """Four validators need one byte with four bits, three of them for a quorum of 27 of 40."""
    good = SHOP.certificate(VoteKind.NOTARIZE, 5, ID)
    refused(lambda: SHOP.verifier.verify_certificate(replace(good, signers=signers)))


@pytest.mark.parametrize(
    "change",
    [
        {"view": 6},
        {"view": 0},
        {"candidate_id": Hash(b"\7" * 32)},
        {"candidate_id": SKIP_ID},
        {"kind": VoteKind.FINALIZE},
        {"kind": VoteKind.SKIP},
        {"epoch": Epoch(1)},
        {"signers": b"\x07"},
        {"signature": INFINITY},
    ],
    ids=str,
)
def test_every_field_of_a_certificate_is_bound(change: dict[str, object]) -> None:
    good = SHOP.certificate(VoteKind.NOTARIZE, 5, ID)
    SHOP.verifier.verify_certificate(good)
    refused(lambda: SHOP.verifier.verify_certificate(replace(good, **change)))


@settings(max_examples=300, deadline=None)
@given(bitmap=st.binary(max_size=4))
def test_bitmap_is_taken_just_when_it_fits_and_weighs_a_quorum(bitmap: bytes) -> None:
    """Against an oracle that reads the bitmap as one little-endian number."""
    weights = [entry.weight for entry in WIDE.table.entries]
    bits = int.from_bytes(bitmap, "little")
    fits = len(bitmap) == 2 and bits < 2 ** len(weights)
    weight = sum(w for i, w in enumerate(weights) if bits >> i & 1)
    certificate = replace(WIDE.certificate(VoteKind.SKIP, 3), signers=bitmap)
    if fits and 3 * weight > 2 * sum(weights):
        signers = WIDE.verifier.check_certificate_shape(certificate)
        assert list(signers) == [i for i in range(len(weights)) if bits >> i & 1]
    else:
        refused(lambda: WIDE.verifier.check_certificate_shape(certificate))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=40), st.data())
def test_two_quorums_share_more_than_what_is_hostile(weights: list[int], data: st.DataObject) -> None:
    table = Workshop(weights).table
    total, quorum = sum(weights), table.quorum_weight
    assert 2 * quorum - total > (total - 1) // 3, (
        "two quorums overlap in more than any tolerated hostile stake"
    )
    assert quorum <= total


def chained(shop: Workshop, crossed: int) -> tuple[Proposal, tuple[Certificate, ...]]:
    """A proposal that crosses so many skipped views, and all skip certificates."""
    first, first_block = shop.child(1)
    view = 2 + crossed
    candidate, block = shop.child(view, first, first_block.header)
    skips = tuple(shop.certificate(VoteKind.SKIP, v) for v in range(2, view))
    room = limits.justification_certificates_max - 1
    inline = (shop.certificate(VoteKind.NOTARIZE, 1, first.id), *skips[-room:][: len(skips)])
    return shop.proposal(candidate, block, inline), skips


@pytest.mark.parametrize("crossed", [0, 1, 3, 15, 16, 40])
def test_justification_is_exactly_what_rule_r2_says(crossed: int) -> None:
    good, _ = chained(SHOP, crossed)
    SHOP.verifier.verify_proposal(good)
    inline = good.justification
    assert len(inline) <= limits.justification_certificates_max
    for bad in (
        inline[1:],
        inline[:-1],
        (*inline, SHOP.certificate(VoteKind.SKIP, good.candidate.view)),
        (inline[0], *inline[2:]) if crossed > 1 else (),
        (*inline[:1], *reversed(inline[1:])) if crossed > 1 else (),
        tuple(replace(c, view=View(c.view + 1)) for c in inline),
    ):
        refused(lambda bad=bad: SHOP.verifier.verify_proposal(replace(good, justification=bad)))  # type: ignore[misc]  # bound now


def test_a_justification_that_was_verified_before_costs_nothing() -> None:
    proposal, _ = chained(SHOP, 3)
    forged = replace(
        proposal, justification=tuple(replace(c, signature=INFINITY) for c in proposal.justification)
    )
    refused(lambda: SHOP.verifier.verify_proposal(forged))
    SHOP.verifier.verify_proposal(forged, known=lambda certificate: True)


def test_proposal_of_another_than_the_leader() -> None:
    candidate, block = SHOP.child(1)
    leader = SHOP.schedule.leader(View(1))
    other = SHOP.vote(VoteKind.NOTARIZE, 1, candidate.id, (leader + 1) % 4)
    good = SHOP.proposal(candidate, block)
    SHOP.verifier.verify_proposal(good)
    refused(lambda: SHOP.verifier.verify_proposal(replace(good, leader_vote=other)))
    final = SHOP.vote(VoteKind.FINALIZE, 1, candidate.id, leader)
    refused(lambda: SHOP.verifier.verify_proposal(replace(good, leader_vote=final)))


def test_a_block_must_be_the_candidates_whole_and_unchanged() -> None:
    candidate, block = SHOP.child(1)
    SHOP.verifier.verify_candidate(candidate, block)
    other = replace(block, header=replace(block.header, base_fee=9))
    refused(lambda: SHOP.verifier.verify_candidate(candidate, other), BlockError)
    root = replace(block, header=replace(block.header, transactions_root=Hash(b"\5" * 32)))
    renamed = replace(candidate, block_hash=root.hash)
    refused(lambda: SHOP.verifier.verify_candidate(renamed, root), BlockError)
    foreign = replace(block, header=replace(block.header, chain_id="another"))
    refused(
        lambda: SHOP.verifier.verify_candidate(replace(candidate, block_hash=foreign.hash), foreign),
        BlockError,
    )
    refused(lambda: SHOP.verifier.verify_candidate(replace(candidate, epoch=Epoch(3)), block))
    refused(lambda: SHOP.verifier.verify_candidate(replace(candidate, parent_view=View(1)), block))


def test_finality_proof() -> None:
    candidate, _ = SHOP.child(1)
    certificate = SHOP.certificate(VoteKind.FINALIZE, 1, candidate.id, (0, 1, 3))
    SHOP.verifier.verify_finality(FinalityProof(candidate, certificate))
    for bad in (
        FinalityProof(candidate, SHOP.certificate(VoteKind.NOTARIZE, 1, candidate.id)),
        FinalityProof(replace(candidate, block_hash=ID), certificate),
        FinalityProof(candidate, SHOP.certificate(VoteKind.FINALIZE, 1, ID)),
        FinalityProof(candidate, replace(certificate, signers=b"\x03")),
    ):
        refused(lambda bad=bad: SHOP.verifier.verify_finality(bad))  # type: ignore[misc]  # bound now


def test_with_real_signatures() -> None:
    """BLS: genuine passes, infinity and strangers' aggregates do not, a batch names its culprits."""
    shop = Workshop(scheme=RealScheme())
    votes: list[Vote] = [shop.vote(VoteKind.NOTARIZE, 5, ID, signer) for signer in range(4)]
    votes[2] = replace(votes[2], signature=votes[1].signature)
    assert shop.verifier.verify_votes(votes, [3, 5, 7, 9]) == [True, True, False, True]
    certificate = shop.certificate(VoteKind.NOTARIZE, 5, ID, (0, 1, 3))
    shop.verifier.verify_certificate(certificate)
    for bad in (
        replace(certificate, signature=INFINITY),
        replace(certificate, signature=votes[0].signature),
        replace(certificate, signers=b"\x07"),
        replace(certificate, signers=b"\x0f"),
        replace(certificate, signature=BlsSignature(b"\xff" * 96)),
    ):
        refused(lambda bad=bad: shop.verifier.verify_certificate(bad))  # type: ignore[misc]  # bound now
