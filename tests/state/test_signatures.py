"""A block's signatures are judged alike in the child process and without it, whatever becomes of the child."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence

import pytest
from msgspec.structs import replace

from omnitensor.protocol.blocks import Block, transactions_root
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.errors import BlockError
from omnitensor.protocol.types import Amount, Signature
from state import signatures
from state.chain import Chain
from state.ledger.prepared import Prepared, prepare
from state.signatures import CHILD_MIN, SignatureChecker
from tests.state.chain_fixtures import build, key, new_chain, order

COUNT = CHILD_MIN + 3


@pytest.fixture
def checker() -> Iterator[SignatureChecker]:
    made = SignatureChecker()
    yield made
    made.close()


@pytest.fixture(scope="module")
def good() -> tuple[Prepared, ...]:
    body = Transfer(key("a1").address, Amount(1))
    return tuple([order(key("a0"), nonce, body) for nonce in range(COUNT)])


def forged(prepared: Prepared) -> Prepared:
    """The same under a signature with one bit turned."""
    signature = prepared.transaction.signature
    return prepare(
        replace(prepared.transaction, signature=Signature(bytes([signature[0] ^ 1]) + signature[1:]))
    )


def with_bad(good: Sequence[Prepared], *places: int) -> list[Prepared]:
    return [forged(one) if place in places else one for place, one in enumerate(good)]


def child_of(checker: SignatureChecker) -> int:
    """The number of the child's process, which is there."""
    assert checker._child is not None, "no child was asked"
    assert checker._child._process is not None, "the child is gone"
    return checker._child._process.pid


@pytest.mark.parametrize("places", [(), (0,), (COUNT // 2,), (COUNT - 1,), (5, COUNT - 1), (COUNT - 2, 7)])
def test_the_child_finds_the_first_bad_one(
    checker: SignatureChecker, good: tuple[Prepared, ...], places: tuple[int, ...]
) -> None:
    assert checker.first_bad(with_bad(good, *places)) == min(places, default=None)
    assert child_of(checker)
    few = with_bad(good[:9], *places)
    assert SignatureChecker().first_bad(few) == min((at for at in places if at < 9), default=None)


def test_known_ones_are_not_checked_again_and_places_stay_right(
    checker: SignatureChecker, good: tuple[Prepared, ...]
) -> None:
    more = [*good, *[order(key("a1"), nonce, one.transaction.body) for nonce, one in enumerate(good)]]
    for one in more[3:40]:
        checker.check(one)
    assert checker.first_bad(more) is None
    assert checker.first_bad(with_bad(more, COUNT + 1, COUNT + 9)) == COUNT + 1
    assert child_of(checker)


def test_a_child_that_dies_costs_nothing_but_time(
    checker: SignatureChecker, good: tuple[Prepared, ...]
) -> None:
    """Killed between two blocks, or with a question unanswered: the verdict is the same, and another one follows it."""
    assert checker.first_bad(good) is None
    first = child_of(checker)
    os.kill(first, signal.SIGKILL)
    assert checker.first_bad(with_bad(good, 17)) == 17
    assert checker.first_bad(good) is None
    second = child_of(checker)
    assert second != first
    os.kill(second, signal.SIGSTOP)
    checking = checker.begin(with_bad(good, 4))
    os.kill(second, signal.SIGKILL)
    assert checking.first_bad() == 4


def test_a_child_that_says_nothing_is_given_up(
    checker: SignatureChecker, good: tuple[Prepared, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signatures, "ANSWER_S", 0.001)
    assert checker.first_bad(with_bad(good, 11)) == 11


def test_without_a_child_the_work_is_done_here(
    checker: SignatureChecker, good: tuple[Prepared, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(11, "no more processes")

    monkeypatch.setattr(subprocess, "Popen", refused)
    assert checker.first_bad(with_bad(good, 2)) == 2
    assert checker.first_bad(good) is None


def test_the_child_ends_with_its_checker(good: tuple[Prepared, ...]) -> None:
    checker = SignatureChecker()
    checker.first_bad(good)
    pid = child_of(checker)
    checker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_forged_block_is_refused_for_its_signature_whatever_execution_says(
    tmp_path_factory: pytest.TempPathFactory, good: tuple[Prepared, ...]
) -> None:
    """The block is executed meanwhile: neither its own fault of order nor a right execution hides the signature."""
    chain: Chain = new_chain(tmp_path_factory.mktemp("forged"))
    try:
        honest = build(chain, list(good))
        assert len(honest.transactions) == COUNT
        for order_of in (list(range(COUNT)), [*range(1, COUNT), 0]):
            taken = [with_bad(good, 100)[place] for place in order_of]
            transactions = tuple([one.transaction for one in taken])
            header = replace(honest.header, transactions_root=transactions_root(transactions))
            with pytest.raises(BlockError, match=f"transaction {order_of.index(100)} does not verify"):
                chain.check(Block(header, transactions))
            assert not chain.is_executed(header.hash)
    finally:
        chain.close()
