"""The mempool's rules as properties, on the reader of a real chain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.bodies import (
    Scope,
    SessionKeyAdd,
    SessionKeyRemove,
    StakeAdd,
    SubmissionCommit,
    Transfer,
)
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import NANO, Amount, CampaignId, Hash, Height, Signature
from state.chain import Chain
from state.ledger.fees import fee_of
from state.ledger.prepared import Prepared, prepare
from state.mempool import Mempool
from tests.state.chain_fixtures import build, key, make_genesis, new_chain, order

FEE = 70_000
SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=60,
)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    made = new_chain(tmp_path, make_genesis(accounts=6, balance=NANO))
    yield made
    made.close()


@pytest.fixture
def pool(chain: Chain) -> Mempool:
    return new_pool(chain)


def new_pool(chain: Chain) -> Mempool:
    return Mempool(chain.reader(), chain.chain_id, chain.signatures)


def pay(
    sender: str, nonce: int, tip: int = 0, max_fee: int = FEE, to: str = "a5", valid_until: int = 100
) -> Prepared:
    body = Transfer(key(to).address, Amount(1))
    return order(key(sender), nonce, body, tip=tip, max_fee=max_fee, valid_until=valid_until)


def refusal(pool: Mempool, prepared: Prepared) -> str:
    """The code of the refusal; nothing may have changed."""
    before = (pool.ids(), pool.size_bytes)
    with pytest.raises(ProtocolError) as refused:
        pool.add(prepared.encoded)
    assert (pool.ids(), pool.size_bytes) == before
    assert refused.value.reason
    return refused.value.code


def test_refusals_name_the_rule(chain: Chain, pool: Mempool) -> None:
    waiting = pay("a0", 0)
    pool.add(waiting.encoded)
    forged = prepare(replace(pay("a1", 0).transaction, signature=Signature(bytes(64))))
    far = limits.mempool_per_sender_max
    assert refusal(pool, waiting) == "duplicate"
    assert refusal(pool, pay("a0", 0, tip=1)) == "replacement"
    assert refusal(pool, pay("a0", far)) == "nonce_gap"
    assert refusal(pool, pay("a1", 0, max_fee=100)) == "max_fee"
    assert refusal(pool, pay("a1", 0, max_fee=2 * NANO)) == "balance"
    assert refusal(pool, pay("poor", 0)) == "balance"
    assert refusal(pool, pay("a1", 0, valid_until=0)) == "expired"
    assert refusal(pool, pay("a1", 0, valid_until=10**8)) == "valid_until"
    assert refusal(pool, forged) == "signature"
    assert refusal(pool, order(key("a1"), 0, StakeAdd(Amount(1)), chain_id="x")) == "chain_id"
    assert refusal(pool, order(key("a1"), 0, StakeAdd(Amount(1)), signer=key("a2"), max_fee=FEE)) == "signer"
    assert refusal(pool, prepare(waiting.transaction, waiting.encoded + b"\0")) == "codec"
    assert refusal(pool, prepare(waiting.transaction, bytes(limits.transaction_bytes_max + 1))) == "limit"
    block = build(chain, [waiting])
    chain.commit(block.hash, None)
    pool.on_commit(block, chain.reader())
    assert refusal(pool, waiting) == "duplicate"
    assert refusal(pool, pay("a0", 0, tip=1)) == "nonce"


def add(pool: Mempool, prepared: Prepared) -> str | None:
    """None when it was taken, else the code of the refusal."""
    try:
        pool.add(prepared.encoded)
    except ProtocolError as refused:
        return refused.code
    return None


OFFERS = st.lists(
    st.tuples(
        st.sampled_from(["a0", "a1", "a2"]),
        st.integers(0, 5),
        st.integers(0, 300),
        st.sampled_from([FEE, 2 * FEE]),
    ),
    max_size=25,
)


@given(OFFERS, st.integers(0, 5), st.data())
@SETTINGS
def test_whatever_is_offered_the_rules_hold(
    chain: Chain, offers: list[tuple[str, int, int, int]], room: int, data: st.DataObject
) -> None:
    pool = new_pool(chain)
    best: dict[tuple[str, int], Prepared] = {}
    for sender, nonce, tip, max_fee in offers:
        prepared = pay(sender, nonce, tip, max_fee)
        old = best.get((sender, nonce))
        code = add(pool, prepared)
        if code is not None:
            assert code in ("duplicate", "replacement")
            assert old is not None
            continue
        if old is not None:
            before, after = old.transaction, prepared.transaction
            assert 10 * (after.max_fee + after.tip) >= 11 * (before.max_fee + before.tip)
        best[sender, nonce] = prepared
    assert set(pool.ids()) == {prepared.id for prepared in best.values()}
    assert pool.size_bytes == sum(len(prepared.encoded) for prepared in best.values())
    for sender in ("a0", "a1", "a2"):
        nonces = {nonce for name, nonce in best if name == sender}
        expected = next(nonce for nonce in range(7) if nonce not in nonces)
        assert pool.next_nonce(key(sender).address) == expected
        assert [p.transaction.nonce for p in pool.by_sender(key(sender).address)] == sorted(nonces)
    check_selection(pool, data.draw(st.integers(50, 150)), room * pay("a0", 0).weight + 10, 10**6)


def check_selection(pool: Mempool, base_fee: int, weight_max: int, bytes_max: int) -> None:
    taken = pool.select(base_fee, weight_max, bytes_max)
    assert sum(p.weight for p in taken) <= weight_max
    assert sum(len(p.encoded) for p in taken) <= bytes_max
    next_nonces: dict[bytes, int] = {}
    for place, prepared in enumerate(taken):
        transaction = prepared.transaction
        assert transaction.nonce == next_nonces.get(transaction.sender, 0)
        assert fee_of(prepared.weight, base_fee) <= transaction.max_fee
        # Whatever comes later and could have come now pays no more.
        for later in taken[place + 1 :]:
            if later.transaction.nonce == next_nonces.get(later.transaction.sender, 0):
                assert later.transaction.tip * prepared.weight <= transaction.tip * later.weight
        next_nonces[transaction.sender] = transaction.nonce + 1


def test_a_full_pool_keeps_what_pays_most(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "mempool_transactions_max", 10)
    pool = new_pool(chain)
    for nonce in range(5):
        pool.add(pay("a0", nonce, tip=100).encoded)
        pool.add(pay("a1", nonce, tip=10).encoded)
    assert refusal(pool, pay("a2", 0, tip=5)) == "mempool_full"
    pool.add(pay("a2", 0, tip=50).encoded)
    assert len(pool) <= 10
    assert pay("a2", 0, tip=50).id in pool.ids()
    assert all(pay("a0", nonce, tip=100).id in pool.ids() for nonce in range(5))
    # What was pushed out is a tail, so that what is left can still stand in blocks.
    left = [p.transaction.nonce for p in pool.by_sender(key("a1").address)]
    assert left == list(range(len(left)))


def test_bytes_are_bounded(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(pay("a0", 0).encoded)
    monkeypatch.setattr(limits, "mempool_bytes_max", 5 * size)
    pool = new_pool(chain)
    for nonce in range(5):
        pool.add(pay("a0", nonce).encoded)
    assert refusal(pool, pay("a1", 0)) == "mempool_full"
    pool.add(pay("a1", 0, tip=9).encoded)
    assert pool.size_bytes <= 5 * size


def test_what_an_account_can_not_pay_for_does_not_wait(pool: Mempool) -> None:
    half = NANO // 2
    pool.add(pay("a0", 0, max_fee=half).encoded)
    pool.add(pay("a0", 1, max_fee=half).encoded)
    assert refusal(pool, pay("a0", 2)) == "balance"


def test_commits_remove_what_they_hold_and_what_expired(chain: Chain, pool: Mempool) -> None:
    for nonce in range(3):
        pool.add(pay("a0", nonce).encoded)
    pool.add(pay("a1", 0, valid_until=1).encoded)
    pool.add(pay("a1", 1, valid_until=50).encoded)
    rival = pay("a0", 0, tip=5)
    block = build(chain, [rival, pay("a0", 1)])
    chain.commit(block.hash, None)
    pool.on_commit(block, chain.reader())
    assert set(pool.ids()) == {pay("a0", 2).id, pay("a1", 1, valid_until=50).id}
    assert pool.next_nonce(key("a0").address) == 3
    assert [p.transaction.nonce for p in pool.select(100, 10**6, 10**6)] == [2]


def test_a_session_key_that_was_removed_leaves_nothing_waiting(chain: Chain, pool: Mempool) -> None:
    session = key("session")
    scopes = int(Scope.UPLOAD)
    block = build(
        chain,
        [order(key("a0"), 0, SessionKeyAdd(session.public, scopes, Height(90), Amount(10**12)), max_fee=FEE)],
    )
    chain.commit(block.hash, None)
    pool.on_commit(block, chain.reader())
    upload = SubmissionCommit(CampaignId(1), Hash(bytes(32)), 1)
    pool.add(order(key("a0"), 2, upload, signer=session, max_fee=FEE, valid_until=100).encoded)
    money = order(key("a0"), 3, Transfer(key("a1").address, Amount(1)), signer=session, max_fee=FEE)
    assert refusal(pool, money) == "session_scope"
    block = build(chain, [order(key("a0"), 1, SessionKeyRemove(session.public), max_fee=FEE)])
    chain.commit(block.hash, None)
    pool.on_commit(block, chain.reader())
    assert pool.ids() == ()


def test_a_session_key_has_no_more_waiting_than_it_may_spend(chain: Chain, pool: Mempool) -> None:
    session, sponsor = key("session"), key("a0")

    def allow(nonce: int, allowance: int) -> None:
        body = SessionKeyAdd(session.public, int(Scope.UPLOAD), Height(90), Amount(allowance))
        block = build(chain, [order(sponsor, nonce, body, max_fee=FEE)])
        chain.commit(block.hash, None)
        pool.on_commit(block, chain.reader())

    def upload(nonce: int, max_fee: int = FEE, tip: int = 0) -> Prepared:
        body = SubmissionCommit(CampaignId(1), Hash(bytes(32)), 1)
        return order(sponsor, nonce, body, signer=session, max_fee=max_fee, tip=tip, valid_until=100)

    allow(0, 2 * FEE)
    assert refusal(pool, upload(1, max_fee=2 * FEE + 1)) == "session_allowance"
    assert refusal(pool, upload(1, max_fee=2 * FEE, tip=FEE + 1)) == "session_tip"
    pool.add(upload(2).encoded)
    pool.add(upload(3).encoded)
    assert refusal(pool, upload(4)) == "session_allowance"
    pool.add(pay("a0", 4).encoded)  # the account's own key is not bound by it
    allow(1, FEE)
    assert pool.ids() == (upload(2).id, pay("a0", 4).id)


def test_money_that_arrives_counts_at_once(chain: Chain, pool: Mempool) -> None:
    pool.add(pay("a0", 0, max_fee=NANO).encoded)
    assert refusal(pool, pay("a0", 1)) == "balance"
    gift = order(key("a1"), 0, Transfer(key("a0").address, Amount(NANO // 2)), max_fee=FEE)
    block = build(chain, [gift])
    chain.commit(block.hash, None)
    pool.on_commit(block, chain.reader())
    pool.add(pay("a0", 1).encoded)
