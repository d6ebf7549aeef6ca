"""Votes of views that are final already still convict, for as long as they are remembered."""

from __future__ import annotations

from msgspec.structs import replace

from consensus.stake.watch import Watch
from omnitensor.protocol.evidence import Fault
from omnitensor.protocol.types import Epoch, Hash, View
from omnitensor.protocol.votes import VoteKind
from tests.consensus.worlds import Workshop

SHOP = Workshop()
N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
A, B = Hash(b"a" * 32), Hash(b"b" * 32)


def test_a_late_vote_convicts_beside_a_remembered_one() -> None:
    watch = Watch(views_max=4)
    for vote in (SHOP.vote(N, 3, A, 1), SHOP.vote(F, 3, A, 1), SHOP.vote(N, 3, A, 2)):
        assert watch.conflict(vote) is None
        watch.remember(vote)
        assert watch.conflict(vote) is None, "the same vote again is no fault"
    late = watch.conflict(SHOP.vote(S, 3, signer=1))
    assert late is not None
    assert (late.fault, late.culprits) == (Fault.SKIP_AND_FINALIZE, (1,))
    twice = watch.conflict(SHOP.vote(N, 3, B, 2))
    assert twice is not None
    assert (twice.fault, twice.culprits) == (Fault.NOTARIZE_TWICE, (2,))
    assert watch.conflict(SHOP.vote(S, 3, signer=2)) is None, "SKIP after NOTARIZE is allowed"
    assert watch.conflict(SHOP.vote(F, 3, B, 2)) is None, (
        "NOTARIZE of one and FINALIZE of another is no fault"
    )
    assert watch.conflict(SHOP.vote(N, 4, B, 2)) is None
    assert watch.conflict(replace(SHOP.vote(N, 3, B, 2), epoch=Epoch(1))) is None


def test_it_remembers_the_latest_views_alone() -> None:
    watch = Watch(views_max=4)
    for view in range(1, 6):
        watch.remember(SHOP.vote(N, view, A, 1))
    assert watch.conflict(SHOP.vote(N, View(1), B, 1)) is None
    assert watch.conflict(SHOP.vote(N, View(2), B, 1)) is not None
