"""Chia: a storm of dust transactions filled queues that had no bound, and nodes fell over; another time tokens came from nothing.

Here every queue has a cap and a rule for what goes, whoever pays more gets in, and the supply is counted in every block.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from omnitensor.protocol import limits
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import NANO, SUPPLY_MAX, Amount
from state.chain import Chain
from state.ledger.prepared import Prepared
from state.mempool import Mempool
from tests.state.chain_fixtures import build, key, make_genesis, new_chain, order

SENDERS = 40
ROOM = 400
DUST_FEE = 70_000


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    monkeypatch.setattr(limits, "mempool_transactions_max", ROOM)
    monkeypatch.setattr(limits, "mempool_gapped_max", ROOM // 10)
    made = new_chain(tmp_path, make_genesis(accounts=SENDERS, balance=NANO))
    yield made
    made.close()


def dust(sender: int, nonce: int, tip: int = 0, valid_until: int = 60) -> Prepared:
    body = Transfer(key(f"a{(sender + 1) % SENDERS}").address, Amount(1))
    return order(key(f"a{sender}"), nonce, body, tip=tip, max_fee=DUST_FEE, valid_until=valid_until)


def taken(pool: Mempool, prepared: Prepared) -> str:
    try:
        pool.add(prepared.encoded)
    except ProtocolError as refused:
        return refused.code
    return "ok"


def assert_bounded(pool: Mempool) -> None:
    """Nothing inside grows beyond what waits, whatever came and went."""
    assert len(pool) <= ROOM
    assert pool.size_bytes <= limits.mempool_bytes_max
    for heap in (pool._expiring, pool._cheapest):
        assert len(heap) <= 2 * len(pool) + 1_001
    assert len(pool._queues) <= len(pool)
    assert len(pool._gapped) <= limits.mempool_gapped_max


def test_chia_a_storm_of_dust_fills_no_queue_and_stops_nobody(chain: Chain) -> None:
    pool = Mempool(chain.reader(), chain.chain_id, chain.signatures)
    codes: dict[str, int] = {}
    for nonce in range(30):
        for sender in range(1, SENDERS):
            code = taken(pool, dust(sender, nonce))
            codes[code] = codes.get(code, 0) + 1
            assert_bounded(pool)
    assert codes["ok"] == ROOM  # of the same price the first stay: repeating a storm gains nothing
    assert codes["mempool_full"] + codes.get("nonce_gap", 0) == 30 * (SENDERS - 1) - ROOM
    honest = dust(0, 0, tip=1_000)
    assert taken(pool, honest) == "ok"
    assert honest.id in {one.id for one in pool.select(100, 10**6, 10**6)[:1]}
    # A storm that outbids itself by one each time churns, and leaves nothing behind.
    for tip in range(1, 1_500):
        taken(pool, dust(1 + tip % (SENDERS - 1), 0, tip=tip, valid_until=50))
        assert_bounded(pool)
    assert chain.head.height == 0


def test_chia_dust_that_can_never_stand_in_a_block_gets_a_tenth_at_most(chain: Chain) -> None:
    """Behind a gap it costs its sender nothing, so it must cost others nothing."""
    pool = Mempool(chain.reader(), chain.chain_id, chain.signatures)
    for nonce in range(1, 20):
        for sender in range(1, SENDERS):
            taken(pool, dust(sender, nonce, tip=10_000))
    assert len(pool) == ROOM // 10
    assert all(taken(pool, dust(0, nonce)) == "ok" for nonce in range(5))
    for _ in range(limits.mempool_gap_blocks_max):
        block = build(chain)
        chain.commit(block.hash, None)
        pool.on_commit(block, chain.reader())
    assert {one.transaction.sender for one in map(pool.get, pool.ids()) if one} == {key("a0").address}
    assert_bounded(pool)


def test_chia_a_storm_makes_no_money(chain: Chain) -> None:
    pool = Mempool(chain.reader(), chain.chain_id, chain.signatures)
    for nonce in range(3):
        for sender in range(SENDERS):
            taken(pool, dust(sender, nonce, tip=sender))
    for _ in range(4):
        chosen = pool.select(chain.reader().next_base_fee, 20_000, 10**6)
        block = build(chain, chosen)
        chain.commit(block.hash, None)
        pool.on_commit(block, chain.reader())
        assert sum(chain.reader().supply().values()) == SUPPLY_MAX
