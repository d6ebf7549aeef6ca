"""Workers take turns for the receipts of a block: by an oracle that deals one by one, and in blocks of a real chain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from omnitensor.protocol import bls, limits
from omnitensor.protocol.bodies import Transfer, WorkCommit, WorkerRegister
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import (
    NANO,
    ZERO_HASH,
    Amount,
    BlsPublicKey,
    BlsSignature,
    Epoch,
    Hash,
    Signature,
)
from omnitensor.protocol.work import Receipt, Ticket, synthetic_job
from state.chain import Chain
from state.ledger.prepared import Prepared
from state.mempool import Mempool
from state.receipt_turns import Waiting, turns
from tests.state.chain_fixtures import CHAIN_ID, build, consensus_secret, key, make_genesis, new_chain, order

# -- by the oracle


@st.composite
def queues(draw: st.DrawFn) -> dict[str, list[Waiting]]:
    """What waits of some workers; each came at a moment of its own."""
    sizes = draw(st.lists(st.integers(0, 7), min_size=1, max_size=6))
    moments = iter(draw(st.permutations(range(sum(sizes)))))
    return {
        f"w{number}": [
            Waiting(draw(st.booleans()), draw(st.integers(0, 3)), next(moments)) for _ in range(size)
        ]
        for number, size in enumerate(sizes)
    }


SERVED = st.dictionaries(st.sampled_from([f"w{n}" for n in range(6)]), st.integers(0, 4))


def dealt(queues: dict[str, list[Waiting]], served: dict[str, int], most: int) -> dict[str, int]:
    """One at a time, of all first ones left: for a job before synthetic; whose worker had least, longest ago; what pays most.

    Once a worker's synthetic work is in a block, what follows it is no better than that.
    """
    had = dict.fromkeys(queues, 0)
    for _ in range(most):
        best: tuple[tuple[bool, int, int, int, int], str] | None = None
        for who, queue in queues.items():
            if had[who] == len(queue):
                continue
            one = queue[had[who]]
            waits_behind = any(each.synthetic for each in queue[: had[who] + 1])
            last = served.get(who, -1)
            rank = (waits_behind, had[who], last, -one.price, one.arrived)
            if best is None or rank < best[0]:
                best = (rank, who)
        if best is None:
            return had
        had[best[1]] += 1
    return had


@settings(max_examples=150, deadline=None)
@given(queues(), SERVED, st.integers(0, 20))
def test_turns_are_those_that_are_dealt_one_by_one(
    waiting: dict[str, list[Waiting]], served: dict[str, int], most: int
) -> None:
    assert turns(waiting, served, most) == dealt(waiting, served, most)


@settings(max_examples=150, deadline=None)
@given(queues(), SERVED, st.integers(0, 20))
def test_nobody_goes_without_for_anothers_second(
    waiting: dict[str, list[Waiting]], served: dict[str, int], most: int
) -> None:
    """What fairness means, said without an order: as many as there is room for, and no worker is one behind and left out."""
    found = turns(waiting, served, most)
    assert sum(found.values()) == min(most, sum(map(len, waiting.values())))
    for who, queue in waiting.items():
        assert 0 <= found[who] <= len(queue)
        if found[who] == len(queue):
            continue
        behind_synthetic = any(each.synthetic for each in queue[: found[who] + 1])
        for other, taken in found.items():
            for_jobs = not any(each.synthetic for each in waiting[other][:taken])
            if other != who and (behind_synthetic <= (not for_jobs)):
                assert taken <= found[who] + 1, (who, other)


def test_however_many_flood_the_blocks_with_tips_everybody_has_a_turn_in_time() -> None:
    """Thirty workers have all the receipts and tips that they like, one has a receipt now and then; four places a block."""
    crowd, served, waited = [f"w{n}" for n in range(30)], dict[str, int](), 0
    for height in range(200):
        waiting = {who: [Waiting(False, 9, place) for place in range(9)] for who in crowd}
        found = turns(waiting | {"slow": [Waiting(False, 0, 10_000)]}, served, 4)
        assert sum(found.values()) == 4
        waited = 0 if found["slow"] else waited + 1
        assert waited < -(-31 // 4)
        served |= {who: height for who, taken in found.items() if taken}


# -- in blocks

MOST = 4
PARAMS = Params(worker_bond_min=Amount(NANO), work_receipts_per_block_max=MOST, work_anchor_blocks_max=64)
WORKERS = ("a0", "a1", "a2", "a3", "a4")


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """Five workers and two others."""
    made = new_chain(tmp_path, make_genesis(accounts=7, params=PARAMS))
    registrations = []
    for name in WORKERS:
        secret = consensus_secret(name)
        body = WorkerRegister(
            Amount(NANO), BlsPublicKey(bls.sk_to_pk(secret)), BlsSignature(bls.pop_prove(secret))
        )
        registrations.append(order(key(name), 0, body))
    block = build(made, registrations)
    made.commit(block.hash, None)
    yield made
    made.close()


def commit_of(chain: Chain, name: str, nonce: int, unit: int, tip: int = 0) -> Prepared:
    """A receipt of synthetic work, as its worker sends it."""
    worker = key(name)
    made = Receipt(
        synthetic_job(CHAIN_ID, Epoch(0)),
        unit,
        chain.head.height,
        worker.address,
        ZERO_HASH,
        (Ticket(0, 0, 0, 0),),
        Signature(bytes(64)),
    )
    signature = worker.sign(made.message(CHAIN_ID))
    return order(worker, nonce, WorkCommit(replace(made, signature=signature)), tip=tip)


def offered(chain: Chain, orders: list[Prepared]) -> Mempool:
    pool = Mempool(chain.reader(), chain.chain_id, chain.signatures)
    for each in orders:
        pool.add(each.encoded)
    return pool


def chosen(chain: Chain, pool: Mempool, exclude: frozenset[Hash] = frozenset()) -> list[Prepared]:
    return pool.select(chain.reader().next_base_fee, 10**7, 10**6, exclude)


def senders(taken: list[Prepared]) -> list[str]:
    names = {key(f"a{number}").address: f"a{number}" for number in range(7)}
    return sorted(names[each.transaction.sender] for each in taken)


def test_a_fast_worker_that_pays_tips_leaves_room_for_others(chain: Chain) -> None:
    fast = [commit_of(chain, "a0", 1 + unit, unit, tip=10**6) for unit in range(10)]
    others = [commit_of(chain, name, 1, 0) for name in ("a1", "a2")]
    pool = offered(chain, [*fast, *others])
    assert senders(chosen(chain, pool)) == ["a0", "a0", "a1", "a2"]


def test_every_receipt_in_a_block_finds_room_and_the_rest_follow_in_the_next(chain: Chain) -> None:
    orders = [commit_of(chain, name, 1 + unit, unit) for name in WORKERS for unit in range(3)]
    pool, seen = offered(chain, orders), list[list[str]]()
    while len(pool):
        block = build(chain, chosen(chain, pool))
        committed = chain.commit(block.hash, None)
        assert [each.code for each in committed.result.receipts] == ["ok"] * len(block.transactions)
        pool.on_commit(block, chain.reader())
        seen.append(senders([each for each in orders if each.transaction in block.transactions]))
    assert [len(each) for each in seen] == [4, 4, 4, 3]
    assert seen[0] == ["a0", "a1", "a2", "a3"], "of equal ones those that came first"
    assert "a4" in seen[1], "and whoever had no turn has one before anybody's second"


def test_a_receipt_that_must_wait_holds_back_what_follows_it_and_nothing_else(chain: Chain) -> None:
    orders = [commit_of(chain, name, 1, 0, tip=5) for name in WORKERS]
    behind = [order(key(name), 2, Transfer(key("a6").address, Amount(1))) for name in WORKERS]
    other = order(key("a5"), 0, Transfer(key("a6").address, Amount(1)))
    taken = chosen(chain, offered(chain, [*orders, *behind, other]))
    assert senders(taken) == ["a0", "a0", "a1", "a1", "a2", "a2", "a3", "a3", "a5"]


def test_what_stands_in_blocks_below_takes_no_turn(chain: Chain) -> None:
    orders = [commit_of(chain, "a0", 1 + unit, unit) for unit in range(6)]
    pool = offered(chain, orders)
    below = frozenset(each.id for each in orders[:4])
    assert chosen(chain, pool, below) == orders[4:]


def test_receipts_of_whom_the_chain_does_not_know_as_a_worker_take_nobodys_turn(chain: Chain) -> None:
    """They are refused in a block, for a fee: as many as their senders like to pay for."""
    junk = [commit_of(chain, "a5", unit, unit, tip=10**6) for unit in range(9)]
    real = [commit_of(chain, name, 1, 0) for name in WORKERS[:MOST]]
    taken = chosen(chain, offered(chain, [*junk, *real]))
    assert senders(taken) == ["a0", "a1", "a2", "a3", *["a5"] * 9]
    block = build(chain, taken)
    codes = [each.code for each in chain.commit(block.hash, None).result.receipts]
    assert codes.count("ok") == MOST


def test_whose_turn_was_last_is_remembered_of_so_many_senders_and_no_more(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "workers_max", 2)
    pool = offered(chain, [commit_of(chain, name, 1, 0) for name in WORKERS[:3]])
    block = build(chain, chosen(chain, pool))
    chain.commit(block.hash, None)
    pool.on_commit(block, chain.reader())
    assert list(pool._served) == [key(name).address for name in WORKERS[1:3]]


def test_a_receipt_that_is_replaced_or_gone_is_counted_no_more(chain: Chain) -> None:
    first, second = commit_of(chain, "a0", 1, 0), commit_of(chain, "a0", 1, 1, tip=NANO)
    pool = offered(chain, [first, second])
    assert chosen(chain, pool) == [second]
    paid = order(key("a0"), 1, Transfer(key("a6").address, Amount(1)), tip=3 * NANO, max_fee=2 * NANO)
    pool.add(paid.encoded)
    assert chosen(chain, pool) == [paid]
