"""A full pool under a flood: who is refused costs little, and pushes nobody out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from omnitensor.protocol import limits
from omnitensor.protocol.bodies import ReportCommit, Transfer
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import NANO, Amount, BatchId, Hash
from state import mempool as mempools
from state.chain import Chain
from state.ledger.prepared import Prepared
from state.mempool import Mempool
from tests.state.chain_fixtures import key, make_genesis, new_chain, order

FEE = 200_000


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    made = new_chain(tmp_path, make_genesis(accounts=8, balance=NANO))
    yield made
    made.close()


def pay(sender: str, nonce: int, tip: int) -> Prepared:
    return order(key(sender), nonce, Transfer(key("a7").address, Amount(1)), tip=tip, max_fee=FEE)


def refused(pool: Mempool, prepared: Prepared) -> str:
    with pytest.raises(ProtocolError) as error:
        pool.add(prepared.encoded)
    return error.value.code


def test_a_flood_that_pays_no_more_is_refused_without_looking_at_all(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "mempool_transactions_max", 40)
    pool = Mempool(chain.reader(), chain.chain_id, chain.signatures)
    for number in range(40):
        pool.add(pay(f"a{number % 4}", number // 4, tip=100).encoded)
    assert refused(pool, pay("a5", 0, tip=100)) == "mempool_full"
    priced = 0
    real = mempools._price

    def counted(prepared: Prepared) -> int:
        nonlocal priced
        priced += 1
        return real(prepared)

    monkeypatch.setattr(mempools, "_price", counted)
    for tip in range(20):
        assert refused(pool, pay("a5", 0, tip=tip)) == "mempool_full"
    assert priced <= 40
    pool.add(pay("a5", 0, tip=101).encoded)
    assert len(pool) == 37  # of those that pay as much the latest four made room


def test_what_does_not_fit_pushes_nobody_out(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Mempool(chain.reader(), chain.chain_id, chain.signatures)
    cheap, dear = pay("a0", 0, tip=1), pay("a1", 0, tip=90_000)
    monkeypatch.setattr(limits, "mempool_bytes_max", len(cheap.encoded) + len(dear.encoded))
    pool.add(cheap.encoded)
    pool.add(dear.encoded)
    large = order(
        key("a2"), 0, ReportCommit(BatchId(1), 1, Hash(bytes(32)), bytes(600)), tip=10_000, max_fee=FEE
    )
    assert refused(pool, large) == "mempool_full"
    assert set(pool.ids()) == {cheap.id, dear.id}
