"""What a leader says of who voted for the block below: all that it has heard until it builds, and nothing else."""

from __future__ import annotations

from msgspec.structs import replace

from consensus.stake.effects import Accuse, Build, Cast, Commit
from consensus.stake.roll import fullest
from consensus.stake.tally import VoteBook
from omnitensor.protocol.attendance import certificate_of, check_attendance
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Attendance, Candidate, VoteKind
from tests.consensus.bench_core import INTERVAL_MS, Bench
from tests.consensus.worlds import Workshop
from tests.simulation.application import make_block

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
SHOP = next(
    shop
    for size in range(7, 20)
    if (shop := Workshop((10,) * size)).schedule.leader(View(1)) != shop.schedule.leader(View(2))
)
ME = SHOP.schedule.leader(View(2))
LEADER = SHOP.schedule.leader(View(1))
OTHERS = (LEADER, *(index for index in range(len(SHOP.table)) if index not in (ME, LEADER)))
"""The leader of view 1 first: it is in everything, since it notarized with its proposal."""
QUORUM = 2 * len(SHOP.table) // 3 + 1


def after_view_1() -> tuple[Bench, Candidate]:
    """The leader of view 2, which has notarized view 1's block and cast FINALIZE, with a notarization of a bare quorum."""
    bench = Bench(ME, SHOP)
    bench.start()
    candidate, block = SHOP.child(1)
    bench.propose(candidate, block)
    bench.checked(candidate)
    for cast in bench.all(Cast):
        bench.say(cast)
    bench.certificate(SHOP.certificate(N, 1, candidate.id, OTHERS[:QUORUM]))
    for cast in bench.all(Cast):
        bench.say(cast)
    return bench, candidate


def built(bench: Bench) -> Attendance:
    bench.tick(2 * INTERVAL_MS)
    attendance = bench.only(Build).attendance
    assert attendance is not None
    return attendance


def signers(attendance: Attendance) -> tuple[int, ...]:
    """Whom it names; every one of them has signed."""
    _, parent = SHOP.child(1)
    made = make_block(parent.header, SHOP.table.entries[ME].address, parent.header.timestamp_ms + INTERVAL_MS)
    check_attendance(replace(made.header, attendance=attendance), parent.header, SHOP.table, SHOP.scheme)
    return SHOP.table.indexes(attendance.signers) or ()


def test_what_is_final_is_named_with_every_vote_that_came_before_the_block() -> None:
    bench, candidate = after_view_1()
    bench.votes(F, 1, candidate.id, OTHERS[:QUORUM])
    assert bench.core.final.candidate_id == candidate.id
    late = SHOP.vote(F, 1, candidate.id, OTHERS[QUORUM])
    assert bench.core.wants_vote(late), "a vote that came late is attendance all the same"
    bench.vote(F, 1, candidate.id, OTHERS[QUORUM])
    assert not bench.core.wants_vote(late), "once"
    assert bench.all(Commit) == []
    attendance = built(bench)
    assert attendance.kind == F
    assert signers(attendance) == tuple(sorted({ME, *OTHERS[: QUORUM + 1]}))


def test_what_is_not_final_is_named_by_its_notarization_and_the_votes_that_it_lacks() -> None:
    bench, candidate = after_view_1()
    bench.vote(N, 1, candidate.id, OTHERS[QUORUM])
    attendance = built(bench)
    assert attendance.kind == N
    assert signers(attendance) == tuple(sorted({ME, *OTHERS[: QUORUM + 1]}))


def test_no_other_vote_is_wanted_of_a_view_that_is_final() -> None:
    bench, candidate = after_view_1()
    bench.votes(F, 1, candidate.id, OTHERS[:QUORUM])
    who = OTHERS[QUORUM]
    assert not bench.core.wants_vote(SHOP.vote(N, 1, candidate.id, who))
    assert not bench.core.wants_vote(SHOP.vote(S, 1, signer=who))
    assert not bench.core.wants_vote(SHOP.vote(F, 1, Hash(b"\x07" * 32), who))
    bench.vote(F, 1, Hash(b"\x07" * 32), who)
    assert who not in signers(built(bench))


def test_a_late_vote_that_contradicts_an_earlier_one_convicts() -> None:
    bench, candidate = after_view_1()
    who = OTHERS[QUORUM]
    bench.vote(S, 1, Hash(bytes(32)), who)
    bench.votes(F, 1, candidate.id, OTHERS[:QUORUM])
    bench.vote(F, 1, candidate.id, who)
    assert bench.only(Accuse).evidence.culprits == (who,)


def test_the_root_of_an_epoch_has_no_attendance() -> None:
    bench = Bench(LEADER, SHOP)
    bench.start()
    bench.tick(INTERVAL_MS)
    assert bench.only(Build).attendance is None


def test_the_fullest_of_two_certificates_is_taken_and_no_vote_counts_twice() -> None:
    candidate, _ = SHOP.child(1)
    book = VoteBook(View(1), SHOP.table, SHOP.scheme)
    for signer in range(QUORUM + 1):
        book.add(SHOP.vote(N, 1, candidate.id, signer))
    finalization = SHOP.certificate(F, 1, candidate.id, range(QUORUM))
    notarization = SHOP.certificate(N, 1, candidate.id, range(1, QUORUM + 1))
    found = fullest(candidate, (finalization, notarization), book, SHOP.table, SHOP.scheme)
    assert found is not None
    assert (found.kind, signers(found)) == (N, tuple(range(QUORUM + 1)))
    parent = Hash(candidate.block_hash)
    SHOP.verifier.verify_certificate(certificate_of(found, SHOP.table.epoch, parent))
    equal = fullest(candidate, (notarization, finalization), None, SHOP.table, SHOP.scheme)
    assert equal is not None
    assert equal.kind == F, "of equal ones the finalization"
    skip = SHOP.certificate(S, 1)
    assert fullest(candidate, (skip,), book, SHOP.table, SHOP.scheme) is None
