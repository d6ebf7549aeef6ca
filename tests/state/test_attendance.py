"""Attendance: what a block says of the voters of the block below is refused unless it is so, and is counted once each block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from omnitensor.protocol import bls
from omnitensor.protocol.attendance import attendance_of, certificate_of
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.errors import BlockError
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import ZERO_HASH, BlsSignature, Epoch, Hash, Height, TimeMs, View
from omnitensor.protocol.votes import Attendance, Candidate, Certificate, VoteKind
from state.chain import Chain
from state.ledger import attendance as counting
from state.schema import ATTENDANCE
from tests.attendance import attended
from tests.state.chain_fixtures import (
    START_MS,
    attendance,
    key,
    make_genesis,
    new_chain,
    reveal,
    secret_of,
)

GENESIS = make_genesis(params=Params(epoch_blocks=6, evidence_epochs=2, unbonding_blocks=18))


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    made = new_chain(tmp_path / "one", GENESIS)
    yield made
    made.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Chain]:
    made = new_chain(tmp_path / "other", GENESIS)
    yield made
    made.close()


def extend(chain: Chain, other: Chain, count: int, signers: tuple[int, ...] = (0, 1, 2)) -> None:
    """Blocks that one builds and both commit; those voters are named."""
    for _ in range(count):
        block = build_saying(chain, attendance(chain, signers=signers))
        other.check(block)
        assert chain.commit(block.hash, None) == other.commit(block.hash, None)


def build_saying(chain: Chain, said: Attendance | None) -> Block:
    """A block on the head that says this of it, true or not."""
    height = chain.head.height + 1
    return chain.build(
        chain.head.hash,
        TimeMs(START_MS),
        key("v0").address,
        reveal(chain, height, "v0"),
        [],
        said,
    )


def refused(chain: Chain, other: Chain, said: Attendance | None, why: str) -> None:
    block = build_saying(chain, said)
    with pytest.raises(BlockError, match=why):
        other.check(block)
    assert not other.is_executed(block.hash)


def counted(chain: Chain, epoch: int) -> tuple[int, tuple[int, ...]] | None:
    row = chain.reader().get(ATTENDANCE, epoch)
    return None if row is None else (row.blocks, row.votes)


def sign(chain: Chain, index: int, message: bytes) -> bytes:
    return bls.sign(secret_of(chain.validator_table().key(index)), message)


def of_head(
    chain: Chain, signers: tuple[int, ...], kind: VoteKind, candidate: Candidate | None = None
) -> Attendance:
    table = chain.validator_table()
    made = attended(
        chain.head.header, table, lambda index, message: sign(chain, index, message), signers, kind, candidate
    )
    assert made is not None
    return made


def test_a_quorum_of_either_kind_is_taken_and_counted(chain: Chain, other: Chain) -> None:
    extend(chain, other, 1)
    for kind, signers in ((VoteKind.NOTARIZE, (0, 1, 3)), (VoteKind.FINALIZE, (0, 1, 2, 3))):
        block = build_saying(chain, of_head(chain, signers, kind))
        other.check(block)
        chain.commit(block.hash, None)
        other.commit(block.hash, None)
    assert counted(other, 0) == (2, (2, 2, 1, 2))
    addresses = [entry.address for entry in chain.validator_table().entries]
    expected = dict(zip(addresses, (10_000, 10_000, 5_000, 10_000), strict=True))
    assert counting.shares(other.reader(), Epoch(0)) == expected


def test_no_forged_attendance_is_taken(chain: Chain, other: Chain) -> None:
    extend(chain, other, 2)
    true = attendance(chain)
    assert true is not None
    finalize, notarize = VoteKind.FINALIZE, VoteKind.NOTARIZE
    refused(chain, other, None, "does not say who voted")
    refused(chain, other, replace(true, signers=b"\x0f"), "not its signers'")
    refused(chain, other, replace(true, signers=b"\x0d"), "not its signers'")
    refused(chain, other, replace(true, signers=b"\x07\x00"), "does not fit")
    refused(chain, other, replace(true, signers=b"\x17"), "does not fit")
    refused(chain, other, replace(true, signers=b""), "does not fit")
    refused(chain, other, replace(true, kind=notarize), "not its signers'")
    refused(chain, other, replace(true, kind=VoteKind.SKIP), "SKIP")
    refused(chain, other, replace(true, view=View(true.view + 1)), "not its signers'")
    refused(chain, other, replace(true, parent_view=true.view), "not above")
    refused(chain, other, replace(true, parent_id=Hash(b"\x01" * 32)), "not its signers'")
    refused(chain, other, replace(true, signature=BlsSignature(bytes(96))), "not its signers'")
    refused(chain, other, of_head(chain, (0, 1), finalize), "less than the quorum")
    refused(chain, other, replace(true, signers=b"\x00"), "less than")
    elsewhere = Candidate(Epoch(0), View(2), View(1), ZERO_HASH, Hash(b"\x02" * 32))
    refused(chain, other, of_head(chain, (0, 1, 2), finalize, elsewhere), "not its signers'")
    later = Candidate(Epoch(1), View(2), View(1), ZERO_HASH, chain.head.hash)
    refused(chain, other, of_head(chain, (0, 1, 2), finalize, later), "not its signers'")
    # A signer whose vote is in the aggregate twice, to stand for one that is not.
    certificate = certificate_of(true, Epoch(0), chain.head.hash)
    message = certificate.message(chain.chain_id)
    twice = bls.aggregate([BlsSignature(sign(chain, index, message)) for index in (0, 1, 1)])
    refused(chain, other, replace(true, signature=twice), "not its signers'")
    # Signed for another chain.
    foreign = certificate.message("elsewhere")
    signed = bls.aggregate([BlsSignature(sign(chain, index, foreign)) for index in (0, 1, 2)])
    refused(chain, other, replace(true, signature=signed), "not its signers'")
    other.check(build_saying(chain, true))


def test_what_an_older_block_said_is_no_attendance_of_a_newer_one(chain: Chain, other: Chain) -> None:
    extend(chain, other, 2)
    old = chain.head.header.attendance
    assert old is not None
    refused(chain, other, old, "not its signers'")
    extend(chain, other, 1)
    refused(chain, other, old, "not its signers'")


def test_the_first_block_of_an_epoch_names_nobody(chain: Chain, other: Chain) -> None:
    below = Candidate(Epoch(0), View(1), View(0), ZERO_HASH, chain.head.hash)
    refused(chain, other, attendance_of_all(chain, below), "first block of an epoch")
    extend(chain, other, 6)
    assert chain.epoch == 1
    boundary = Candidate(Epoch(0), View(6), View(5), ZERO_HASH, chain.head.hash)
    refused(chain, other, attendance_of_all(chain, boundary), "first block of an epoch")
    extend(chain, other, 2)
    assert counted(other, 0) == (5, (5, 5, 5, 0))
    assert counted(other, 1) == (1, (1, 1, 1, 0))


def attendance_of_all(chain: Chain, candidate: Candidate) -> Attendance:
    """As of everybody who votes now, whatever the epoch of the candidate."""
    table = chain.validator_table()
    blank = Certificate(
        VoteKind.FINALIZE,
        candidate.epoch,
        candidate.view,
        candidate.id,
        table.bitmap((0, 1, 2, 3)),
        BlsSignature(bytes(96)),
    )
    message = blank.message(chain.chain_id)
    total = bls.aggregate([BlsSignature(sign(chain, index, message)) for index in range(4)])
    return attendance_of(replace(blank, signature=total), candidate)


def test_attendance_is_forgotten_with_its_set(chain: Chain, other: Chain) -> None:
    extend(chain, other, 6 * 4)
    assert counted(other, 0) is None
    assert counted(other, 3) == (5, (5, 5, 5, 0))
    assert counting.shares(other.reader(), Epoch(0)) == {}
    assert set(counting.shares(other.reader(), Epoch(4)).values()) == {10_000}, "nothing is counted yet"
    assert other.head.height == Height(24)
